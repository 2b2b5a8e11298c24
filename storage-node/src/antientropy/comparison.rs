//! The driver of one exchange: does what it asks for, here and at the other owner.
//!
//! Invariants: what is moved was read within [`PATIENCE`] of when it is merged, so that reaping knows when nothing
//! old is under way any more; a deleted key that is old enough to go is not copied to where it is gone already.

use std::sync::Arc;
use std::time::Duration;

use annulus_causality::KeyState;
use annulus_proto::model::RequestError;
use annulus_ring::{NodeId, PartitionId, Placement};
use futures::stream::{self, StreamExt as _};
use tokio::time::{Instant, sleep, timeout_at};

use super::exchange::{Exchange, KeyMove, Outcome, RoundLimit, Step};
use super::metrics::{AntiEntropyMetrics, WayLabels};
use crate::clock::Clock;
use crate::hash_tree::{Block, Leaf, Way};
use crate::keyspace::Keyspaces;
use crate::mistake::{self, Mistake};
use crate::overload::Throttle;
use crate::peer::{PeerFailure, Peers};
use crate::replica::{KeyAddress, Merge, Replica, ReplicaError};

/// How long one question to the other owner, or one repair, may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keys that are moved at the same time.
const MOVES_AT_ONCE: usize = 8;

/// What a message costs beside a state.
const MOVE_BYTES: usize = 64;

/// Why a comparison ended early. What was moved until then stays moved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComparisonError {
    #[error("this node's copy: {0}")]
    Here(#[from] ReplicaError),
    #[error("the other owner's copy: {0}")]
    There(#[from] PeerFailure),
    #[error("this node's copy: {0}")]
    Refused(#[from] RequestError),
    #[error("a read of this node's copy took too long")]
    Slow,
}

/// What a comparison is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To keep the copies of owners alike.
    Upkeep,
    /// To make a copy that joins the same as its source: deleted keys that are old enough to go, too.
    Join,
    /// To leave nothing behind that the other lacks. What it has more is no loss here.
    Leave,
}

/// Two copies to be compared.
pub(crate) struct Comparison<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) peer: NodeId,
    pub(crate) purpose: Purpose,
    pub(crate) placement: Arc<Placement>,
    pub(crate) replica: &'a Replica,
    pub(crate) peers: &'a Peers,
    pub(crate) keyspaces: &'a Keyspaces,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) metrics: &'a AntiEntropyMetrics,
}

impl Comparison<'_> {
    /// Compares, and moves what differs.
    pub(crate) async fn run(
        &self,
        limit: RoundLimit,
        confirm_after: Duration,
        throttle: &impl Throttle,
    ) -> Result<Outcome, ComparisonError> {
        let (mut exchange, mut step) = Exchange::begin(limit, confirm_after);
        // Nothing is under way to a copy that is left: whatever it has alone is to be brought to the others.
        if self.purpose == Purpose::Leave {
            exchange = exchange.at_once();
        }
        loop {
            step = match step {
                Step::Compare(blocks) => self.compare(&mut exchange, blocks, throttle).await?,
                Step::List(leaves) => self.list(&mut exchange, leaves, throttle).await?,
                Step::Wait(pause) => {
                    sleep(pause).await;
                    exchange.waited()
                }
                Step::Move(moves) => exchange.moved(self.move_keys(moves, throttle).await),
                Step::End(outcome) => return Ok(outcome),
            };
        }
    }

    fn deadline(&self) -> Instant {
        self.clock.now() + PATIENCE
    }

    async fn compare(
        &self,
        exchange: &mut Exchange,
        blocks: Vec<Block>,
        throttle: &impl Throttle,
    ) -> Result<Step, ComparisonError> {
        let unless = if blocks == [Block::ROOT] {
            Some(here(self.deadline(), self.replica.tree_root(self.partition)).await?)
        } else {
            None
        };
        let (epoch, deadline) = (self.placement.epoch(), self.deadline());
        let asked =
            self.peers
                .tree_blocks(self.peer, epoch, self.partition, &blocks, unless, deadline);
        let theirs = asked.await?;
        self.pay(theirs.bytes, throttle).await;
        self.metrics.blocks.inc_by(blocks.len() as u64);
        let Some(theirs) = theirs.answer else {
            return Ok(exchange.same_roots());
        };
        let mine = self.replica.tree_blocks(self.partition, blocks);
        let mine = here(self.deadline(), mine).await?;
        Ok(exchange.compared(&mine, &theirs))
    }

    async fn list(
        &self,
        exchange: &mut Exchange,
        leaves: Vec<Leaf>,
        throttle: &impl Throttle,
    ) -> Result<Step, ComparisonError> {
        let (epoch, deadline) = (self.placement.epoch(), self.deadline());
        let asked = self
            .peers
            .leaf_keys(self.peer, epoch, self.partition, &leaves, deadline);
        let theirs = asked.await?;
        self.pay(theirs.bytes, throttle).await;
        let partitions = self.placement.partitions();
        let mine = self.replica.leaf_keys(partitions, self.partition, leaves);
        let mine = here(self.deadline(), mine).await?;
        Ok(exchange.listed(mine, theirs.answer))
    }

    /// How many could not be moved.
    async fn move_keys(&self, moves: Vec<KeyMove>, throttle: &impl Throttle) -> usize {
        let results = stream::iter(moves)
            .map(|each| async move {
                let moved = self.move_key(&each, throttle).await;
                moved.inspect_err(|error| {
                    let KeyMove { keyspace, key, .. } = each;
                    tracing::debug!(%keyspace, ?key, %error, "a key could not be repaired");
                })
            })
            .buffer_unordered(MOVES_AT_ONCE);
        let failed = results.filter(|moved| futures::future::ready(moved.is_err()));
        failed.count().await
    }

    async fn move_key(
        &self,
        each: &KeyMove,
        throttle: &impl Throttle,
    ) -> Result<(), ComparisonError> {
        let keyspace = self.keyspaces.get(&each.keyspace)?.clone();
        let address = KeyAddress::of(&self.placement, keyspace, each.key.clone());
        let mut changed = false;
        if each.way != Way::Push && self.purpose != Purpose::Leave {
            changed |= self.pull(&address, each.is_absent, throttle).await?;
        }
        if each.way != Way::Pull {
            changed |= self.push(&address, each.is_absent, throttle).await?;
        }
        let way = match each.way {
            Way::Pull => "pull",
            Way::Push => "push",
            Way::Both => "both",
        };
        self.metrics.keys.get_or_create(&WayLabels { way }).inc();
        if !changed {
            self.metrics.needless.inc();
        }
        Ok(())
    }

    /// Whether it changed anything.
    async fn pull(
        &self,
        address: &KeyAddress,
        is_absent: bool,
        throttle: &impl Throttle,
    ) -> Result<bool, ComparisonError> {
        let key = (&address.keyspace().name, address.key());
        let (epoch, deadline) = (self.placement.epoch(), self.deadline());
        let theirs = self.peers.read(self.peer, epoch, key, deadline).await?;
        let Some(state) = theirs else {
            return Ok(false); // gone since it was listed
        };
        if is_absent && self.is_being_reaped(&state) {
            return Ok(false);
        }
        if state.value_bytes() > 0 && !self.replica.has_room_for_background() {
            return Err(ReplicaError::DiskFull.into());
        }
        let bytes = MOVE_BYTES + state.value_bytes();
        if mistake::is_made(Mistake::ExchangeMints) {
            let (deadline, epoch) = (self.deadline(), self.placement.epoch());
            self.replica
                .mint_as_its_own(address, &state, deadline, epoch)
                .await;
        }
        let merge = Merge {
            address: address.clone(),
            state,
            deadline,
            fence: epoch,
        };
        let merged = self.replica.merge(merge).await;
        self.pay(bytes, throttle).await;
        Ok(merged?.changed)
    }

    /// Whether it changed anything.
    async fn push(
        &self,
        address: &KeyAddress,
        is_absent: bool,
        throttle: &impl Throttle,
    ) -> Result<bool, ComparisonError> {
        let (epoch, deadline) = (self.placement.epoch(), self.deadline());
        let mine = here(deadline, self.replica.read(address)).await?;
        let Some(state) = mine else {
            return Ok(false); // gone since it was listed
        };
        if is_absent && self.is_being_reaped(&state) {
            return Ok(false);
        }
        let state = state.encode();
        let bytes = MOVE_BYTES + state.len();
        let key = (&address.keyspace().name, address.key());
        let repaired = self.peers.repair(self.peer, epoch, key, state, deadline);
        let repaired = repaired.await;
        self.pay(bytes, throttle).await;
        Ok(repaired?)
    }

    /// A deleted key in the middle of its removal: copied back, it would only have to be removed again. The owner
    /// that still has it finds that, and finishes.
    fn is_being_reaped(&self, state: &KeyState) -> bool {
        let now_ms = self.clock.wall_ms();
        let leaves =
            self.purpose == Purpose::Upkeep && self.replica.tombstone_rule().is_due(state, now_ms);
        if leaves {
            self.metrics.left_to_reaping.inc();
        }
        leaves
    }

    async fn pay(&self, bytes: usize, throttle: &impl Throttle) {
        self.metrics.bytes.inc_by(bytes as u64);
        throttle.spend(bytes).await;
    }
}

async fn here<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, ReplicaError>>,
) -> Result<T, ComparisonError> {
    let done = timeout_at(deadline, work).await;
    Ok(done.map_err(|_| ComparisonError::Slow)??)
}
