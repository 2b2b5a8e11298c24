//! What is seen of the ring and its nodes, and what the spec asks for: all that steps are decided by.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use annulus_ring::{MoveLimits, Node, NodeId, Placement, Rules};
use jiff::Timestamp;

use crate::crd::Approval;
use crate::node_client::{MovesReport, NodeReport};

/// What is seen of the ring.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    /// The recorded placement.
    pub(crate) ring: Option<Placement>,
    /// Whether the cluster's status says that a ring was founded once.
    pub(crate) founded_before: bool,
    /// All nodes that exist in the API, by name.
    pub(crate) nodes: BTreeMap<String, ObservedNode>,
    /// The time.
    pub(crate) now: Timestamp,
    /// Since when this operator has looked at the cluster without a failure.
    pub(crate) watched_since: Timestamp,
    /// Disks of which a person says that they never return.
    pub(crate) destroyed: BTreeSet<NodeId>,
    /// The plan that a person approved.
    pub(crate) approved: Option<String>,
    /// Nodes that were offered the recorded placement in this run already.
    pub(crate) offered: BTreeSet<String>,
}

/// What is seen of one node.
#[derive(Clone, Debug, Default)]
pub(crate) struct ObservedNode {
    /// Its zone, once known.
    pub(crate) zone: Option<String>,
    /// The identity that it reported last, if it ever did.
    pub(crate) recorded: Option<NodeId>,
    /// Its claim is not the one any more that the recorded identity was reported from.
    pub(crate) claim_changed: bool,
    /// What it says now, if it answers.
    pub(crate) report: Option<NodeReport>,
    /// What it says of its moves, if it answers.
    pub(crate) moves: Option<MovesReport>,
    /// Since when the ring's member of this name has been missing, if it was at the last look.
    pub(crate) missing_since: Option<Timestamp>,
    /// A person wants its vnodes moved away.
    pub(crate) drain: bool,
}

impl Observed {
    /// What a member says, if it answers, and not another disk in its place.
    pub(crate) fn report_of(&self, member: &Node) -> Option<&NodeReport> {
        let report = self.nodes.get(&member.name)?.report.as_ref()?;
        (report.id == member.id).then_some(report)
    }
}

/// What the spec asks of the ring.
#[derive(Clone, Debug)]
pub(crate) struct Desired {
    /// The cluster's name.
    pub(crate) cluster: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// The nodes, by name.
    pub(crate) nodes: BTreeMap<String, Seat>,
    /// Q.
    pub(crate) partitions: u32,
    /// N.
    pub(crate) replication_factor: u8,
    /// The smallest quorums that a promise rests on.
    pub(crate) rules: Rules,
    /// How many moves run at once.
    pub(crate) limits: MoveLimits,
    /// Bytes that a node sends or receives per second at most.
    pub(crate) bytes_per_second: u64,
    /// How long a member may be missing before it is given up.
    pub(crate) replace_after: Duration,
    /// Whether plans begin by themselves.
    pub(crate) approval: Approval,
}

/// A node's place in the ring to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    /// Weight.
    pub(crate) capacity: u32,
}
