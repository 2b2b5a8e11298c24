//! After the faults: every key can be read at every node from all its owners, and they end up with
//! the same.

use std::sync::Arc;
use std::time::Duration;

use annulus_node::simulation::{Terms, id_of};
use annulus_proto::model::{Consistency, Key, KeyspaceName};
use tokio::time::sleep;

use crate::asking::What;
use crate::broken::Broken;
use crate::clients::{Arena, Lines};
use crate::copies::{self, Copy};
use crate::recording::Asked;

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

/// What the disks of a key's owners hold.
fn copies_of(arena: &Arena, keyspace: &KeyspaceName, key: &Key) -> Vec<Copy> {
    let (owners, stored) = arena.layout.locate(keyspace, key);
    let copies = owners.iter().map(|owner| {
        let state = arena.layout.disks()[*owner].live_state(&stored);
        let node = id_of(u16::try_from(owner + 1).expect("a few nodes"));
        (node, state)
    });
    copies.collect()
}

/// What differs, if anything does.
fn difference(arena: &Arena) -> Option<String> {
    let keys = arena.all_keys();
    keys.iter()
        .find_map(|(space, key)| copies::difference(space, key, &copies_of(arena, space, key)))
}

fn record(arena: &Arena) -> Result<(), Broken> {
    for (space, key) in arena.all_keys() {
        let found = copies_of(arena, &space, &key);
        copies::record(&arena.recording, arena.now_us(), (&space, &key), found)?;
    }
    Ok(())
}
