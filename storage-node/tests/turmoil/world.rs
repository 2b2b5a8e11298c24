//! All machines, the ways between them, and time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use annulus_node::simulation::{Chance, Timeline, Trace};
use turmoil::{Builder, Sim};

use crate::broken::Broken;
use crate::machine::Machine;
use crate::operator;
use crate::plan::Plan;

/// Where the clients are, and the operator.
pub(crate) const CLIENTS: &str = "clients";
pub(crate) const OPERATOR: &str = "operator";

/// The longest that a segment takes on a way that is well.
const USUAL_LATENCY: Duration = Duration::from_millis(8);

/// No simulation takes so long.
const ENDLESS: Duration = Duration::from_secs(24 * 3600);

/// Segments on the way to one connection, connections on the way to one port.
const TCP_CAPACITY: usize = 1024;

/// See the module.
pub(crate) struct World {
    sim: Sim<'static>,
    machines: Vec<Arc<Machine>>,
    /// Those whose processes are cut off from everything, and end with this step.
    dying: BTreeSet<usize>,
    timeline: Timeline,
    trace: Arc<Trace>,
}

impl World {
    pub(crate) fn new(
        plan: &Plan,
        machines: Vec<Arc<Machine>>,
        timeline: Timeline,
        trace: Arc<Trace>,
    ) -> Self {
        let mut sim = Builder::new()
            .rng_seed(Chance::new(plan.seed, "turmoil").within(0..u64::MAX))
            .simulation_duration(ENDLESS)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(USUAL_LATENCY)
            .tcp_capacity(TCP_CAPACITY)
            .build();
        for machine in &machines {
            let host = machine.clone();
            sim.host(machine.name(), move || host.clone().run());
        }
        Self {
            sim,
            machines,
            dying: BTreeSet::new(),
            timeline,
            trace,
        }
    }

    /// The operator begins its work.
    pub(crate) fn add_operator(&mut self, operator: operator::Operator) {
        let operator = Arc::new(operator);
        self.sim
            .host(OPERATOR, move || operator.clone().look_after());
    }

    /// The clients begin their work; the world goes on until they end.
    pub(crate) fn add_clients(&mut self, clients: impl Future<Output = ()> + 'static) {
        self.sim.client(CLIENTS, async move {
            clients.await;
            Ok(())
        });
    }

    pub(crate) fn machines(&self) -> &[Arc<Machine>] {
        &self.machines
    }

    pub(crate) fn now(&self) -> Duration {
        self.timeline.elapsed()
    }

    pub(crate) fn note(&self, what: &str) {
        self.trace.note(format_args!("== {what}"));
    }

    /// Goes on for a millisecond. Whether the clients have ended.
    pub(crate) fn step(&mut self) -> Result<bool, Broken> {
        let failed = |error: Box<dyn std::error::Error>| {
            Broken::new("a process ends by itself", error.to_string())
        };
        let ended = self.sim.step().map_err(failed)?;
        self.timeline.set(self.sim.elapsed());
        while let Some(at) = self.dying.first() {
            self.bury(*at);
        }
        for at in 0..self.machines.len() {
            if self.machines[at].take_exited() {
                self.kill(at);
            }
        }
        Ok(ended)
    }

    pub(crate) fn is_up(&mut self, at: usize) -> bool {
        !self.dying.contains(&at) && self.sim.is_host_running(self.machines[at].name())
    }

    /// Ends a node's process; the system closes its connections.
    pub(crate) fn kill(&mut self, at: usize) {
        if !self.is_up(at) {
            return;
        }
        let machine = self.machines[at].clone();
        self.trace
            .note(format_args!("{} is killed", machine.name()));
        machine.wires().cut_off();
        machine.disk().crash();
        self.dying.insert(at);
    }

    /// What is left of a process that was cut off goes away.
    fn bury(&mut self, at: usize) {
        if self.dying.remove(&at) {
            self.sim.crash(self.machines[at].name());
        }
    }

    /// Ends it without anybody hearing of it.
    pub(crate) fn cut_power(&mut self, at: usize) {
        let name = self.machines[at].name().to_owned();
        self.note(&format!("{name} loses power"));
        for other in self.names().filter(|other| *other != name) {
            self.sim.partition(&*name, &*other);
        }
        self.kill(at);
    }

    /// Starts it again, with its ways well; not before the process that was there has ended.
    pub(crate) fn start(&mut self, at: usize) {
        if self.dying.contains(&at) {
            return;
        }
        let machine = self.machines[at].clone();
        machine.disk().set_stalled(false);
        self.mend_around(at);
        self.sim.bounce(machine.name());
    }

    /// The names of everybody.
    fn names(&self) -> impl Iterator<Item = String> + use<> {
        let machines = self.machines.iter().map(|machine| machine.name());
        let names = machines.chain([CLIENTS, OPERATOR]).map(str::to_owned);
        names.collect::<Vec<_>>().into_iter()
    }

    /// A node that stands still: nothing comes, nothing goes.
    pub(crate) fn stall(&mut self, at: usize) {
        let name = self.machines[at].name().to_owned();
        self.machines[at].disk().set_stalled(true);
        for other in self.names().filter(|other| *other != name) {
            self.sim.hold(&*name, &*other);
        }
    }

    /// It goes on.
    pub(crate) fn go_on(&mut self, at: usize) {
        self.machines[at].disk().set_stalled(false);
        self.mend_around(at);
    }

    fn mend_around(&mut self, at: usize) {
        let name = self.machines[at].name().to_owned();
        for other in self.names().filter(|other| *other != name) {
            self.mend(&name, &other);
        }
    }

    fn mend(&mut self, one: &str, other: &str) {
        self.sim.set_link_fail_rate(one, other, 0.0);
        self.sim
            .set_link_max_message_latency(one, other, USUAL_LATENCY);
        self.sim.release(one, other);
    }

    /// All ways are well again, but those of machines without power.
    pub(crate) fn mend_all(&mut self) {
        for at in 0..self.machines.len() {
            if self.is_up(at) {
                self.mend_around(at);
            }
        }
    }

    /// Segments between the two get lost, or wait.
    pub(crate) fn split(&mut self, one: &str, other: &str, hold: bool) {
        if hold {
            self.sim.hold(one, other);
        } else {
            self.sim.partition(one, other);
        }
    }

    /// Segments from one to the other get lost.
    pub(crate) fn cut_way(&mut self, from: &str, to: &str) {
        self.sim.partition_oneway(from, to);
    }

    /// Segments to and from a node take up to so long.
    pub(crate) fn slow_down(&mut self, at: usize, longest: Duration) {
        let name = self.machines[at].name().to_owned();
        for other in self.names().filter(|other| *other != name) {
            self.sim
                .set_link_max_message_latency(&*name, &*other, longest);
        }
    }

    /// Segments to and from a node get lost at this rate.
    pub(crate) fn lose_segments(&mut self, at: usize, rate: f64) {
        let name = self.machines[at].name().to_owned();
        for other in self.names().filter(|other| *other != name) {
            self.sim.set_link_fail_rate(&*name, &*other, rate);
        }
    }
}
