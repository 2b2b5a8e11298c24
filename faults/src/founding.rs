//! Founds the run's ring, as the operator does: asks the nodes who they are, plans, hands the placement out.

use std::time::Duration;

use annulus_ring::{
    Capacity, HashSeed, Node, NodeId, NodeState, PartitionCount, Placement, ReplicationFactor, Zone,
};
use anyhow::{Context as _, Result};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::admin;
use crate::fault::NodeOrdinal;
use crate::site::Site;

/// Nodes answer after this time, or can't be started.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Partitions of the ring: enough that every set of owners occurs.
const PARTITIONS: u32 = 64;

/// Copies of each key.
pub(crate) const COPIES: u8 = 3;

/// Founds the ring of these running nodes.
pub(crate) async fn found(site: &Site, nodes: usize, seed: u64) -> Result<Placement> {
    let mut members = Vec::new();
    for node in 0..nodes {
        members.push(member(site, node).await?);
    }
    let placement = annulus_ring::found(
        Uuid::from_u64_pair(0xfa17, seed),
        HashSeed(seed),
        PartitionCount::new(PARTITIONS).expect("a power of two"),
        ReplicationFactor::new(COPIES).expect("1 at least"),
        &members,
    )
    .context("plan the ring")?;
    for node in 0..nodes {
        admin::install(&site.addresses(node).admin, &placement).await?;
    }
    Ok(placement)
}

/// A running node as a member.
pub(crate) async fn member(site: &Site, node: NodeOrdinal) -> Result<Node> {
    Ok(Node {
        id: identity(site, node).await?,
        name: format!("node-{}", node + 1),
        addresses: site.addresses(node).clone(),
        zone: Zone(format!("z{}", node % 3 + 1)),
        capacity: Capacity::ONE,
        state: NodeState::Active,
    })
}

async fn identity(site: &Site, node: NodeOrdinal) -> Result<NodeId> {
    let address = &site.addresses(node).admin;
    let asked = async {
        loop {
            if let Some(status) = admin::status(address).await {
                return status.node_id.parse::<NodeId>();
            }
            sleep(LOOK_EVERY).await;
        }
    };
    let log = site.log_file(node);
    let id = timeout(ANSWERS_WITHIN, asked)
        .await
        .with_context(|| format!("node-{} does not answer; see {}", node + 1, log.display()))?;
    id.ok().context("a node's id is no UUID")
}
