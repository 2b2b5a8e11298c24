//! After the faults: every key can be read at every node from all its owners, and they end up with
//! the same.

use std::sync::Arc;
use std::time::Duration;

use annulus_checker::{FinalState, HeldState, Record};
use annulus_node::simulation::{Terms, id_of};
use annulus_proto::model::{Consistency, Key, KeyspaceName};
use tokio::time::sleep;

use crate::asking::What;
use crate::broken::Broken;
use crate::clients::{Arena, Lines};
use crate::recording::{Asked, name_of, policy_of};

/// Rounds of reads until all must be the same.
const ROUNDS: usize = 10;

/// The pause after each, in which the repairs that it caused are done.
const PAUSE: Duration = Duration::from_millis(1500);

/// Drives the copies together; leaves what they hold in the recording.
pub(crate) async fn drive(arena: &Arc<Arena>) -> Result<(), Broken> {
    let mut lines = Lines::default();
    for round in 1..=ROUNDS {
        let mut refusals = Vec::new();
        for (keyspace, key) in arena.all_keys() {
            for at in 0..arena.nodes() {
                let answer = lines.ask(at, &read_all(arena, &keyspace, &key)).await;
                if !answer.is_success() {
                    refusals.push(format!("{keyspace}/{key} at n{}: {answer}", at + 1));
                }
            }
        }
        sleep(PAUSE).await;
        let difference = difference(arena);
        match difference {
            None if refusals.is_empty() => return record(arena),
            difference if round == ROUNDS => {
                let what = format!("reads that fail: {refusals:?}; copies: {difference:?}");
                return Err(Broken::new("L1 the cluster heals", what));
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_all(arena: &Arena, keyspace: &KeyspaceName, key: &Key) -> Asked {
    Asked {
        client: u64::MAX,
        keyspace: keyspace.clone(),
        key: key.clone(),
        what: What::Get,
        terms: Terms {
            read: Some(Consistency::All),
            timeout: Duration::from_secs(2),
            ..Terms::default()
        },
        replicas: arena.layout.replicas(),
    }
}

/// What differs, if anything does.
fn difference(arena: &Arena) -> Option<String> {
    for (keyspace, key) in arena.all_keys() {
        let (owners, stored) = arena.layout.locate(&keyspace, &key);
        let copies = owners.iter().map(|owner| {
            let disk = &arena.layout.disks()[*owner];
            (owner + 1, disk.live_state(&stored))
        });
        let copies: Vec<_> = copies.collect();
        let same = copies
            .windows(2)
            .all(|pair| match (&pair[0].1, &pair[1].1) {
                (Ok(Some(one)), Ok(Some(other))) => one.same_as(other),
                (Ok(None), Ok(None)) => true,
                _ => false,
            });
        if !same {
            return Some(format!("{keyspace}/{key}: {copies:?}"));
        }
    }
    None
}

fn record(arena: &Arena) -> Result<(), Broken> {
    for (keyspace, key) in arena.all_keys() {
        let (owners, stored) = arena.layout.locate(&keyspace, &key);
        for owner in owners {
            let state = arena.layout.disks()[owner].live_state(&stored);
            let state = state.map_err(|error| Broken::new("L1 the cluster heals", error))?;
            let state = FinalState {
                node: id_of(u16::try_from(owner + 1).expect("a few nodes")),
                key: name_of(&keyspace, &key),
                policy: policy_of(&keyspace),
                at_us: arena.now_us(),
                state: state.as_ref().map(HeldState::from),
            };
            let mut recording = arena.recording.lock();
            recording.records.push(Record::FinalState(state));
        }
    }
    Ok(())
}
