//! `annulus dev`: a local ring of real node processes. The driver: it performs what `supervisor`
//! and `founding` decide.

mod files;
#[cfg(test)]
pub(crate) mod fixtures;
mod founding;
mod layout;
mod leftover;
mod lock;
mod process;
mod supervisor;

use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use annulus_proto::admin::v1::{GetPlacementRequest, InstallPlacementRequest, NodePhase};
use annulus_ring::{NodeId, Placement};
use anyhow::{Context, bail};
use futures::future::join_all;
use nix::sys::signal::Signal;
use rand::RngCore;
use tokio::signal::unix::{Signal as Signalled, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::dev::founding::{Report, Step, found_ring, next_step, readdressed};
use crate::dev::layout::{Layout, NodeNumber};
use crate::dev::process::Process;
use crate::dev::supervisor::{Action, Event, Supervisor};
use crate::exit::{Exit, UsageError};
use crate::{admin, clock};

/// How often the nodes are asked how they are.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The longest time for one node's answer, and for installing a placement.
const REPORT_TIMEOUT: Duration = Duration::from_millis(500);
const INSTALL_TIMEOUT: Duration = Duration::from_secs(10);

/// People are told whom the ring waits for after this time, and again after each such time.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Lines of a node's log that are shown when it can't start.
const LOG_LINES: usize = 10;

/// Ends of processes that may wait to be taken in.
const MAX_WAITING_EVENTS: usize = 256;

/// Runs a local ring of real nodes on loopback, without Kubernetes, until it is stopped.
///
/// Node i listens on 127.0.0.1, its ports moved up by 100·i: node 0 on 9600 (client gRPC), 9601
/// (client HTTP), 9602 (peers), 9603 (admin and metrics); node 1 on 9700 to 9703. It prints one line
/// `ready` when all nodes serve. SIGINT and SIGTERM drain it. Started again on the same directory, it
/// goes on with the same data and identities.
///
/// Examples:
///   annulus dev
///   annulus dev --nodes 5 --data-dir /tmp/ring --base-port 20000
///   kill -9 $(cat ~/.local/state/annulus/dev/node-1/pid)    # and watch `annulus status`
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Dev {
    /// How many nodes; what the directory holds, else 3.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(layout::MAX_NODES)))]
    nodes: Option<u16>,

    /// Where data, logs and process ids are kept; $XDG_STATE_HOME/annulus/dev or
    /// ~/.local/state/annulus/dev by default.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Zones that the nodes of a new ring are spread over, in turn. Copies go to different zones
    /// first, so zones with unequal numbers of nodes make unequal shares; 1 makes equal ones.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(layout::MAX_NODES)))]
    zones: u16,

    /// The first port.
    #[arg(long, value_name = "PORT", default_value_t = 9600, value_parser = clap::value_parser!(u16).range(1..))]
    base_port: u16,

    /// Starts a node that died again, after a second.
    #[arg(long)]
    respawn: bool,
}

/// Nodes of a new ring.
const DEFAULT_NODES: u16 = 3;

pub(crate) async fn run(command: Dev) -> anyhow::Result<Exit> {
    let program = process::node_program()?;
    let dir = data_dir(command.data_dir)?;
    let unnumbered = Layout::new(&dir, command.base_port, 1).map_err(UsageError)?;
    let _lock = lock::Lock::take(&unnumbered.lock_file())?;
    let ring = files::read_ring(&unnumbered.ring_file())?;
    let existing = ring
        .as_ref()
        .map(|ring| u16::try_from(ring.nodes().len()))
        .transpose()?;
    let nodes = command.nodes.or(existing).unwrap_or(DEFAULT_NODES);
    let layout = Layout::new(&dir, command.base_port, nodes).map_err(UsageError)?;
    let ring = match ring {
        Some(ring) => {
            let now = readdressed(ring.clone(), &layout, nodes)?;
            if now != ring {
                files::write_ring(&layout.ring_file(), &now)?;
            }
            Some(now)
        }
        None => None,
    };
    leftover::stop_leftovers(&layout, nodes).await?;
    check_ports(&layout, nodes)?;
    files::prepare(&layout, nodes)?;
    Driver::new(layout, (nodes, command.zones), program, ring)
        .run(command.respawn)
        .await
}

fn data_dir(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let dir = given
        .or_else(|| Some(variable("XDG_STATE_HOME")?.join("annulus/dev")))
        .or_else(|| Some(variable("HOME")?.join(".local/state/annulus/dev")))
        .ok_or_else(|| UsageError("HOME is not set; give --data-dir DIR".into()))?;
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    dir.canonicalize()
        .with_context(|| format!("find {}", dir.display()))
}

/// Says before anything is started that a port is taken.
fn check_ports(layout: &Layout, nodes: u16) -> anyhow::Result<()> {
    for port in (0..nodes).flat_map(|node| layout.ports(node)) {
        if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
            bail!(
                "port {port} is not free ({error}); stop who uses it, or give another --base-port"
            );
        }
    }
    Ok(())
}

struct Driver {
    layout: Layout,
    program: PathBuf,
    /// Of a new ring.
    zones: u16,
    ring: Option<Placement>,
    processes: Vec<Option<Process>>,
    events: mpsc::Sender<Event>,
    arrived: mpsc::Receiver<Event>,
    tasks: TaskTracker,
    started: Instant,
    tell_at: Duration,
}

impl Driver {
    fn new(
        layout: Layout,
        (nodes, zones): (u16, u16),
        program: PathBuf,
        ring: Option<Placement>,
    ) -> Self {
        let (events, arrived) = mpsc::channel(MAX_WAITING_EVENTS);
        Self {
            layout,
            program,
            zones,
            ring,
            processes: (0..nodes).map(|_| None).collect(),
            events,
            arrived,
            tasks: TaskTracker::new(),
            started: clock::now(),
            tell_at: TELL_EVERY,
        }
    }

    async fn run(mut self, respawn: bool) -> anyhow::Result<Exit> {
        let mut signals = Signals::new()?;
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let nodes = u16::try_from(self.processes.len()).expect("64 at most");
        let (mut supervisor, actions) = Supervisor::start(nodes, respawn);
        let mut pending = VecDeque::new();
        let mut exit = self.perform(actions, &mut pending);
        while exit.is_none() {
            let event = if let Some(event) = pending.pop_front() {
                event
            } else {
                tokio::select! {
                    Some(event) = self.arrived.recv() => event,
                    () = signals.recv() => Event::Stop,
                    _ = ticks.tick() => {
                        pending.push_back(Event::Tick);
                        self.look(&supervisor).await
                    }
                }
            };
            if let Event::Exited { node, .. } = &event
                && supervisor.is_starting()
            {
                self.show_log(*node);
            }
            let actions = supervisor.on_event(self.started.elapsed(), event);
            exit = self.perform(actions, &mut pending);
        }
        self.tasks.close();
        self.tasks.wait().await;
        Ok(exit.unwrap_or(Exit::Done))
    }

    /// Performs actions; what they lead to at once is appended to `pending`. Some exit means that
    /// all is over.
    fn perform(&mut self, actions: Vec<Action>, pending: &mut VecDeque<Event>) -> Option<Exit> {
        let mut exit = None;
        for action in actions {
            match action {
                Action::Spawn(node) => {
                    if let Err(error) = self.spawn(node) {
                        let how = format!("{error:#}");
                        pending.push_back(Event::Exited { node, how });
                    }
                }
                Action::SayReady => self.say_ready(),
                Action::Say(what) => eprintln!("{what}"),
                Action::Terminate(node) => self.signal(node, Signal::SIGTERM),
                Action::Kill(node) => self.signal(node, Signal::SIGKILL),
                Action::Finish { clean } => {
                    exit = Some(if clean { Exit::Done } else { Exit::Failed });
                }
            }
        }
        exit
    }

    fn spawn(&mut self, node: NodeNumber) -> anyhow::Result<()> {
        let events = self.events.clone();
        let process = Process::spawn(&self.program, &self.layout, node, events, &self.tasks)?;
        self.processes[usize::from(node)] = Some(process);
        Ok(())
    }

    fn signal(&self, node: NodeNumber, signal: Signal) {
        if let Some(process) = &self.processes[usize::from(node)] {
            process.signal(signal);
        }
    }

    fn say_ready(&self) {
        let endpoint = self.layout.addresses(0).grpc;
        eprintln!(
            "{} nodes serve; data in {}; try: annulus --endpoint {endpoint} put greeting hello",
            self.processes.len(),
            self.layout.dir().display()
        );
        println!("ready");
        let _ = std::io::stdout().flush(); // who reads no stdout does not wait for the line
    }

    /// Asks all nodes how they are and does what the placement needs.
    async fn look(&mut self, supervisor: &Supervisor) -> Event {
        if supervisor.is_stopping() {
            return Event::Tick;
        }
        let nodes = 0..u16::try_from(self.processes.len()).expect("64 at most");
        let reports = join_all(nodes.map(|node| {
            let address = self.layout.addresses(node).admin;
            let is_running = supervisor.is_running(node);
            async move {
                if is_running {
                    report(&address).await
                } else {
                    None
                }
            }
        }))
        .await;
        if supervisor.is_starting() && self.started.elapsed() >= self.tell_at {
            self.tell_at += TELL_EVERY;
            tell_who_is_missing(&reports);
        }
        match self.advance(&reports).await {
            Ok(()) => {
                let serves =
                    |report: &Option<Report>| report.as_ref().is_some_and(|report| report.serving);
                Event::Seen {
                    serving: reports.iter().map(serves).collect(),
                }
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                Event::Failed
            }
        }
    }

    /// Takes the next step towards all nodes having the placement. An error is one that does not
    /// pass; what may pass is tried again with the next look.
    async fn advance(&mut self, reports: &[Option<Report>]) -> anyhow::Result<()> {
        match next_step(self.ring.as_ref(), reports)? {
            Step::Wait => {}
            Step::Found(ids) => {
                let seed = clock::random().next_u64();
                let ring = found_ring(&self.layout, Uuid::new_v4(), seed, self.zones, &ids)?;
                files::write_ring(&self.layout.ring_file(), &ring)?;
                self.ring = Some(ring);
                self.install((0..).take(ids.len()).collect()).await;
            }
            Step::Recover(node) => {
                if let Some(ring) = fetch_placement(&self.layout.addresses(node).admin).await {
                    let nodes = u16::try_from(reports.len()).expect("64 at most");
                    let ring = readdressed(ring, &self.layout, nodes)?;
                    files::write_ring(&self.layout.ring_file(), &ring)?;
                    self.ring = Some(ring);
                }
            }
            Step::Install(nodes) => self.install(nodes).await,
        }
        Ok(())
    }

    async fn install(&self, nodes: Vec<NodeNumber>) {
        let Some(ring) = &self.ring else { return };
        let placement = annulus_proto::ring::v1::Placement::from(ring);
        join_all(nodes.into_iter().map(|node| {
            let address = self.layout.addresses(node).admin;
            let placement = placement.clone();
            async move {
                if let Err(error) = install(&address, placement).await {
                    eprintln!("node-{node} does not take the placement yet: {error:#}");
                }
            }
        }))
        .await;
    }

    /// The end of a node's log, for a node that could not start.
    fn show_log(&self, node: NodeNumber) {
        let log_file = self.layout.log_file(node);
        let log = std::fs::read(&log_file).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("{}:", log_file.display());
        for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
            eprintln!("  {line}");
        }
    }
}

/// The signals that ask to stop.
struct Signals {
    interrupt: Signalled,
    terminate: Signalled,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn report(address: &str) -> Option<Report> {
    let status = timeout(REPORT_TIMEOUT, admin::status(address))
        .await
        .ok()?
        .ok()?;
    Some(Report {
        id: status.node_id.parse::<NodeId>().ok()?,
        epoch: status.epoch,
        serving: status.phase() == NodePhase::Serving,
    })
}

async fn fetch_placement(address: &str) -> Option<Placement> {
    let mut client = admin::client(address).ok()?;
    let asked = client.get_placement(GetPlacementRequest {});
    let response = timeout(INSTALL_TIMEOUT, asked).await.ok()?.ok()?;
    response.into_inner().placement?.try_into().ok()
}

async fn install(
    address: &str,
    placement: annulus_proto::ring::v1::Placement,
) -> anyhow::Result<()> {
    let request = InstallPlacementRequest {
        placement: Some(placement),
    };
    let mut client = admin::client(address)?;
    timeout(INSTALL_TIMEOUT, client.install_placement(request))
        .await
        .context("no answer in time")?
        .map_err(|status| anyhow::anyhow!("{}", status.message()))?;
    Ok(())
}

fn tell_who_is_missing(reports: &[Option<Report>]) {
    for (node, report) in reports.iter().enumerate() {
        match report {
            None => eprintln!("node-{node} does not answer yet"),
            Some(report) if !report.serving => eprintln!("node-{node} does not serve yet"),
            Some(_) => {}
        }
    }
}
