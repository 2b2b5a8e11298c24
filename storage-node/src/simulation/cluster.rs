//! Several simulated nodes under one placement.

use std::collections::BTreeMap;
use std::sync::Arc;

use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{
    Capacity, HashSeed, Node, NodeAddresses, NodeId, NodeIndex, NodeState, PartitionCount,
    Placement, PlacementDocument, ReplicationFactor, RingEpoch,
};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::chance::Chance;
use super::disk::SimDisk;
use super::network::Network;
use super::observer::Observer;
use super::sim_node::{SimNode, Surroundings};
use super::trace::Trace;
use crate::keyspace::{ConflictPolicy, Durability, Keyspace, Keyspaces};
use crate::replica::KeyAddress;

/// Partitions of a simulated cluster.
const PARTITIONS: u32 = 8;

/// Nodes, their network and their trace.
pub struct SimCluster {
    nodes: Vec<Arc<SimNode>>,
    network: Arc<Network>,
    trace: Arc<Trace>,
    keyspaces: Arc<Keyspaces>,
    replicas: u16,
    located: Mutex<BTreeMap<(KeyspaceName, Key), Located>>,
}

/// A key's owners and its stored form.
pub type Located = (Vec<Arc<SimNode>>, Vec<u8>);

/// A keyspace of simulations beside the built-in ones: it keeps siblings, and waits for no disk.
pub const UNSYNCED_KEYSPACE: &str = "unsynced";

impl SimCluster {
    /// So many nodes, none of them started; each key has `replicas` owners. Call it within a paused
    /// current-thread runtime.
    pub fn new(seed: u64, nodes: u16, replicas: u16, observer: &Arc<dyn Observer>) -> Self {
        let began = Instant::now();
        let trace = Arc::new(Trace::new(began));
        let network = Network::new(
            Chance::new(seed, "network"),
            trace.clone(),
            observer.clone(),
        );
        let unsynced = KeyspaceName::new(UNSYNCED_KEYSPACE).expect("a valid name");
        let keyspaces = Arc::new(Keyspaces::new([Keyspace {
            durability: Durability::Async,
            ..Keyspace::new(unsynced, ConflictPolicy::Siblings)
        }]));
        let around = Surroundings {
            seed,
            began,
            network: network.clone(),
            trace: trace.clone(),
            keyspaces: keyspaces.clone(),
        };
        let node = |number: u16| {
            let (id, name) = (id_of(number), format!("n{number}"));
            let chance = Chance::new(seed, &format!("disk {number}"));
            let disk = SimDisk::new(id, chance, observer.clone());
            disk.write_into(trace.clone(), &name);
            SimNode::new(id, name, disk, &around)
        };
        Self {
            nodes: (1..=nodes).map(node).collect(),
            network,
            trace,
            keyspaces,
            replicas: replicas.min(nodes),
            located: Mutex::default(),
        }
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Arc<SimNode>] {
        &self.nodes
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
        self.replicas.into()
    }

    /// A node that stands still, or goes on.
    pub fn set_stalled(&self, node: &SimNode, stalled: bool) {
        self.network.set_stalled(node.id(), stalled);
        node.disk().set_stalled(stalled);
    }

    /// The placement of an epoch. The owners are the same at every epoch.
    pub fn placement(&self, epoch: u64) -> Placement {
        let count = u16::try_from(self.nodes.len()).expect("a few nodes");
        let partitions = PartitionCount::new(PARTITIONS).expect("a power of two");
        let rows = partitions.ids().flat_map(|partition| {
            (0..self.replicas).map(move |place| NodeIndex((partition.0 + place) % count))
        });
        let document = PlacementDocument {
            cluster_id: Uuid::from_u128(0xc1),
            epoch: RingEpoch(epoch),
            hash_seed: HashSeed(7),
            partitions,
            replication_factor: u8::try_from(self.replicas)
                .ok()
                .and_then(|replicas| ReplicationFactor::new(replicas).ok())
                .expect("a few replicas"),
            nodes: (1..=count).map(member).collect(),
            owners: rows.collect(),
            fingerprint: None,
        };
        document.try_into().expect("every partition has its owners")
    }

    /// The owners of a key, and its stored form.
    pub fn locate(&self, keyspace: &KeyspaceName, key: &Key) -> Located {
        let name = (keyspace.clone(), key.clone());
        let mut located = self.located.lock();
        let found = located.entry(name);
        found.or_insert_with(|| self.look_up(keyspace, key)).clone()
    }

    fn look_up(&self, keyspace: &KeyspaceName, key: &Key) -> Located {
        let placement = self.placement(1);
        let rules = self.keyspaces.get(keyspace).expect("a known keyspace");
        let address = KeyAddress::of(&placement, rules.clone(), key.clone());
        let owners = placement.owners(address.partition());
        let owners = owners
            .iter()
            .map(|owner| self.nodes[usize::from(owner.0)].clone());
        (owners.collect(), address.stored_bytes().to_vec())
    }
}

/// The identity of the node of that number; the first is 1.
pub fn id_of(number: u16) -> NodeId {
    NodeId(Uuid::from_u128(number.into()))
}

fn member(number: u16) -> Node {
    let address = |port: u16| format!("n{number}:{port}");
    Node {
        id: id_of(number),
        name: format!("n{number}"),
        addresses: NodeAddresses {
            peer: address(9602),
            grpc: address(9600),
            http: address(9601),
            admin: address(9603),
        },
        zone: "zone".into(),
        capacity: Capacity::ONE,
        state: NodeState::Active,
    }
}
