//! Runs a local ring: performs what `supervisor` and `founding` decide, and tells them what happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
use super::founding::{Report, Reports, Step, found_ring, next_step, readdressed};
use super::layout::{Layout, NodeOrdinal, node_name, ordinal_of};
use super::moving::{Next, next_epoch};
use super::node_calls::{fetch_placement, install, report};
use super::process::Process;
use super::supervisor::{Action, Event, Supervisor};
use super::wanted::{self, Wanted};
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
    processes: BTreeMap<NodeOrdinal, Process>,
    /// Nodes of a ring that is to be founded.
    first: BTreeSet<NodeOrdinal>,
    /// Why what is wanted can't be, as people were told.
    told: String,
    reached: Option<Wanted>,
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
        (first, zones): (BTreeSet<NodeOrdinal>, u16),
        program: PathBuf,
        ring: Option<Placement>,
    ) -> Self {
        let (events, arrived) = mpsc::channel(MAX_WAITING_EVENTS);
        Self {
            layout,
            program,
            zones,
            ring,
            processes: BTreeMap::new(),
            first,
            told: String::new(),
            reached: None,
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
        let (mut supervisor, actions) = Supervisor::start(&self.to_run()?, respawn);
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
                        self.look(&supervisor, &mut pending).await
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
        // One that joins has no directory yet, and its ports may not be free.
        files::prepare(&self.layout, [node])?;
        let process = Process::spawn(&self.program, &self.layout, node, events, &self.tasks)?;
        self.processes.insert(node, process);
        Ok(())
    }

    fn signal(&self, node: NodeOrdinal, signal: Signal) {
        if let Some(process) = self.processes.get(&node) {
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
    async fn look(&mut self, supervisor: &Supervisor, pending: &mut VecDeque<Event>) -> Event {
        self.looks += 1;
        let moves = self
            .ring
            .as_ref()
            .is_some_and(|ring| !ring.moves().is_empty());
        let is_turn =
            supervisor.is_starting() || moves || self.looks.is_multiple_of(LOOKS_WHEN_READY);
        if supervisor.is_stopping() || !is_turn {
            return Event::Tick;
        }
        let reports = join_all(supervisor.nodes().map(|node| {
            let address = self.layout.addresses(node).admin;
            let is_running = supervisor.is_running(node);
            async move {
                if is_running {
                    (node, report(&address, moves).await)
                } else {
                    (node, None)
                }
            }
        }));
        let reports: Reports = reports.await.into_iter().collect();
        if supervisor.is_starting() && self.started.elapsed() >= self.tell_at {
            self.tell_at += TELL_EVERY;
            tell_who_is_missing(&reports);
        }
        match self.advance(&reports).await {
            Ok(()) => {
                match self.to_run() {
                    Ok(nodes) => pending.push_back(Event::Wanted { nodes }),
                    Err(error) => eprintln!("{error:#}"),
                }
                let serves = |(node, report): (&NodeOrdinal, &Option<Report>)| {
                    report
                        .as_ref()
                        .is_some_and(|report| report.serving)
                        .then_some(*node)
                };
                Event::Seen {
                    serving: reports.iter().filter_map(serves).collect(),
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
    async fn advance(&mut self, reports: &Reports) -> anyhow::Result<()> {
        match next_step(self.ring.as_ref(), reports)? {
            Step::Wait => self.change(reports).await?,
            Step::Found(ids) => {
                let seed = clock::random().next_u64();
                let ring = found_ring(&self.layout, Uuid::new_v4(), seed, self.zones, &ids)?;
                files::write_ring(&self.layout.ring_file(), &ring)?;
                self.ring = Some(ring);
                self.install((0..).take(ids.len()).collect()).await;
            }
            Step::Recover(node) => {
                if let Some(ring) = fetch_placement(&self.layout.addresses(node).admin).await {
                    let ring = readdressed(ring, &self.layout)?;
                    files::write_ring(&self.layout.ring_file(), &ring)?;
                    self.ring = Some(ring);
                }
            }
            Step::Install(nodes) => {
                self.install(nodes).await;
                // One that does not take it must not hold up the others.
                self.change(reports).await?;
            }
        }
        Ok(())
    }

    /// Brings the ring a step nearer to what is wanted. The epoch is on disk before any node has it.
    async fn change(&mut self, reports: &Reports) -> anyhow::Result<()> {
        let Some(ring) = &self.ring else {
            return Ok(());
        };
        let wanted = self.wanted()?.unwrap_or_else(|| Wanted::of(ring));
        match next_epoch(ring, &self.layout, (&wanted, self.zones), reports) {
            Ok(Next::Wait) => {}
            Ok(Next::Reached) if self.reached.as_ref() == Some(&wanted) => {}
            Ok(Next::Reached) => {
                wanted::write(&self.layout.reached_file(), &wanted)?;
                self.reached = Some(wanted);
            }
            Ok(Next::Epoch(next)) => {
                files::write_ring(&self.layout.ring_file(), &next)?;
                let members = next
                    .nodes()
                    .iter()
                    .filter_map(|node| ordinal_of(&node.name));
                let members = members.collect();
                self.ring = Some(*next);
                self.install(members).await;
            }
            Err(problem) if problem == self.told => {}
            Err(problem) => {
                eprintln!("the ring can't be changed as is wanted: {problem}");
                self.told = problem;
            }
        }
        Ok(())
    }

    fn wanted(&self) -> anyhow::Result<Option<Wanted>> {
        wanted::read(&self.layout.wanted_file())
    }

    /// The nodes that are to run: those of the ring, and those that are to join it.
    fn to_run(&self) -> anyhow::Result<BTreeSet<NodeOrdinal>> {
        let Some(ring) = &self.ring else {
            return Ok(self.first.clone());
        };
        let mut nodes = Wanted::of(ring).nodes;
        nodes.extend(self.wanted()?.unwrap_or_default().nodes);
        nodes.retain(|node| self.layout.has_ports(*node));
        Ok(nodes)
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

fn tell_who_is_missing(reports: &Reports) {
    for (node, report) in reports {
        let name = node_name(*node);
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
