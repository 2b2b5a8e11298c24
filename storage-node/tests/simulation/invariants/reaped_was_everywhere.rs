//! I6: a tombstone is removed only when every other owner holds it on disk, or more, or has removed it too; and
//! it is a tombstone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use annulus_causality::{Dot, KeyState, VersionVector};
use annulus_node::simulation::Removed;
use annulus_ring::NodeId;

use crate::broken::Broken;

/// What a disk holds of a key for certain.
pub(super) type OnDisk = Result<Option<Arc<KeyState>>, String>;

#[derive(Debug, Default)]
pub(super) struct ReapedWasEverywhere {
    removed: HashSet<(NodeId, Vec<u8>, u128)>,
    /// What may be forgotten, key by key.
    reaped: HashMap<Vec<u8>, VersionVector>,
    /// Nodes whose disks have lost records.
    forgot: HashSet<NodeId>,
    count: u64,
}

impl ReapedWasEverywhere {
    pub(super) fn forgot(&mut self, node: NodeId) {
        self.forgot.insert(node);
    }

    /// How many records were removed.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Whether the event may be forgotten.
    pub(super) fn covers(&self, stored_key: &[u8], dot: Dot) -> bool {
        let reaped = self.reaped.get(stored_key);
        reaped.is_some_and(|clock| clock.covers(dot))
    }

    pub(super) fn removed(
        &mut self,
        removed: &Removed<'_>,
        others: &[(NodeId, OnDisk)],
    ) -> Result<(), Broken> {
        let Removed {
            node,
            stored_key,
            before,
        } = removed;
        let digest = before.record_digest();
        let name = |node: NodeId| (node, stored_key.to_vec(), digest);
        self.removed.insert(name(*node));
        self.count += 1;
        let reaped = self.reaped.entry(stored_key.to_vec()).or_default();
        reaped.join(before.clock());
        if before.ended_at_ms().is_none() {
            let what = format!("{node} removes a value: {before:?}");
            return Err(broken(what).about(stored_key));
        }
        for (other, on_disk) in others {
            // Once removed, the key may have been written again there, with nothing known of what was.
            let has_removed = self.removed.contains(&name(*other));
            let holds = match on_disk {
                Ok(Some(state)) => has_removed || state.clock().descends(before.clock()),
                Ok(None) => has_removed || self.forgot.contains(other),
                Err(_) => true, // it was there before the record was damaged, or nobody can tell
            };
            if !holds {
                let what = format!("{node} removes {before:?}, and {other} holds {on_disk:?}");
                return Err(broken(what).about(stored_key));
            }
        }
        Ok(())
    }
}

fn broken(what: String) -> Broken {
    Broken::new("I6 what is reaped was on all owners", what)
}
