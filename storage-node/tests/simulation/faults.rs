//! The timetable of faults: what goes wrong next, and who comes back when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use annulus_node::simulation::{Chance, DRIFTS_BY_AT_MOST_MS, SimNode, SyncTakes, Way, turned};
use tokio::time::{Instant, sleep, timeout};

use crate::broken::Broken;
use crate::invariants::tree_is_of_data;
use crate::losses::Damaged;
use crate::plan::{Fault, Plan};
use crate::workload::Arena;

/// How far a wall clock may jump, in milliseconds.
pub(crate) const JUMP_MS: i64 = DRIFTS_BY_AT_MOST_MS;

/// How much too fast or slow a wall clock runs, in microseconds a second.
const DRIFT_PPM: u64 = 20_000;

/// No request lives longer.
pub(crate) const LONGEST_REQUEST: Duration = Duration::from_secs(3);

/// Makes the faults of one run.
pub(crate) struct Faults {
    pub(crate) arena: Arc<Arena>,
    /// What happens when.
    chance: Chance,
    /// Who comes back when.
    returns: Chance,
    plan: Plan,
    /// How many faults were due; each has its number, from 0.
    due: u64,
    /// Those that were made.
    made: Vec<(u64, Fault)>,
    pub(crate) back_at: BTreeMap<usize, Instant>,
    pub(crate) stalled_until: BTreeMap<usize, Instant>,
    /// The one node that lost data and has not mended itself yet: no other may lose any meanwhile.
    pub(crate) damaged: Option<Damaged>,
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
        }
    }

    pub(crate) fn nodes(&self) -> &[Arc<SimNode>] {
        self.arena.cluster.nodes()
    }

    pub(crate) fn note(&self, what: &str) {
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
            if !node.is_up() && !self.is_destroyed(at) {
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

    pub(crate) async fn start(&mut self, at: usize) {
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
        if self.is_destroyed(at) && !matches!(fault, Fault::CrashAll) {
            return;
        }
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
                self.arena.api.cut_off(BTreeSet::new());
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
            Fault::Wipe => self.lose_disk(at),
            Fault::Destroy => self.destroy(at, chance),
            Fault::Forget => self.forget(at, chance).await,
            Fault::NewEpoch => self.begin_epoch(&node).await,
            Fault::Reset => self.reset_connections(&node, chance),
            Fault::CutOperator | Fault::ApiAway | Fault::Restore => {
                self.trouble_operator(fault, chance);
            }
        }
    }

    fn trouble_operator(&self, fault: Fault, chance: &Chance) {
        let api = &self.arena.api;
        match fault {
            Fault::CutOperator => {
                let is_cut = |_: &&Arc<SimNode>| chance.hits(300);
                let cut = self.nodes().iter().filter(is_cut);
                let cut: Vec<_> = cut.collect();
                let names: Vec<_> = cut.iter().map(|node| node.name()).collect();
                self.note(&format!("the operator does not reach {}", names.join(" ")));
                api.cut_off(cut.iter().map(|node| node.id()).collect());
            }
            Fault::ApiAway => {
                let milliseconds = chance.within(100..10_000);
                self.note(&format!("the API server is away for {milliseconds} ms"));
                api.go_away(Duration::from_millis(milliseconds));
            }
            _ => {
                let epochs = chance.within(1..6);
                self.note(&format!(
                    "a backup without the last {epochs} epochs is restored"
                ));
                api.forget(epochs);
            }
        }
    }

    pub(crate) fn has_operator(&self) -> bool {
        self.plan.operators > 0
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

    /// Somebody records a new epoch with the same owners and hands it to one node; the others hear of it from each other.
    async fn begin_epoch(&mut self, node: &SimNode) {
        let newest = self.arena.cluster.layout().current().epoch();
        let recorded = self.arena.api.read(newest);
        // What was restored is not for everybody to build on.
        let Some((recorded, read)) = recorded.filter(|(recorded, _)| recorded.epoch() == newest)
        else {
            return;
        };
        let placement = turned(&recorded);
        self.note(&format!("epoch {} begins", placement.epoch()));
        if self.arena.api.write(read, placement.clone()).is_err() {
            return;
        }
        // The operator does not wait for a node that stands still.
        let _ = timeout(LONGEST_REQUEST, node.install(placement)).await;
        for node in self.nodes() {
            learn_vnodes(&self.arena, node);
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
            if at != spared && !node.is_up() && !self.is_destroyed(at) {
                self.start(at).await;
            }
        }
        self.stalled_until.clear();
        self.back_at.clear();
    }

    /// Ends all faults, for good.
    pub(crate) async fn heal(&mut self) {
        self.note("all faults end");
        self.arena.api.heal();
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
        if let Some(issued) = arena.cluster.layout().issued(held.epoch()) {
            let invariants = &arena.invariants;
            invariants.learn_placement(node.id(), &held, &issued);
        } else {
            let what = format!(
                "{} holds epoch {}, which nobody issued",
                node.name(),
                held.epoch()
            );
            let broken = Broken::new("I16 one placement an epoch", what);
            arena.invariants.report(Err(broken));
        }
    }
    for vnode in node.vnodes() {
        let invariants = &arena.invariants;
        invariants.learn_vnode(vnode.vnode_id, node.id(), vnode.partition.0);
    }
}
