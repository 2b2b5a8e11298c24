//! Observed and desired → the next step.

use std::collections::BTreeMap;

use annulus_ring::{NodeId, Placement, RingEpoch};

use crate::membership::moving::{Moving, look};
use crate::membership::view::{Desired, Observed, ObservedNode};
use crate::node_client::{HeldPlacement, NodeReport};

/// What to do next, and what was noticed on the way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// The one step to take.
    pub(crate) step: Step,
    /// What is not as it should be, and not for this step to mend.
    pub(crate) findings: Vec<Finding>,
    /// How the ring changes, if it does.
    pub(crate) moving: Option<Moving>,
}

/// One step. Each is safe to repeat, and safe to be cut off in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait until these nodes have said who they are.
    AwaitNodes(Vec<String>),
    /// Remove nodes that the spec does not ask for and the ring does not have (any more).
    RemoveSurplus(Vec<String>),
    /// Found the ring from these nodes, and record it.
    Found(Vec<Founder>),
    /// Read the placement that this node holds, and record it: the record is lost or older.
    RecordHeld(String),
    /// Hand the recorded placement to these nodes.
    HandOver(Vec<String>),
    /// Record the placement of the next epoch.
    Record(Box<Placement>),
    /// Nothing: every member that answers holds the recorded placement.
    Hold,
    /// Nothing, until a person has decided.
    Blocked(Blocked),
}

/// A node that a ring is founded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Founder {
    /// Its name.
    pub(crate) name: String,
    /// Identity of its disk.
    pub(crate) id: NodeId,
    /// Its zone.
    pub(crate) zone: String,
    /// Its weight.
    pub(crate) capacity: u32,
}

/// Why no step can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// Nodes hold placements that cannot both be true.
    RingConflict(String),
    /// A ring was founded once, but neither a record nor any node has it any more.
    RingLost,
    /// Two nodes have the same identity: one disk is a copy of the other's.
    DuplicateIdentity(String, String),
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The node in a member's place is another one: its disk was lost and made anew.
    Replaced {
        /// Name of the node.
        node: String,
    },
    /// The node's disk belongs to another ring, or to another member of this one.
    ForeignDisk {
        /// Name of the node.
        node: String,
    },
    /// The spec asks for another kind of ring than there is.
    OtherShape {
        /// Partitions of the ring.
        ring: u32,
        /// Partitions that the spec asks for.
        spec: u32,
    },
}

/// Names the next step.
pub(crate) fn next(observed: &Observed, desired: &Desired) -> Plan {
    match &observed.ring {
        Some(ring) => with_ring(ring, observed, desired),
        None => Plan {
            step: without_ring(observed, desired),
            findings: Vec::new(),
            moving: None,
        },
    }
}

/// Nothing is recorded: either the ring is still to be founded, or the record was lost.
fn without_ring(observed: &Observed, desired: &Desired) -> Step {
    let holders = holders(observed);
    if let Some(conflict) = conflict(&holders) {
        return Step::Blocked(Blocked::RingConflict(conflict));
    }
    let silent = silent(observed, desired);
    if let Some((newest, _)) = holders.iter().max_by_key(|(_, held)| held.epoch) {
        // An older epoch than the newest must not be recorded while most nodes are silent.
        let most_speak = holders.len() * 2 > desired.nodes.len();
        return if silent.is_empty() || most_speak {
            Step::RecordHeld((*newest).to_owned())
        } else {
            Step::AwaitNodes(silent)
        };
    }
    if !silent.is_empty() {
        return Step::AwaitNodes(silent);
    }
    if observed.founded_before {
        return Step::Blocked(Blocked::RingLost);
    }
    founding(observed, desired)
}

/// All desired nodes answer, and no node holds a placement.
fn founding(observed: &Observed, desired: &Desired) -> Step {
    let surplus: Vec<&String> = observed
        .nodes
        .keys()
        .filter(|name| !desired.nodes.contains_key(*name))
        .collect();
    if !surplus.is_empty() {
        return remove_surplus(observed, &surplus);
    }
    let mut founders: Vec<Founder> = Vec::with_capacity(desired.nodes.len());
    for (name, seat) in &desired.nodes {
        let Some((report, zone)) = observed.nodes.get(name).and_then(speaking) else {
            return Step::AwaitNodes(vec![name.clone()]);
        };
        if let Some(twin) = founders.iter().find(|founder| founder.id == report.id) {
            return Step::Blocked(Blocked::DuplicateIdentity(twin.name.clone(), name.clone()));
        }
        founders.push(Founder {
            name: name.clone(),
            id: report.id,
            zone: zone.to_owned(),
            capacity: seat.capacity,
        });
    }
    Step::Found(founders)
}

/// A surplus node goes when it is known to be empty: it says so, or it never ran.
fn remove_surplus(observed: &Observed, surplus: &[&String]) -> Step {
    let (empty, unknown): (Vec<&String>, Vec<&String>) = surplus.iter().partition(|name| {
        observed
            .nodes
            .get(**name)
            .is_some_and(|node| node.report.is_some() || node.recorded.is_none())
    });
    if empty.is_empty() {
        return Step::AwaitNodes(unknown.into_iter().cloned().collect());
    }
    Step::RemoveSurplus(empty.into_iter().cloned().collect())
}

/// A placement is recorded: every member is to hold it.
fn with_ring(ring: &Placement, observed: &Observed, desired: &Desired) -> Plan {
    let mut findings: Vec<Finding> = other_shape(ring, desired).into_iter().collect();
    let mut behind = Vec::new();
    let mut ahead: Option<(&str, RingEpoch)> = None;
    for (name, report) in reports(observed) {
        match standing(ring, name, report) {
            Standing::Current | Standing::NoMember => {}
            Standing::Behind if observed.offered.contains(name) => {}
            Standing::Behind => behind.push(name.to_owned()),
            Standing::Ahead(epoch) => {
                if ahead.is_none_or(|(_, most)| epoch > most) {
                    ahead = Some((name, epoch));
                }
            }
            Standing::Replaced => findings.push(Finding::Replaced {
                node: name.to_owned(),
            }),
            Standing::Foreign => findings.push(Finding::ForeignDisk {
                node: name.to_owned(),
            }),
            Standing::Contradicts => {
                let text = format!(
                    "{name} holds another placement of epoch {} than the KVRing",
                    ring.epoch()
                );
                return Plan {
                    step: Step::Blocked(Blocked::RingConflict(text)),
                    findings,
                    moving: None,
                };
            }
        }
    }
    if let Some((name, _)) = ahead {
        // Whatever is decided by an old record would be wrong.
        return Plan {
            step: Step::RecordHeld(name.to_owned()),
            findings,
            moving: None,
        };
    }
    let (moving, next) = look(ring, observed, desired);
    let surplus = surplus(ring, observed, desired);
    let step = match next {
        _ if !behind.is_empty() => Step::HandOver(behind),
        Some(next) => Step::Record(Box::new(next)),
        None if !surplus.is_empty() => Step::RemoveSurplus(surplus),
        None => Step::Hold,
    };
    Plan {
        step,
        findings,
        moving,
    }
}

/// Nodes that neither the spec nor the ring has. Only while most members confirm the recorded
/// placement: an old one, restored from a backup, may lack nodes that own something.
fn surplus(ring: &Placement, observed: &Observed, desired: &Desired) -> Vec<String> {
    let confirms = |member: &&annulus_ring::Node| {
        let held = observed.report_of(member).and_then(|report| report.holds);
        held.is_some_and(|held| held.epoch == ring.epoch())
    };
    if ring.nodes().iter().filter(confirms).count() * 2 <= ring.nodes().len() {
        return Vec::new();
    }
    let is_member = |name: &String| ring.nodes().iter().any(|node| node.name == *name);
    let names = observed.nodes.keys();
    names
        .filter(|name| !desired.nodes.contains_key(*name) && !is_member(name))
        .cloned()
        .collect()
}

/// How a node that answers stands to the recorded placement.
enum Standing {
    Current,
    Behind,
    Ahead(RingEpoch),
    /// Neither its name nor its disk is in the placement: it was asked for after the founding.
    NoMember,
    Replaced,
    Foreign,
    Contradicts,
}

fn standing(ring: &Placement, name: &str, report: &NodeReport) -> Standing {
    if report
        .holds
        .is_some_and(|held| held.cluster_id != ring.cluster_id())
    {
        return Standing::Foreign;
    }
    match (ring.node_by_id(report.id), report.holds) {
        (_, Some(held)) if held.epoch > ring.epoch() => Standing::Ahead(held.epoch),
        (None, _) if ring.nodes().iter().any(|node| node.name == name) => Standing::Replaced,
        (None, _) => Standing::NoMember,
        (Some(member), _) if member.name != name => Standing::Foreign,
        (Some(_), Some(held)) if held.epoch == ring.epoch() => {
            if held.fingerprint == ring.fingerprint() {
                Standing::Current
            } else {
                Standing::Contradicts
            }
        }
        (Some(_), _) => Standing::Behind,
    }
}

/// The number of partitions is the one thing that a ring cannot change.
fn other_shape(ring: &Placement, desired: &Desired) -> Option<Finding> {
    let (ring, spec) = (ring.partitions().get(), desired.partitions);
    (ring != spec).then_some(Finding::OtherShape { ring, spec })
}

fn reports(observed: &Observed) -> impl Iterator<Item = (&str, &NodeReport)> {
    observed
        .nodes
        .iter()
        .filter_map(|(name, node)| node.report.as_ref().map(|report| (name.as_str(), report)))
}

fn holders(observed: &Observed) -> Vec<(&str, HeldPlacement)> {
    reports(observed)
        .filter_map(|(name, report)| report.holds.map(|held| (name, held)))
        .collect()
}

/// Placements that cannot both be true: of two rings, or two of one epoch.
fn conflict(holders: &[(&str, HeldPlacement)]) -> Option<String> {
    let (reference, ring) = holders.first()?;
    let mut fingerprints: BTreeMap<RingEpoch, (&str, u64)> = BTreeMap::new();
    for (name, held) in holders {
        if held.cluster_id != ring.cluster_id {
            return Some(format!(
                "the disks of {reference} and {name} belong to different rings"
            ));
        }
        let (first, fingerprint) = *fingerprints
            .entry(held.epoch)
            .or_insert((name, held.fingerprint));
        if fingerprint != held.fingerprint {
            return Some(format!(
                "{first} and {name} hold different placements of epoch {}",
                held.epoch
            ));
        }
    }
    None
}

/// Desired nodes that do not answer yet, or whose zone is not known yet.
fn silent(observed: &Observed, desired: &Desired) -> Vec<String> {
    desired
        .nodes
        .keys()
        .filter(|name| observed.nodes.get(*name).and_then(speaking).is_none())
        .cloned()
        .collect()
}

fn speaking(node: &ObservedNode) -> Option<(&NodeReport, &str)> {
    Some((node.report.as_ref()?, node.zone.as_deref()?))
}
