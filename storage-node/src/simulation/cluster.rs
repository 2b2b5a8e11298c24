//! Several simulated nodes under one placement.

use std::sync::Arc;
use std::time::Duration;

use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::NodeId;
use tokio::time::Instant;

use super::chance::Chance;
use super::disk::SimDisk;
use super::layout::{Layout, id_of};
use super::network::Network;
use super::observer::Observer;
use super::sim_node::{SimNode, Surroundings};
use super::trace::Trace;
use crate::antientropy::Settings;
use crate::config::HintLimits;

/// Anti-entropy in a hurry, so that a short run has some of it.
fn anti_entropy(interval: Duration) -> Settings {
    Settings {
        interval,
        bound: interval * 3,
        outage: Duration::from_secs(2),
        confirm_after: Duration::from_millis(500),
        bytes_per_second: 5_000_000,
        leaves_per_round: 256,
    }
}

/// Nodes, their network and their trace.
pub struct SimCluster {
    nodes: Vec<Arc<SimNode>>,
    layout: Layout,
    network: Arc<Network>,
    trace: Arc<Trace>,
}

impl std::fmt::Debug for SimCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimCluster")
            .field("nodes", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

impl SimCluster {
    /// So many members, and others that may become some, none of them started; each key has `replicas` owners, and two
    /// owners' copies are compared once in `compared_every`, or never. Call it within a paused current-thread runtime.
    pub fn new(
        seed: u64,
        (members, spares): (u16, u16),
        replicas: u16,
        (hint_limits, compared_every): (HintLimits, Option<Duration>),
        observer: &Arc<dyn Observer>,
    ) -> Self {
        let began = Instant::now();
        let trace = Arc::new(Trace::new(began));
        let network = Network::new(
            Chance::new(seed, "network"),
            trace.clone(),
            observer.clone(),
        );
        let disk = |number: u16| {
            let chance = Chance::new(seed, &format!("disk {number}"));
            let disk = SimDisk::new(id_of(number), chance, observer.clone());
            disk.write_into(trace.clone(), &format!("n{number}"));
            disk
        };
        let nodes = members + spares;
        let layout = Layout::with_spares((1..=nodes).map(disk).collect(), members, replicas);
        let around = Surroundings {
            seed,
            began,
            network: network.clone(),
            trace: trace.clone(),
            keyspaces: layout.keyspaces().clone(),
            hint_limits,
            anti_entropy: compared_every.map(anti_entropy),
        };
        let node = |(number, disk): (u16, &SimDisk)| {
            let (id, name) = (id_of(number), format!("n{number}"));
            SimNode::new(id, name, disk.clone(), &around)
        };
        Self {
            nodes: (1..=nodes).zip(layout.disks()).map(node).collect(),
            layout,
            network,
            trace,
        }
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Arc<SimNode>] {
        &self.nodes
    }

    /// Who owns what.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The network between them.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What happened.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Owners of each key.
    pub fn replicas(&self) -> usize {
        self.layout.replicas()
    }

    /// A node that stands still, or goes on.
    pub fn set_stalled(&self, node: &SimNode, stalled: bool) {
        self.network.set_stalled(node.id(), stalled);
        node.disk().set_stalled(stalled);
    }

    /// One of the nodes.
    pub fn node(&self, id: NodeId) -> &Arc<SimNode> {
        &self.nodes[self.layout.position_of(id)]
    }

    /// The nodes that are members at present.
    pub fn members(&self) -> Vec<Arc<SimNode>> {
        let placement = self.layout.current();
        let members = placement.nodes().iter();
        members.map(|member| self.node(member.id).clone()).collect()
    }

    /// The owners of a key at present, and its stored form.
    pub fn locate(&self, keyspace: &KeyspaceName, key: &Key) -> (Vec<Arc<SimNode>>, Vec<u8>) {
        let (owners, stored) = self.layout.locate(keyspace, key);
        let owners = owners.into_iter().map(|owner| self.nodes[owner].clone());
        (owners.collect(), stored)
    }
}
