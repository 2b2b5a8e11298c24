//! Serves one request with the help of a key's owners. Every node can, for every key.
//!
//! | module | owns |
//! |---|---|
//! | [`request`] | what may be asked, and the answers |
//! | [`get`], [`put`] | the drivers of reads, and of writes and deletes |
//! | [`own_write`], [`spread`] | a write at the owner that mints its dot, and its way to the others |
//! | [`sloppy`] | other nodes that stand in for owners that are away |
//! | [`delete_sight`] | what a delete finds to delete |
//! | [`owners`] | one owner, here or elsewhere; in which order owners are asked |
//! | [`repair`] | the driver of read repair |
//! | [`quorum`], [`read_plan`], [`mod@merge_replies`], [`read_repair`], [`speculation`] | the decisions (pure) |
//! | [`metrics`] | figures |
//!
//! Invariants:
//! - `rejected` is said only while no owner can have minted the write's dot; whatever fails after
//!   that is `unknown`, and is never rolled back;
//! - only owners mint (during a move those who answer reads), and a write that is tried at a second owner keeps its request id;
//! - a write that has its dot goes to all owners that are not down, whoever waits for it or has stopped
//!   waiting; a quorum is a number of the placement's owners, whoever of them is down; during a move it is one of the
//!   old owners and one of the new, both of which are sent the write;
//! - all replies that count toward one quorum were given under one placement epoch; when the
//!   placement changes, the round starts over with the state it has;
//! - nothing outlives the request's deadline but the hints of the owners that missed it.
//!
//! Leaves to others: limits and forms of requests (`server`), the copies themselves (`replica`),
//! how nodes are reached (`peer`).

mod delete_sight;
mod get;
mod merge_replies;
mod metrics;
mod own_write;
mod owners;
mod put;
mod quorum;
mod read_plan;
mod read_repair;
mod repair;
mod request;
mod sloppy;
mod speculation;
mod spread;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use annulus_proto::model::{Consistency, ErrorCode, RequestError};
use annulus_ring::{Placement, RingEpoch};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::owners::OwnerFailure;
use self::speculation::SpeculationBudget;
use crate::clock::Clock;
use crate::disk_pace::DiskStanding;
use crate::entropy::Randomness;
use crate::hints::Hints;
use crate::keyspace::Keyspaces;
use crate::membership::MembershipView;
use crate::peer::Peers;
use crate::placement::PlacementStore;
use crate::replica::Replica;

pub(crate) use merge_replies::merge_replies;
pub(crate) use metrics::CoordinatorMetrics;
pub(crate) use request::{Delete, Deleted, Found, Get, Put, Written};

/// How often one request starts over because the placement changed meanwhile.
const MAX_ROUNDS: usize = 8;

/// How long a round waits for a newer placement that it has heard of before it asks again.
const PLACEMENT_PATIENCE: Duration = Duration::from_millis(200);

/// What a coordinator is made of.
#[derive(Debug)]
pub(crate) struct CoordinatorParts {
    /// The placement.
    pub(crate) placement: PlacementStore,
    /// The keyspaces.
    pub(crate) keyspaces: Arc<Keyspaces>,
    /// This node's copies.
    pub(crate) replica: Replica,
    /// The other nodes.
    pub(crate) peers: Peers,
    /// Which of them are alive.
    pub(crate) membership: MembershipView,
    /// Which of their disks are slow.
    pub(crate) disks: DiskStanding,
    /// Writes kept for owners that are away.
    pub(crate) hints: Hints,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Randomness, for request ids.
    pub(crate) randomness: Arc<dyn Randomness>,
    /// What goes on after the answer; wait for it when the node stops. It ends by the deadlines.
    pub(crate) tasks: TaskTracker,
    /// Figures.
    pub(crate) metrics: CoordinatorMetrics,
}

/// Serves requests. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Coordinator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    placement: PlacementStore,
    keyspaces: Arc<Keyspaces>,
    replica: Replica,
    peers: Peers,
    membership: MembershipView,
    disks: DiskStanding,
    hints: Hints,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    tasks: TaskTracker,
    metrics: CoordinatorMetrics,
    speculation: Mutex<SpeculationBudget>,
}

impl Coordinator {
    /// A coordinator made of these parts.
    pub(crate) fn new(parts: CoordinatorParts) -> Self {
        let CoordinatorParts {
            placement,
            keyspaces,
            replica,
            peers,
            membership,
            disks,
            hints,
            clock,
            randomness,
            tasks,
            metrics,
        } = parts;
        Self(Arc::new(Inner {
            placement,
            keyspaces,
            replica,
            peers,
            membership,
            disks,
            hints,
            clock,
            randomness,
            tasks,
            metrics,
            speculation: Mutex::new(SpeculationBudget::new()),
        }))
    }

    /// The placement under which requests are served now; `None` before the first.
    pub(crate) fn placement(&self) -> Option<Arc<Placement>> {
        self.0.placement.current()
    }

    /// Waits, not for long, for the placement under which a round is to start over.
    async fn await_placement(&self, epoch: RingEpoch, deadline: Instant) {
        self.0.metrics.placement_restarts.inc();
        let patience = self.0.clock.now() + PLACEMENT_PATIENCE;
        self.0
            .placement
            .wait_for(epoch, deadline.min(patience))
            .await;
    }
}

/// Why one round ended without a result.
#[derive(Debug)]
enum RoundError {
    /// Some node acts under a newer placement, of this epoch: start over under that. Nothing that counts
    /// has happened in this round.
    Stale(RingEpoch),
    /// The request failed.
    Failed(RequestError),
}

impl From<OwnerFailure> for RoundError {
    fn from(failure: OwnerFailure) -> Self {
        match failure {
            OwnerFailure::Stale(epoch) => Self::Stale(epoch),
            OwnerFailure::Failed(error) => Self::Failed(error),
        }
    }
}

impl From<RequestError> for RoundError {
    fn from(error: RequestError) -> Self {
        Self::Failed(error)
    }
}

/// A consistency level as a number of the key's owners.
fn quorum_of(
    parameter: &'static str,
    level: Consistency,
    placement: &Placement,
) -> Result<usize, RequestError> {
    let owners = usize::from(placement.replication_factor().get());
    level.resolve(owners).ok_or_else(|| {
        RequestError::rejected(
            ErrorCode::InvalidArgument,
            format!("{parameter}: {level} replicas are asked for, each key has {owners}"),
        )
    })
}

fn placement_keeps_changing() -> RequestError {
    let message = format!("the placement changed {MAX_ROUNDS} times during the request; try again");
    RequestError::rejected(ErrorCode::Unavailable, message)
}
