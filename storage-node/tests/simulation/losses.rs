//! What nodes lose: records, all of them, or themselves. One node at a time: what more disks lose than writes are promised
//! to survive is gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use annulus_node::simulation::{Chance, SimNode, SyncTakes};
use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{Placement, Stage};
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::faults::{Faults, LONGEST_REQUEST, learn_vnodes};

/// Attempts to give a record back.
const ATTEMPTS: usize = 500;

/// A node that lost data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Damaged {
    at: usize,
    since: Instant,
    /// Since when all of it has been on as many disks as it was.
    whole_since: Option<Instant>,
    /// It does not return.
    is_destroyed: bool,
}

impl Faults {
    /// Whether any node may lose something now: no other has, and no copy is given up that is still there.
    fn may_lose(&self) -> bool {
        self.damaged.is_none() && !self.arena.api.has_lost_moves()
    }

    pub(crate) fn damage(&mut self, at: usize) {
        if self.may_lose() && self.nodes()[at].disk().damage_a_record() {
            self.note(&format!(
                "a record of {} is damaged",
                self.nodes()[at].name()
            ));
            let node = self.nodes()[at].id();
            self.arena.invariants.forgot(node);
            self.note_loss(at, false);
        }
    }

    /// A node loses its disk: it comes back empty, and mends itself. It may happen again meanwhile.
    pub(crate) fn lose_disk(&mut self, at: usize) {
        let at = match self.damaged {
            Some(damaged) if damaged.is_destroyed => return,
            Some(damaged) => damaged.at,
            None => at,
        };
        if self.arena.api.has_lost_moves() {
            return;
        }
        let node = self.nodes()[at].clone();
        self.note(&format!("{} loses its disk", node.name()));
        node.crash();
        node.disk().wipe();
        self.arena.invariants.forgot(node.id());
        self.note_loss(at, false);
    }

    /// A node is gone, with its disk, and somebody says so: its copies are made anew elsewhere.
    pub(crate) fn destroy(&mut self, at: usize, chance: &Chance) {
        let node = self.nodes()[at].clone();
        let is_member = self.arena.api.recorded().index_of(node.id()).is_some();
        let can_be = self.arena.wishes.lock().can_replace(node.id());
        // Nobody would replace it.
        if !self.may_lose() || !is_member || !can_be || !self.has_operator() {
            return;
        }
        self.note(&format!("{} is destroyed", node.name()));
        node.crash();
        node.disk().wipe();
        self.arena.invariants.forgot(node.id());
        self.arena.api.destroyed(node.id());
        self.arena.wishes.lock().replace(node.id(), chance);
        self.note_loss(at, true);
    }

    pub(crate) fn is_destroyed(&self, at: usize) -> bool {
        let wishes = self.arena.wishes.lock();
        wishes.destroyed().contains(&self.nodes()[at].id())
    }

    fn note_loss(&mut self, at: usize, is_destroyed: bool) {
        self.damaged = Some(Damaged {
            at,
            since: Instant::now(),
            whole_since: None,
            is_destroyed,
        });
        self.arena.lacks_data.store(true, Ordering::Relaxed);
        self.arena.one_is_lost.store(true, Ordering::Relaxed);
    }

    /// Whether all that was lost is on as many disks again as it was.
    fn is_mended(&self, damaged: &Damaged) -> bool {
        let node = &self.nodes()[damaged.at];
        let ring = self.arena.api.recorded();
        if damaged.is_destroyed {
            let index = ring.index_of(node.id());
            return index.is_none_or(|index| ring.is_unused(index));
        }
        node.is_up() && !node.disk().has_damage() && serves_all(node, &ring)
    }

    /// Damage may be met late, by a request that began to read before it was written over; and requests may still count on
    /// what was lost.
    pub(crate) fn look_after_the_damaged(&mut self) {
        let Some(mut damaged) = self.damaged else {
            return;
        };
        if damaged.is_destroyed && damaged.since.elapsed() > LONGEST_REQUEST {
            // It confirms nothing any more.
            self.arena.lacks_data.store(false, Ordering::Relaxed);
        }
        let is_mended = self.is_mended(&damaged);
        let since = damaged.whole_since.filter(|_| is_mended);
        damaged.whole_since = is_mended.then(|| since.unwrap_or_else(Instant::now));
        self.damaged = Some(damaged);
        if since.is_none_or(|since| since.elapsed() <= LONGEST_REQUEST) {
            return;
        }
        let node = &self.nodes()[damaged.at];
        self.note(&format!(
            "{} has mended itself, or was replaced",
            node.name()
        ));
        learn_vnodes(&self.arena, node);
        self.arena.invariants.mended(node.id());
        self.damaged = None;
        self.arena.lacks_data.store(false, Ordering::Relaxed);
        self.arena.one_is_lost.store(false, Ordering::Relaxed);
    }

    /// A node that stopped in order has lost some of its records when it comes back, and does not know
    /// which: it keeps its vnodes, so rules V3 and V4 have to keep its new dots apart from the lost ones.
    pub(crate) async fn forget(&mut self, at: usize, chance: &Chance) {
        if !self.may_lose() {
            return; // the last good copy may be this one
        }
        self.arena.one_is_lost.store(true, Ordering::Relaxed);
        let node = self.nodes()[at].clone();
        for other in self.nodes() {
            self.arena.cluster.set_stalled(other, false);
        }
        self.stalled_until.clear();
        node.disk().set_sync_takes(SyncTakes::Usual);
        node.disk().set_used_percent(0);
        let _ = timeout(LONGEST_REQUEST * 2, node.stop()).await;
        node.crash();
        self.back_at.remove(&at);
        // Whatever counted on the old disk has ended.
        sleep(LONGEST_REQUEST).await;
        let share = [1000, 500, 100][chance.index(3)];
        let lost = node.disk().lose_records(share);
        self.arena.invariants.forgot(node.id());
        self.note(&format!("{} has lost {lost} records", node.name()));
        for other in 0..self.nodes().len() {
            if other != at && !self.nodes()[other].is_up() && !self.is_destroyed(other) {
                self.start(other).await;
            }
        }
        node.start_shut()
            .await
            .expect("only clients' records are lost");
        learn_vnodes(&self.arena, &node);
        self.give_back(&node).await;
        self.arena.invariants.mended(node.id());
        node.open();
        self.arena.one_is_lost.store(false, Ordering::Relaxed);
    }

    /// All that hold what it is to hold give it that: owners, and who leaves.
    async fn give_back(&self, target: &Arc<SimNode>) {
        let layout = self.arena.cluster.layout();
        let has = |node: &SimNode, partition| {
            let mut vnodes = node.vnodes().into_iter();
            vnodes.any(|vnode| vnode.partition == partition)
        };
        for (space, key) in self.arena.all_keys() {
            let (partition, _) = layout.stored(&space, &key);
            let ring = layout.current();
            // Who leaves has given what it had already.
            let own = ring.index_of(target.id());
            let mut targets = ring.write_sets(partition).targets();
            let takes_writes = own.is_some_and(|own| targets.any(|node| node == own));
            if !takes_writes || !has(target, partition) {
                continue;
            }
            for source in self.nodes() {
                if source.id() != target.id() && has(source, partition) {
                    self.give((source, target), (&space, &key)).await;
                }
            }
        }
    }

    async fn give(
        &self,
        (source, target): (&Arc<SimNode>, &Arc<SimNode>),
        (space, key): (&KeyspaceName, &Key),
    ) {
        for _ in 0..ATTEMPTS {
            let copied = match source.copy(space, key).await {
                Ok(Some(state)) => target.rebuild(space, key, state).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if copied.is_ok() || !target.is_up() {
                return;
            }
            if !source.is_up() {
                let _ = source.start().await;
            }
            sleep(Duration::from_millis(200)).await;
        }
        // What that leads to is judged.
    }
}

/// Whether each copy of the node is whole, and counts on it (two owners that met damage would wait for each other); but
/// for those that are only being made.
fn serves_all(node: &SimNode, ring: &Placement) -> bool {
    let own = ring.index_of(node.id());
    let mut vnodes = node.vnodes().into_iter();
    let is_whole = vnodes.all(|vnode| {
        let joins = ring
            .move_of(vnode.partition)
            .is_some_and(|it| it.add == own && it.stage < Stage::ReadNew);
        (vnode.is_serving && !vnode.is_damaged) || joins
    });
    // One that owns something is told so when it starts.
    let owns = own.is_some_and(|own| ring.partitions_of(own).next().is_some());
    is_whole && !(owns && node.vnodes().is_empty())
}
