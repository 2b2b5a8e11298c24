//! Replaces a node's disk and fills it again from the other owners, before anybody may ask it.
//!
//! This stands for a protocol of the nodes that does not exist yet. As that one will have to, it lets the node
//! count for nothing until it has every copy: a read of two owners, one of them empty, could miss a write
//! that was acknowledged by the other two. So the node is cut off from its peers and closed to clients meanwhile.

use std::sync::atomic::Ordering;
use std::time::Duration;

use annulus_causality::KeyState;
use annulus_checker::KeyName;
use anyhow::{Context as _, Result, bail};
use tokio::time::sleep;

use crate::copies;
use crate::damage::owned_keys;
use crate::disk;
use crate::fault::NodeOrdinal;
use crate::ring::{Ring, SERVES_WITHIN};
use crate::workload::ask::LONGEST_REQUEST;

/// What counted on the old disk has ended after this time: no request takes longer.
const SETTLES: Duration = LONGEST_REQUEST.saturating_add(Duration::from_secs(1));

/// Rounds of copying until the copies must be whole.
const ROUNDS: usize = 10;

const ROUND_PAUSE: Duration = Duration::from_millis(500);

/// Replaces a node's disk. All other nodes serve, and reach each other.
pub(crate) async fn replace_disk(ring: &Ring, node: NodeOrdinal) -> Result<()> {
    let network = ring
        .network
        .as_ref()
        .context("there is no network of our own")?;
    ring.arena.closed[node].store(true, Ordering::Relaxed);
    let mut process = ring.process(node).lock().await;
    process.kill().await?;
    network.lock().await.shut(Some(node))?;
    sleep(SETTLES).await;
    disk::replace(&ring.site.data_dir(node))?;
    process.start_expected()?;
    drop(process);
    if !ring.serves(node, SERVES_WITHIN).await {
        bail!("node-{} does not serve with an empty disk", node + 1);
    }
    fill(ring, node).await?;
    network.lock().await.shut(None)?;
    ring.arena.closed[node].store(false, Ordering::Relaxed);
    Ok(())
}

async fn fill(ring: &Ring, node: NodeOrdinal) -> Result<()> {
    let keys = owned_keys(ring, node);
    let mut failed = String::new();
    for _ in 0..ROUNDS {
        match copy(ring, node, &keys).await {
            Ok(()) => return Ok(()),
            Err(error) => failed = format!("{error:#}"),
        }
        sleep(ROUND_PAUSE).await;
    }
    bail!("the copies of node-{} can't be filled: {failed}", node + 1)
}

/// Copies what the other owners hold.
async fn copy(ring: &Ring, node: NodeOrdinal, keys: &[KeyName]) -> Result<()> {
    let own = ring.id(node);
    for source in ring
        .placement
        .nodes()
        .iter()
        .filter(|source| source.id != own)
    {
        let is_owner = |key: &&KeyName| copies::owners(&ring.placement, key).contains(&source.id);
        let shared: Vec<KeyName> = keys.iter().filter(is_owner).cloned().collect();
        let read = copies::read(&ring.placement, source.id, &shared).await?;
        let mut states: Vec<(KeyName, KeyState)> = Vec::new();
        for (key, copy) in shared.into_iter().zip(read) {
            match copy {
                Ok(Some(state)) => states.push((key, state)),
                Ok(None) => {}
                Err(error) => bail!("{} does not give {key}: {error}", source.name),
            }
        }
        copies::merge(&ring.placement, own, &states).await?;
    }
    Ok(())
}
