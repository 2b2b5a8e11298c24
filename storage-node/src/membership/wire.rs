//! Rumors to and from messages.
//!
//! Invariant: a rumor that can't be read is left out, never guessed: a newer program may say more.

use annulus_proto::peer::v1 as pb;
use annulus_ring::{NodeId, RingEpoch};
use bytes::Bytes;
use uuid::Uuid;

use super::facts::{DiskState, NodeFacts};
use super::rumor::{Accuser, Accusers, Rumor, Standing, Told};
use super::spreading::MAX_RUMORS;
use super::view::Liveness;

/// Rumors that are read of one message: what a node sends, with room for what a newer one may add.
const MAX_READ: usize = 2 * MAX_RUMORS;

pub(crate) fn node(id: NodeId) -> Bytes {
    Bytes::copy_from_slice(id.0.as_bytes())
}

pub(super) fn read_node(bytes: &[u8]) -> Option<NodeId> {
    Uuid::from_slice(bytes).ok().map(NodeId)
}

pub(crate) fn rumors(rumors: &[Rumor]) -> Vec<pb::Rumor> {
    rumors.iter().map(rumor).collect()
}

pub(super) fn read_rumors(rumors: &[pb::Rumor]) -> Vec<Rumor> {
    rumors
        .iter()
        .take(MAX_READ)
        .filter_map(read_rumor)
        .collect()
}

fn rumor(rumor: &Rumor) -> pb::Rumor {
    let Told {
        generation,
        heartbeat,
        facts,
        standing,
        accusers,
    } = rumor.told;
    let accuses = standing.liveness == Liveness::Suspect;
    pb::Rumor {
        node: node(rumor.node),
        generation,
        refutations: standing.refutations,
        liveness: match standing.liveness {
            Liveness::Alive => pb::Liveness::Unspecified,
            Liveness::Suspect => pb::Liveness::Suspect,
            Liveness::Down => pb::Liveness::Down,
        }
        .into(),
        accusers: accusers
            .iter()
            .filter(|_| accuses)
            .map(|accuser| accuser.0)
            .collect(),
        heartbeat,
        facts: (heartbeat > 0).then(|| write_facts(&facts)),
    }
}

fn read_rumor(rumor: &pb::Rumor) -> Option<Rumor> {
    let liveness = match rumor.liveness() {
        pb::Liveness::Unspecified => Liveness::Alive,
        pb::Liveness::Suspect => Liveness::Suspect,
        pb::Liveness::Down => Liveness::Down,
    };
    let mut accusers = Accusers::default();
    for accuser in &rumor.accusers {
        accusers.add(Accuser(*accuser));
    }
    let facts = rumor.facts.as_ref();
    let told = Told {
        generation: rumor.generation,
        heartbeat: if facts.is_some() { rumor.heartbeat } else { 0 },
        facts: facts.map(read_facts).unwrap_or_default(),
        standing: Standing {
            refutations: rumor.refutations,
            liveness,
        },
        accusers,
    };
    let node = read_node(&rumor.node)?;
    Some(Rumor { node, told })
}

fn write_facts(facts: &NodeFacts) -> pb::NodeFacts {
    pb::NodeFacts {
        generation: facts.generation,
        requests_in_flight: facts.requests_in_flight,
        disk: match facts.disk {
            DiskState::Ok => pb::DiskState::Unspecified,
            DiskState::Low => pb::DiskState::Low,
            DiskState::Full => pb::DiskState::Full,
            DiskState::Damaged => pb::DiskState::Damaged,
        }
        .into(),
        hint_backlog_bytes: facts.hint_backlog_bytes,
        epoch: facts.epoch.0,
        fingerprint: facts.fingerprint,
    }
}

fn read_facts(facts: &pb::NodeFacts) -> NodeFacts {
    NodeFacts {
        generation: facts.generation,
        requests_in_flight: facts.requests_in_flight,
        disk: match facts.disk() {
            pb::DiskState::Unspecified => DiskState::Ok,
            pb::DiskState::Low => DiskState::Low,
            pb::DiskState::Full => DiskState::Full,
            pb::DiskState::Damaged => DiskState::Damaged,
        },
        hint_backlog_bytes: facts.hint_backlog_bytes,
        epoch: RingEpoch(facts.epoch),
        fingerprint: facts.fingerprint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rumor_survives_the_wire_and_a_nameless_one_is_left_out() {
        let original = Rumor {
            node: NodeId(Uuid::from_u128(7)),
            told: Told {
                generation: 3,
                heartbeat: 9,
                facts: NodeFacts {
                    generation: 2,
                    requests_in_flight: 40,
                    disk: DiskState::Full,
                    hint_backlog_bytes: 1 << 40,
                    epoch: RingEpoch(5),
                    fingerprint: u64::MAX,
                },
                standing: Standing {
                    refutations: 2,
                    liveness: Liveness::Suspect,
                },
                accusers: Accusers::one(Accuser(77)),
            },
        };
        let mut written = rumors(&[original, original]);
        written[1].node = Bytes::from_static(b"short");
        assert_eq!(read_rumors(&written), [original]);
    }
}
