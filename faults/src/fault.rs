//! The kinds of faults, and which of a node's parts each of them occupies.

use std::fmt;

/// A node's place among the nodes, from 0. People see `node-<i + 1>`.
pub type NodeOrdinal = usize;

/// A kind of fault, as tables and command lines name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Kind {
    /// SIGKILL; started again at the end.
    Kill,
    /// SIGKILL to all nodes at once; started again at the end.
    KillAll,
    /// SIGTERM, which has to end in order; started again at the end.
    Stop,
    /// SIGSTOP; SIGCONT at the end.
    Pause,
    /// Cut off from all other nodes; clients reach it.
    Isolate,
    /// Two sides that don't hear each other; clients reach both.
    Split,
    /// One node hears the others, but they don't hear it, or the other way round.
    OneWay,
    /// The link is down: neither nodes nor clients reach it.
    Unplug,
    /// Some packets of the node get lost in both directions.
    Loss,
    /// The node's link is thin and its queue long.
    Slow,
    /// The wall clock jumps, and jumps back at the end.
    ClockStep,
    /// The same by seconds, beyond what nodes tolerate. Not among the [usual](Kind::USUAL) ones: values with a time
    /// to live may then come and go by seconds, so little can be said about these.
    ClockLeap,
    /// The disk is full; the ballast is removed at the end.
    FullDisk,
    /// Bytes of the tables on the running node's disk are changed; its disk is replaced at the end.
    DamageTable,
    /// A byte in the log of the killed node is changed; its disk is replaced at the end.
    DamageLog,
}

impl Kind {
    /// All but [`Kind::ClockLeap`].
    pub const USUAL: [Self; 14] = [
        Self::Kill,
        Self::KillAll,
        Self::Stop,
        Self::Pause,
        Self::Isolate,
        Self::Split,
        Self::OneWay,
        Self::Unplug,
        Self::Loss,
        Self::Slow,
        Self::ClockStep,
        Self::FullDisk,
        Self::DamageTable,
        Self::DamageLog,
    ];

    /// Whether the node's copies are lost by it: then only one such fault may be there at a time.
    pub fn destroys(self) -> bool {
        matches!(self, Self::DamageTable | Self::DamageLog)
    }

    /// Whether it needs a network of our own making.
    pub fn needs_network(self) -> bool {
        matches!(
            self,
            Self::Isolate | Self::Split | Self::OneWay | Self::Unplug | Self::Loss | Self::Slow
        )
    }

    /// Whether it needs file systems of our own making.
    pub fn needs_mounts(self) -> bool {
        self == Self::FullDisk
    }

    /// Whether it is about a node's process or disk: a node has one such fault at a time.
    pub fn holds_process(self) -> bool {
        !self.needs_network() && !matches!(self, Self::ClockStep | Self::ClockLeap)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kill => "kill",
            Self::KillAll => "kill-all",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Isolate => "isolate",
            Self::Split => "split",
            Self::OneWay => "one-way",
            Self::Unplug => "unplug",
            Self::Loss => "loss",
            Self::Slow => "slow",
            Self::ClockStep => "clock-step",
            Self::ClockLeap => "clock-leap",
            Self::FullDisk => "full-disk",
            Self::DamageTable => "damage-table",
            Self::DamageLog => "damage-log",
        })
    }
}

/// One fault, with what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// Whom: the nodes of one side of a split, all nodes, or one.
    pub nodes: Vec<NodeOrdinal>,
    /// How: packets lost in percent, milliseconds that the clock jumps, bytes that a full disk has left in
    /// percent; of a one-way cut 0 if the node isn't heard, 1 if it doesn't hear.
    pub measure: i64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        for node in &self.nodes {
            write!(f, " node-{}", node + 1)?;
        }
        match self.kind {
            Kind::ClockStep | Kind::ClockLeap => write!(f, " by {} ms", self.measure),
            Kind::Loss => write!(f, " of {} %", self.measure),
            Kind::FullDisk => write!(f, " with {} % left", self.measure),
            Kind::OneWay if self.measure == 0 => f.write_str(" is not heard"),
            Kind::OneWay => f.write_str(" does not hear"),
            _ => Ok(()),
        }
    }
}
