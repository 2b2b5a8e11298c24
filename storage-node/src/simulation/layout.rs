//! Who owns what in a simulated cluster, and what the owners' disks hold of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use annulus_causality::KeyState;
use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{
    Capacity, HashSeed, Node, NodeAddresses, NodeId, NodeIndex, NodeState, PartitionCount,
    Placement, PlacementDocument, ReplicationFactor, RingEpoch,
};
use parking_lot::Mutex;
use uuid::Uuid;

use super::disk::SimDisk;
use crate::keyspace::{ConflictPolicy, Durability, Keyspace, Keyspaces};
use crate::replica::KeyAddress;

/// Partitions of a simulated cluster.
pub(super) const PARTITIONS: u32 = 8;

/// A keyspace of simulations beside the built-in ones: it keeps siblings, and waits for no disk.
pub const UNSYNCED_KEYSPACE: &str = "unsynced";

/// The positions of a key's owners, and its stored form.
pub type Located = (Vec<usize>, Vec<u8>);

/// See the module. Node number n, from 1 on, is at position n - 1.
#[derive(Debug, Clone)]
pub struct Layout {
    disks: Vec<SimDisk>,
    replicas: u16,
    keyspaces: Arc<Keyspaces>,
    located: Arc<Mutex<BTreeMap<(KeyspaceName, Key), Located>>>,
}

impl Layout {
    /// Of nodes with these disks; each key has `replicas` owners, or all.
    pub fn new(disks: Vec<SimDisk>, replicas: u16) -> Self {
        let nodes = u16::try_from(disks.len()).expect("a few nodes");
        Self {
            disks,
            replicas: replicas.min(nodes),
            keyspaces: Arc::new(all_keyspaces()),
            located: Arc::default(),
        }
    }

    /// The rules of the keyspaces.
    pub(super) fn keyspaces(&self) -> &Arc<Keyspaces> {
        &self.keyspaces
    }

    /// Owners of each key.
    pub fn replicas(&self) -> usize {
        self.replicas.into()
    }

    /// The nodes' disks.
    pub fn disks(&self) -> &[SimDisk] {
        &self.disks
    }

    /// The placement of an epoch. The owners are the same at every epoch, the first in its place and the others in
    /// another order: so every epoch changes every partition, and fences the one before it off.
    pub fn placement(&self, epoch: u64) -> Placement {
        let count = u16::try_from(self.disks.len()).expect("a few nodes");
        let partitions = PartitionCount::new(PARTITIONS).expect("a power of two");
        let replicas = self.replicas;
        let others = replicas.saturating_sub(1).max(1);
        let turn = epoch.saturating_sub(1) % u64::from(others);
        let turn = u16::try_from(turn).expect("a few replicas");
        let place_of = move |place: u16| match place {
            0 => 0,
            other => 1 + (other - 1 + turn) % others,
        };
        let rows = partitions.ids().flat_map(|partition| {
            let places = (0..replicas).map(place_of);
            places.map(move |place| NodeIndex((partition.0 + place) % count))
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
            moves: Vec::new(),
            fingerprint: None,
        };
        document.try_into().expect("every partition has its owners")
    }

    /// The positions of a key's owners, and its stored form.
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
        let owners = placement.owners(address.partition()).iter();
        let owners = owners.map(|owner| usize::from(owner.0)).collect();
        (owners, address.stored_bytes().to_vec())
    }

    /// What a crash now would surely leave of a key on each of its owners' disks.
    pub fn durable_states(
        &self,
        keyspace: &KeyspaceName,
        key: &Key,
    ) -> Vec<Result<Option<Arc<KeyState>>, String>> {
        let (owners, stored) = self.locate(keyspace, key);
        let disks = owners.into_iter().map(|owner| &self.disks[owner]);
        disks.map(|disk| disk.durable_state(&stored)).collect()
    }

    /// What a crash now would surely leave of a key as hints, and the positions of those that they are for.
    pub fn durable_hints(&self, keyspace: &KeyspaceName, key: &Key) -> Vec<(usize, KeyState)> {
        let (_, stored) = self.locate(keyspace, key);
        let hints = self
            .disks
            .iter()
            .flat_map(|disk| disk.durable_hints(&stored));
        let number = |target: NodeId| usize::try_from(target.0.as_u128()).expect("a few nodes");
        hints
            .map(|(target, state)| (number(target) - 1, state))
            .collect()
    }
}

/// Two keyspaces in which requests may ask for sloppy writes, and one that waits for no disk.
fn all_keyspaces() -> Keyspaces {
    let unsynced = KeyspaceName::new(UNSYNCED_KEYSPACE).expect("a valid name");
    let rules = [
        (
            KeyspaceName::kv(),
            ConflictPolicy::Siblings,
            Durability::Sync,
        ),
        (KeyspaceName::data(), ConflictPolicy::Lww, Durability::Sync),
        (unsynced, ConflictPolicy::Siblings, Durability::Async),
    ];
    Keyspaces::new(rules.map(|(name, conflict, durability)| Keyspace {
        durability,
        allow_sloppy: durability == Durability::Sync,
        ..Keyspace::new(name, conflict)
    }))
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
