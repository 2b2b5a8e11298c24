//! Runs a local ring: performs what `supervisor` and `founding` decide, and tells them what happens.

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use annulus_ring::Placement;
use futures::future::join_all;
use nix::sys::signal::Signal;
use rand::RngCore;
use tokio::signal::unix::{Signal as Signalled, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::files;
use super::founding::{Report, Step, found_ring, next_step, readdressed};
use super::layout::{Layout, NodeOrdinal, node_name};
use super::node_calls::{fetch_placement, install, report};
use super::process::Process;
use super::supervisor::{Action, Event, Supervisor};
use crate::clock;
use crate::exit::Exit;

/// How often the nodes are asked how they are.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Once all nodes serve, only every so many looks is one: a measured ring should not be disturbed.
const LOOKS_WHEN_READY: u64 = 5;

/// People are told whom the ring waits for after this time, and again after each such time.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Lines of a node's log that are shown when it can't start.
const LOG_LINES: usize = 10;

/// Ends of processes that may wait to be taken in.
const MAX_WAITING_EVENTS: usize = 256;

/// A ring that is about to run.
pub(super) struct Driver {
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
    looks: u64,
}

impl Driver {
    pub(super) fn new(
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
            looks: 0,
        }
    }

    /// Runs the ring until it is stopped.
    pub(super) async fn run(mut self, respawn: bool) -> anyhow::Result<Exit> {
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

    fn spawn(&mut self, node: NodeOrdinal) -> anyhow::Result<()> {
        let events = self.events.clone();
        let process = Process::spawn(&self.program, &self.layout, node, events, &self.tasks)?;
        self.processes[usize::from(node)] = Some(process);
        Ok(())
    }

    fn signal(&self, node: NodeOrdinal, signal: Signal) {
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
        self.looks += 1;
        let is_turn = supervisor.is_starting() || self.looks.is_multiple_of(LOOKS_WHEN_READY);
        if supervisor.is_stopping() || !is_turn {
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

    async fn install(&self, nodes: Vec<NodeOrdinal>) {
        let Some(ring) = &self.ring else { return };
        let placement = annulus_proto::ring::v1::Placement::from(ring);
        join_all(nodes.into_iter().map(|node| {
            let address = self.layout.addresses(node).admin;
            let placement = placement.clone();
            async move {
                if let Err(error) = install(&address, placement).await {
                    let name = node_name(node);
                    eprintln!("{name} does not take the placement yet: {error:#}");
                }
            }
        }))
        .await;
    }

    /// The end of a node's log, for a node that could not start.
    fn show_log(&self, node: NodeOrdinal) {
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

fn tell_who_is_missing(reports: &[Option<Report>]) {
    for (node, report) in (0..).zip(reports) {
        let name = node_name(node);
        match report {
            None => eprintln!("{name} does not answer yet"),
            Some(report) if !report.serving => eprintln!("{name} does not serve yet"),
            Some(_) => {}
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
