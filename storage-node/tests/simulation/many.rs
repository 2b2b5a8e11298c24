//! Many seeds on all processors: each on one thread, each with a runtime of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::api_server::Tally;
use crate::outside::{number, stopwatch};
use crate::plan::{Fault, Plan};
use crate::run::{Report, run};

/// How often a long run says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// Seeds from one on, up to another or until time is over.
pub(crate) struct Many {
    first: u64,
    end: u64,
    started: Instant,
    until: Option<Duration>,
}

/// What came of them.
#[derive(Debug, Default)]
pub(crate) struct Total {
    seeds: u64,
    events: u64,
    pub(crate) operations: u64,
    pub(crate) acknowledged: u64,
    pub(crate) reaped: u64,
    pub(crate) scrubbed: u64,
    simulated: Duration,
    took: Duration,
    threads: usize,
    pub(crate) moves: Tally,
    faults: BTreeMap<Fault, u64>,
    /// The first that broke a promise; no more were begun after it.
    pub(crate) failed: Option<(Plan, Report)>,
}

impl Many {
    /// The seeds from `first` up to `end`.
    pub(crate) fn until_seed(first: u64, end: u64) -> Self {
        Self {
            first,
            end,
            started: stopwatch(),
            until: None,
        }
    }

    /// Ever new seeds for so many minutes of real time. Seeds that have begun are finished.
    pub(crate) fn for_minutes(first: u64, minutes: u64) -> Self {
        Self {
            until: Some(Duration::from_secs(60 * minutes)),
            ..Self::until_seed(first, u64::MAX)
        }
    }

    /// Runs them.
    pub(crate) fn run(&self, plan: impl Fn(u64) -> Plan + Sync) -> Total {
        let next = AtomicU64::new(self.first);
        let total = Mutex::new(Total::default());
        let threads = threads();
        let said = Mutex::new(stopwatch());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while !self.is_over(&total.lock()) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.end {
                            break;
                        }
                        let plan = plan(seed);
                        let report = run(&plan);
                        total.lock().add(plan, report);
                        self.say(&total, &said);
                    }
                });
            }
        });
        let mut total = total.into_inner();
        (total.took, total.threads) = (self.started.elapsed(), threads);
        total
    }

    fn is_over(&self, total: &Total) -> bool {
        let late = self
            .until
            .is_some_and(|until| self.started.elapsed() >= until);
        late || total.failed.is_some()
    }

    fn say(&self, total: &Mutex<Total>, said: &Mutex<Instant>) {
        let mut said = said.lock();
        if said.elapsed() >= PROGRESS_EVERY {
            *said = stopwatch();
            let mut total = total.lock();
            total.took = self.started.elapsed();
            println!("{}", total.head());
        }
    }
}

/// As many as there are processors.
fn threads() -> usize {
    let asked = number("ANNULUS_SIMULATION_THREADS").and_then(|asked| usize::try_from(asked).ok());
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
}

/// The hashes of some seeds, each run on a thread of its own.
pub(crate) fn many(seeds: &[u64], plan: fn(u64) -> Plan) -> Vec<u64> {
    std::thread::scope(|scope| {
        let running: Vec<_> = seeds
            .iter()
            .map(|seed| scope.spawn(move || run(&plan(*seed)).hash))
            .collect();
        let ended = running.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.map(|hash| hash.expect("no panic")).collect()
    })
}

impl Total {
    fn add(&mut self, plan: Plan, report: Report) {
        self.seeds += 1;
        self.events += report.events;
        self.operations += report.operations;
        self.acknowledged += report.acknowledged;
        self.reaped += report.reaped;
        self.scrubbed += report.scrubbed;
        self.simulated += report.simulated;
        self.moves.add(report.moves);
        for (fault, count) in report.fault_counts() {
            *self.faults.entry(fault).or_default() += count;
        }
        if report.broken.is_some() && self.failed.is_none() {
            self.failed = Some((plan, report));
        }
    }

    fn head(&self) -> String {
        let (simulated, took) = (self.simulated.as_secs_f64(), self.took.as_secs_f64());
        format!(
            "simulation: {} seeds, {simulated:.0} simulated s in {took:.1} s = {:.0} simulated s a second; \
             {} events, {} operations of which {} succeeded, {} records reaped, {} vnodes scrubbed, {} faults",
            self.seeds,
            simulated / took.max(0.001),
            self.events,
            self.operations,
            self.acknowledged,
            self.reaped,
            self.scrubbed,
            self.faults.values().sum::<u64>(),
        )
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, on {} threads", self.head(), self.threads)?;
        let Tally {
            begun,
            committed,
            called_off,
            conflicts,
        } = self.moves;
        writeln!(
            f,
            "moves: {begun} begun, {committed} committed, {called_off} called off; {conflicts} writes of operators lost"
        )?;
        f.write_str("faults:")?;
        for (place, (fault, count)) in self.faults.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma} {fault:?} {count}")?;
        }
        Ok(())
    }
}
