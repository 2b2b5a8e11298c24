//! `annulus node`: one node, closely.

use annulus_proto::admin::v1::GetStatusResponse;
use annulus_ring::Placement;
use serde::Serialize;

use crate::admin;
use crate::args::Connection;
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::status::{self, NodeStatus};

/// Shows one node: how it is, what it owns, which peers it reaches.
///
/// Example:
///   annulus node node-1
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct NodeArgs {
    /// The node's name or id, as `annulus status` shows it.
    name: String,
}

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    node: NodeStatus,
    addresses: Addresses,
    /// Partitions that it owns.
    partitions: Vec<u16>,
    peers: Vec<Peer>,
}

#[derive(Serialize)]
struct Addresses {
    grpc: String,
    http: String,
    peer: String,
    admin: String,
}

#[derive(Serialize)]
struct Peer {
    name: String,
    id: String,
    connected: bool,
}

pub(crate) async fn run(
    connection: &Connection,
    format: Format,
    command: NodeArgs,
) -> anyhow::Result<Exit> {
    let placement = connection.client().await?.ring().await?;
    let named = |node: &&annulus_ring::Node| {
        node.name == command.name || node.id.to_string() == command.name
    };
    let Some(node) = placement.nodes().iter().find(named) else {
        let names: Vec<&str> = placement
            .nodes()
            .iter()
            .map(|node| node.name.as_str())
            .collect();
        eprintln!(
            "error: no node {:?}; there are {}",
            command.name,
            names.join(", ")
        );
        return Ok(Exit::NotFound);
    };
    let index = placement
        .index_of(node.id)
        .expect("it was found in this placement");
    let report = admin::status(&node.addresses.admin).await;
    let answer = Answer {
        addresses: Addresses {
            grpc: node.addresses.grpc.clone(),
            http: node.addresses.http.clone(),
            peer: node.addresses.peer.clone(),
            admin: node.addresses.admin.clone(),
        },
        partitions: placement
            .partitions_of(index)
            .map(|partition| partition.0)
            .collect(),
        peers: report
            .as_ref()
            .map(|report| peers(&placement, report))
            .unwrap_or_default(),
        node: status::merge(&placement, node, report),
    };
    output::print(format, &answer, table)?;
    Ok(Exit::Done)
}

fn peers(placement: &Placement, report: &GetStatusResponse) -> Vec<Peer> {
    let peer = |peer: &annulus_proto::admin::v1::PeerStatus| Peer {
        name: admin::name_of(placement, &peer.node_id)
            .unwrap_or("?")
            .to_owned(),
        id: peer.node_id.clone(),
        connected: peer.connected,
    };
    report.peers.iter().map(peer).collect()
}

fn table(answer: &Answer) -> String {
    let peers = answer.peers.iter().map(|peer| {
        let reached = if peer.connected {
            "connected"
        } else {
            "not connected"
        };
        [peer.name.clone(), reached.to_owned(), peer.id.clone()]
    });
    format!(
        "{}\n\n{}\ngRPC   {}\nHTTP   {}\npeer   {}\nadmin  {}\n\n{}",
        status::node_table(std::slice::from_ref(&answer.node)),
        status::comparison_line(&answer.node),
        answer.addresses.grpc,
        answer.addresses.http,
        answer.addresses.peer,
        answer.addresses.admin,
        output::table(["peer", "state", "id"], &[], peers),
    )
}
