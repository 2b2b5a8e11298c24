//! One simulation from its plan to its verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use annulus_node::simulation::{Observer, SimCluster, listen, make};
use annulus_ring::Placement;
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::api_server::{ApiServer, Tally};
use crate::broken::Broken;
use crate::faults::{Faults, learn_vnodes};
use crate::invariants::{Invariants, tree_is_of_data};
use crate::operator::Operators;
use crate::plan::{Fault, Plan};
use crate::wishes::Wishes;
use crate::workload::{Arena, Client};
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
    /// Records of deleted keys that nodes have removed.
    pub(crate) reaped: u64,
    /// Vnodes that scrubs have read back.
    pub(crate) scrubbed: u64,
    /// The faults that were made, by number.
    pub(crate) faults: Vec<(u64, Fault)>,
    pub(crate) simulated: Duration,
    /// Keys that anti-entropy moved, and of them those that it moved in vain.
    pub(crate) repaired: (u64, u64),
    pub(crate) moves: Tally,
    /// The last of what happened, for people; only of [`run_traced`].
    pub(crate) trace: Vec<String>,
    /// What each disk held of the key concerned in the end; only of [`run_traced`].
    pub(crate) disks: Vec<String>,
}

impl Report {
    /// How often each kind of fault was made.
    pub(crate) fn fault_counts(&self) -> BTreeMap<Fault, u64> {
        let mut counts = BTreeMap::new();
        for (_, fault) in &self.faults {
            *counts.entry(*fault).or_default() += 1;
        }
        counts
    }
}

/// Lines of a failure's trace that are printed.
const TRACE_LINES: usize = 400;

/// Runs a plan, on this thread.
pub(crate) fn run(plan: &Plan) -> Report {
    run_with(plan, None)
}

/// The same, with what happened in words: of a failure the last lines, and those about its key; of all
/// else everything, if it is `whole`.
pub(crate) fn run_traced(plan: &Plan, whole: bool) -> Report {
    run_with(plan, Some(whole))
}

fn run_with(plan: &Plan, traced: Option<bool>) -> Report {
    in_simulation(plan, simulate(plan, traced))
}

/// Does work on this thread, in the plan's simulated time.
pub(crate) fn in_simulation<T>(plan: &Plan, work: impl Future<Output = T>) -> T {
    let _mistake = make(plan.mistake);
    let _listening = listen();
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    runtime.block_on(work)
}

/// A plan's nodes, none of them started, and what watches them.
pub(crate) fn arena(plan: &Plan) -> Arc<Arena> {
    let invariants = Arc::new(Invariants::default());
    let observer: Arc<dyn Observer> = invariants.clone();
    let began = Instant::now();
    let cluster = SimCluster::new(
        plan.seed,
        (plan.nodes, plan.spares),
        plan.replicas,
        (plan.hints.clone(), plan.compared_every),
        &observer,
    );
    let cluster = Arc::new(cluster);
    invariants.watch(cluster.clone(), plan.hints.ttl, plan.loses_disks());
    invariants.look_at(Some(cluster.layout()));
    let api = ApiServer::new(cluster.clone(), invariants.clone(), plan.rules());
    let wishes = Wishes::of(plan.nodes, plan.spares, plan.replicas);
    Arc::new(Arena {
        cluster,
        invariants,
        api,
        wishes: Mutex::new(wishes),
        recording: Mutex::default(),
        acknowledged: Mutex::default(),
        keys: plan.keys,
        loses_disks: plan.loses_disks(),
        lacks_data: AtomicBool::new(false),
        one_is_lost: AtomicBool::new(false),
        began,
        ends: Mutex::new(began),
        think_ms: plan.think_ms,
        quorums_only: plan.quorums_only,
    })
}

async fn simulate(plan: &Plan, traced: Option<bool>) -> Report {
    let arena = arena(plan);
    if traced.is_some() {
        arena.cluster.trace().keep_lines();
    }
    let mut faults = Faults::new(plan, arena.clone());
    let broken = go_through(plan, &arena, &mut faults).await.err();
    arena.invariants.look_at(None);
    let (operations, acknowledged) = {
        let recording = arena.recording.lock();
        (recording.operations(), recording.acknowledged())
    };
    let trace = arena.cluster.trace();
    let (lines, disks) = match (traced, &broken) {
        (None, _) | (Some(false), None) => (Vec::new(), Vec::new()),
        (Some(true), _) => (trace.last(usize::MAX, |_| true), disks(&arena, None)),
        (Some(false), Some(broken)) => {
            let about = broken.key.as_deref();
            // Faults and comings and goings concern every key.
            let wanted =
                |line: &str| about.is_none_or(|key| is_about(line, key) || !line.contains('/'));
            (trace.last(TRACE_LINES, wanted), disks(&arena, about))
        }
    };
    Report {
        hash: trace.hash(),
        events: trace.events(),
        operations,
        acknowledged,
        reaped: arena.invariants.reaped(),
        scrubbed: scrubbed(&arena),
        faults: faults.made().to_vec(),
        simulated: arena.began.elapsed(),
        repaired: repaired(&arena),
        moves: arena.api.tally(),
        trace: lines,
        disks,
        broken,
    }
}

/// Whether the line names the key, and not one that begins so.
fn is_about(line: &str, key: &str) -> bool {
    line.split([' ', ':']).any(|word| word == key)
}

/// What each owner's disk holds: of that key, or of all.
fn disks(arena: &Arena, about: Option<&str>) -> Vec<String> {
    let mut lines = Vec::new();
    for (space, key) in arena.all_keys() {
        let name = format!("{space}/{key}");
        if about.is_some_and(|about| about != name) {
            continue;
        }
        let (owners, stored) = arena.cluster.locate(&space, &key);
        let held = owners.iter().map(|owner| {
            let disk = owner.disk().describe(&stored);
            format!("{}'s disk: {name} = {disk}", owner.name())
        });
        lines.extend(held);
    }
    lines
}

fn repaired(arena: &Arena) -> (u64, u64) {
    let nodes = arena.cluster.nodes().iter();
    nodes.fold((0, 0), |(keys, needless), node| {
        let (more_keys, more_needless) = node.repaired();
        (keys + more_keys, needless + more_needless)
    })
}

fn scrubbed(arena: &Arena) -> u64 {
    let nodes = arena.cluster.nodes().iter();
    nodes.map(|node| node.scrubbed().0).sum()
}

/// Starts all nodes. The clients of the plan, which do nothing yet.
pub(crate) async fn begin(plan: &Plan, arena: &Arc<Arena>) -> Vec<Client> {
    for node in arena.cluster.nodes() {
        if plan.forgets_tail {
            node.disk().forget_tail_at_crashes();
        }
        node.start().await.expect("an empty disk opens");
    }
    let first = arena.cluster.layout().current();
    for node in arena.cluster.members() {
        node.install(Placement::clone(&first)).await;
        learn_vnodes(arena, &node);
    }
    // The last one looks after the cold keys.
    let client = |number| Client::new(number, plan.seed, arena.clone());
    (0..=plan.clients).map(client).collect()
}

async fn go_through(plan: &Plan, arena: &Arc<Arena>, faults: &mut Faults) -> Result<(), Broken> {
    let mut clients = begin(plan, arena).await;
    let (mut held, mut storms) = (Vec::new(), 0);
    let ends = arena.began + plan.lasts;
    while Instant::now() < ends {
        *arena.ends.lock() = ends.min(Instant::now() + plan.storm);
        clients = storm((plan, arena), faults, (clients, storms)).await?;
        storms += 1;
        held = convergence::drive(arena, plan.compared_every).await?;
        for node in arena.cluster.nodes() {
            tree_is_of_data::check(node)?;
        }
        arena.invariants.check()?;
    }
    convergence::record(arena, held)?;
    let records = std::mem::take(&mut arena.recording.lock().records);
    judgement::judge(records, plan.kills())
}

/// Clients, faults and moves together until the storm is over; then all faults end, and all moves.
async fn storm(
    (plan, arena): (&Plan, &Arc<Arena>),
    faults: &mut Faults,
    (clients, number): (Vec<Client>, u64),
) -> Result<Vec<Client>, Broken> {
    let operators = Operators::start(plan, arena, number);
    let last = clients.len() - 1;
    let running: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|(at, client)| {
            if at == last {
                tokio::spawn(client.tend_cold_keys())
            } else {
                tokio::spawn(client.run())
            }
        })
        .collect();
    faults.run().await;
    arena.invariants.check()?;
    faults.heal().await;
    let mut rested = Vec::with_capacity(running.len());
    for client in running {
        match client.await {
            Ok(client) => rested.push(client),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
    operators.finish(arena).await?;
    faults.look_after_the_damaged();
    Ok(rested)
}
