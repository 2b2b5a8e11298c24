//! What there is to reclaim, and what holds it up: counted partition by partition as the scan finds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use annulus_ring::{NodeId, PartitionId};
use parking_lot::Mutex;

/// Why a tombstone that is old enough can't be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Reason {
    /// An owner can't be reached.
    OwnerDown,
    /// A node can't be reached that may keep writes for an owner.
    MemberDown,
    /// An owner did not do what it was asked.
    OwnerFailed,
    /// The owners act under different placements.
    PlacementChanging,
    /// The partition moves.
    Moving,
    /// A node keeps writes for an owner.
    HintsUndelivered,
    /// The owners' copies differ; they are being brought together.
    CopiesDiffer,
    /// An owner's record can't be read back.
    Damaged,
}

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Self; 8] = [
        Self::OwnerDown,
        Self::MemberDown,
        Self::OwnerFailed,
        Self::PlacementChanging,
        Self::Moving,
        Self::HintsUndelivered,
        Self::CopiesDiffer,
        Self::Damaged,
    ];

    /// Its name in metrics and the admin API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::OwnerDown => "owner_down",
            Self::MemberDown => "member_down",
            Self::OwnerFailed => "owner_failed",
            Self::PlacementChanging => "placement_changing",
            Self::Moving => "moving",
            Self::HintsUndelivered => "hints_undelivered",
            Self::CopiesDiffer => "copies_differ",
            Self::Damaged => "damaged",
        }
    }
}

/// What holds something up: why, and because of which node if it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Blocked {
    pub(crate) reason: Reason,
    pub(crate) node: Option<NodeId>,
}

/// Keys and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    pub(super) fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.bytes += other.bytes;
    }
}

/// Of one partition, for which this node is the first live owner.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PartitionTally {
    /// Keys without values, old or not.
    pub(super) tombstones: Amount,
    pub(super) blocked: BTreeMap<Blocked, Amount>,
}

impl PartitionTally {
    pub(super) fn block(&mut self, blocked: Blocked, amount: Amount) {
        if amount.keys > 0 {
            self.blocked.entry(blocked).or_default().add(amount);
        }
    }
}

/// What one thing holds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockedAmount {
    pub(crate) blocked: Blocked,
    pub(crate) partitions: u32,
    pub(crate) amount: Amount,
}

/// What the node tells of its reclaiming.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReapingReport {
    /// Keys without values in the partitions of which this node is the first live owner.
    pub(crate) tombstones: Amount,
    /// Those of them that could go but for something.
    pub(crate) blocked: Vec<BlockedAmount>,
    /// Keys that this node has had removed everywhere since it started.
    pub(crate) reaped: u64,
    /// Expired values that it has dropped from its own copies since it started.
    pub(crate) values_dropped: u64,
    /// How often it has looked at everything since it started.
    pub(crate) passes: u64,
}

/// Shared between the reaper and those who tell of it. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReapingStatus(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    partitions: BTreeMap<PartitionId, PartitionTally>,
    reaped: u64,
    values_dropped: u64,
    passes: u64,
}

impl ReapingStatus {
    /// What is so now.
    pub(crate) fn report(&self) -> ReapingReport {
        let inner = self.0.lock();
        let mut report = ReapingReport {
            reaped: inner.reaped,
            values_dropped: inner.values_dropped,
            passes: inner.passes,
            ..ReapingReport::default()
        };
        let mut blocked: BTreeMap<Blocked, (u32, Amount)> = BTreeMap::new();
        for tally in inner.partitions.values() {
            report.tombstones.add(tally.tombstones);
            for (by, amount) in &tally.blocked {
                let (partitions, sum) = blocked.entry(*by).or_default();
                *partitions += 1;
                sum.add(*amount);
            }
        }
        let blocked = blocked.into_iter();
        report.blocked = blocked
            .map(|(blocked, (partitions, amount))| BlockedAmount {
                blocked,
                partitions,
                amount,
            })
            .collect();
        report
    }

    /// A partition was looked at; `None`: another node tells of it.
    pub(super) fn looked_at(&self, partition: PartitionId, tally: Option<PartitionTally>) {
        let partitions = &mut self.0.lock().partitions;
        match tally {
            Some(tally) => partitions.insert(partition, tally),
            None => partitions.remove(&partition),
        };
    }

    /// Everything was looked at: these are the partitions that there are.
    pub(super) fn passed(&self, partitions: &[PartitionId]) {
        let mut inner = self.0.lock();
        inner
            .partitions
            .retain(|known, _| partitions.contains(known));
        inner.passes += 1;
    }

    pub(super) fn reaped(&self, keys: u64) {
        self.0.lock().reaped += keys;
    }

    pub(super) fn dropped(&self, values: u64) {
        self.0.lock().values_dropped += values;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn amount(keys: u64) -> Amount {
        Amount {
            keys,
            bytes: 10 * keys,
        }
    }

    #[test]
    fn a_report_adds_up_partitions_by_what_holds_them_up() {
        let status = ReapingStatus::default();
        let down = Blocked {
            reason: Reason::OwnerDown,
            node: Some(NodeId(Uuid::from_u128(2))),
        };
        let differ = Blocked {
            reason: Reason::CopiesDiffer,
            node: None,
        };
        for (partition, blocked) in [(1, down), (2, down), (3, differ)] {
            let mut tally = PartitionTally {
                tombstones: amount(5),
                ..PartitionTally::default()
            };
            tally.block(blocked, amount(2));
            tally.block(blocked, amount(0));
            status.looked_at(PartitionId(partition), Some(tally));
        }
        let report = status.report();
        assert_eq!(report.tombstones, amount(15));
        let of = |blocked, partitions, keys| BlockedAmount {
            blocked,
            partitions,
            amount: amount(keys),
        };
        assert_eq!(report.blocked, [of(down, 2, 4), of(differ, 1, 2)]);
        status.looked_at(PartitionId(1), None);
        status.passed(&[PartitionId(1), PartitionId(2)]);
        assert_eq!(status.report().blocked, [of(down, 1, 2)]);
    }
}
