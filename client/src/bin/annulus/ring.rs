//! `annulus ring`: who owns what, and what a change would move.

mod plan;
mod shares;

use annulus_client::{Key, KeyspaceName};
use annulus_ring::{NodeIndex, Placement};
use clap::Subcommand;
use serde::Serialize;

use crate::args::Connection;
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::ring::shares::{Share, node_shares, zone_shares};
use crate::text;

/// Shows which node and zone owns how much of the ring, and where a key lives.
///
/// Examples:
///   annulus ring
///   annulus ring --key greeting
///   annulus ring plan --nodes 5
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Ring {
    /// Shows where this key lives instead.
    #[arg(long, value_parser = text::key)]
    key: Option<Key>,

    /// The key's keyspace.
    #[arg(long, default_value = "kv", value_name = "NAME", value_parser = KeyspaceName::new)]
    keyspace: KeyspaceName,

    #[command(subcommand)]
    command: Option<RingCommand>,
}

#[derive(Debug, Subcommand)]
enum RingCommand {
    Plan(plan::Plan),
}

#[derive(Serialize)]
struct Answer {
    cluster_id: String,
    epoch: u64,
    partitions: u32,
    replication_factor: u8,
    nodes: Vec<Share>,
    zones: Vec<Share>,
    /// Names of each partition's owners, in preference order.
    owners: Vec<Vec<String>>,
}

#[derive(Serialize)]
struct Located {
    keyspace: String,
    key: String,
    partition: u16,
    owners: Vec<Owner>,
}

#[derive(Serialize)]
struct Owner {
    name: String,
    zone: String,
    endpoint: String,
}

pub(crate) async fn run(
    connection: &Connection,
    format: Format,
    command: Ring,
) -> anyhow::Result<Exit> {
    let placement = connection.client().await?.ring().await?;
    match (command.command, command.key) {
        (Some(RingCommand::Plan(command)), _) => {
            return plan::run(&placement, format, &command).await;
        }
        (None, Some(key)) => {
            output::print(
                format,
                &locate(&placement, &command.keyspace, &key),
                key_table,
            )?;
        }
        (None, None) => output::print(format, &describe(&placement), ring_table)?,
    }
    Ok(Exit::Done)
}

fn describe(placement: &Placement) -> Answer {
    let names = |owners: &[NodeIndex]| {
        owners
            .iter()
            .map(|owner| placement.node(*owner).name.clone())
            .collect()
    };
    Answer {
        cluster_id: placement.cluster_id().to_string(),
        epoch: placement.epoch().0,
        partitions: placement.partitions().get(),
        replication_factor: placement.replication_factor().get(),
        nodes: node_shares(placement),
        zones: zone_shares(placement),
        owners: placement
            .partitions()
            .ids()
            .map(|id| names(placement.owners(id)))
            .collect(),
    }
}

fn locate(placement: &Placement, keyspace: &KeyspaceName, key: &Key) -> Located {
    let (partition, owners) = placement.locate(keyspace.as_str(), key.as_bytes());
    let owner = |owner: &NodeIndex| {
        let node = placement.node(*owner);
        Owner {
            name: node.name.clone(),
            zone: node.zone.to_string(),
            endpoint: node.addresses.grpc.clone(),
        }
    };
    Located {
        keyspace: keyspace.to_string(),
        key: String::from_utf8_lossy(key.as_bytes()).into_owned(),
        partition: partition.0,
        owners: owners.iter().map(owner).collect(),
    }
}

fn ring_table(answer: &Answer) -> String {
    let rows = |shares: &[Share]| -> Vec<[String; 5]> {
        let row = |share: &Share| {
            [
                share.name.clone(),
                share.zone.clone().unwrap_or_default(),
                share.vnodes.to_string(),
                share.preferred.to_string(),
                text::show_percent(share.part),
            ]
        };
        shares.iter().map(row).collect()
    };
    let nodes = output::table(
        ["node", "zone", "vnodes", "preferred", "share"],
        &[2, 3, 4],
        rows(&answer.nodes),
    );
    let zones = output::table(
        ["zone", "", "vnodes", "preferred", "share"],
        &[2, 3, 4],
        rows(&answer.zones),
    );
    format!(
        "Epoch {}, {} partitions, {} copies\n\n{nodes}\n\n{zones}",
        answer.epoch, answer.partitions, answer.replication_factor
    )
}

fn key_table(located: &Located) -> String {
    let rows = located.owners.iter().map(|owner| {
        [
            owner.name.clone(),
            owner.zone.clone(),
            owner.endpoint.clone(),
        ]
    });
    let owners = output::table(["owner", "zone", "endpoint"], &[], rows);
    format!(
        "Key {} is in partition {}\n\n{owners}",
        located.key, located.partition
    )
}
