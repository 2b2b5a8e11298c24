//! What one simulation is about, drawn from its seed.

use std::time::Duration;

use annulus_node::simulation::{Chance, Mistake};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: u16,
    pub(crate) clients: u64,
    pub(crate) keys: usize,
    /// How long clients and faults go on.
    pub(crate) lasts: Duration,
    /// Shortest and longest pause between faults, in milliseconds.
    pub(crate) calm_ms: (u64, u64),
    pub(crate) faults: Vec<Fault>,
    pub(crate) mistake: Option<Mistake>,
}

/// Owners of each key.
pub(crate) const REPLICAS: u16 = 3;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed: its connections are closed by the system.
    Kill,
    /// The machine loses power: nobody hears of it.
    PowerCut,
    /// All processes are killed at once.
    KillAll,
    /// The process is told to stop, and does so in order.
    Stop,
    /// Messages between two sides get lost, in both directions.
    Split,
    /// Messages from some to others get lost.
    OneWay,
    /// Messages between two sides wait until the ways are mended.
    Hold,
    /// Messages to and from a node take long.
    Slow,
    /// Segments to and from a node get lost, and with them their connections.
    Lossy,
    /// All ways are well again.
    Mend,
    /// Some of a node's connections are reset.
    Reset,
    /// The machine stands still.
    Stall,
    /// A wall clock is wrong by a little.
    Skew,
    /// A wall clock is wrong by seconds.
    Jump,
    SlowSyncs,
    FailSyncs,
    FullDisk,
    NewEpoch,
}

/// Each as often as it stands here.
const ALL: [Fault; 25] = [
    Fault::Kill,
    Fault::Kill,
    Fault::PowerCut,
    Fault::PowerCut,
    Fault::KillAll,
    Fault::Stop,
    Fault::Split,
    Fault::Split,
    Fault::OneWay,
    Fault::OneWay,
    Fault::Hold,
    Fault::Hold,
    Fault::Slow,
    Fault::Lossy,
    Fault::Mend,
    Fault::Mend,
    Fault::Mend,
    Fault::Reset,
    Fault::Stall,
    Fault::Skew,
    Fault::Jump,
    Fault::SlowSyncs,
    Fault::FailSyncs,
    Fault::FullDisk,
    Fault::NewEpoch,
];

impl Plan {
    /// The plan of a seed. Every run has some faults of its own, not all of them.
    pub(crate) fn of(seed: u64) -> Self {
        let chance = Chance::new(seed, "plan");
        let share = [1000, 600, 300][chance.index(3)];
        let mut faults: Vec<Fault> = ALL.into_iter().filter(|_| chance.hits(share)).collect();
        if faults.is_empty() {
            faults.push(Fault::Kill);
        }
        let longest = [600, 1_500, 3_000][chance.index(3)];
        Self {
            seed,
            nodes: [3, 3, 4, 5][chance.index(4)],
            clients: chance.within(2..6),
            keys: [1, 2, 4][chance.index(3)],
            lasts: Duration::from_secs(chance.within(8..20)),
            calm_ms: (100, longest),
            faults,
            mistake: None,
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
