//! What one simulation is about, drawn from its seed.

use std::time::Duration;

use annulus_node::config::HintLimits;
use annulus_node::simulation::{Chance, Mistake};
use annulus_ring::Rules;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Members at first.
    pub(crate) nodes: u16,
    /// Nodes that may become members.
    pub(crate) spares: u16,
    /// Processes of the operator at the same time; without one, nothing moves.
    pub(crate) operators: u64,
    /// Clients ask for no less than quorums.
    pub(crate) quorums_only: bool,
    pub(crate) replicas: u16,
    pub(crate) clients: u64,
    pub(crate) keys: usize,
    /// A client's longest pause between requests, in milliseconds.
    pub(crate) think_ms: u64,
    /// How long the run goes on.
    pub(crate) lasts: Duration,
    /// How long clients and faults go on until all is healed and compared, and the next storm begins.
    pub(crate) storm: Duration,
    /// Shortest and longest pause between faults, in milliseconds.
    pub(crate) calm_ms: (u64, u64),
    /// How often anti-entropy compares two owners' copies; `None`: there is no anti-entropy.
    pub(crate) compared_every: Option<Duration>,
    pub(crate) faults: Vec<Fault>,
    /// Only the faults of these numbers are made; `None`: all.
    pub(crate) only: Option<Vec<u64>>,
    /// Bounds of the hints.
    pub(crate) hints: HintLimits,
    pub(crate) mistake: Option<Mistake>,
    /// Recovery drops the end of the log: a mistake of the disk's side.
    pub(crate) forgets_tail: bool,
}

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Crash,
    CrashAll,
    Stop,
    Split,
    OneWay,
    SlowWay,
    LossyWay,
    OpenWays,
    Reset,
    Stall,
    Skew,
    Jump,
    Drift,
    SlowSyncs,
    FailSyncs,
    FullDisk,
    Damage,
    Wipe,
    Destroy,
    Forget,
    NewEpoch,
    CutOperator,
    ApiAway,
    Restore,
}

/// Each as often as it stands here.
const ALL: [Fault; 34] = [
    Fault::Crash,
    Fault::Crash,
    Fault::Crash,
    Fault::CrashAll,
    Fault::Stop,
    Fault::Split,
    Fault::Split,
    Fault::OneWay,
    Fault::OneWay,
    Fault::SlowWay,
    Fault::SlowWay,
    Fault::LossyWay,
    Fault::LossyWay,
    Fault::OpenWays,
    Fault::OpenWays,
    Fault::OpenWays,
    Fault::Reset,
    Fault::Reset,
    Fault::Stall,
    Fault::Skew,
    Fault::Jump,
    Fault::Drift,
    Fault::SlowSyncs,
    Fault::SlowSyncs,
    Fault::FailSyncs,
    Fault::FullDisk,
    Fault::Damage,
    Fault::Wipe,
    Fault::Destroy,
    Fault::Forget,
    Fault::NewEpoch,
    Fault::CutOperator,
    Fault::ApiAway,
    Fault::Restore,
];

/// How long a seed's clients and faults go on, in simulated minutes.
pub(crate) const MINUTES: u64 = 10;

impl Plan {
    /// The plan of a seed. Every run has some faults of its own, not all of them: what is always on
    /// hides what needs a quiet moment.
    pub(crate) fn of(seed: u64) -> Self {
        let chance = Chance::new(seed, "plan");
        let moving = Chance::new(seed, "moves");
        let share = [1000, 600, 300][chance.index(3)];
        let mut faults: Vec<Fault> = ALL.into_iter().filter(|_| chance.hits(share)).collect();
        if faults.is_empty() {
            faults.push(Fault::Crash);
        }
        let longest = [600, 2_000, 6_000][chance.index(3)];
        Self {
            seed,
            nodes: [3, 3, 4, 5, 5][chance.index(5)],
            spares: [1, 2, 2, 3][moving.index(4)],
            operators: [1, 1, 2][moving.index(3)],
            quorums_only: moving.hits(500),
            replicas: 3,
            clients: chance.within(2..9),
            keys: [1, 2, 4, 8, 24][chance.index(5)],
            think_ms: [30, 100, 300][chance.index(3)],
            lasts: Duration::from_secs(60 * MINUTES),
            storm: Duration::from_secs([15, 40, 120][chance.index(3)]),
            calm_ms: (100, longest),
            compared_every: Some(Duration::from_secs(10)),
            faults,
            only: None,
            hints: hint_limits(seed),
            mistake: None,
            forgets_tail: false,
        }
    }

    /// Whether a node may lose what it had: then a write on one disk alone may be lost.
    pub(crate) fn loses_disks(&self) -> bool {
        let loses = |fault: &Fault| {
            let kinds = [Fault::Damage, Fault::Wipe, Fault::Destroy, Fault::Forget];
            kinds.contains(fault)
        };
        self.faults.iter().any(loses)
    }

    /// The smallest quorums that are promised anything: clients may ask for one copy, and for all.
    pub(crate) fn rules(&self) -> Rules {
        let least = if self.quorums_only { 2 } else { 1 };
        Rules {
            read_min: least,
            write_min: match self.mistake {
                // As if all copies of a write were promised.
                Some(Mistake::ReplacedFromOne) => u8::try_from(self.replicas).expect("a few"),
                _ => least,
            },
        }
    }

    /// The same, with all members from the beginning to the end.
    pub(crate) fn still(self) -> Self {
        Self {
            spares: 0,
            operators: 0,
            quorums_only: false,
            ..self
        }
    }

    /// Whether processes may end with unsynced data: then a write that waited for no disk may be lost.
    pub(crate) fn kills(&self) -> bool {
        let kills = |fault: &Fault| {
            let kill = [Fault::Crash, Fault::CrashAll, Fault::Stop, Fault::FailSyncs];
            kill.contains(fault)
        };
        self.loses_disks() || self.faults.iter().any(kills)
    }

    /// The same, for one storm and all of the time on busy clients.
    pub(crate) fn short(seed: u64) -> Self {
        let lasts = Duration::from_secs(Chance::new(seed, "how long").within(15..60));
        Self {
            lasts,
            storm: lasts,
            think_ms: 30,
            ..Self::of(seed)
        }
    }

    /// The same with a mistake.
    pub(crate) fn with(self, mistake: Mistake) -> Self {
        Self {
            mistake: Some(mistake),
            ..self
        }
    }
}

/// The usual bounds, but for an age below that at which simulated nodes forget deletes.
pub(crate) fn usual_hints() -> HintLimits {
    HintLimits {
        ttl: Duration::from_secs(6),
        ..HintLimits::default()
    }
}

/// Bounds of which some are met in a minute, and some never.
fn hint_limits(seed: u64) -> HintLimits {
    let chance = Chance::new(seed, "hints");
    let usual = usual_hints();
    let milliseconds = Duration::from_millis;
    HintLimits {
        window: [milliseconds(3_000), usual.window, usual.window][chance.index(3)],
        ttl: [milliseconds(1_500), milliseconds(3_000), usual.ttl][chance.index(3)],
        max_bytes: [600, usual.max_bytes, usual.max_bytes][chance.index(3)],
        max_sloppy_bytes: [400, usual.max_sloppy_bytes][chance.index(2)],
        max_waiting: [2, usual.max_waiting][chance.index(2)],
        replay_jitter: milliseconds([0, 300, 2_000][chance.index(3)]),
        probe_interval: milliseconds([1_000, 10_000][chance.index(2)]),
        receive_bytes_per_second: [20_000, usual.receive_bytes_per_second][chance.index(2)],
        ..usual
    }
}
