//! I8: a write acknowledged with W is on the disks of W owners.
//! I21: what was acknowledged is there after a crash of all nodes at once.

use std::collections::BTreeMap;

use annulus_causality::VersionVector;
use annulus_node::simulation::SimCluster;
use annulus_proto::model::{Key, KeyspaceName};

use crate::broken::Broken;

/// Looks at the platters at the moment of an acknowledgement.
pub(crate) fn check(
    cluster: &SimCluster,
    (keyspace, key): (&KeyspaceName, &Key),
    event: &VersionVector,
    w: usize,
) -> Result<(), Broken> {
    let holders = holders(cluster, keyspace, key, event);
    if holders >= w {
        return Ok(());
    }
    let what = format!(
        "{keyspace}/{key}: a write acknowledged with W = {w} is on {holders} owners' disks"
    );
    Err(Broken::new("I8 acknowledged is on disk", what).of_key(keyspace, key))
}

/// Everything that was acknowledged, key by key.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged(BTreeMap<(KeyspaceName, Key), VersionVector>);

impl Acknowledged {
    /// One more write.
    pub(crate) fn add(&mut self, keyspace: &KeyspaceName, key: &Key, event: &VersionVector) {
        let known = self.0.entry((keyspace.clone(), key.clone())).or_default();
        known.join(event);
    }

    /// Call it when every node has just crashed.
    pub(crate) fn check(&self, cluster: &SimCluster) -> Result<(), Broken> {
        for ((keyspace, key), acknowledged) in &self.0 {
            for (actor, counter) in acknowledged.iter() {
                let mut event = VersionVector::new();
                event.insert(actor.dot(counter));
                if holders(cluster, keyspace, key, &event) == 0 {
                    let what = format!(
                        "{keyspace}/{key}: after a crash of all, no owner's disk knows {}",
                        actor.dot(counter)
                    );
                    let broken = Broken::new("I21 a crash of all loses nothing", what);
                    return Err(broken.of_key(keyspace, key));
                }
            }
        }
        Ok(())
    }
}

fn holders(
    cluster: &SimCluster,
    keyspace: &KeyspaceName,
    key: &Key,
    event: &VersionVector,
) -> usize {
    let (owners, stored) = cluster.locate(keyspace, key);
    let holds = owners.iter().filter(|owner| {
        match owner.disk().durable_state(&stored) {
            Ok(state) => state.is_some_and(|state| state.clock().descends(event)),
            Err(_) => true, // it was there before the record was damaged, or nobody can tell
        }
    });
    holds.count()
}
