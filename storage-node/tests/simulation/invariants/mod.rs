//! What holds at every moment of a simulation, one file each.
//!
//! | file | invariant |
//! |---|---|
//! | [`dots_are_unique`] | I1: a dot names at most one value, for ever |
//! | [`clocks_never_shrink`] | I3: a key's clock on a node never shrinks |
//! | [`only_owners_mint`] | I4: only owners of a key mint for it |
//! | [`reaped_was_everywhere`] | I6: a removed tombstone is on the disks of all owners, or was |
//! | [`acknowledged_is_on_disk`] | I8, I21: an acknowledged write is on the disks of W owners, and a crash leaves it there |
//! | [`rejected_is_invisible`] | I9: a rejected write is on no disk, at no time |
//! | [`damage_is_unavailable`] | I10: a damaged record is never answered for, as a value or as none |
//! | [`hints_have_an_age`] | I7: no hint is taken that is too old; nor is anything merged after its deadline |
//! | [`hints_end_at_their_targets`] | I17: a hint is removed when its target has it; a sloppy one never otherwise |
//! | [`epochs_are_fenced`] | I12: no answer is given under another epoch than was asked under |
//! | [`tree_is_of_data`] | I18: the stored hash tree is that of the stored data, after any crash |
//! | [`placements_follow`] | I11: barriers hold; I13: one owner differs at a time |
//! | [`sources_are_settled`] | I11: what is copied holds what was written before |
//! | [`copies_end_late`] | I14: a leaver's copy is deleted when the new owners have everything |
//! | [`no_ack_after_failed_sync`] | I22: after a failed fsync nothing is acknowledged |
//! | [`epochs_never_fall`] | I25: a node's epoch never falls; I16, I24: an epoch has one placement, the one that was issued |
//!
//! Where the others are checked: `docs/simulation.md`.

pub(crate) mod acknowledged_is_on_disk;
mod clocks_never_shrink;
mod copies_end_late;
mod damage_is_unavailable;
mod dots_are_unique;
mod epochs_are_fenced;
#[allow(
    dead_code,
    reason = "the layer over TCP has one placement an epoch by design"
)]
pub(crate) mod epochs_never_fall;
mod hints_end_at_their_targets;
mod hints_have_an_age;
mod no_ack_after_failed_sync;
mod only_owners_mint;
#[allow(dead_code, reason = "nothing moves in the layer over TCP")]
pub(crate) mod placements_follow;
mod reaped_was_everywhere;
mod rejected_is_invisible;
mod sources_are_settled;
pub(crate) mod tree_is_of_data;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use annulus_causality::{Dot, KeyState, Sibling};
use annulus_node::simulation::{
    Answered, Erased, HintRemoved, HintTaken, Layout, Observer, Removed, Served, SimCluster, Wrote,
    late_merges,
};
use annulus_ring::{NodeId, PartitionId, Placement, RingEpoch};

use crate::broken::Broken;
use clocks_never_shrink::ClocksNeverShrink;
use dots_are_unique::DotsAreUnique;
use epochs_never_fall::{EpochsNeverFall, is_as_issued};
use only_owners_mint::OnlyOwnersMint;
use parking_lot::Mutex;
use reaped_was_everywhere::{OnDisk, ReapedWasEverywhere};
use rejected_is_invisible::RejectedIsInvisible;

/// Those that watch the nodes' inside. The first that breaks is kept.
#[derive(Default)]
pub(crate) struct Invariants(Mutex<Inner>, Mutex<Option<Layout>>);

#[derive(Debug, Default)]
struct Inner {
    dots: DotsAreUnique,
    minters: OnlyOwnersMint,
    rejected: RejectedIsInvisible,
    epochs: EpochsNeverFall,
    cluster: Option<Watching>,
    /// Nodes that have lost something, and under which epoch they had mended themselves; `None`: they have not.
    lossy: HashMap<NodeId, Option<RingEpoch>>,
    given_up: HashSet<NodeId>,
    reaped: ReapedWasEverywhere,
    broken: Option<Broken>,
}

/// What the nodes' inside is compared with.
#[derive(Debug, Clone)]
struct Watching {
    cluster: Arc<SimCluster>,
    /// How long hints live.
    ttl: Duration,
    loses_disks: bool,
}

impl Inner {
    fn look(&mut self, found: Result<(), Broken>) {
        if let Err(broken) = found {
            self.broken.get_or_insert(broken);
        }
    }
}

impl Invariants {
    /// What broke first.
    pub(crate) fn check(&self) -> Result<(), Broken> {
        self.0.lock().broken.clone().map_or(Ok(()), Err)?;
        match late_merges() {
            0 => Ok(()),
            count => {
                let what = format!("{count} states were merged after their deadlines");
                Err(Broken::new("I7 nothing is merged too late", what))
            }
        }
    }

    /// The cluster that is looked at, and how long hints live in it.
    /// Where disks get lost, what was handed over may be gone a moment later: then only hints' ages are looked at.
    #[allow(dead_code, reason = "the layer over TCP looks at other things")]
    pub(crate) fn watch(&self, cluster: Arc<SimCluster>, ttl: Duration, loses_disks: bool) {
        self.0.lock().cluster = Some(Watching {
            cluster,
            ttl,
            loses_disks,
        });
    }

    /// The disks that are looked at, from now on or no more. They report to this: `None` ends the circle.
    pub(crate) fn look_at(&self, layout: Option<&Layout>) {
        *self.1.lock() = layout.cloned();
        if layout.is_none() {
            self.0.lock().cluster = None;
        }
    }

    /// A node's disk has lost records, or all of them.
    #[allow(dead_code, reason = "one of the two simulations loses disks")]
    pub(crate) fn forgot(&self, node: NodeId) {
        let mut inner = self.0.lock();
        inner.reaped.forgot(node);
        inner.lossy.insert(node, None);
    }

    /// A node has all again that it is to have.
    #[allow(dead_code, reason = "one of the two simulations loses disks")]
    pub(crate) fn mended(&self, node: NodeId) {
        let layout = self.1.lock();
        let now = layout.as_ref().map(|layout| layout.current().epoch());
        let mut inner = self.0.lock();
        if !inner.given_up.contains(&node) {
            inner.lossy.insert(node, now);
        }
    }

    /// Moves go on without a node that may still be there.
    #[allow(dead_code, reason = "one of the two simulations has an operator")]
    pub(crate) fn given_up(&self, node: NodeId) {
        let mut inner = self.0.lock();
        inner.given_up.insert(node);
        inner.lossy.insert(node, None);
    }

    /// Whether moves ever went on without it.
    #[allow(dead_code, reason = "one of the two simulations has an operator")]
    pub(crate) fn was_given_up(&self, node: NodeId) -> bool {
        self.0.lock().given_up.contains(&node)
    }

    /// How many records were removed.
    #[allow(dead_code, reason = "one of the two simulations lives long enough")]
    pub(crate) fn reaped(&self) -> u64 {
        self.0.lock().reaped.count()
    }

    /// Whether an event of a key may be forgotten, because the key was reaped.
    pub(crate) fn may_be_forgotten(&self, stored_key: &[u8], dot: Dot) -> bool {
        self.0.lock().reaped.covers(stored_key, dot)
    }

    /// What the others that hold a key have on disk: those that are sent its writes now, and as whoever removes it knows.
    fn others(&self, removed: &Removed<'_>) -> Vec<(NodeId, OnDisk)> {
        let layout = self.1.lock();
        let Some(layout) = layout.as_ref() else {
            return Vec::new();
        };
        let partition = u16::from_be_bytes([removed.stored_key[0], removed.stored_key[1]]);
        let partition = PartitionId(partition);
        let watching = self.0.lock().cluster.clone();
        let held = watching.and_then(|it| it.cluster.node(removed.node).held_placement());
        let current = layout.current();
        let known = held.unwrap_or_else(|| current.clone());
        let targets = |placement: &Placement| -> Vec<NodeId> {
            let targets = placement.write_sets(partition).targets();
            targets.map(|node| placement.node(node).id).collect()
        };
        let now = targets(&current);
        let others = targets(&known).into_iter();
        let others = others.filter(|other| *other != removed.node && now.contains(other));
        let on_disk = others.map(|other| {
            let disk = &layout.disks()[layout.position_of(other)];
            (other, disk.durable_state(removed.stored_key))
        });
        // Who joins begins with nothing, and is given no more than the owners have.
        let owns = |node: NodeId| {
            let index = current.index_of(node);
            index.is_some_and(|index| current.is_owner(partition, index))
        };
        let matters =
            |(other, state): &(NodeId, OnDisk)| owns(*other) || !matches!(state, Ok(None));
        on_disk.filter(matters).collect()
    }

    /// Something else than these broke.
    pub(crate) fn report(&self, found: Result<(), Broken>) {
        self.0.lock().look(found);
    }

    /// All attempts to write this value were rejected.
    pub(crate) fn rejected(&self, value: &str) {
        let mut inner = self.0.lock();
        let found = inner.rejected.reject(value);
        inner.look(found);
    }

    /// The placement that a node holds, and the one that was issued as that epoch.
    pub(crate) fn learn_placement(
        &self,
        node: annulus_ring::NodeId,
        held: &Placement,
        issued: &Placement,
    ) {
        let mut inner = self.0.lock();
        let found = inner.epochs.holds(node, held.epoch());
        inner.look(found);
        inner.look(is_as_issued(held, issued));
    }

    /// A vnode and the node that has it.
    pub(crate) fn learn_vnode(
        &self,
        vnode: annulus_causality::VnodeId,
        node: annulus_ring::NodeId,
        partition: u16,
    ) {
        self.0.lock().minters.learn(vnode, node, partition);
    }
}

impl Observer for Invariants {
    fn wrote(&self, wrote: &Wrote<'_>) {
        let layout = self.1.lock();
        let mut inner = self.0.lock();
        let found = inner.dots.wrote(wrote);
        inner.look(found);
        let cluster = inner.cluster.clone();
        let cluster = cluster.as_ref().map(|watched| watched.cluster.as_ref());
        let found = inner.minters.wrote(wrote, (cluster, layout.as_ref()));
        inner.look(found);
        let found = inner.rejected.wrote(wrote);
        inner.look(found);
        inner.look(ClocksNeverShrink::wrote(wrote));
    }

    fn removed(&self, removed: &Removed<'_>) {
        let others = self.others(removed);
        let mut inner = self.0.lock();
        let found = inner.reaped.removed(removed, &others);
        inner.look(found);
    }

    fn served(&self, served: &Served) {
        let mut inner = self.0.lock();
        if served.answer != Answered::Written {
            inner.look(epochs_are_fenced::served(served));
        }
        inner.look(damage_is_unavailable::served(served));
        inner.look(sources_are_settled::served(served));
        inner.look(no_ack_after_failed_sync::served(served));
        if let Some(held) = served.held {
            let found = inner.epochs.holds(served.node, held);
            inner.look(found);
        }
    }

    fn erased(&self, erased: &Erased) {
        let mut inner = self.0.lock();
        if let Some(it) = inner.cluster.clone() {
            let known = (&inner.dots, &inner.reaped);
            let found = copies_end_late::erased(&it.cluster, erased, known, &inner.lossy);
            inner.look(found);
        }
    }

    fn hint_taken(&self, taken: &HintTaken) {
        let mut inner = self.0.lock();
        if let Some(ttl) = inner.cluster.as_ref().map(|watched| watched.ttl) {
            inner.look(hints_have_an_age::taken(taken, ttl));
        }
    }

    fn hint_removed(&self, removed: &HintRemoved<'_>) {
        let mut inner = self.0.lock();
        if let Some(it) = inner.cluster.clone().filter(|it| !it.loses_disks) {
            let found = hints_end_at_their_targets::removed(&it.cluster, removed, it.ttl);
            inner.look(found);
        }
    }
}

/// The siblings that a write brings: those that the node did not have just so.
fn new_siblings<'w>(wrote: &'w Wrote<'_>) -> impl Iterator<Item = &'w Sibling> {
    let before = wrote.before.map_or(&[][..], KeyState::siblings);
    let siblings = wrote.after.siblings().iter();
    siblings.filter(move |sibling| !before.contains(sibling))
}
