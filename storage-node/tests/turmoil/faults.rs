//! The timetable of faults: what goes wrong next, and who comes back when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annulus_node::simulation::{Chance, SyncTakes};

use crate::broken::Broken;
use crate::clients::Arena;
use crate::plan::{Fault, Plan};
use crate::world::{CLIENTS, OPERATOR, World};

/// How far a wall clock may jump, in milliseconds.
pub(crate) const JUMP_MS: i64 = 5_000;

/// How often it is seen to who comes back.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Makes the faults of one run.
pub(crate) struct Faults {
    arena: Arc<Arena>,
    chance: Chance,
    plan: Plan,
    next_look: Duration,
    next_fault: Duration,
    back_at: BTreeMap<usize, Duration>,
    stalled_until: BTreeMap<usize, Duration>,
    /// Nodes that were asked to stop, and when they are killed.
    stopping_until: BTreeMap<usize, Duration>,
    /// The operator's epoch.
    epoch: Arc<AtomicU64>,
}

impl Faults {
    pub(crate) fn new(plan: &Plan, arena: Arc<Arena>, epoch: Arc<AtomicU64>) -> Self {
        Self {
            arena,
            chance: Chance::new(plan.seed, "faults"),
            plan: plan.clone(),
            next_look: Duration::ZERO,
            // The cluster is founded first.
            next_fault: Duration::from_secs(1),
            back_at: BTreeMap::new(),
            stalled_until: BTreeMap::new(),
            stopping_until: BTreeMap::new(),
            epoch,
        }
    }

    /// Call it at every step while there are faults.
    pub(crate) fn look(&mut self, world: &mut World) {
        let now = world.now();
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_EVERY;
        self.bring_back(world);
        if now >= self.next_fault {
            let (shortest, longest) = self.plan.calm_ms;
            let calm = self.chance.within(shortest..longest);
            self.next_fault = now + Duration::from_millis(calm);
            let fault = self.plan.faults[self.chance.index(self.plan.faults.len())];
            self.make(fault, world);
        }
    }

    /// Who was down long enough starts; who stalled long enough goes on.
    fn bring_back(&mut self, world: &mut World) {
        let now = world.now();
        for at in 0..world.machines().len() {
            let is_due = |until: Option<&Duration>| until.is_some_and(|until| *until <= now);
            if is_due(self.stopping_until.get(&at)) {
                self.stopping_until.remove(&at);
                world.kill(at);
            }
            if !world.is_up(at) {
                let soon = now + Duration::from_millis(self.chance.within(50..3_000));
                if *self.back_at.entry(at).or_insert(soon) <= now {
                    self.start(at, world);
                }
            } else if is_due(self.stalled_until.get(&at)) {
                self.stalled_until.remove(&at);
                let name = world.machines()[at].name().to_owned();
                world.note(&format!("{name} goes on"));
                world.go_on(at);
            }
        }
    }

    fn start(&mut self, at: usize, world: &mut World) {
        self.back_at.remove(&at);
        self.stalled_until.remove(&at);
        self.stopping_until.remove(&at);
        world.start(at);
    }

    fn make(&mut self, fault: Fault, world: &mut World) {
        let at = self.chance.index(world.machines().len());
        let machine = world.machines()[at].clone();
        let name = machine.name().to_owned();
        match fault {
            Fault::Kill => world.kill(at),
            Fault::PowerCut => world.cut_power(at),
            Fault::KillAll => self.kill_all(world),
            Fault::Stop if world.is_up(at) => {
                let longest = Duration::from_secs(6);
                self.stopping_until.insert(at, world.now() + longest);
                machine.ask_to_stop();
            }
            Fault::Split | Fault::Hold | Fault::OneWay => self.spoil_ways(fault, world),
            Fault::Slow => {
                let most = [30, 100, 400][self.chance.index(3)];
                world.note(&format!("{name} is up to {most} ms away"));
                world.slow_down(at, Duration::from_millis(most));
            }
            Fault::Lossy => {
                let per_mille = [1, 5, 20][self.chance.index(3)];
                world.note(&format!("{name} loses {per_mille} in 1000 segments"));
                world.lose_segments(at, f64::from(per_mille) / 1000.0);
            }
            Fault::Mend => {
                world.note("all ways are well");
                world.mend_all();
            }
            Fault::Reset => {
                let per_mille = [300, 1000][self.chance.index(2)];
                let count = machine.wires().reset(&self.chance, per_mille);
                world.note(&format!("{count} connections of {name} are reset"));
            }
            Fault::Stall if world.is_up(at) => {
                let milliseconds = self.chance.within(50..3_000);
                world.note(&format!("{name} stalls for {milliseconds} ms"));
                world.stall(at);
                let until = world.now() + Duration::from_millis(milliseconds);
                self.stalled_until.insert(at, until);
            }
            Fault::Stop | Fault::Stall => {}
            Fault::Skew | Fault::Jump => {
                let most = if fault == Fault::Skew { 240 } else { JUMP_MS };
                let span = u64::try_from(2 * most).expect("positive");
                let wrong = i64::try_from(self.chance.within(0..span)).expect("small") - most;
                world.note(&format!("{name}'s wall clock is off by {wrong} ms"));
                machine.clock().set_wrong_by_ms(wrong);
            }
            Fault::SlowSyncs | Fault::FailSyncs | Fault::FullDisk => {
                self.spoil_disk(fault, at, world);
            }
            Fault::NewEpoch => {
                let epoch = self.epoch.fetch_add(1, Ordering::Relaxed) + 1;
                world.note(&format!("epoch {epoch} begins"));
            }
        }
    }

    fn spoil_disk(&self, fault: Fault, at: usize, world: &World) {
        let machine = &world.machines()[at];
        let (name, disk) = (machine.name(), machine.disk());
        match fault {
            Fault::SlowSyncs => {
                let most = [30, 300, 1500][self.chance.index(3)];
                world.note(&format!("{name} syncs in up to {most} ms"));
                disk.set_sync_takes(SyncTakes::UpTo(most));
            }
            Fault::FailSyncs => {
                world.note(&format!("{name}'s syncs fail"));
                disk.set_syncs_fail(true);
            }
            _ => {
                let full = self.chance.hits(500);
                world.note(&format!("{name}'s disk is full: {full}"));
                disk.set_used_percent(if full { 99 } else { 0 });
            }
        }
    }

    fn kill_all(&self, world: &mut World) {
        world.note("all are killed");
        for at in 0..world.machines().len() {
            world.kill(at);
        }
        let acknowledged = self.arena.acknowledged.lock();
        let checked = acknowledged.check(&self.arena.layout, &self.arena.invariants);
        self.arena.invariants.report(checked);
    }

    /// Everybody is on one side or the other.
    fn spoil_ways(&self, fault: Fault, world: &mut World) {
        let names: Vec<String> = world
            .machines()
            .iter()
            .map(|machine| machine.name().to_owned())
            .chain([CLIENTS.to_owned(), OPERATOR.to_owned()])
            .collect();
        let sides: Vec<bool> = names.iter().map(|_| self.chance.hits(500)).collect();
        let mut spoiled = String::new();
        for (from, here) in names.iter().zip(&sides) {
            for (to, there) in names.iter().zip(&sides) {
                // Not always all of them: partial partitions.
                if *here && !*there && self.chance.hits(700) {
                    match fault {
                        Fault::OneWay => world.cut_way(from, to),
                        _ => world.split(from, to, fault == Fault::Hold),
                    }
                    spoiled.extend([" ", from, "->", to]);
                }
            }
        }
        world.note(&format!("{fault:?}:{spoiled}"));
    }

    /// Ends all faults, for good.
    pub(crate) fn heal(&mut self, world: &mut World) -> Result<(), Broken> {
        world.note("all faults end");
        for at in 0..world.machines().len() {
            let machine = world.machines()[at].clone();
            machine.disk().set_sync_takes(SyncTakes::Usual);
            machine.disk().set_used_percent(0);
            machine.disk().set_syncs_fail(false);
            machine.disk().set_stalled(false);
            machine.clock().set_wrong_by_ms(0);
            if self.stopping_until.contains_key(&at) {
                world.kill(at);
            }
            if !world.is_up(at) {
                self.start(at, world);
            }
        }
        world.mend_all();
        // Wall clocks that were ahead are caught up with, and a node that found its disk failed just
        // now comes back.
        let ends = world.now() + Duration::from_secs(8);
        while world.now() < ends {
            world.step()?;
            for at in 0..world.machines().len() {
                if !world.is_up(at) {
                    self.start(at, world);
                }
            }
        }
        self.arena.is_healed.store(true, Ordering::Relaxed);
        Ok(())
    }
}
