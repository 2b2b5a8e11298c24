//! I4: only a vnode of an owner of the key mints for it.

use std::collections::HashMap;

use annulus_causality::VnodeId;
use annulus_node::simulation::Wrote;
use annulus_ring::NodeId;

use super::new_siblings;
use crate::broken::Broken;

#[derive(Debug, Default)]
pub(super) struct OnlyOwnersMint(HashMap<VnodeId, (NodeId, u16, bool)>);

impl OnlyOwnersMint {
    pub(super) fn learn(&mut self, vnode: VnodeId, node: NodeId, partition: u16, owns: bool) {
        self.0.insert(vnode, (node, partition, owns));
    }

    pub(super) fn wrote(&self, wrote: &Wrote<'_>) -> Result<(), Broken> {
        let partition = u16::from_be_bytes([wrote.stored_key[0], wrote.stored_key[1]]);
        for sibling in new_siblings(wrote) {
            let vnode = sibling.dot.actor.vnode;
            let Some((node, minted_for, owns)) = self.0.get(&vnode) else {
                continue; // of a run that ended before anybody looked
            };
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
