//! One simulation from its plan to its verdict.

use std::sync::Arc;
use std::time::Duration;

use annulus_node::simulation::{Observer, SimCluster, make};
use parking_lot::Mutex;
use tokio::runtime::Builder;
use tokio::time::Instant;

use crate::broken::Broken;
use crate::faults::{Faults, learn_vnodes};
use crate::invariants::Invariants;
use crate::plan::Plan;
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
    pub(crate) simulated: Duration,
    /// The last of what happened, for people.
    pub(crate) trace: Vec<String>,
}

/// Lines of a trace that are printed.
const TRACE_LINES: usize = 400;

/// Runs a plan, on this thread.
pub(crate) fn run(plan: &Plan) -> Report {
    let _mistake = make(plan.mistake);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    runtime.block_on(simulate(plan))
}

async fn simulate(plan: &Plan) -> Report {
    let invariants = Arc::new(Invariants::default());
    let observer: Arc<dyn Observer> = invariants.clone();
    let began = Instant::now();
    let cluster = SimCluster::new(plan.seed, plan.nodes, plan.replicas, &observer);
    let arena = Arc::new(Arena {
        cluster: Arc::new(cluster),
        invariants,
        recording: Mutex::default(),
        acknowledged: Mutex::default(),
        keys: plan.keys,
        loses_disks: plan.loses_disks(),
        began,
        ends: began + plan.lasts,
    });
    let broken = go_through(plan, &arena).await.err();
    let trace = arena.cluster.trace();
    let about = broken.as_ref().and_then(|broken| broken.key.clone());
    let wanted = |line: &str| match &about {
        // Faults and comings and goings concern every key.
        Some(key) => line.contains(key.as_str()) || !line.contains('/'),
        None => true,
    };
    let (operations, acknowledged) = {
        let recording = arena.recording.lock();
        (recording.operations(), recording.acknowledged())
    };
    Report {
        hash: trace.hash(),
        events: trace.events(),
        operations,
        acknowledged,
        simulated: began.elapsed(),
        trace: if broken.is_some() {
            trace.last(TRACE_LINES, wanted)
        } else {
            Vec::new()
        },
        broken,
    }
}

async fn go_through(plan: &Plan, arena: &Arc<Arena>) -> Result<(), Broken> {
    for node in arena.cluster.nodes() {
        if plan.forgets_tail {
            node.disk().forget_tail_at_crashes();
        }
        node.start().await.expect("an empty disk opens");
        node.install(arena.cluster.placement(1)).await;
        learn_vnodes(arena, node);
    }
    let clients: Vec<_> = (0..plan.clients)
        .map(|number| tokio::spawn(Client::new(number, plan.seed, arena.clone()).run()))
        .collect();
    let mut faults = Faults::new(plan, arena.clone());
    faults.run().await;
    arena.invariants.check()?;
    faults.heal().await;
    for client in clients {
        if let Err(panicked) = client.await {
            std::panic::resume_unwind(panicked.into_panic());
        }
    }
    convergence::drive(arena).await?;
    arena.invariants.check()?;
    judgement::judge(arena)
}
