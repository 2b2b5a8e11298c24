//! Who owns what in a simulated cluster, epoch by epoch, and what the disks hold of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use annulus_causality::KeyState;
use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{
    Capacity, HashSeed, Node, NodeAddresses, NodeId, NodeIndex, NodeState, PartitionCount,
    PartitionId, Placement, PlacementDocument, ReplicationFactor, RingEpoch,
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

/// A key's partition, and its stored form.
type Stored = (PartitionId, Vec<u8>);

/// See the module. Node number n, from 1 on, is at position n - 1.
#[derive(Debug, Clone)]
pub struct Layout {
    disks: Vec<SimDisk>,
    replicas: u16,
    keyspaces: Arc<Keyspaces>,
    stored: Arc<Mutex<BTreeMap<(KeyspaceName, Key), Stored>>>,
    /// The placement of each epoch, from the first on.
    issued: Arc<Mutex<Vec<Arc<Placement>>>>,
}

impl Layout {
    /// Of nodes with these disks, all of them members; each key has `replicas` owners, or all.
    pub fn new(disks: Vec<SimDisk>, replicas: u16) -> Self {
        let members = u16::try_from(disks.len()).expect("a few nodes");
        Self::with_spares(disks, members, replicas)
    }

    /// The same, with the first nodes as members, and others that may become some.
    pub fn with_spares(disks: Vec<SimDisk>, members: u16, replicas: u16) -> Self {
        let replicas = replicas.min(members);
        let first = Arc::new(first(members, replicas));
        Self {
            disks,
            replicas,
            keyspaces: Arc::new(all_keyspaces()),
            stored: Arc::default(),
            issued: Arc::new(Mutex::new(vec![first])),
        }
    }

    /// The rules of the keyspaces.
    pub(super) fn keyspaces(&self) -> &Arc<Keyspaces> {
        &self.keyspaces
    }

    /// Owners of each key at first.
    pub fn replicas(&self) -> usize {
        self.replicas.into()
    }

    /// The nodes' disks.
    pub fn disks(&self) -> &[SimDisk] {
        &self.disks
    }

    /// The placement that was issued last.
    pub fn current(&self) -> Arc<Placement> {
        let issued = self.issued.lock();
        issued.last().expect("there is the first").clone()
    }

    /// The placement that was issued as this epoch, if one was.
    pub fn issued(&self, epoch: RingEpoch) -> Option<Arc<Placement>> {
        let at = usize::try_from(epoch.0.checked_sub(1)?).ok()?;
        self.issued.lock().get(at).cloned()
    }

    /// All that were issued from this epoch on, the last one first.
    pub fn issued_since(&self, epoch: RingEpoch) -> Vec<Arc<Placement>> {
        let issued = self.issued.lock();
        let since = issued.iter().rev();
        since
            .take_while(|placement| placement.epoch() >= epoch)
            .cloned()
            .collect()
    }

    /// The next epoch begins. Whether it is the next one: an epoch is issued once.
    pub fn issue(&self, next: Placement) -> bool {
        let mut issued = self.issued.lock();
        let is_next = issued.last().map(|last| last.epoch().next()) == Some(Some(next.epoch()));
        if is_next {
            issued.push(Arc::new(next));
        }
        is_next
    }

    /// The placement of an epoch; where none was issued yet, the owners stay who they are, in another order.
    pub fn placement(&self, epoch: u64) -> Placement {
        loop {
            if let Some(issued) = self.issued(RingEpoch(epoch)) {
                return Placement::clone(&issued);
            }
            self.issue(turned(&self.current()));
        }
    }

    /// The position of a node.
    pub fn position_of(&self, node: NodeId) -> usize {
        position_of(node)
    }

    /// The positions of a key's owners at present, and its stored form.
    pub fn locate(&self, keyspace: &KeyspaceName, key: &Key) -> Located {
        let (partition, stored) = self.stored(keyspace, key);
        let placement = self.current();
        let owners = placement.owners(partition).iter();
        let owners = owners.map(|owner| position_of(placement.node(*owner).id));
        (owners.collect(), stored)
    }

    /// A key's partition, and its stored form.
    pub fn stored(&self, keyspace: &KeyspaceName, key: &Key) -> (PartitionId, Vec<u8>) {
        let name = (keyspace.clone(), key.clone());
        let mut stored = self.stored.lock();
        let found = stored.entry(name);
        found
            .or_insert_with(|| {
                let rules = self.keyspaces.get(keyspace).expect("a known keyspace");
                let address = KeyAddress::of(&self.current(), rules.clone(), key.clone());
                (address.partition(), address.stored_bytes().to_vec())
            })
            .clone()
    }

    /// What a crash now would surely leave of a key as hints, and the positions of those that they are for.
    pub fn durable_hints(&self, keyspace: &KeyspaceName, key: &Key) -> Vec<(usize, KeyState)> {
        let (_, stored) = self.stored(keyspace, key);
        let hints = self
            .disks
            .iter()
            .flat_map(|disk| disk.durable_hints(&stored));
        hints
            .map(|(target, state)| (position_of(target), state))
            .collect()
    }
}

fn position_of(node: NodeId) -> usize {
    usize::try_from(node.0.as_u128()).expect("a few nodes") - 1
}

fn first(members: u16, replicas: u16) -> Placement {
    let partitions = PartitionCount::new(PARTITIONS).expect("a power of two");
    let rows = partitions
        .ids()
        .flat_map(|partition| (0..replicas).map(move |place| partition.0 + place))
        .map(|place| NodeIndex(place % members));
    let document = PlacementDocument {
        cluster_id: Uuid::from_u128(0xc1),
        epoch: RingEpoch::FIRST,
        hash_seed: HashSeed(7),
        partitions,
        replication_factor: u8::try_from(replicas)
            .ok()
            .and_then(|replicas| ReplicationFactor::new(replicas).ok())
            .expect("a few replicas"),
        nodes: (1..=members).map(member).collect(),
        owners: rows.collect(),
        moves: Vec::new(),
        fingerprint: None,
    };
    document.try_into().expect("every partition has its owners")
}

/// The next epoch, with the same owners everywhere. Where nothing moves, the first stays in its place and the others
/// come in another order: that changes these partitions, and fences the epoch before it off.
pub fn turned(placement: &Placement) -> Placement {
    let mut document = PlacementDocument::from(placement);
    let replicas = usize::from(placement.replication_factor().get());
    for (partition, row) in placement
        .partitions()
        .ids()
        .zip(document.owners.chunks_mut(replicas))
    {
        let owners = placement.owners(partition).len();
        if owners > 2 && placement.move_of(partition).is_none() {
            row[1..owners].rotate_left(1);
        }
    }
    document.epoch = placement.epoch().next().expect("epochs don't end");
    document.fingerprint = None;
    document.try_into().expect("the owners are the same")
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

/// The node of that number as a member.
pub fn member(number: u16) -> Node {
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
