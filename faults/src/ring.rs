//! The running ring: its processes, network and disks, and what was found wrong with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use annulus_checker::{NodeEpoch, Record};
use annulus_ring::{NodeId, Placement, PlacementDocument, RingEpoch};
use anyhow::{Context as _, Result};
use futures::future::join_all;
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{sleep, timeout};

use crate::fault::NodeOrdinal;
use crate::founding;
use crate::isolation::Isolation;
use crate::network::Network;
use crate::node_process::{Expected, NodeProcess};
use crate::recording::Recording;
use crate::site::{Settings, Site};
use crate::wall_clock::WallClocks;
use crate::workload::client::Arena;
use crate::{admin, clock::Clock};

/// A started node serves after this time, or something is wrong.
pub(crate) const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// How often processes are looked after, and nodes asked for their epoch.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const POLL_EVERY: Duration = Duration::from_millis(50);

/// A running ring.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) site: Site,
    /// The first one.
    pub(crate) placement: Placement,
    pub(crate) network: Option<AsyncMutex<Network>>,
    pub(crate) arena: Arc<Arena>,
    nodes: Vec<AsyncMutex<NodeProcess>>,
    findings: Mutex<Vec<String>>,
}

impl Ring {
    /// Starts so many nodes in a directory, founds the ring of all but the spares, and begins the run's recording there. The seed
    /// decides the ring.
    pub(crate) async fn start(
        dir: &Path,
        isolation: &Isolation,
        (nodes, seed): (usize, u64),
        settings: &Settings,
    ) -> Result<Arc<Self>> {
        let program = node_program()?;
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        let dir = dir.canonicalize().context("find the run's directory")?;
        let site = Site::make(&dir, isolation, nodes, settings)?;
        let recording = Recording::begin(&dir)?;
        let network = site
            .is_isolated()
            .then(|| Network::make(nodes))
            .transpose()?;
        let clocks = match WallClocks::build(site.dir()) {
            Ok(clocks) => Some(clocks),
            Err(error) => {
                eprintln!("CLOCKS CAN'T BE CHANGED: {error:#}");
                None
            }
        };
        let mut processes = Vec::new();
        for node in 0..nodes {
            let mut process = NodeProcess::new(node, program.clone(), site.clone(), clocks.clone());
            process.start()?;
            processes.push(AsyncMutex::new(process));
        }
        let placement = founding::found(&site, nodes - settings.spares, seed).await?;
        let ring = Self {
            arena: Arc::new(Arena::new(&site, nodes, recording, Clock::start())?),
            network: network.map(AsyncMutex::new),
            nodes: processes,
            findings: Mutex::default(),
            site,
            placement,
        };
        let document = Record::Placement(Box::new(PlacementDocument::from(&ring.placement)));
        ring.arena.recording.add(&document);
        ring.all_serve(None).await;
        Ok(Arc::new(ring))
    }

    /// How many nodes there are.
    pub(crate) fn size(&self) -> usize {
        self.nodes.len()
    }

    /// A node's process.
    pub(crate) fn process(&self, node: NodeOrdinal) -> &AsyncMutex<NodeProcess> {
        &self.nodes[node]
    }

    /// A node's identity.
    pub(crate) fn id(&self, node: NodeOrdinal) -> NodeId {
        let name = format!("node-{}", node + 1);
        let nodes = self.placement.nodes();
        let place = nodes.iter().find(|node| node.name == name);
        place.expect("every node is in the placement").id
    }

    /// How many hints the others keep for a node. `None`: one of them does not say.
    pub(crate) async fn hints_for(&self, node: NodeOrdinal) -> Option<u64> {
        let target = self.id(node).to_string();
        let mut kept = 0;
        for other in (0..self.size()).filter(|other| *other != node) {
            let status = admin::status(&self.site.addresses(other).admin).await?;
            let hints = status.hints.iter().filter(|kept| kept.target == target);
            kept += hints.map(|kept| kept.hints).sum::<u64>();
        }
        Some(kept)
    }

    /// The clock of the recording.
    pub(crate) fn clock(&self) -> Clock {
        self.arena.clock
    }

    /// Something that must not be, beside what the checker finds.
    pub(crate) fn found(&self, what: impl Into<String>) {
        let what = what.into();
        self.note(&format!("FOUND: {what}"));
        self.findings.lock().push(what);
    }

    /// All of it.
    pub(crate) fn findings(&self) -> Vec<String> {
        self.findings.lock().clone()
    }

    /// A line of the run's trace.
    pub(crate) fn note(&self, what: &str) {
        println!("{:9.3} {what}", self.clock().elapsed().as_secs_f64());
    }

    /// Waits until every node of the first placement serves, but for one that need not.
    pub(crate) async fn all_serve(&self, spared: Option<NodeOrdinal>) {
        for node in (0..self.placement.nodes().len()).filter(|node| Some(*node) != spared) {
            if !self.serves(node, SERVES_WITHIN).await {
                let log = self.site.log_file(node);
                self.found(format!(
                    "node-{} does not serve {SERVES_WITHIN:?} after all is well; see {}",
                    node + 1,
                    log.display()
                ));
            }
        }
    }

    /// Whether a node serves within that time.
    pub(crate) async fn serves(&self, node: NodeOrdinal, within: Duration) -> bool {
        let address = &self.site.addresses(node).admin;
        let asked = async {
            while !admin::serves(address).await {
                sleep(POLL_EVERY).await;
            }
        };
        timeout(within, asked).await.is_ok()
    }

    /// Looks after the processes until stopped: one that ends by itself without a reason is a finding, and
    /// is started again.
    pub(crate) async fn watch(&self) {
        while !self.arena.stopped.load(Ordering::Relaxed) {
            sleep(LOOK_EVERY).await;
            for node in 0..self.size() {
                // Whoever holds it is just doing something to it.
                if let Ok(mut process) = self.nodes[node].try_lock() {
                    self.look_after(node, &mut process);
                }
            }
            self.record_epochs().await;
        }
    }

    fn look_after(&self, node: NodeOrdinal, process: &mut NodeProcess) {
        if process.expected != Expected::Running {
            return;
        }
        if let Some(status) = process.ended() {
            let log = self.site.log_file(node);
            self.found(format!(
                "node-{} ended by itself: {status}; see {}",
                node + 1,
                log.display()
            ));
            if let Err(error) = process.start() {
                self.found(format!(
                    "node-{} can't be started again: {error:#}",
                    node + 1
                ));
            }
        }
    }

    async fn record_epochs(&self) {
        let asked = (0..self.size()).map(|node| async move {
            let status = admin::status(&self.site.addresses(node).admin).await?;
            Some(NodeEpoch {
                node: status.node_id.parse().ok()?,
                at_us: self.clock().now_us(),
                epoch: RingEpoch(status.epoch),
                fingerprint: Some(status.fingerprint),
            })
        });
        for epoch in join_all(asked).await.into_iter().flatten() {
            self.arena.recording.add(&Record::NodeEpoch(epoch));
        }
    }

    /// Stops all nodes in order, at the end.
    pub(crate) async fn stop(&self) {
        for node in 0..self.size() {
            let mut process = self.nodes[node].lock().await;
            let _ = process.signal(Signal::SIGCONT); // it ends anyway, or is killed below
            if let Err(error) = process.stop().await {
                self.found(format!("{error:#}"));
            }
        }
    }
}

/// The program of the node: named by `ANNULUS_NODE_BIN`, or beside this one (or the folder that it is in).
fn node_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ANNULUS_NODE_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().context("find this program")?;
    let beside = own.with_file_name("annulus-node");
    let found = beside.is_file().then_some(beside.clone());
    found.with_context(|| {
        format!(
            "{} does not exist; build it, or name it with ANNULUS_NODE_BIN",
            beside.display()
        )
    })
}
