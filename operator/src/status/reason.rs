//! The one table of condition types, reasons and events.

use std::fmt::Write as _;

/// Types of conditions, in the order in which a status lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ConditionType {
    /// All is as the spec asks.
    Ready,
    /// The operator works on it.
    Reconciling,
    /// The operator cannot go on until somebody changes something.
    Stalled,
    /// Every partition can serve its default quorum.
    Available,
    /// An operation changes the cluster.
    Progressing,
    /// Something is lost or missing.
    Degraded,
    /// Every copy of every partition serves.
    FullyReplicated,
    /// Copies are spread over zones as well as the zones allow.
    TopologySatisfied,
    /// All nodes hold the same placement.
    MembershipConverged,
    /// Owners compare their copies as often as they are to.
    CopiesCompared,
}

impl ConditionType {
    pub(crate) const ALL: [Self; 10] = [
        Self::Ready,
        Self::Reconciling,
        Self::Stalled,
        Self::Available,
        Self::Progressing,
        Self::Degraded,
        Self::FullyReplicated,
        Self::TopologySatisfied,
        Self::MembershipConverged,
        Self::CopiesCompared,
    ];

    /// As it is written in a status.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Available => "Available",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::FullyReplicated => "FullyReplicated",
            Self::TopologySatisfied => "TopologySatisfied",
            Self::MembershipConverged => "MembershipConverged",
            Self::CopiesCompared => "CopiesCompared",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Ready => "All nodes serve, and the cluster is as its spec asks.",
            Self::Reconciling => "The operator is working towards the spec.",
            Self::Stalled => "The operator cannot go on until a person changes something.",
            Self::Available => {
                "Every partition can serve a read and a write at the cluster's default consistency."
            }
            Self::Progressing => "An operation is changing the cluster, or is to.",
            Self::Degraded => {
                "A node or a disk is missing. May be true while the cluster is available."
            }
            Self::FullyReplicated => "Every copy of every partition is on a node that serves.",
            Self::TopologySatisfied => {
                "The copies of each partition are in as many zones as there are."
            }
            Self::MembershipConverged => "Every node of the ring holds the recorded placement.",
            Self::CopiesCompared => {
                "Owners have compared their copies of every partition within the bound (anti_entropy.bound)."
            }
        }
    }
}

/// Whether a reason is worth an event when a condition takes it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventLevel {
    /// Only the condition says it.
    Silent,
    /// Good news, or a step.
    Normal,
    /// A person should look.
    Warning,
}

macro_rules! reasons {
    ($($name:ident, $level:ident, $meaning:literal, $remedy:literal;)*) => {
        /// Why a condition is as it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As it is written in a condition or an event.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Whether it makes an event.
            pub(crate) fn level(self) -> EventLevel {
                match self { $(Self::$name => EventLevel::$level,)* }
            }

            fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

reasons! {
    AllNodesServe, Normal, "All nodes serve the recorded placement.", "None needed.";
    AsDesired, Silent, "There is nothing to do, and nothing missing.", "None needed.";
    Founding, Normal, "The ring is being founded: nodes start, the first placement is recorded and handed over.", "Wait. If it lasts, see which node the message names and why its pod does not run.";
    NotReconciled, Silent, "No operator has looked at the cluster yet.", "If it lasts: does an operator run, and does it look after this namespace?";
    HandingOver, Silent, "Nodes are being given the recorded placement.", "Wait.";
    NodesNotReady, Warning, "Some nodes do not serve. Their pods are being recreated or restarted.", "If it lasts, describe the pods that the message names.";
    NotFounded, Silent, "There is no ring yet.", "Wait until the ring is founded.";
    RingFounded, Normal, "The first placement was recorded.", "None needed.";
    RingRebuilt, Warning, "The KVRing was missing or old, and was recorded anew from what the nodes hold.", "None, where the KVCluster was made anew on the disks of a deleted one. Else find out who deleted or restored the KVRing; no data was touched.";
    ContextKeyReplaced, Warning, "The Secret with the cluster's context key was missing, and was made anew with another key. Nodes that run go on with the old key.", "Restart all nodes, one at a time: until then, a context that one node gave out may be refused by another. Clients with an older context must read again.";
    QuorumAvailable, Normal, "Every partition can serve its default quorum.", "None needed.";
    QuorumLost, Warning, "Some partitions have too few serving copies for the default quorum.", "Bring back the nodes that the message names. Requests with a lower consistency may still succeed.";
    AllCopies, Silent, "Every copy of every partition serves.", "None needed.";
    CopiesMissing, Silent, "Some partitions have fewer serving copies than replicationFactor.", "Bring back the nodes that the message names.";
    NodeReplaced, Warning, "The disk of a node was lost: an empty node runs in its place. The other copies of its data are intact, and are copied to it after spec.replaceAfter.", "Do not delete further claims. If the message says what holds the replacement up, see to that; to have it replaced at once, name its identity in the annotation annulus.dev/destroyed-disks.";
    ForeignDisk, Warning, "A node runs on a disk of another ring, or of another node. It is given no placement.", "Give the node the claim that belongs to it.";
    RevisionPending, Normal, "Some pods were built from an older spec or by an older operator.", "Delete those pods one at a time, waiting for Ready in between, to bring them up to date.";
    ZonesSpread, Silent, "The copies of each partition are in as many zones as possible.", "None needed.";
    ZonesCrowded, Warning, "Some partitions have two copies in one zone although another zone has none.", "Give every zone enough nodes (pools[].zones).";
    NoZones, Silent, "The machines carry no label topology.kubernetes.io/zone, or the operator may not read it.", "Label the machines, and let the operator get nodes, before the cluster is founded.";
    Converged, Silent, "Every node of the ring holds the recorded placement.", "None needed.";
    PlacementPending, Silent, "Some nodes of the ring are not known to hold the recorded placement.", "Wait; it is handed over as soon as they answer.";
    ComparedInTime, Silent, "Every partition was compared within the bound.", "None needed.";
    ComparisonsOverdue, Warning, "Nodes have not compared some partitions with their other owners within the bound.", "Are those owners away? Otherwise see background_share and the comparisons' metrics of the nodes that the message names.";
    InvalidSpec, Warning, "The spec cannot be carried out.", "Change the spec as the message says.";
    ScalingOut, Normal, "Nodes join, and get their share of the data.", "Wait; `annulus status --watch` shows how far it is. Set the number of nodes back to call it off.";
    ScalingIn, Normal, "Nodes leave, after their data was moved away.", "Wait. Set the number of nodes back to call it off.";
    ReplacingNode, Warning, "The copies of a node whose disk was lost are made anew from the others.", "Wait, and lose no further disk.";
    DrainingNode, Normal, "The data of a node is moved away, because its KVNode is annotated so.", "Wait. Remove the annotation annulus.dev/drain to call it off.";
    ChangingReplicationFactor, Normal, "Copies are made or given up, until there are as many as replicationFactor says.", "Wait. Set it back to call it off.";
    Rebalancing, Normal, "Data is spread anew, after a change of capacity or zone.", "Wait.";
    AwaitingApproval, Normal, "spec.approval is Manual, and nobody has approved the plan in status.operation.plan.", "Annotate the KVCluster as the message says, or change the spec back.";
    PlanImpossible, Warning, "No plan leads to what the spec asks for. Moves that were under way go on.", "Change the spec as the message says.";
    OperationPhase, Normal, "An operation entered another phase.", "None needed.";
    OperationFinished, Normal, "An operation is over.", "None needed.";
    RingMismatch, Warning, "The disks hold a ring of another shape than the spec asks for.", "Set partitions to those of the ring (make the KVCluster anew), or use other disks.";
    RingConflict, Warning, "Nodes hold placements that cannot both be true.", "Find out which disks belong to this cluster, and remove the claims of the others.";
    RingLost, Warning, "A ring was founded, but neither the KVRing nor any node has it any more: all disks are empty.", "If the data is really gone, delete the KVCluster and create it anew.";
    RingUnreadable, Warning, "The KVRing cannot be read.", "Delete the KVRing: it is rebuilt from what the nodes hold.";
    DuplicateIdentity, Warning, "Two nodes have the same identity: one disk is a copy of another.", "Delete the claim of the copy.";
    ObjectRefused, Warning, "The API server refuses an object of the cluster.", "Do what the message says: a quota, an admission policy, a storage class that cannot grow, or an object of the same name that belongs to somebody else.";
    Retrying, Silent, "Something failed for the moment and is being tried again.", "Wait; if it lasts, see the message.";
}

/// The page `docs/operations/conditions.md`.
pub(crate) fn conditions_page() -> String {
    let mut page = String::from(
        "# Conditions and events of a KVCluster\n\n\
         <!-- Generated from operator/src/status/reason.rs by `cargo xtask generate`. -->\n\n\
         Every condition is always there. `Ready`, `Reconciling` and `Stalled` are as kstatus \
         reads them, so `kubectl wait`, Helm and GitOps tools understand them.\n\n\
         ## Conditions\n\n| type | true means |\n|---|---|\n",
    );
    for condition in ConditionType::ALL {
        line(&mut page, &[condition.as_str(), condition.meaning()]);
    }
    page.push_str(
        "\n## Reasons\n\nA condition that takes up a reason with an event type also makes an \
         event of that name.\n\n| reason | event | meaning | what to do |\n|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let event = match reason.level() {
            EventLevel::Silent => "",
            EventLevel::Normal => "Normal",
            EventLevel::Warning => "Warning",
        };
        line(
            &mut page,
            &[reason.as_str(), event, reason.meaning(), reason.remedy()],
        );
    }
    page
}

fn line(page: &mut String, cells: &[&str]) {
    writeln!(page, "| {} |", cells.join(" | ")).expect("writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_condition_and_reason() {
        let page = conditions_page();
        for condition in ConditionType::ALL {
            assert!(page.contains(&format!("| {} |", condition.as_str())));
        }
        for reason in Reason::ALL {
            assert!(page.contains(&format!("| {} |", reason.as_str())));
        }
    }
}
