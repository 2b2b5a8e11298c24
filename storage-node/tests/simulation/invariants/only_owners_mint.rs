//! I4: only a vnode of an owner of the key mints for it.
//!
//! A node mints under the placement that it holds, or under one that it has not acknowledged the end of yet.

use std::collections::{HashMap, HashSet};

use annulus_causality::{Dot, VnodeId};
use annulus_node::simulation::{Layout, SimCluster, Wrote};
use annulus_ring::{NodeId, PartitionId, Placement};

use super::new_siblings;
use crate::broken::Broken;

#[derive(Debug, Default)]
pub(super) struct OnlyOwnersMint {
    vnodes: HashMap<VnodeId, (NodeId, u16)>,
    /// Dots that were written anywhere, key by key.
    seen: HashMap<Vec<u8>, HashSet<Dot>>,
}

impl OnlyOwnersMint {
    pub(super) fn learn(&mut self, vnode: VnodeId, node: NodeId, partition: u16) {
        self.vnodes.insert(vnode, (node, partition));
    }

    pub(super) fn wrote(
        &mut self,
        wrote: &Wrote<'_>,
        around: (Option<&SimCluster>, Option<&Layout>),
    ) -> Result<(), Broken> {
        let partition = u16::from_be_bytes([wrote.stored_key[0], wrote.stored_key[1]]);
        for sibling in new_siblings(wrote) {
            let vnode = sibling.dot.actor.vnode;
            let Some((node, minted_for)) = self.vnodes.get(&vnode) else {
                continue; // of a run that ended before anybody looked
            };
            if !self.seen.contains_key(wrote.stored_key) {
                self.seen.insert(wrote.stored_key.to_vec(), HashSet::new());
            }
            let seen = self.seen.get_mut(wrote.stored_key);
            let is_new = seen.expect("it was put there").insert(sibling.dot);
            let is_minted_here = is_new && *node == wrote.node;
            let owns = !is_minted_here || may_mint(around, *node, PartitionId(partition));
            if !owns || *minted_for != partition {
                let what = format!(
                    "{node} minted {} in partition {partition} and does not own it",
                    sibling.dot
                );
                return Err(Broken::new("I4 only owners mint", what).about(wrote.stored_key));
            }
        }
        Ok(())
    }
}

/// Where nothing moves, whoever owns a partition does so all the time.
fn may_mint(
    (cluster, layout): (Option<&SimCluster>, Option<&Layout>),
    node: NodeId,
    partition: PartitionId,
) -> bool {
    let owns = |placement: &Placement| {
        let own = placement.index_of(node);
        own.is_some_and(|own| placement.is_owner(partition, own))
    };
    let Some(cluster) = cluster else {
        return layout.is_none_or(|layout| owns(&layout.current()));
    };
    let Some((acked, held)) = cluster.node(node).epochs_in_use() else {
        return true; // it has died meanwhile
    };
    let since = cluster.layout().issued_since(acked);
    let mut in_use = since.iter().filter(|placement| placement.epoch() <= held);
    in_use.any(|placement| owns(placement))
}
