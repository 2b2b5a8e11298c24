//! After the faults: every key can be read from all of its owners, and they come to hold the same.
//!
//! Reads of all owners drive the copies together (read repair). What they hold in the end is recorded.

use std::sync::Arc;
use std::time::Duration;

use annulus_causality::KeyState;
use annulus_checker::copies::are_same;
use annulus_checker::{FinalState, HeldState, KeyName, Record};
use annulus_ring::NodeId;
use anyhow::{Result, anyhow};
use futures::stream::{self, StreamExt as _};
use tokio::time::sleep;

use crate::copies::{self, Copy};
use crate::ring::Ring;
use crate::values;
use crate::workload::ask::{Ask, Level, What, policy_of};

/// The copies are the same after this time.
const CONVERGES_WITHIN: Duration = Duration::from_secs(90);

/// Reads at a time.
const READS_AT_ONCE: usize = 16;

const ROUND_PAUSE: Duration = Duration::from_millis(500);

/// A node's copies, in the order of the keys; none of keys that it does not own.
type Column = (NodeId, Vec<Option<Copy>>);

/// Drives the copies together and records them.
pub(crate) async fn drive(ring: &Arc<Ring>) {
    let keys = ring.arena.recording.keys();
    let give_up = ring.clock().elapsed() + CONVERGES_WITHIN;
    for round in 0.. {
        let refused = read_all(ring, &keys, round).await;
        let columns = match columns(ring, &keys).await {
            Ok(columns) => columns,
            Err(error) => {
                ring.found(format!("a node's copies can't be read: {error:#}"));
                return;
            }
        };
        let different = different(&keys, &columns);
        let is_over = ring.clock().elapsed() >= give_up;
        if different.is_empty() && refused.is_empty() || is_over {
            for what in refused.iter().take(5) {
                ring.found(format!("{what} can't be read from all owners"));
            }
            for what in different.iter().take(5) {
                ring.found(format!("copies do not become the same: {what}"));
            }
            record(ring, &keys, columns);
            return;
        }
        sleep(ROUND_PAUSE).await;
    }
}

/// Reads every key from all owners; the keys of which that failed.
async fn read_all(ring: &Arc<Ring>, keys: &[KeyName], round: usize) -> Vec<String> {
    let reads = keys.iter().enumerate().map(|(at, key)| {
        let node = (at + round) % ring.size();
        let ask = Ask {
            read: Level::All,
            ..Ask::plain(key.clone(), What::Get)
        };
        async move {
            let answer = ring.arena.ask(node, &ask).await;
            (!answer.is_ok()).then(|| format!("{} through node-{}", ask.key, node + 1))
        }
    });
    let refused = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(READS_AT_ONCE);
    refused
        .filter_map(|refused| async move { refused })
        .collect()
        .await
}

async fn columns(ring: &Ring, keys: &[KeyName]) -> Result<Vec<Column>> {
    let mut columns = Vec::new();
    for node in ring.placement.nodes() {
        let owns = |key: &&KeyName| copies::owners(&ring.placement, key).contains(&node.id);
        let own: Vec<KeyName> = keys.iter().filter(owns).cloned().collect();
        let read = copies::read(&ring.placement, node.id, &own).await?;
        if read.len() != own.len() {
            return Err(anyhow!("{} leaves out answers", node.name));
        }
        let mut read = own.iter().zip(read).peekable();
        let column = keys.iter().map(|key| {
            let is_next = read.peek().is_some_and(|(own, _)| *own == key);
            if is_next {
                read.next().map(|(_, copy)| copy)
            } else {
                None
            }
        });
        columns.push((node.id, column.collect()));
    }
    Ok(columns)
}

/// What differs. Pure.
fn different(keys: &[KeyName], columns: &[Column]) -> Vec<String> {
    let mut different = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        let copies: Vec<&Copy> = columns
            .iter()
            .filter_map(|(_, column)| column[at].as_ref())
            .collect();
        let states = copies.iter().map(|copy| copy.as_ref());
        let same = match states.collect::<Result<Vec<_>, _>>() {
            Ok(states) => are_same(states.into_iter().map(Option::as_ref)),
            Err(_) => false,
        };
        if !same {
            different.push(format!("{key}: {copies:?}"));
        }
    }
    different
}

fn record(ring: &Ring, keys: &[KeyName], columns: Vec<Column>) {
    let at_us = ring.clock().now_us();
    for (node, column) in columns {
        for (key, copy) in keys.iter().zip(column) {
            // An owner that does not say is not recorded; it was found above.
            let Some(Ok(state)) = copy else { continue };
            ring.arena.recording.add(&Record::FinalState(FinalState {
                node,
                key: key.clone(),
                policy: policy_of(key),
                at_us,
                state: state.as_ref().map(held),
            }));
        }
    }
}

/// With values by their names.
fn held(state: &KeyState) -> HeldState {
    let mut held = HeldState::from(state);
    for (sibling, original) in held.siblings.iter_mut().zip(state.siblings()) {
        if let annulus_causality::Content::Value(bytes) = &original.content {
            sibling.value = Some(values::name(bytes));
        }
    }
    held
}
