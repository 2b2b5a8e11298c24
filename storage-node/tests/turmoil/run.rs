//! One simulation from its plan to its verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use annulus_node::simulation::{Chance, Layout, Observer, SimDisk, Timeline, Trace, id_of, make};
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::broken::Broken;
use crate::clients::{Arena, Client};
use crate::faults::Faults;
use crate::invariants::Invariants;
use crate::machine::Machine;
use crate::operator::Operator;
use crate::panics::{count_panics, no_panics};
use crate::plan::{Plan, REPLICAS};
use crate::world::World;
use crate::{convergence, judgement};

/// What came of a simulation.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) broken: Option<Broken>,
    /// Of everything that happened.
    pub(crate) hash: u64,
    pub(crate) events: u64,
    pub(crate) operations: u64,
    /// Of which so many were answered with success.
    pub(crate) acknowledged: u64,
    pub(crate) simulated: Duration,
    /// The last of what happened, for people.
    pub(crate) trace: Vec<String>,
}

/// Lines of a trace that are printed.
const TRACE_LINES: usize = 2_000;

/// Clients that go on for so long after the faults ended hang.
const LONGEST_HEALING: Duration = Duration::from_secs(240);

/// Runs a plan, on this thread.
pub(crate) fn run(plan: &Plan) -> Report {
    let _mistake = make(plan.mistake);
    count_panics();
    let timeline = Timeline::driven();
    let trace = Arc::new(Trace::new(timeline.clone()));
    let invariants = Arc::new(Invariants::default());
    let observer: Arc<dyn Observer> = invariants.clone();
    trace.keep_lines();
    let disks = (1..=plan.nodes).map(|number| {
        let chance = Chance::new(plan.seed, &format!("disk {number}"));
        let disk = SimDisk::new(id_of(number), chance, observer.clone());
        disk.write_into(trace.clone(), &format!("n{number}"));
        disk
    });
    let arena = Arc::new(Arena {
        layout: Layout::new(disks.collect(), REPLICAS),
        trace: trace.clone(),
        timeline: timeline.clone(),
        invariants,
        recording: Mutex::default(),
        acknowledged: Mutex::default(),
        keys: plan.keys,
        ends: plan.lasts,
        is_healed: AtomicBool::new(false),
    });
    arena.invariants.look_at(Some(&arena.layout));
    let broken = go_through(plan, &arena).err();
    arena.invariants.look_at(None);
    let key = broken.as_ref().and_then(|broken| broken.key.clone());
    let wanted = |line: &str| {
        let is_rare = ["==", "starts", "stops", "exits", "killed", "epoch"];
        is_rare.iter().any(|word| line.contains(word))
            || key.as_ref().is_none_or(|key| line.contains(key))
    };
    let recording = arena.recording.lock();
    Report {
        hash: trace.hash(),
        events: trace.events(),
        operations: recording.operations(),
        acknowledged: recording.acknowledged(),
        simulated: timeline.elapsed(),
        trace: trace.last(TRACE_LINES, wanted),
        broken,
    }
}

fn go_through(plan: &Plan, arena: &Arc<Arena>) -> Result<(), Broken> {
    let machines = (1..=plan.nodes).zip(arena.layout.disks());
    let machines = machines.map(|(number, disk)| {
        let (disk, trace) = (disk.clone(), arena.trace.clone());
        Machine::new(number, plan.seed, disk, &arena.timeline, trace)
    });
    let (timeline, trace) = (arena.timeline.clone(), arena.trace.clone());
    let mut world = World::new(plan, machines.collect(), timeline, trace);
    let epoch = Arc::new(AtomicU64::new(1));
    world.add_operator(Operator {
        layout: arena.layout.clone(),
        invariants: arena.invariants.clone(),
        trace: arena.trace.clone(),
        epoch: epoch.clone(),
    });
    let converged = Arc::new(Mutex::new(Ok(())));
    world.add_clients(be_clients(plan.clone(), arena.clone(), converged.clone()));

    let mut faults = Faults::new(plan, arena.clone(), epoch);
    while world.now() < plan.lasts && arena.invariants.check().is_ok() {
        world.step()?;
        faults.look(&mut world);
    }
    arena.invariants.check()?;
    faults.heal(&mut world)?;
    let latest = world.now() + LONGEST_HEALING;
    while !world.step()? {
        if world.now() > latest {
            return Err(Broken::new("L1 the cluster heals", "clients hang"));
        }
    }
    converged.lock().clone()?;
    arena.invariants.check()?;
    no_panics()?;
    let records = std::mem::take(&mut arena.recording.lock().records);
    judgement::judge(records, true)
}

/// All clients; then, once the faults are over, what brings the copies together.
async fn be_clients(plan: Plan, arena: Arc<Arena>, converged: Arc<Mutex<Result<(), Broken>>>) {
    let clients: Vec<_> = (0..plan.clients)
        .map(|number| tokio::spawn(Client::new(number, &plan, arena.clone()).run()))
        .collect();
    for client in clients {
        if let Err(panicked) = client.await {
            std::panic::resume_unwind(panicked.into_panic());
        }
    }
    while !arena.is_healed.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(10)).await;
    }
    let result = convergence::drive(&arena).await;
    *converged.lock() = result;
}
