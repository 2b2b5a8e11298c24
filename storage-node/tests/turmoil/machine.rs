//! One node's machine: what lives longer than a run of the node, and the run itself.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use annulus_node::Node;
use annulus_node::config::Config;
use annulus_node::simulation::{
    Chance, SimClock, SimDisk, SimFile, Simulated, Timeline, Trace, UNSYNCED_KEYSPACE, id_of,
};
use tokio::sync::Notify;

use crate::wire::Wires;

/// The secret of the cluster's contexts.
pub(crate) const CONTEXT_KEY: [u8; 32] = [7; 32];

/// See the module.
pub(crate) struct Machine {
    number: u16,
    name: String,
    seed: u64,
    disk: SimDisk,
    placement: SimFile,
    clock: Arc<SimClock>,
    wires: Wires,
    trace: Arc<Trace>,
    runs: AtomicU64,
    stop: Notify,
    /// The node's process has ended by itself; the machine is to be told so.
    has_exited: AtomicBool,
}

impl Machine {
    pub(crate) fn new(
        number: u16,
        seed: u64,
        disk: SimDisk,
        timeline: &Timeline,
        trace: Arc<Trace>,
    ) -> Arc<Self> {
        let name = format!("n{number}");
        Arc::new(Self {
            number,
            seed,
            disk,
            placement: SimFile::default(),
            clock: Arc::new(SimClock::new(timeline.clone())),
            wires: Wires::new(&name, trace.clone()),
            trace,
            runs: AtomicU64::new(0),
            stop: Notify::new(),
            has_exited: AtomicBool::new(false),
            name,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn disk(&self) -> &SimDisk {
        &self.disk
    }

    pub(crate) fn clock(&self) -> &SimClock {
        &self.clock
    }

    pub(crate) fn wires(&self) -> &Wires {
        &self.wires
    }

    /// Tells the node to stop in order.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.notify_waiters();
    }

    /// Whether the process has ended by itself since somebody last asked.
    pub(crate) fn take_exited(&self) -> bool {
        self.has_exited.swap(false, Ordering::Relaxed)
    }

    /// One run of the node, until it is killed: what the process is to the machine.
    pub(crate) async fn run(self: Arc<Self>) -> turmoil::Result {
        self.has_exited.store(false, Ordering::Relaxed);
        self.wires.begin();
        let how = self.serve().await;
        self.trace.note(format_args!("{} exits: {how}", self.name));
        self.has_exited.store(true, Ordering::Relaxed);
        // What still runs of a process that has ended goes away with the runtime, at once.
        pending().await
    }

    async fn serve(&self) -> String {
        self.trace.note(format_args!("{} starts", self.name));
        let node = match Node::start_simulated(self.config(), self.surroundings()).await {
            Ok(node) => node,
            Err(error) => return error.to_string(),
        };
        tokio::select! {
            biased;
            reason = node.failed() => reason,
            () = self.stop.notified() => {
                self.trace.note(format_args!("{} stops", self.name));
                match node.drain().await {
                    Ok(()) => "stopped".to_owned(),
                    Err(unclean) => unclean.to_string(),
                }
            }
        }
    }

    fn config(&self) -> Config {
        let text = format!(
            "{{name: {}, data_dir: /simulated, context_key_file: /simulated, drain_timeout: 5s, \
             keyspaces: {{{UNSYNCED_KEYSPACE}: {{conflict: siblings, durability: async}}}}}}",
            self.name
        );
        Config::parse(&text).expect("a valid configuration")
    }

    fn surroundings(&self) -> Simulated {
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        let stream = format!("{} run {run}", self.name);
        Simulated {
            id: id_of(self.number),
            disk: self.disk.clone(),
            placement: self.placement.clone(),
            clock: self.clock.clone(),
            randomness: Arc::new(Chance::new(self.seed, &stream)),
            network: Arc::new(self.wires.clone()),
            context_key: CONTEXT_KEY,
        }
    }
}
