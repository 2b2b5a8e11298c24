//! The placement on the wire and in the ring's own types.

mod moves;

use std::num::NonZeroU32;

use annulus_ring::{
    Capacity, HashSeed, Move, Node, NodeAddresses, NodeIndex, NodeState, PartitionCount, Placement,
    PlacementDocument, PlacementError, ReplicationFactor, RingEpoch, Zone,
};

use crate::model::FieldRefused;
use crate::ring::v1 as wire;

/// A placement that can't be taken from the wire.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlacementRefused {
    /// A single field is malformed.
    #[error("placement: {0}")]
    Field(#[from] FieldRefused),
    /// The fields do not make a placement together.
    #[error("placement: {0}")]
    Whole(#[from] PlacementError),
}

impl From<&Placement> for wire::Placement {
    fn from(placement: &Placement) -> Self {
        let document = PlacementDocument::from(placement);
        Self {
            cluster_id: document.cluster_id.to_string(),
            epoch: document.epoch.0,
            hash_seed: document.hash_seed.0,
            partitions: document.partitions.get(),
            replication_factor: document.replication_factor.get().into(),
            nodes: document.nodes.into_iter().map(wire::Node::from).collect(),
            owners: document
                .owners
                .into_iter()
                .map(|owner| owner.0.into())
                .collect(),
            moves: document.moves.iter().map(wire::Move::from).collect(),
            fingerprint: placement.fingerprint(),
        }
    }
}

impl TryFrom<wire::Placement> for Placement {
    type Error = PlacementRefused;

    fn try_from(placement: wire::Placement) -> Result<Self, Self::Error> {
        let invalid =
            |field| move |reason: &dyn ToString| FieldRefused::invalid(field, reason.to_string());
        let document = PlacementDocument {
            cluster_id: placement
                .cluster_id
                .parse()
                .map_err(|e| invalid("cluster_id")(&e))?,
            epoch: RingEpoch(placement.epoch),
            hash_seed: HashSeed(placement.hash_seed),
            partitions: PartitionCount::new(placement.partitions)
                .map_err(|e| invalid("partitions")(&e))?,
            replication_factor: replication_factor(placement.replication_factor)?,
            nodes: placement
                .nodes
                .into_iter()
                .map(Node::try_from)
                .collect::<Result<_, _>>()?,
            owners: placement
                .owners
                .into_iter()
                .map(|owner| node_index("owners", owner))
                .collect::<Result<_, _>>()?,
            moves: placement
                .moves
                .into_iter()
                .map(Move::try_from)
                .collect::<Result<_, _>>()?,
            fingerprint: (placement.fingerprint != 0).then_some(placement.fingerprint),
        };
        Ok(Self::try_from(document)?)
    }
}

fn replication_factor(factor: u32) -> Result<ReplicationFactor, FieldRefused> {
    u8::try_from(factor)
        .ok()
        .and_then(|factor| ReplicationFactor::new(factor).ok())
        .ok_or_else(|| {
            FieldRefused::invalid("replication_factor", format!("is {factor}; give 1 to 255"))
        })
}

fn node_index(field: &'static str, owner: u32) -> Result<NodeIndex, FieldRefused> {
    u16::try_from(owner)
        .map(NodeIndex)
        .map_err(|_| FieldRefused::invalid(field, format!("{owner} is no position in `nodes`")))
}

impl From<Node> for wire::Node {
    fn from(node: Node) -> Self {
        Self {
            id: node.id.to_string(),
            name: node.name,
            zone: node.zone.0,
            capacity: node.capacity.get(),
            state: match node.state {
                NodeState::Active => wire::NodeState::Active,
                NodeState::Draining => wire::NodeState::Draining,
            }
            .into(),
            addresses: Some(wire::NodeAddresses {
                grpc: node.addresses.grpc,
                http: node.addresses.http,
                peer: node.addresses.peer,
                admin: node.addresses.admin,
            }),
        }
    }
}

impl TryFrom<wire::Node> for Node {
    type Error = FieldRefused;

    fn try_from(node: wire::Node) -> Result<Self, Self::Error> {
        let state = match node.state() {
            wire::NodeState::Active => NodeState::Active,
            wire::NodeState::Draining => NodeState::Draining,
            wire::NodeState::Unspecified => {
                return Err(FieldRefused::invalid(
                    "nodes.state",
                    "is not given or not known",
                ));
            }
        };
        let id = node
            .id
            .parse()
            .map_err(|_| FieldRefused::invalid("nodes.id", format!("{:?} is no UUID", node.id)))?;
        let capacity = NonZeroU32::new(node.capacity)
            .ok_or_else(|| FieldRefused::invalid("nodes.capacity", "is 0; give 1 or more"))?;
        let addresses = node
            .addresses
            .ok_or_else(|| FieldRefused::invalid("nodes.addresses", "is missing"))?;
        Ok(Self {
            id,
            name: node.name,
            zone: Zone(node.zone),
            capacity: Capacity(capacity),
            state,
            addresses: NodeAddresses {
                peer: addresses.peer,
                grpc: addresses.grpc,
                http: addresses.http,
                admin: addresses.admin,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use annulus_ring::{MoveId, PartitionId, Stage};

    use super::*;

    /// Partition 0 belongs to nodes 0 and 1, partition 1 to 1 and 2.
    fn swap(partition: u16, stage: Stage) -> Move {
        Move {
            id: MoveId {
                epoch: RingEpoch(1),
                partition: PartitionId(partition),
            },
            add: Some(NodeIndex(2)),
            remove: Some(NodeIndex(0)),
            stage,
            since: RingEpoch(2),
            lost: true,
        }
    }

    /// Partition 3 belongs to node 0 alone.
    fn growth() -> Move {
        let mut growth = swap(3, Stage::Prepare);
        (growth.remove, growth.lost) = (None, false);
        growth
    }

    fn placement() -> Placement {
        let node = |i: u128| Node {
            id: annulus_ring::NodeId(uuid::Uuid::from_u128(i)),
            name: format!("node-{i}"),
            zone: Zone(format!("z{i}")),
            capacity: Capacity(NonZeroU32::MIN),
            state: NodeState::Active,
            addresses: NodeAddresses {
                peer: format!("host-{i}:9602"),
                grpc: format!("host-{i}:9600"),
                http: format!("host-{i}:9601"),
                admin: format!("host-{i}:9603"),
            },
        };
        let document = PlacementDocument {
            cluster_id: uuid::Uuid::from_u128(7),
            epoch: RingEpoch(3),
            hash_seed: HashSeed(u64::MAX),
            partitions: PartitionCount::new(4).unwrap(),
            replication_factor: ReplicationFactor::new(2).unwrap(),
            nodes: (1..=3).map(node).collect(),
            owners: [0, 1, 1, 2, 2, 0, 0, 65_535].map(NodeIndex).to_vec(),
            moves: vec![swap(0, Stage::Dual), swap(1, Stage::ReadNew), growth()],
            fingerprint: None,
        };
        Placement::try_from(document).unwrap()
    }

    #[test]
    fn a_placement_survives_the_wire() {
        let placement = placement();
        assert_eq!(
            Placement::try_from(wire::Placement::from(&placement)),
            Ok(placement)
        );
    }

    #[test]
    fn each_broken_field_is_refused_by_name() {
        type Breakage = fn(&mut wire::Placement);
        let rows: [(&str, Breakage); 12] = [
            ("cluster_id", |p| p.cluster_id = "x".into()),
            ("partitions", |p| p.partitions = 3),
            ("replication_factor", |p| p.replication_factor = 0),
            ("owners", |p| p.owners[0] = 70_000),
            ("nodes.state", |p| p.nodes[0].state = 9),
            ("nodes.capacity", |p| p.nodes[0].capacity = 0),
            ("moves.id", |p| p.moves[0].id = "p1".into()),
            ("moves.add", |p| p.moves[0].add = Some(70_000)),
            ("moves.remove", |p| p.moves[0].remove = Some(70_000)),
            ("moves.stage", |p| p.moves[0].stage = 8),
            ("move e1-p0", |p| p.moves[0].since = 4),
            ("fingerprint", |p| p.fingerprint += 1),
        ];
        for (field, break_it) in rows {
            let mut message = wire::Placement::from(&placement());
            break_it(&mut message);
            let refused = Placement::try_from(message).unwrap_err();
            assert!(refused.to_string().contains(field), "{field}: {refused}");
        }
    }
}
