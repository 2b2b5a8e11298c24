//! Damages a node's disk, and looks whether the node owns up to it: what it knew before it must know, or say that
//! it can't tell. It must not say that there is nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use annulus_causality::VersionVector;
use annulus_checker::KeyName;
use anyhow::Result;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::admin;
use crate::copies;
use crate::disk;
use crate::fault::{Kind, NodeOrdinal};
use crate::node_process::Expected;
use crate::ring::Ring;

/// A log that is worth damaging comes within this time, by what clients write.
const LOG_WITHIN: Duration = Duration::from_secs(3);

const POLL_EVERY: Duration = Duration::from_millis(100);

/// A node that opens a damaged disk has made up its mind after this time.
const DECIDES_WITHIN: Duration = Duration::from_secs(20);

/// A node whose disk is damaged.
#[derive(Debug)]
pub(crate) struct Damaged {
    pub(crate) node: NodeOrdinal,
    /// What it knew just before, by key.
    before: Vec<(KeyName, VersionVector)>,
    /// The vnodes that it had, by partition. One that was rebuilt has another id, and knows what the others do.
    vnodes: BTreeMap<u32, u64>,
}

/// What became of damage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DamageTally {
    /// Tables whose bytes were changed.
    pub(crate) tables: u64,
    /// Logs of which a byte was changed.
    pub(crate) logs: u64,
    /// Starts that the node refused, or processes that it ended, because of it.
    pub(crate) refused_to_run: u64,
    /// Reads of single copies that were refused.
    pub(crate) reads_refused: u64,
    /// Reads of single copies that were answered, with what was known before or more.
    pub(crate) reads_answered: u64,
}

/// Damages a node's disk.
pub(crate) async fn begin(
    ring: &Ring,
    node: NodeOrdinal,
    kind: Kind,
    tally: &Mutex<DamageTally>,
) -> Result<Damaged> {
    ring.process(node).lock().await.expected = Expected::MayEnd;
    let damaged = Damaged {
        node,
        before: known(ring, node).await,
        vnodes: admin::vnodes(&ring.site.addresses(node).admin).await,
    };
    if kind == Kind::DamageTable {
        damage_tables(ring, node, tally).await?;
    } else {
        damage_log(ring, node, tally).await?;
    }
    Ok(damaged)
}

/// What the node knows of all keys that it owns; nothing if it does not say.
async fn known(ring: &Ring, node: NodeOrdinal) -> Vec<(KeyName, VersionVector)> {
    let keys = owned_keys(ring, node);
    let read = copies::read(&ring.placement, ring.id(node), &keys).await;
    let copies = read.unwrap_or_default();
    let clocks = keys.into_iter().zip(copies).filter_map(|(key, copy)| {
        let state = copy.ok().flatten()?;
        Some((key, state.clock().clone()))
    });
    clocks.collect()
}

/// All keys that clients used and the node owns.
pub(crate) fn owned_keys(ring: &Ring, node: NodeOrdinal) -> Vec<KeyName> {
    let id = ring.id(node);
    let mut keys = ring.arena.recording.keys();
    keys.retain(|key| copies::owners(&ring.placement, key).contains(&id));
    keys
}

async fn damage_tables(ring: &Ring, node: NodeOrdinal, tally: &Mutex<DamageTally>) -> Result<()> {
    let mut tables = damage_its_tables(ring, node).await?;
    if tables == 0 {
        // All that it holds is in its log: a start writes it to a table.
        let mut process = ring.process(node).lock().await;
        process.kill().await?;
        process.start()?;
        process.expected = Expected::MayEnd;
        drop(process);
        ring.serves(node, DECIDES_WITHIN).await;
        tables = damage_its_tables(ring, node).await?;
    }
    ring.note(&format!("node-{} has {tables} damaged tables", node + 1));
    tally.lock().tables += tables as u64;
    Ok(())
}

async fn damage_its_tables(ring: &Ring, node: NodeOrdinal) -> Result<usize> {
    let data = ring.site.data_dir(node);
    spawn_blocking(move || disk::damage_tables(&data)).await?
}

async fn damage_log(ring: &Ring, node: NodeOrdinal, tally: &Mutex<DamageTally>) -> Result<()> {
    let data = ring.site.data_dir(node);
    let give_up = ring.clock().elapsed() + LOG_WITHIN;
    let mut process = ring.process(node).lock().await;
    process.kill().await?;
    let damaged = loop {
        let path = data.clone();
        let damaged = spawn_blocking(move || disk::damage_log(&path)).await??;
        if damaged.is_some() || ring.clock().elapsed() >= give_up {
            break damaged;
        }
        process.start_expected()?;
        sleep(POLL_EVERY).await;
        process.kill().await?;
    };
    tally.lock().logs += u64::from(damaged.is_some());
    process.start_expected()?;
    process.expected = Expected::MayEnd;
    Ok(())
}

/// Looks what the node says now.
pub(crate) async fn look(ring: &Ring, damaged: &Damaged, tally: &Mutex<DamageTally>) -> Result<()> {
    compare(ring, damaged, tally).await;
    // Once more with what it finds when it opens the disk anew.
    let mut process = ring.process(damaged.node).lock().await;
    if process.is_running() {
        process.kill().await?;
    } else {
        tally.lock().refused_to_run += 1;
    }
    process.start_expected()?;
    process.expected = Expected::MayEnd;
    drop(process);
    let give_up = ring.clock().elapsed() + DECIDES_WITHIN;
    while ring.clock().elapsed() < give_up {
        if !ring.process(damaged.node).lock().await.is_running() {
            tally.lock().refused_to_run += 1;
            return Ok(());
        }
        if ring.serves(damaged.node, POLL_EVERY * 5).await {
            compare(ring, damaged, tally).await;
            return Ok(());
        }
    }
    Ok(())
}

async fn compare(ring: &Ring, damaged: &Damaged, tally: &Mutex<DamageTally>) {
    let vnodes = admin::vnodes(&ring.site.addresses(damaged.node).admin).await;
    let keys: Vec<KeyName> = damaged.before.iter().map(|(key, _)| key.clone()).collect();
    let Ok(copies) = copies::read(&ring.placement, ring.id(damaged.node), &keys).await else {
        return; // it does not run, or ended meanwhile
    };
    for ((key, before), copy) in damaged.before.iter().zip(copies) {
        let partition = copies::partition(&ring.placement, key);
        match copy {
            _ if vnodes.get(&partition) != damaged.vnodes.get(&partition) => {}
            Err(_) => tally.lock().reads_refused += 1,
            Ok(state) => {
                let now = state.map(|state| state.clock().clone()).unwrap_or_default();
                if before
                    .iter()
                    .all(|(actor, counter)| now.get(actor) >= counter)
                {
                    tally.lock().reads_answered += 1;
                } else {
                    let node = damaged.node + 1;
                    ring.found(format!("node-{node} has a damaged disk and says that it knows {now:?} of {key}, where it knew {before:?}"));
                }
            }
        }
    }
}
