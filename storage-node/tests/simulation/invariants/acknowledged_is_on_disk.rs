//! I8: a write acknowledged with W is on the disks of W owners; during a move, when writes go to both sets of owners, of W
//! of each. For a sloppy write nodes that keep it for an owner count in its place.
//! I21: what was acknowledged is there after a crash of all nodes at once; so that all stand-ins of a sloppy write
//! may have been quicker than the owner that minted it.
//!
//! A request goes by one epoch, its last attempt's: any that was issued since it was asked, or the one that its
//! coordinator held then.

use std::collections::BTreeMap;

use annulus_causality::VersionVector;
use annulus_node::simulation::{Done, Layout, UNSYNCED_KEYSPACE};
use annulus_proto::model::{Consistency, Key, KeyspaceName};
use annulus_ring::{NodeIndex, OwnerSet, Placement, RingEpoch};

use super::Invariants;
use crate::broken::Broken;
use crate::recording::Asked;

/// What the answer to a write promises.
#[derive(Debug)]
pub(crate) struct Promise {
    /// The event that it minted.
    pub(crate) event: VersionVector,
    /// Of how many owners, of each set.
    w: Consistency,
    /// Whether nodes that stand in for owners count.
    sloppy: bool,
    /// The epoch that the coordinator held when it was asked.
    asked_under: RingEpoch,
    /// So many disks may have lost it since they confirmed it.
    pub(crate) lost: usize,
}

/// What the answer to a write promises, if anything.
pub(crate) fn promised(asked: &Asked, done: &Done, asked_under: RingEpoch) -> Option<Promise> {
    let minted = annulus_checker::minted_dot(Some(&asked.terms.context), &done.clock);
    let waits_for_disks = asked.keyspace.as_str() != UNSYNCED_KEYSPACE;
    let mut event = VersionVector::new();
    event.insert(minted.filter(|_| done.existed && waits_for_disks)?);
    Some(Promise {
        event,
        w: asked.terms.write.unwrap_or(Consistency::Quorum),
        sloppy: done.sloppy,
        asked_under,
        lost: 0,
    })
}

/// Looks at the platters at the moment of an acknowledgement.
pub(crate) fn check(
    layout: &Layout,
    (keyspace, key): (&KeyspaceName, &Key),
    promise: &Promise,
) -> Result<(), Broken> {
    let (partition, stored) = layout.stored(keyspace, key);
    let kept = if promise.sloppy {
        kept_for(layout, (keyspace, key), &promise.event)
    } else {
        Vec::new()
    };
    let holds = |placement: &Placement, owner: NodeIndex| {
        let at = layout.position_of(placement.node(owner).id);
        kept.contains(&at) || is_on_disk(layout, at, &stored, &promise.event)
    };
    let count = |placement: &Placement, set: OwnerSet<'_>| {
        set.iter().filter(|owner| holds(placement, *owner)).count()
    };
    let needed = |set: OwnerSet<'_>| {
        let w = promise.w.resolve(set.len());
        w.unwrap_or(set.len()).saturating_sub(promise.lost)
    };
    let placements = layout.issued_since(promise.asked_under);
    let is_kept = placements.iter().any(|placement| {
        let mut sets = placement.write_sets(partition).iter();
        sets.all(|set| count(placement, set) >= needed(set))
    });
    if is_kept {
        return Ok(());
    }
    let found: Vec<_> = placements
        .iter()
        .map(|placement| {
            let sets = placement.write_sets(partition).iter();
            let counts: Vec<_> = sets.map(|set| count(placement, set)).collect();
            format!("{:?} at epoch {}", counts, placement.epoch())
        })
        .collect();
    let what = format!(
        "{keyspace}/{key}: a write acknowledged with W = {:?} is on so many owners' disks: {}",
        promise.w,
        found.join(", ")
    );
    Err(Broken::new("I8 acknowledged is on disk", what).of_key(keyspace, key))
}

/// Everything that was acknowledged, key by key.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged(BTreeMap<(KeyspaceName, Key), Events>);

/// The events of a key's writes, those of sloppy writes apart: nodes that stand in for owners may be the only ones
/// that hold them.
#[derive(Debug, Default)]
struct Events {
    strict: VersionVector,
    sloppy: VersionVector,
}

impl Acknowledged {
    /// One more write.
    pub(crate) fn add(
        &mut self,
        (keyspace, key): (&KeyspaceName, &Key),
        event: &VersionVector,
        sloppy: bool,
    ) {
        let events = self.0.entry((keyspace.clone(), key.clone())).or_default();
        let known = if sloppy {
            &mut events.sloppy
        } else {
            &mut events.strict
        };
        known.join(event);
    }

    /// Call it when every node has just crashed.
    pub(crate) fn check(&self, layout: &Layout, invariants: &Invariants) -> Result<(), Broken> {
        for ((keyspace, key), Events { strict, sloppy }) in &self.0 {
            let (_, stored) = layout.stored(keyspace, key);
            let kept = |events: &VersionVector| {
                let dots = events.iter().map(|(actor, counter)| actor.dot(counter));
                let mut kept = VersionVector::new();
                dots.filter(|dot| !invariants.may_be_forgotten(&stored, *dot))
                    .for_each(|dot| kept.insert(dot));
                kept
            };
            is_left(layout, (keyspace, key), &kept(strict), false)?;
            is_left(layout, (keyspace, key), &kept(sloppy), true)?;
        }
        Ok(())
    }
}

fn is_left(
    layout: &Layout,
    (keyspace, key): (&KeyspaceName, &Key),
    events: &VersionVector,
    sloppy: bool,
) -> Result<(), Broken> {
    for (actor, counter) in events.iter() {
        let mut event = VersionVector::new();
        event.insert(actor.dot(counter));
        let (owners, stored) = layout.locate(keyspace, key);
        let mut on_disks = owners
            .iter()
            .map(|owner| is_on_disk(layout, *owner, &stored, &event));
        let is_kept = || sloppy && !kept_for(layout, (keyspace, key), &event).is_empty();
        if !on_disks.any(|is_there| is_there) && !is_kept() {
            let what = format!(
                "{keyspace}/{key}: after a crash of all, no owner's disk knows {}",
                actor.dot(counter)
            );
            let broken = Broken::new("I21 a crash of all loses nothing", what);
            return Err(broken.of_key(keyspace, key));
        }
    }
    Ok(())
}

/// The positions of those for whom nodes keep the event.
fn kept_for(
    layout: &Layout,
    (keyspace, key): (&KeyspaceName, &Key),
    event: &VersionVector,
) -> Vec<usize> {
    let hints = layout.durable_hints(keyspace, key).into_iter();
    let known = hints.filter(|(_, state)| state.clock().descends(event));
    known.map(|(owner, _)| owner).collect()
}

/// Whether the disk of the node at that position surely has the event.
pub(super) fn is_on_disk(layout: &Layout, at: usize, stored: &[u8], event: &VersionVector) -> bool {
    match layout.disks()[at].durable_state(stored) {
        Ok(state) => state.is_some_and(|state| state.clock().descends(event)),
        Err(_) => true, // it was there before the record was damaged, or nobody can tell
    }
}
