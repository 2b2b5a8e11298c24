//! What one simulation is about, drawn from its seed.

use std::time::Duration;

use annulus_node::simulation::{Chance, Mistake};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: u16,
    pub(crate) replicas: u16,
    pub(crate) clients: u64,
    pub(crate) keys: usize,
    /// How long clients and faults go on.
    pub(crate) lasts: Duration,
    /// Shortest and longest pause between faults, in milliseconds.
    pub(crate) calm_ms: (u64, u64),
    pub(crate) faults: Vec<Fault>,
    pub(crate) mistake: Option<Mistake>,
    /// Recovery drops the end of the log: a mistake of the disk's side.
    pub(crate) forgets_tail: bool,
}

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Crash,
    CrashAll,
    Stop,
    Split,
    OneWay,
    SlowWay,
    LossyWay,
    OpenWays,
    Stall,
    Skew,
    Jump,
    SlowSyncs,
    FailSyncs,
    FullDisk,
    Damage,
    Wipe,
    NewEpoch,
}

/// Each as often as it stands here.
const ALL: [Fault; 26] = [
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
    Fault::Stall,
    Fault::Skew,
    Fault::Jump,
    Fault::SlowSyncs,
    Fault::SlowSyncs,
    Fault::FailSyncs,
    Fault::FullDisk,
    Fault::Damage,
    Fault::Wipe,
    Fault::NewEpoch,
];

impl Plan {
    /// The plan of a seed. Every run has some faults of its own, not all of them: what is always on
    /// hides what needs a quiet moment.
    pub(crate) fn of(seed: u64) -> Self {
        let chance = Chance::new(seed, "plan");
        let share = [1000, 600, 300][chance.index(3)];
        let mut faults: Vec<Fault> = ALL.into_iter().filter(|_| chance.hits(share)).collect();
        if faults.is_empty() {
            faults.push(Fault::Crash);
        }
        let longest = [600, 2_000, 6_000][chance.index(3)];
        Self {
            seed,
            nodes: [3, 3, 4, 5, 5][chance.index(5)],
            replicas: 3,
            clients: chance.within(2..9),
            keys: [1, 2, 4, 8][chance.index(4)],
            lasts: Duration::from_secs(chance.within(15..60)),
            calm_ms: (100, longest),
            faults,
            mistake: None,
            forgets_tail: false,
        }
    }

    /// Whether a node may lose what it had: then a write on one disk alone may be lost.
    pub(crate) fn loses_disks(&self) -> bool {
        let loses = |fault: &Fault| matches!(fault, Fault::Damage | Fault::Wipe);
        self.faults.iter().any(loses)
    }

    /// The same with a mistake.
    pub(crate) fn with(self, mistake: Mistake) -> Self {
        Self {
            mistake: Some(mistake),
            ..self
        }
    }
}
