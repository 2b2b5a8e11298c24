//! I8: a write acknowledged with W is on the disks of W owners; for a sloppy write nodes that keep it for an
//! owner count in its place.
//! I21: what was acknowledged is there after a crash of all nodes at once; so that all stand-ins of a sloppy write
//! may have been quicker than the owner that minted it.

use std::collections::BTreeMap;

use annulus_causality::VersionVector;
use annulus_node::simulation::{Done, Layout, UNSYNCED_KEYSPACE};
use annulus_proto::model::{Consistency, Key, KeyspaceName};

use super::Invariants;
use crate::broken::Broken;
use crate::recording::Asked;

/// What the answer to a write promises: the event that it minted, on how many disks it is, and whether nodes that
/// stand in for owners count.
pub(crate) fn promised(asked: &Asked, done: &Done) -> Option<(VersionVector, (usize, bool))> {
    let minted = annulus_checker::minted_dot(Some(&asked.terms.context), &done.clock);
    let waits_for_disks = asked.keyspace.as_str() != UNSYNCED_KEYSPACE;
    let mut event = VersionVector::new();
    event.insert(minted.filter(|_| done.existed && waits_for_disks)?);
    let w = asked.terms.write.unwrap_or(Consistency::Quorum);
    let w = w.resolve(asked.replicas);
    Some((
        event,
        (w.expect("as many owners as asked for"), done.sloppy),
    ))
}

/// Looks at the platters at the moment of an acknowledgement.
pub(crate) fn check(
    layout: &Layout,
    (keyspace, key): (&KeyspaceName, &Key),
    event: &VersionVector,
    (w, sloppy): (usize, bool),
) -> Result<(), Broken> {
    let holders = holders(layout, (keyspace, key), event, sloppy);
    if holders >= w {
        return Ok(());
    }
    let what = format!(
        "{keyspace}/{key}: a write acknowledged with W = {w} is on {holders} owners' disks"
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
            let (_, stored) = layout.locate(keyspace, key);
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
        if holders(layout, (keyspace, key), &event, sloppy) == 0 {
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

/// With `sloppy`, nodes that keep the event for an owner count in its place.
fn holders(
    layout: &Layout,
    (keyspace, key): (&KeyspaceName, &Key),
    event: &VersionVector,
    sloppy: bool,
) -> usize {
    let mut kept = Vec::new();
    if sloppy {
        let hints = layout.durable_hints(keyspace, key).into_iter();
        let known = hints.filter(|(_, state)| state.clock().descends(event));
        kept.extend(known.map(|(owner, _)| owner));
    }
    let (owners, _) = layout.locate(keyspace, key);
    let states = layout.durable_states(keyspace, key);
    let holds = owners
        .iter()
        .zip(&states)
        .filter(|(owner, state)| match state {
            Ok(state) => {
                let held = state.as_ref();
                held.is_some_and(|state| state.clock().descends(event)) || kept.contains(owner)
            }
            Err(_) => true, // it was there before the record was damaged, or nobody can tell
        });
    holds.count()
}
