//! The timetable of faults: what goes wrong next, and who comes back when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use annulus_node::simulation::{Chance, DRIFTS_BY_AT_MOST_MS, SimNode, SyncTakes, Way};
use tokio::time::{Instant, sleep, timeout};

use crate::invariants::tree_is_of_data;
use crate::plan::{Fault, Plan};
use crate::workload::Arena;

/// How far a wall clock may jump, in milliseconds.
pub(crate) const JUMP_MS: i64 = DRIFTS_BY_AT_MOST_MS;

/// How much too fast or slow a wall clock runs, in microseconds a second.
const DRIFT_PPM: u64 = 20_000;

/// No request lives longer.
const LONGEST_REQUEST: Duration = Duration::from_secs(3);

/// Makes the faults of one run.
pub(crate) struct Faults {
    arena: Arc<Arena>,
    /// What happens when.
    chance: Chance,
    /// Who comes back when.
    returns: Chance,
    plan: Plan,
    /// How many faults were due; each has its number, from 0.
    due: u64,
    /// Those that were made.
    made: Vec<(u64, Fault)>,
    back_at: BTreeMap<usize, Instant>,
    stalled_until: BTreeMap<usize, Instant>,
    /// The one node that lost data and has not mended itself yet: no other may lose any meanwhile.
    damaged: Option<usize>,
    /// Since when that node has had all of its data again.
    whole_since: Option<Instant>,
    epoch: u64,
}

impl Faults {
    pub(crate) fn new(plan: &Plan, arena: Arc<Arena>) -> Self {
        Self {
            arena,
            chance: Chance::new(plan.seed, "faults"),
            returns: Chance::new(plan.seed, "returns"),
            plan: plan.clone(),
            due: 0,
            made: Vec::new(),
            back_at: BTreeMap::new(),
            stalled_until: BTreeMap::new(),
            damaged: None,
            whole_since: None,
            epoch: 1,
        }
    }

    fn nodes(&self) -> &[Arc<SimNode>] {
        self.arena.cluster.nodes()
    }

    fn note(&self, what: &str) {
        self.arena.cluster.trace().note(format_args!("== {what}"));
    }

    /// What was made, by number.
    pub(crate) fn made(&self) -> &[(u64, Fault)] {
        &self.made
    }

    /// Goes on until the clients stop.
    pub(crate) async fn run(&mut self) {
        while self.arena.is_stormy() {
            let (shortest, longest) = self.plan.calm_ms;
            let calm = self.chance.within(shortest..longest);
            let until = Instant::now() + Duration::from_millis(calm);
            while Instant::now() < until {
                sleep(Duration::from_millis(50)).await;
                self.bring_back().await;
                self.look_after_the_damaged();
            }
            let fault = self.plan.faults[self.chance.index(self.plan.faults.len())];
            let number = self.due;
            self.due += 1;
            let only = self.plan.only.as_ref();
            if only.is_none_or(|only| only.contains(&number)) {
                self.made.push((number, fault));
                // Its own stream: the same fault, whichever others are left out.
                let chance = Chance::new(self.plan.seed, &format!("fault {number}"));
                self.make(fault, &chance).await;
            }
        }
    }

    /// Who was down long enough starts; who stalled long enough goes on.
    async fn bring_back(&mut self) {
        let now = Instant::now();
        for at in 0..self.nodes().len() {
            let node = self.nodes()[at].clone();
            if !node.is_up() {
                let soon = now + Duration::from_millis(self.returns.within(50..3_000));
                if *self.back_at.entry(at).or_insert(soon) <= now {
                    self.back_at.remove(&at);
                    self.start(at).await;
                }
            }
            if self
                .stalled_until
                .get(&at)
                .is_some_and(|until| *until <= now)
            {
                self.stalled_until.remove(&at);
                self.note(&format!("{} goes on", node.name()));
                self.arena.cluster.set_stalled(&node, false);
            }
        }
    }

    async fn start(&mut self, at: usize) {
        self.stalled_until.remove(&at);
        let node = self.nodes()[at].clone();
        self.arena.cluster.set_stalled(&node, false);
        let checked = tree_is_of_data::check(&node);
        self.arena.invariants.report(checked);
        node.start()
            .await
            .expect("only clients' records are damaged");
        learn_vnodes(&self.arena, &node);
    }

    async fn make(&mut self, fault: Fault, chance: &Chance) {
        let at = chance.index(self.nodes().len());
        let node = self.nodes()[at].clone();
        match fault {
            Fault::Stall | Fault::FailSyncs if !node.is_up() => {}
            Fault::Crash => node.crash(),
            Fault::CrashAll => self.crash_all(),
            Fault::Stop => {
                // A process that does not end in time is killed.
                let _ = timeout(LONGEST_REQUEST * 2, node.stop()).await;
                node.crash();
            }
            Fault::Split | Fault::OneWay | Fault::SlowWay | Fault::LossyWay => {
                self.spoil_ways(fault, chance);
            }
            Fault::OpenWays => {
                self.note("all ways open");
                self.arena.cluster.network().open_all();
            }
            Fault::Stall => {
                let milliseconds = chance.within(50..3_000);
                self.note(&format!("{} stalls for {milliseconds} ms", node.name()));
                self.arena.cluster.set_stalled(&node, true);
                let until = Instant::now() + Duration::from_millis(milliseconds);
                self.stalled_until.insert(at, until);
            }
            Fault::Skew | Fault::Jump | Fault::Drift => self.spoil_clock(fault, &node, chance),
            Fault::SlowSyncs | Fault::FailSyncs | Fault::FullDisk => {
                self.spoil_disk(fault, &node, chance);
            }
            Fault::Damage => self.damage(at),
            // One node at a time: what more disks lose than writes are promised to survive is gone.
            Fault::Wipe => self.lose_disk(self.damaged.unwrap_or(at)),
            Fault::Forget => self.forget(at, chance).await,
            Fault::NewEpoch => self.begin_epoch(&node).await,
            Fault::Reset => self.reset_connections(&node, chance),
        }
    }

    fn spoil_clock(&self, fault: Fault, node: &SimNode, chance: &Chance) {
        let around_zero = |most: u64| {
            let drawn = i64::try_from(chance.within(0..2 * most)).expect("small");
            drawn - i64::try_from(most).expect("small")
        };
        if fault == Fault::Drift {
            let drift = around_zero(DRIFT_PPM);
            self.note(&format!(
                "{}'s wall clock drifts by {drift} µs/s",
                node.name()
            ));
            return node.clock().set_drift_ppm(drift);
        }
        let longest_jump = u64::try_from(JUMP_MS).expect("positive");
        let wrong = around_zero(if fault == Fault::Skew {
            240
        } else {
            longest_jump
        });
        self.note(&format!(
            "{}'s wall clock is off by {wrong} ms",
            node.name()
        ));
        node.clock().set_wrong_by_ms(wrong);
    }

    fn spoil_disk(&self, fault: Fault, node: &SimNode, chance: &Chance) {
        match fault {
            Fault::SlowSyncs => {
                let most = [1, 30, 300, 1500][chance.index(4)];
                self.note(&format!("{} syncs in up to {most} ms", node.name()));
                node.disk().set_sync_takes(if most == 1 {
                    SyncTakes::Usual
                } else {
                    SyncTakes::UpTo(most)
                });
            }
            Fault::FailSyncs => {
                self.note(&format!("{}'s syncs fail", node.name()));
                node.disk().set_syncs_fail(true);
            }
            _ => {
                let used = [50, 92, 97, 99][chance.index(4)];
                self.note(&format!("{}'s disk is {used} % full", node.name()));
                node.disk().set_used_percent(used);
            }
        }
    }

    /// Connections of a node break, not always all of them.
    fn reset_connections(&self, node: &SimNode, chance: &Chance) {
        let network = self.arena.cluster.network();
        self.note(&format!("connections of {} break", node.name()));
        for other in self.nodes().iter().filter(|other| other.id() != node.id()) {
            for (from, to) in [(node.id(), other.id()), (other.id(), node.id())] {
                if chance.hits(700) {
                    network.reset(from, to);
                }
            }
        }
    }

    fn crash_all(&self) {
        self.note("all crash");
        self.nodes().iter().for_each(|node| node.crash());
        let acknowledged = self.arena.acknowledged.lock();
        let checked = acknowledged.check(self.arena.cluster.layout(), &self.arena.invariants);
        self.arena.invariants.report(checked);
    }

    fn spoil_ways(&self, fault: Fault, chance: &Chance) {
        let network = self.arena.cluster.network();
        let side = |_: &Arc<SimNode>| chance.hits(500);
        let one_side: Vec<bool> = self.nodes().iter().map(side).collect();
        let way = match fault {
            Fault::SlowWay => Way::Slow([20, 200, 1000][chance.index(3)]),
            Fault::LossyWay => Way::Lossy([20, 100, 400][chance.index(3)]),
            _ => Way::Cut,
        };
        let both = fault == Fault::Split;
        let mut spoiled = String::new();
        for (from, here) in self.nodes().iter().zip(&one_side) {
            for (to, there) in self.nodes().iter().zip(&one_side) {
                let spoils = from.id() != to.id()
                    && if both {
                        here != there
                    } else {
                        *here && !*there
                    };
                // Not always all of them: partial partitions.
                if spoils && (both || chance.hits(700)) {
                    network.set_way(from.id(), to.id(), way);
                    spoiled.extend([" ", from.name(), "->", to.name()]);
                }
            }
        }
        self.note(&format!("{way:?}:{spoiled}"));
    }

    fn damage(&mut self, at: usize) {
        if self.damaged.is_none() && self.nodes()[at].disk().damage_a_record() {
            self.note(&format!(
                "a record of {} is damaged",
                self.nodes()[at].name()
            ));
            let node = self.nodes()[at].id();
            self.arena.invariants.forgot(node);
            self.note_loss(Some(at));
        }
    }

    /// A new epoch with the same owners reaches one node; the others hear of it from each other.
    async fn begin_epoch(&mut self, node: &SimNode) {
        self.epoch += 1;
        self.note(&format!("epoch {} begins", self.epoch));
        let placement = self.arena.cluster.placement(self.epoch);
        // The operator does not wait for a node that stands still.
        let _ = timeout(LONGEST_REQUEST, node.install(placement)).await;
        for node in self.nodes() {
            learn_vnodes(&self.arena, node);
        }
    }

    /// A node loses its disk: it comes back empty, and mends itself.
    fn lose_disk(&mut self, at: usize) {
        let node = self.nodes()[at].clone();
        self.note(&format!("{} loses its disk", node.name()));
        node.crash();
        node.disk().wipe();
        self.arena.invariants.forgot(node.id());
        self.note_loss(Some(at));
    }

    fn note_loss(&mut self, damaged: Option<usize>) {
        self.damaged = damaged;
        let lacks_data = &self.arena.lacks_data;
        lacks_data.store(damaged.is_some(), Ordering::Relaxed);
    }

    /// Whether a node that had lost data has all of it again, and counts on it: two owners that met damage would wait
    /// for each other.
    fn is_mended(&self, at: usize) -> bool {
        let node = &self.nodes()[at];
        let vnodes = node.vnodes();
        let are_whole = vnodes
            .iter()
            .all(|vnode| vnode.is_serving && !vnode.is_damaged);
        !vnodes.is_empty() && are_whole && !node.disk().has_damage()
    }

    /// Damage may be met late, by a request that began to read before it was written over.
    fn look_after_the_damaged(&mut self) {
        let Some(at) = self.damaged else { return };
        if !self.is_mended(at) {
            self.whole_since = None;
            return;
        }
        let since = *self.whole_since.get_or_insert_with(Instant::now);
        if since.elapsed() < LONGEST_REQUEST {
            return;
        }
        self.whole_since = None;
        self.note(&format!("{} has mended itself", self.nodes()[at].name()));
        learn_vnodes(&self.arena, &self.nodes()[at]);
        self.note_loss(None);
    }

    /// A node that stopped in order has lost some of its records when it comes back, and does not know
    /// which: it keeps its vnodes, so rules V3 and V4 have to keep its new dots apart from the lost ones.
    async fn forget(&mut self, at: usize, chance: &Chance) {
        if self.damaged.is_some() {
            return; // the last good copy may be this one
        }
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
            if other != at && !self.nodes()[other].is_up() {
                self.start(other).await;
            }
        }
        node.start_shut()
            .await
            .expect("only clients' records are lost");
        learn_vnodes(&self.arena, &node);
        self.rebuild(at).await;
        node.open();
    }

    async fn rebuild(&self, at: usize) {
        let target = &self.nodes()[at];
        for (space, key) in self.arena.all_keys() {
            let (owners, _) = self.arena.cluster.locate(&space, &key);
            if !owners.iter().any(|owner| owner.id() == target.id()) {
                continue;
            }
            for source in owners.iter().filter(|owner| owner.id() != target.id()) {
                loop {
                    let copied = match source.copy(&space, &key).await {
                        Ok(Some(state)) => target.rebuild(&space, &key, state).await,
                        Ok(None) => Ok(()),
                        Err(error) => Err(error),
                    };
                    if copied.is_ok() || !target.is_up() {
                        break;
                    }
                    if !source.is_up() {
                        let _ = source.start().await;
                    }
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    async fn heal_all_but(&mut self, spared: usize) {
        self.arena.cluster.network().open_all();
        for at in 0..self.nodes().len() {
            let node = self.nodes()[at].clone();
            node.disk().set_sync_takes(SyncTakes::Usual);
            node.disk().set_used_percent(0);
            node.disk().set_syncs_fail(false);
            node.clock().set_wrong_by_ms(0);
            self.arena.cluster.set_stalled(&node, false);
            if at != spared && !node.is_up() {
                self.start(at).await;
            }
        }
        self.stalled_until.clear();
        self.back_at.clear();
    }

    /// Ends all faults, for good.
    pub(crate) async fn heal(&mut self) {
        self.note("all faults end");
        let failing = self.nodes().len();
        self.heal_all_but(failing).await;
        sleep(LONGEST_REQUEST).await;
        let longest_jump = u64::try_from(JUMP_MS).expect("positive");
        sleep(Duration::from_millis(longest_jump) + LONGEST_REQUEST).await;
        self.heal_all_but(failing).await;
    }
}

/// Tells the invariants whose vnodes those are, and which placement the node holds.
pub(crate) fn learn_vnodes(arena: &Arena, node: &SimNode) {
    if let Some(held) = node.held_placement() {
        let issued = arena.cluster.placement(held.epoch().0);
        let invariants = &arena.invariants;
        invariants.learn_placement(node.id(), &held, &issued);
    }
    let placement = arena.cluster.placement(1);
    let own = placement.index_of(node.id());
    for vnode in node.vnodes() {
        let owns = own.is_some_and(|own| placement.is_owner(vnode.partition, own));
        arena
            .invariants
            .learn_vnode(vnode.vnode_id, node.id(), vnode.partition.0, owns);
    }
}
