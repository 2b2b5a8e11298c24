//! Nodes that do at once what is asked of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use annulus_ring::{NodeId, Placement};
use parking_lot::Mutex;

use crate::crd::NodePhase;
use crate::fixtures::moves_done;
use crate::node_client::{HeldPlacement, MovesReport, NodeClient, NodeError, NodeReport};

/// Nodes by the address of their pod. What they hold is their disk.
#[derive(Clone, Default)]
pub(super) struct FakeNodes(pub(super) Arc<Mutex<BTreeMap<String, FakeNode>>>);

#[derive(Clone)]
pub(super) struct FakeNode {
    pub(super) name: String,
    pub(super) id: NodeId,
    pub(super) placement: Option<Placement>,
    pub(super) comparisons_overdue: u32,
    /// Bytes per second that it was told.
    pub(super) rate: u64,
    /// Does nothing for its moves.
    pub(super) idle: bool,
}

impl FakeNode {
    /// All that is asked of it for its moves is done at once.
    fn moves(&self) -> MovesReport {
        let Some(held) = &self.placement else {
            return MovesReport::default();
        };
        let mut done = moves_done(held, self.id);
        for it in &mut done.moves {
            it.report.ready = !self.idle;
        }
        done
    }
}

impl FakeNodes {
    pub(super) fn at(&self, address: &str) -> Result<FakeNode, NodeError> {
        let nodes = self.0.lock();
        nodes
            .get(address)
            .cloned()
            .ok_or_else(|| NodeError::Unreachable(address.to_owned()))
    }
}

impl NodeClient for FakeNodes {
    async fn status(&self, address: &str) -> Result<NodeReport, NodeError> {
        let node = self.at(address)?;
        let holds = node.placement.as_ref().map(|placement| HeldPlacement {
            cluster_id: placement.cluster_id(),
            epoch: placement.epoch(),
            fingerprint: placement.fingerprint(),
        });
        let waiting = holds.is_none();
        let vnodes = node.placement.as_ref().and_then(|held| {
            let me = held.index_of(node.id)?;
            Some(held.partitions_held_by(me).count())
        });
        let nodes = self.0.lock();
        let others = nodes.values().filter(|it| it.placement.is_some());
        let sees = others.map(|it| it.id).collect();
        Ok(NodeReport {
            id: node.id,
            name: node.name,
            holds,
            phase: if waiting {
                NodePhase::WaitingForPlacement
            } else {
                NodePhase::Serving
            },
            vnodes: u32::try_from(vnodes.unwrap_or_default()).unwrap(),
            data_bytes: 0,
            disk_free_bytes: 0,
            sees: if waiting { BTreeSet::new() } else { sees },
            hints: 0,
            comparisons_overdue: node.comparisons_overdue,
            generation: 1,
            version: "1".into(),
        })
    }

    async fn placement(&self, address: &str) -> Result<Placement, NodeError> {
        self.at(address)?
            .placement
            .ok_or_else(|| NodeError::Refused("none".into()))
    }

    async fn install(&self, address: &str, placement: &Placement) -> Result<(), NodeError> {
        let mut nodes = self.0.lock();
        let node = nodes
            .get_mut(address)
            .ok_or_else(|| NodeError::Unreachable(address.to_owned()))?;
        node.placement = Some(placement.clone());
        Ok(())
    }

    async fn moves(&self, address: &str) -> Result<MovesReport, NodeError> {
        Ok(self.at(address)?.moves())
    }

    async fn set_stream_rate(&self, address: &str, bytes_per_second: u64) -> Result<(), NodeError> {
        let mut nodes = self.0.lock();
        let node = nodes.get_mut(address);
        let node = node.ok_or_else(|| NodeError::Unreachable(address.to_owned()))?;
        node.rate = bytes_per_second;
        Ok(())
    }
}
