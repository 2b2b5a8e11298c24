//! What a run found and did → the facts that a status is made from. Pure.

use std::collections::BTreeSet;

use annulus_ring::{NodeId, Placement};

use crate::cluster_controller::apply::seats;
use crate::cluster_controller::dereference::{NodeView, RingView, World};
use crate::cluster_controller::drive_membership::MembershipRound;
use crate::cluster_controller::validate::ValidCluster;
use crate::cluster_controller::write_error::WriteError;
use crate::crd::KVCluster;
use crate::membership::{Blocked, Finding, Moving, Phase, Step, availability, zone_spread};
use crate::names::APPROVE_ANNOTATION;
use crate::status::{Facts, Reason, RingFacts, listed};

/// What a run did.
#[derive(Default)]
pub(crate) struct Round {
    /// Why the spec cannot be carried out.
    pub(crate) invalid: Option<String>,
    /// What could not be written.
    pub(crate) errors: Vec<WriteError>,
    /// Whether a founded cluster had no context key any more.
    pub(crate) key_lost: bool,
    /// What became of the membership.
    pub(crate) membership: Option<MembershipRound>,
}

impl Round {
    fn errors(&self) -> impl Iterator<Item = &WriteError> {
        let membership = self.membership.iter().flat_map(|round| &round.errors);
        self.errors.iter().chain(membership)
    }

    /// What the run did that is worth an event.
    pub(crate) fn events(&self) -> Vec<(Reason, String)> {
        let key_lost = self.key_lost.then(|| {
            let text = "nodes that run have the old key and refuse contexts under the new one: \
                        restart all nodes, one at a time";
            (Reason::ContextKeyReplaced, text.to_owned())
        });
        let membership = self.membership.iter().flat_map(|round| &round.events);
        membership.cloned().chain(key_lost).collect()
    }
}

/// Gathers the facts.
pub(crate) fn gather_facts(
    cluster: &KVCluster,
    valid: Option<&ValidCluster>,
    world: &World,
    round: &Round,
) -> Facts {
    let nodes = node_names(valid, world);
    let ring = world.ring.placement();
    let serves = |name: &String| {
        world
            .nodes
            .get(name)
            .is_some_and(|view| view.serves() && is_member(ring, name, view))
    };
    let ready: Vec<String> = nodes.iter().filter(|name| serves(name)).cloned().collect();
    let outdated = world.nodes.iter().filter(|(_, view)| view.outdated);
    Facts {
        generation: cluster.metadata.generation.unwrap_or_default(),
        stalled: stalled(world, round),
        retrying: round.errors().find_map(|error| match error {
            WriteError::Unknown { .. } => Some(error.to_string()),
            WriteError::Refused { .. } => None,
        }),
        waiting_for: waiting_for(world, round),
        ring: ring.map(|ring| ring_facts(ring, valid, world, &ready)),
        disks: disks(round),
        outdated: outdated.map(|(name, _)| name.clone()).collect(),
        events: round.events(),
        joining: joining(ring, &nodes),
        moving: moving(round).cloned(),
        nodes,
        ready,
    }
}

/// Nodes that are to exist and are not in the ring yet: that they do not serve is no loss.
fn joining(ring: Option<&Placement>, nodes: &[String]) -> Vec<String> {
    let Some(ring) = ring else {
        return Vec::new();
    };
    let is_new = |name: &&String| ring.nodes().iter().all(|node| node.name != **name);
    nodes.iter().filter(is_new).cloned().collect()
}

fn moving(round: &Round) -> Option<&Moving> {
    round.membership.as_ref()?.plan.as_ref()?.moving.as_ref()
}

fn node_names(valid: Option<&ValidCluster>, world: &World) -> Vec<String> {
    if let Some(valid) = valid {
        return seats(valid, world).into_keys().collect();
    }
    match world.ring.placement() {
        Some(ring) => ring.nodes().iter().map(|node| node.name.clone()).collect(),
        None => world
            .nodes
            .iter()
            .filter(|(_, view)| view.node.is_some())
            .map(|(name, _)| name.clone())
            .collect(),
    }
}

/// Whether the node that runs under this name is the ring's, as far as it answers.
fn is_member(ring: Option<&Placement>, name: &str, view: &NodeView) -> bool {
    let (Some(ring), Some(report)) = (ring, &view.report) else {
        return true;
    };
    ring.node_by_id(report.id)
        .is_some_and(|member| member.name == name)
}

fn ring_facts(
    ring: &Placement,
    valid: Option<&ValidCluster>,
    world: &World,
    ready: &[String],
) -> RingFacts {
    let members = ring.nodes().iter();
    let serving: BTreeSet<NodeId> = members
        .clone()
        .filter(|node| ready.contains(&node.name))
        .map(|node| node.id)
        .collect();
    let majority = usize::from(ring.replication_factor().get()) / 2 + 1;
    let quorum = valid.map_or(majority, |valid| valid.quorum);
    let pending = members
        .filter(|node| {
            !world
                .nodes
                .get(&node.name)
                .is_some_and(|view| holds(ring, node.id, view))
        })
        .map(|node| node.name.clone());
    let is_overdue = |name: &String| {
        let report = world.nodes.get(name).and_then(|view| view.report.as_ref());
        report.is_some_and(|report| report.comparisons_overdue > 0)
    };
    RingFacts {
        overdue: ready
            .iter()
            .filter(|name| is_overdue(name))
            .cloned()
            .collect(),
        epoch: ring.epoch(),
        availability: availability(ring, &serving, quorum),
        spread: zone_spread(ring),
        pending: pending.collect(),
    }
}

/// Whether the member holds the recorded placement: it says so, or it did when it was last
/// asked and has served since.
fn holds(ring: &Placement, id: NodeId, view: &NodeView) -> bool {
    if let Some(report) = &view.report {
        return report.id == id
            && report.holds.is_some_and(|held| {
                held.epoch == ring.epoch() && held.fingerprint == ring.fingerprint()
            });
    }
    let status = view.node.as_deref().and_then(|node| node.status.as_ref());
    let last = status.and_then(|status| u64::try_from(status.ring_epoch).ok());
    view.serves() && last == Some(ring.epoch().0)
}

/// What only a person can mend, the gravest first.
fn stalled(world: &World, round: &Round) -> Option<(Reason, String)> {
    if let Some(message) = &round.invalid {
        return Some((Reason::InvalidSpec, message.clone()));
    }
    if let RingView::Unreadable(message) = &world.ring {
        return Some((Reason::RingUnreadable, message.clone()));
    }
    let plan = round
        .membership
        .as_ref()
        .and_then(|round| round.plan.as_ref());
    if let Some(Step::Blocked(blocked)) = plan.map(|plan| &plan.step) {
        return Some(why_blocked(blocked));
    }
    let findings = plan
        .map(|plan| plan.findings.as_slice())
        .unwrap_or_default();
    if let Some(reason) = findings.iter().find_map(wish_beyond_the_ring) {
        return Some(reason);
    }
    if let Some(reason) = moving(round).and_then(waits_for_a_person) {
        return Some(reason);
    }
    round.errors().find_map(|error| match error {
        WriteError::Refused { .. } => Some((Reason::ObjectRefused, error.to_string())),
        WriteError::Unknown { .. } => None,
    })
}

fn why_blocked(blocked: &Blocked) -> (Reason, String) {
    match blocked {
        Blocked::RingConflict(text) => (Reason::RingConflict, text.clone()),
        Blocked::RingLost => (
            Reason::RingLost,
            "the cluster was founded, but no node holds its placement: all disks are empty"
                .to_owned(),
        ),
        Blocked::DuplicateIdentity(one, other) => (
            Reason::DuplicateIdentity,
            format!("{one} and {other} report the same identity"),
        ),
    }
}

fn waits_for_a_person(moving: &Moving) -> Option<(Reason, String)> {
    if let Some(problem) = &moving.problem {
        return Some((Reason::PlanImpossible, problem.clone()));
    }
    (moving.phase == Phase::AwaitingApproval).then(|| {
        let id = &moving.plan_id;
        let text = format!("annotate the KVCluster with {APPROVE_ANNOTATION}={id}");
        (Reason::AwaitingApproval, text)
    })
}

fn wish_beyond_the_ring(finding: &Finding) -> Option<(Reason, String)> {
    match finding {
        Finding::OtherShape { ring, spec } => Some((
            Reason::RingMismatch,
            format!("the ring has {ring} partitions, the spec asks for {spec}"),
        )),
        Finding::Replaced { .. } | Finding::ForeignDisk { .. } => None,
    }
}

fn disks(round: &Round) -> Vec<(Reason, String)> {
    let plan = round
        .membership
        .as_ref()
        .and_then(|round| round.plan.as_ref());
    let findings = plan
        .map(|plan| plan.findings.as_slice())
        .unwrap_or_default();
    // What the replacement waits for, if it does; it names the node first.
    let when = |node: &String| {
        let waits = moving(round).map(|moving| moving.waits.as_slice());
        let mut waits = waits.unwrap_or_default().iter();
        let wait = waits.find_map(|wait| wait.strip_prefix(&format!("{node} lost its disk; ")));
        wait.unwrap_or("it is being replaced").to_owned()
    };
    let disk = |finding: &Finding| match finding {
        Finding::Replaced { node } => Some((
            Reason::NodeReplaced,
            format!(
                "{node} lost its disk and runs on an empty one; {}",
                when(node)
            ),
        )),
        Finding::ForeignDisk { node } => Some((
            Reason::ForeignDisk,
            format!("{node} runs on a disk that is not its own"),
        )),
        Finding::OtherShape { .. } => None,
    };
    findings.iter().filter_map(disk).collect()
}

fn waiting_for(world: &World, round: &Round) -> Option<String> {
    if !world.left_over.is_empty() {
        return Some(format!(
            "waiting until what a deleted cluster of this name has left is gone: {}",
            listed(&world.left_over)
        ));
    }
    let plan = round.membership.as_ref()?.plan.as_ref()?;
    match &plan.step {
        Step::AwaitNodes(nodes) => Some(format!("waiting for {}", listed(nodes))),
        Step::RemoveSurplus(nodes) => Some(format!("removing {}", listed(nodes))),
        Step::RecordHeld(node) => Some(format!("reading the placement of {node}")),
        _ => None,
    }
}
