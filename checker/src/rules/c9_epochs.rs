//! C9, epochs: a node's ring epoch never falls; one epoch is one placement; no reply counts that comes from a node
//! outside of the placement of the request's epoch (`docs/protocol/reads-and-writes.md`, "Epochs").

use std::collections::{BTreeMap, HashMap};

use annulus_ring::{NodeId, Placement, RingEpoch};

use crate::history::History;
use crate::record::{NodeEpoch, Reply};
use crate::violation::{Rule, Violation};

/// Judges a history. Replies of epochs whose placement isn't recorded are passed over.
pub fn check(history: &History) -> Vec<Violation> {
    let mut found = falling(history.node_epochs());
    found.extend(ambiguous(history));
    let placements: BTreeMap<RingEpoch, &Placement> = history
        .placements()
        .iter()
        .map(|p| (p.epoch(), p))
        .collect();
    let replies = history.replies().iter();
    found.extend(replies.filter_map(|reply| outsider(history, &placements, reply)));
    found
}

fn falling(seen: &[NodeEpoch]) -> Vec<Violation> {
    let mut last: HashMap<NodeId, RingEpoch> = HashMap::new();
    let mut found = Vec::new();
    for &NodeEpoch {
        node, epoch, at_us, ..
    } in seen
    {
        if let Some(before) = last.insert(node, epoch).filter(|before| *before > epoch) {
            let what = format!("{node} went back from epoch {before} to {epoch} at {at_us} us");
            found.push(violation(what));
        }
    }
    found
}

/// Epochs with more than one content.
fn ambiguous(history: &History) -> Vec<Violation> {
    let held = history.node_epochs().iter().filter_map(|seen| {
        Some((
            seen.epoch,
            seen.fingerprint?,
            format!("{} at {} us", seen.node, seen.at_us),
        ))
    });
    let recorded = history.placements().iter();
    let recorded = recorded.map(|p| {
        (
            p.epoch(),
            p.fingerprint(),
            "the recorded placement".to_owned(),
        )
    });
    let mut first: BTreeMap<RingEpoch, (u64, String)> = BTreeMap::new();
    let mut found = Vec::new();
    for (epoch, fingerprint, whose) in recorded.chain(held) {
        let (known, by) = first
            .entry(epoch)
            .or_insert_with(|| (fingerprint, whose.clone()));
        if *known != fingerprint {
            found.push(violation(format!(
                "epoch {epoch} has the fingerprints {known:016x} ({by}) and {fingerprint:016x} ({whose})"
            )));
        }
    }
    found
}

fn outsider(
    history: &History,
    placements: &BTreeMap<RingEpoch, &Placement>,
    reply: &Reply,
) -> Option<Violation> {
    let placement = placements.get(&reply.epoch)?;
    let key = &history.operation(reply.operation)?.key;
    let (partition, owners) = placement.locate(&key.keyspace, key.key.as_bytes());
    let index = placement.index_of(reply.node);
    if index.is_some_and(|index| owners.contains(&index)) {
        return None;
    }
    Some(Violation {
        rule: Rule::Epochs,
        key: Some(key.clone()),
        what: format!(
            "{} counted a reply of {}, which does not own partition {partition} at epoch {}",
            reply.operation, reply.node, reply.epoch
        ),
        operations: vec![reply.operation],
    })
}

fn violation(what: String) -> Violation {
    Violation {
        rule: Rule::Epochs,
        key: None,
        what,
        operations: Vec::new(),
    }
}
