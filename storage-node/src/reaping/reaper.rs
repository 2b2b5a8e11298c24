//! The driver: one task a node, of the lowest rank. It scans this node's vnodes page by page, drops expired
//! values from its own copies, and carries tombstones whose turn it is through the two phases.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::{NodeId, PartitionId, Placement};
use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::metrics::ReapingMetrics;
use super::phases::{Next, Round, confirm};
use super::tally::{Amount, Blocked, PartitionTally, ReapingStatus, Reason};
use super::turn;
use crate::clock::Clock;
use crate::hints::Hints;
use crate::keyspace::Keyspaces;
use crate::membership::MembershipView;
use crate::mistake::{self, Mistake};
use crate::overload::{Allowance, Class, Overload};
use crate::peer::{MAX_TOMBSTONES, NamedTombstone, Peers};
use crate::placement::PlacementStore;
use crate::replica::{
    Finding, KeyAddress, Reclaim, ReclaimStep, Reclaimed, Replica, ScanPage, TombstoneFound,
};
use crate::storage::ScanLimit;

/// One page of a scan.
const PAGE: ScanLimit = ScanLimit {
    entries: 512,
    bytes: 1 << 20,
};

/// Rounds that wait for their second phase; the scan waits when there are more.
const MAX_ROUNDS: usize = 64;

/// Passes that each owner leaves a tombstone to those before it in the preference list.
const PASSES_OF_PATIENCE: u32 = 2;

/// So much of the pace gathers while nothing is done.
const SAVES: Duration = Duration::from_secs(1);

/// How fast reclaiming goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Pause between two passes over everything.
    pub(crate) interval: Duration,
    /// Between the two phases: no request lives longer.
    pub(crate) settle: Duration,
    /// How long one request of reclaiming may take.
    pub(crate) request_timeout: Duration,
    /// Bytes of data that are scanned a second.
    pub(crate) scan_bytes_per_second: u64,
    /// Keys that are confirmed, removed or changed a second.
    pub(crate) keys_per_second: u64,
}

/// What a reaper works with.
#[derive(Debug, Clone)]
pub(crate) struct ReaperParts {
    pub(crate) placement: PlacementStore,
    pub(crate) keyspaces: Arc<Keyspaces>,
    pub(crate) replica: Replica,
    pub(crate) peers: Peers,
    pub(crate) membership: MembershipView,
    pub(crate) hints: Hints,
    /// How far the scan gives way to clients.
    pub(crate) overload: Overload,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pace: Pace,
    pub(crate) status: ReapingStatus,
    pub(crate) metrics: ReapingMetrics,
}

/// See the module.
pub(crate) struct Reaper {
    pub(super) parts: ReaperParts,
    rounds: VecDeque<Round>,
    scanning: Allowance,
    changing: Allowance,
}

impl fmt::Debug for Reaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reaper")
            .field("rounds", &self.rounds.len())
            .finish_non_exhaustive()
    }
}

/// A partition under the scan.
struct Scan {
    placement: Arc<Placement>,
    partition: PartitionId,
    owners: Vec<NodeId>,
    /// Live owners before this one in the preference list.
    place: usize,
    /// What holds up every tombstone of it.
    blocked: Option<Blocked>,
    tally: PartitionTally,
    candidates: Vec<(NamedTombstone, u64)>,
}

impl Reaper {
    pub(crate) fn new(parts: ReaperParts) -> Self {
        let now = parts.clock.now();
        Self {
            rounds: VecDeque::new(),
            scanning: Allowance::new(parts.pace.scan_bytes_per_second, SAVES, now),
            changing: Allowance::new(parts.pace.keys_per_second, SAVES, now),
            parts,
        }
    }

    /// Works until it is told to stop. What it leaves undone is found again after the next start.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        // Stopped or ended by itself: both are the end.
        let _ = stop.run_until_cancelled(self.work()).await;
    }

    async fn work(&mut self) {
        loop {
            let begun = self.parts.clock.now();
            self.pass().await;
            let next_pass = begun.max(self.parts.clock.now()) + self.parts.pace.interval;
            while let Some(due) = self.rounds.front().map(|round| round.not_before)
                && due < next_pass
            {
                sleep_until(due).await;
                self.finish_rounds().await;
            }
            sleep_until(next_pass).await;
        }
    }

    /// Looks at everything once.
    async fn pass(&mut self) {
        let vnodes = self.parts.replica.vnodes();
        let partitions: Vec<_> = vnodes.iter().map(|vnode| vnode.partition).collect();
        for partition in &partitions {
            let Some(placement) = self.parts.placement.current() else {
                return;
            };
            let owners = Self::owners_of(&placement, *partition);
            let own = self.parts.placement.node();
            let Some(place) = turn::place(&owners, own, |owner| self.is_live(owner)) else {
                continue; // a newer placement is just being installed
            };
            let blocked = self.standing_block(&placement, *partition, &owners);
            let mut scan = Scan {
                placement,
                partition: *partition,
                blocked,
                owners,
                place,
                tally: PartitionTally::default(),
                candidates: Vec::new(),
            };
            self.scan(&mut scan).await;
            let tally = (place == 0).then_some(scan.tally);
            self.parts.status.looked_at(*partition, tally);
        }
        self.parts.status.passed(&partitions);
        self.parts.metrics.show(&self.parts.status.report());
    }

    /// What is known to hold up a partition before anybody is asked.
    fn standing_block(
        &self,
        placement: &Placement,
        partition: PartitionId,
        owners: &[NodeId],
    ) -> Option<Blocked> {
        if placement.move_of(partition).is_some() {
            let (reason, node) = (Reason::Moving, None);
            return Some(Blocked { reason, node });
        }
        let down = owners.iter().find(|owner| !self.is_live(**owner))?;
        Some(Blocked {
            reason: Reason::OwnerDown,
            node: Some(*down),
        })
    }

    async fn scan(&mut self, scan: &mut Scan) {
        let mut cursor: Option<Bytes> = None;
        loop {
            let now_ms = self.parts.clock.wall_ms();
            let page = self
                .parts
                .replica
                .scan_for_reclaiming(scan.partition, cursor, PAGE, now_ms);
            let page = match page.await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(partition = %scan.partition, %error, "scan ended early");
                    break;
                }
            };
            let ScanPage {
                findings,
                bytes,
                next,
                ..
            } = page;
            self.parts.metrics.scanned.inc_by(bytes as u64);
            for finding in findings {
                self.look_at(scan, finding).await;
            }
            let share = self.parts.overload.share(Class::Scrub);
            let now = self.parts.clock.now();
            self.scanning.spend(bytes as u64, share, now);
            sleep(self.scanning.owed(now)).await;
            self.finish_rounds().await;
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        self.begin_round(scan).await;
    }

    async fn look_at(&mut self, scan: &mut Scan, finding: Finding) {
        let now_ms = self.parts.clock.wall_ms();
        let rule = self.parts.replica.tombstone_rule();
        let Some(left) = rule.due_in(&finding.state, now_ms) else {
            return self.drop_expired(scan, &finding).await;
        };
        let amount = Amount {
            keys: 1,
            bytes: finding.bytes as u64,
        };
        scan.tally.tombstones.add(amount);
        if !left.is_zero() {
            return;
        }
        if mistake::is_made(Mistake::ReapByAgeAlone) {
            return self.remove_here(scan, &finding).await;
        }
        if self.parts.keyspaces.get(&finding.keyspace).is_err() {
            return; // a keyspace that is configured no more keeps what it has
        }
        if let Some(blocked) = scan.blocked {
            return scan.tally.block(blocked, amount);
        }
        let ended_ms = finding.state.ended_at_ms().unwrap_or(now_ms);
        let overdue =
            Duration::from_millis(now_ms.saturating_sub(ended_ms)).saturating_sub(rule.age);
        let a_pass = self.parts.pace.interval + self.parts.pace.settle;
        let patience = a_pass * PASSES_OF_PATIENCE;
        if !turn::is_on(scan.place, overdue, patience)
            || self.is_under_way(scan.partition, &finding)
        {
            return;
        }
        let named = NamedTombstone {
            digest: finding.state.record_digest(),
            keyspace: finding.keyspace,
            key: finding.key,
        };
        scan.candidates.push((named, amount.bytes));
        if scan.candidates.len() == MAX_TOMBSTONES {
            self.begin_round(scan).await;
        }
    }

    fn is_under_way(&self, partition: PartitionId, finding: &Finding) -> bool {
        let rounds = self.rounds.iter();
        let of_partition = rounds.filter(|round| round.partition == partition);
        of_partition
            .flat_map(|round| &round.tombstones)
            .any(|named| named.key == finding.key && named.keyspace == finding.keyspace)
    }

    /// Drops what has expired from this node's own copy; each owner does so for itself.
    async fn drop_expired(&mut self, scan: &Scan, finding: &Finding) {
        let Some(reclaim) = self.step(scan, finding, ReclaimStep::DropExpired) else {
            return;
        };
        self.pay_for_changes(1).await;
        if let Ok(Reclaimed::Dropped { values, bytes }) = self.parts.replica.reclaim(reclaim).await
        {
            self.parts.metrics.values_dropped.inc_by(values as u64);
            self.parts.metrics.bytes_dropped.inc_by(bytes as u64);
            self.parts.status.dropped(values as u64);
        }
    }

    /// The mistake [`Mistake::ReapByAgeAlone`].
    async fn remove_here(&self, scan: &Scan, finding: &Finding) {
        let vnodes = self.parts.replica.vnodes();
        let own = vnodes
            .iter()
            .find(|vnode| vnode.partition == scan.partition);
        let Some(vnode) = own.map(|own| own.vnode_id) else {
            return;
        };
        let digest = finding.state.record_digest();
        if let Some(reclaim) = self.step(scan, finding, ReclaimStep::Remove { digest, vnode }) {
            let _ = self.parts.replica.reclaim(reclaim).await; // a mistake need not succeed
        }
    }

    fn step(&self, scan: &Scan, finding: &Finding, step: ReclaimStep) -> Option<Reclaim> {
        let address = self.address(&scan.placement, &finding.keyspace, &finding.key)?;
        Some(Reclaim {
            address,
            step,
            deadline: self.deadline(),
            fence: scan.placement.epoch(),
        })
    }

    fn address(
        &self,
        placement: &Placement,
        keyspace: &KeyspaceName,
        key: &Key,
    ) -> Option<KeyAddress> {
        let keyspace = self.parts.keyspaces.get(keyspace).ok()?.clone();
        Some(KeyAddress::of(placement, keyspace, key.clone()))
    }

    /// Changes that many keys no sooner than the pace allows.
    async fn pay_for_changes(&mut self, keys: usize) {
        let now = self.parts.clock.now();
        self.changing.spend(keys as u64, 1.0, now);
        sleep(self.changing.owed(now)).await;
    }

    /// Phase 1 for what was gathered.
    async fn begin_round(&mut self, scan: &mut Scan) {
        let gathered = std::mem::take(&mut scan.candidates);
        if gathered.is_empty() {
            return;
        }
        self.pay_for_changes(gathered.len()).await;
        while self.rounds.len() >= MAX_ROUNDS {
            let due = self.rounds.front().map(|round| round.not_before);
            sleep_until(due.unwrap_or_else(|| self.parts.clock.now())).await;
            self.finish_rounds().await;
        }
        let (named, bytes): (Vec<_>, Vec<_>) = gathered.into_iter().unzip();
        if let Err(blocked) = self.confirm_round(scan, &named, &bytes).await {
            let amount = Amount {
                keys: named.len() as u64,
                bytes: bytes.iter().sum(),
            };
            scan.tally.block(blocked, amount);
        }
    }

    async fn confirm_round(
        &mut self,
        scan: &mut Scan,
        named: &[NamedTombstone],
        bytes: &[u64],
    ) -> Result<(), Blocked> {
        let placement = scan.placement.clone();
        self.check_hints(&placement, scan.partition, named).await?;
        let answers = self.ask_all(&placement, &scan.owners, named).await;
        let found = confirm(named.len(), &answers)?;
        let of = |place: usize| Amount {
            keys: 1,
            bytes: bytes[place],
        };
        for (place, node) in &found.damaged {
            let (reason, node) = (Reason::Damaged, Some(*node));
            scan.tally.block(Blocked { reason, node }, of(*place));
        }
        for place in &found.different {
            let (reason, node) = (Reason::CopiesDiffer, None);
            scan.tally.block(Blocked { reason, node }, of(*place));
            let (keyspace, key) = (&named[*place].keyspace, &named[*place].key);
            if let Some(address) = self.address(&placement, keyspace, key) {
                self.mend(&placement, &scan.owners, &address).await;
            }
        }
        let confirmed: Vec<_> = found
            .confirmed
            .iter()
            .map(|at| named[*at].clone())
            .collect();
        if !confirmed.is_empty() {
            self.rounds.push_back(Round::new(
                (scan.partition, placement.epoch()),
                self.parts.placement.node(),
                found.vnodes,
                confirmed,
                (self.parts.clock.now(), self.parts.pace.settle),
            ));
        }
        Ok(())
    }

    /// Rule T5. Only where other nodes may stand in for owners are there writes that wait for these and have no age.
    async fn check_hints(
        &self,
        placement: &Placement,
        partition: PartitionId,
        named: &[NamedTombstone],
    ) -> Result<(), Blocked> {
        let may_be_kept = named.iter().any(|named| {
            let keyspace = self.parts.keyspaces.get(&named.keyspace);
            keyspace.is_ok_and(|keyspace| keyspace.allow_sloppy)
        });
        if may_be_kept {
            self.hints_delivered(placement, partition).await?;
        }
        Ok(())
    }

    /// Phase 2 for the rounds whose time has come.
    async fn finish_rounds(&mut self) {
        while let Some(round) = self.rounds.front() {
            let Some(held) = self.parts.placement.in_use() else {
                return;
            };
            let placement = held.placement.clone();
            let unchanged = held.admits(round.epoch, Some(round.partition));
            match round.next(unchanged, self.parts.clock.now()) {
                Next::Wait(_) => return,
                Next::Void => {
                    self.rounds.pop_front();
                }
                Next::Remove => {
                    if let Some(round) = self.rounds.pop_front() {
                        self.remove(&placement, round).await;
                    }
                }
            }
        }
    }

    async fn remove(&mut self, placement: &Placement, round: Round) {
        let hints = self.check_hints(placement, round.partition, &round.tombstones);
        if let Err(blocked) = hints.await {
            tracing::debug!(?blocked, "reaping waits");
            return;
        }
        let mut left = round.tombstones;
        for (owner, vnode) in round.vnodes {
            let found = match self.remove_at(placement, (owner, vnode), &left).await {
                Ok(found) => found,
                Err(reason) => {
                    tracing::debug!(%owner, ?reason, "reaping is left half done");
                    return;
                }
            };
            let mut found = found.into_iter();
            // Where one has changed, the others keep theirs: it is a live key again.
            left.retain(|_| {
                matches!(
                    found.next(),
                    Some(TombstoneFound::Same | TombstoneFound::Absent)
                )
            });
            if left.is_empty() {
                return;
            }
        }
        self.parts.metrics.reaped.inc_by(left.len() as u64);
        self.parts.status.reaped(left.len() as u64);
    }

    /// Of a request that begins now.
    pub(super) fn deadline(&self) -> Instant {
        self.parts.clock.now() + self.parts.pace.request_timeout
    }
}
