//! Whom to give up, whom to replace, and the brake on both.
//!
//! A member whose disk is lost is replaced after `replaceAfter`: time for people to bring it
//! back, and for a disturbance to pass. One at a time; and what looks like the loss of more than
//! one failure domain, or of a whole zone, is taken for an outage that passes: nothing is given
//! up then, nor for a while after the operator has (again) begun to look on. A person who knows
//! better names the disks that never return.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use annulus_ring::{Move, Node, NodeId, Placement};

use crate::membership::moving::presence::{Presence, is_displaced, presence};
use crate::membership::view::{Desired, Observed};

/// The operator has looked on at least so long before it gives anybody up.
pub(crate) const SETTLING_TIME: Duration = Duration::from_secs(60);

/// Who is lost, and what is done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Members that are being replaced, or are to be now: one, unless a person named more.
    pub(crate) replaced: BTreeSet<NodeId>,
    /// Members of which nothing is expected any more.
    pub(crate) given_up: BTreeSet<NodeId>,
    /// Members with another disk that owned nothing yet.
    pub(crate) empty: BTreeSet<NodeId>,
    /// What holds a replacement up, in words.
    pub(crate) waits: Vec<String>,
}

/// Finds out who is lost.
pub(crate) fn losses(ring: &Placement, observed: &Observed, desired: &Desired) -> Losses {
    let missing: Vec<(&Node, Presence)> = ring
        .nodes()
        .iter()
        .map(|member| (member, presence(member, observed)))
        .filter(|(_, presence)| *presence != Presence::Present)
        .collect();
    let mut losses = Losses {
        replaced: begun(ring, &missing, observed),
        ..Losses::default()
    };
    let brake = brake(ring, &missing, observed);
    for (member, presence) in &missing {
        let confirmed = observed.destroyed.contains(&member.id);
        let is_over = waited(member, observed) >= desired.replace_after;
        let given_up = is_displaced(member) || confirmed || (is_over && brake.is_none());
        if given_up {
            losses.given_up.insert(member.id);
        }
        let has_lost_disk = *presence == Presence::DiskLost || confirmed;
        if !has_lost_disk || losses.replaced.contains(&member.id) {
            continue;
        }
        let is_unused = |index| ring.is_unused(index);
        if ring.index_of(member.id).is_some_and(is_unused) {
            losses.empty.insert(member.id);
        } else if given_up && losses.replaced.is_empty() {
            losses.replaced.insert(member.id);
        } else {
            let wait = why_not_yet(member, observed, desired, brake.as_deref());
            losses.waits.push(wait);
        }
    }
    losses
}

/// Replacements that have begun: the placement says so.
fn begun(ring: &Placement, missing: &[(&Node, Presence)], observed: &Observed) -> BTreeSet<NodeId> {
    let is_lost = |id: NodeId| {
        let leaver = |it: &Move| it.lost && it.remove.is_some_and(|node| ring.node(node).id == id);
        ring.moves().iter().any(leaver)
    };
    let lost_disks = missing.iter().filter(|(node, presence)| {
        *presence == Presence::DiskLost || observed.destroyed.contains(&node.id)
    });
    lost_disks
        .map(|(node, _)| *node)
        .filter(|node| is_displaced(node) || is_lost(node.id))
        .map(|node| node.id)
        .collect()
}

fn waited(member: &Node, observed: &Observed) -> Duration {
    let node = observed.nodes.get(&member.name);
    let since = node.and_then(|node| node.missing_since);
    elapsed(since.unwrap_or(observed.now), observed)
}

fn elapsed(since: jiff::Timestamp, observed: &Observed) -> Duration {
    Duration::try_from(observed.now.duration_since(since)).unwrap_or_default()
}

/// Why nobody is given up now, if so.
fn brake(ring: &Placement, missing: &[(&Node, Presence)], observed: &Observed) -> Option<String> {
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for node in ring.nodes().iter().filter(|node| !is_displaced(node)) {
        *zones.entry(node.zone.0.as_str()).or_default() += 1;
    }
    let in_zones = zones.len() > 1;
    let mut domains: BTreeMap<&str, usize> = BTreeMap::new();
    for (node, _) in missing.iter().filter(|(node, _)| !is_displaced(node)) {
        let domain = if in_zones { &node.zone.0 } else { &node.name };
        *domains.entry(domain.as_str()).or_default() += 1;
    }
    if domains.len() > 1 {
        let names: Vec<&str> = domains.into_keys().collect();
        return Some(format!(
            "more than one failure domain looks unhealthy: {}",
            names.join(", ")
        ));
    }
    let whole = domains
        .iter()
        .find(|(domain, count)| **count > 1 && zones.get(*domain) == Some(*count));
    if let Some((zone, _)) = whole.filter(|_| in_zones) {
        return Some(format!("all nodes of zone {zone} are away"));
    }
    (elapsed(observed.watched_since, observed) < SETTLING_TIME)
        .then(|| "the operator has only just begun to look on".to_owned())
}

fn why_not_yet(
    member: &Node,
    observed: &Observed,
    desired: &Desired,
    brake: Option<&str>,
) -> String {
    let name = &member.name;
    let left = desired
        .replace_after
        .saturating_sub(waited(member, observed));
    if !left.is_zero() {
        let after = desired.replace_after.as_secs();
        return format!("{name} lost its disk; it is replaced {after} s after that");
    }
    match brake {
        Some(why) => format!("{name} lost its disk; it is not replaced: {why}"),
        None => {
            format!("{name} lost its disk; it is replaced after the one that is being replaced")
        }
    }
}
