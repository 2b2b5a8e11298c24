//! Replaces a node's disk by an empty one, and waits until the node has filled it from the other owners.
//!
//! Until then its copies count for nothing, and no other disk may be damaged. Clients are kept away, so that they
//! ask nodes that can tell.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::sleep;

use crate::admin;
use crate::disk;
use crate::fault::NodeOrdinal;
use crate::ring::{Ring, SERVES_WITHIN};
use crate::workload::ask::LONGEST_REQUEST;

/// What counted on the old disk has ended after this time: no request takes longer.
const SETTLES: Duration = LONGEST_REQUEST.saturating_add(Duration::from_secs(1));

/// A node has its copies again after this time.
const WHOLE_WITHIN: Duration = Duration::from_secs(120);

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
    network.lock().await.shut(None)?;
    until_whole(ring, node).await?;
    ring.arena.closed[node].store(false, Ordering::Relaxed);
    Ok(())
}

/// Waits until the node answers for all that it owns.
async fn until_whole(ring: &Ring, node: NodeOrdinal) -> Result<()> {
    let address = &ring.site.addresses(node).admin;
    let give_up = ring.clock().elapsed() + WHOLE_WITHIN;
    while ring.clock().elapsed() < give_up {
        let status = admin::status(address).await;
        if status.is_some_and(|status| status.vnodes > 0 && status.vnodes_unsound == 0) {
            return Ok(());
        }
        sleep(ROUND_PAUSE).await;
    }
    bail!("node-{} does not fill its empty disk", node + 1)
}
