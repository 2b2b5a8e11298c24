//! How much is kept for whom, and what no longer is: pure.
//!
//! Ordinary hints give way to every bound, and say why. Sloppy ones are refused before they are
//! promised, and never given up.

use std::collections::BTreeMap;

use annulus_causality::HlcStamp;
use annulus_ring::{NodeId, PartitionId};

use crate::config::HintLimits;

/// Ages are known to so many milliseconds.
const AGE_STEP_MS: u64 = 10_000;

/// Why an ordinary hint is not kept, or no more. The target's partition is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DropReason {
    /// The target has been away for too long.
    Window,
    /// As many bytes are kept as may be.
    Space,
    /// This node's disk is nearly full.
    DiskFull,
    /// Too many wait in memory.
    Waiting,
    /// The write is older than the time to live.
    Expired,
    /// The receiver will never take it.
    Refused,
    /// It can't be read back.
    Damaged,
    /// This node's storage did not take it.
    Failed,
}

impl DropReason {
    /// Its name in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Space => "space",
            Self::DiskFull => "disk_full",
            Self::Waiting => "waiting",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Damaged => "damaged",
            Self::Failed => "failed",
        }
    }
}

/// What one hint weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    /// Of its key and record.
    pub(super) bytes: u64,
    pub(super) sloppy: bool,
    pub(super) written: HlcStamp,
}

/// What is kept for one target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TargetBacklog {
    /// Hints: one a key.
    pub(crate) hints: u64,
    /// Of which sloppy.
    pub(crate) sloppy: u64,
    /// Bytes on disk.
    pub(crate) bytes: u64,
    /// When the oldest was written, in milliseconds since 1970, to 10 s.
    pub(crate) oldest_ms: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    targets: BTreeMap<NodeId, Target>,
    ordinary_bytes: u64,
    sloppy_bytes: u64,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Target {
    total: TargetBacklog,
    /// Number of sloppy hints, of the partitions that have some.
    sloppy: BTreeMap<PartitionId, u64>,
    /// Number of hints by age.
    ages: BTreeMap<u64, u64>,
    /// Since when it misses writes, by the wall clock; `None`: it does not.
    away_since_ms: Option<u64>,
}

impl Backlog {
    /// Whether one more ordinary hint of so many bytes is kept; then it counts as waiting until
    /// [`Self::no_longer_waiting`].
    pub(super) fn admit(
        &mut self,
        target: NodeId,
        bytes: u64,
        limits: &HintLimits,
        max_bytes: u64,
        now_ms: u64,
    ) -> Result<(), DropReason> {
        let away = self.targets.entry(target).or_default();
        let away_since_ms = *away.away_since_ms.get_or_insert(now_ms);
        let away_ms = now_ms.saturating_sub(away_since_ms);
        if u128::from(away_ms) > limits.window.as_millis() {
            return Err(DropReason::Window);
        }
        if self.ordinary_bytes.saturating_add(bytes) > max_bytes {
            return Err(DropReason::Space);
        }
        if self.waiting >= limits.max_waiting {
            return Err(DropReason::Waiting);
        }
        self.waiting += 1;
        Ok(())
    }

    /// A hint that was admitted is on disk, or was given up.
    pub(super) fn no_longer_waiting(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Whether one more sloppy write of so many bytes can be promised.
    pub(super) fn has_sloppy_room(&self, bytes: u64, limits: &HintLimits) -> bool {
        self.sloppy_bytes.saturating_add(bytes) <= limits.max_sloppy_bytes
    }

    /// A hint is kept, in the place of another one where there was one. Whether it is the target's first.
    pub(super) fn put(
        &mut self,
        target: NodeId,
        partition: PartitionId,
        before: Option<Item>,
        now: Item,
    ) -> bool {
        if let Some(before) = before {
            self.remove(target, partition, before);
        }
        *self.bytes_of(now) += now.bytes;
        let kept = self.targets.entry(target).or_default();
        kept.total.hints += 1;
        kept.total.bytes += now.bytes;
        *kept.ages.entry(age_step(now)).or_default() += 1;
        if now.sloppy {
            kept.total.sloppy += 1;
            *kept.sloppy.entry(partition).or_default() += 1;
        }
        kept.total.hints == 1
    }

    /// A hint is gone.
    pub(super) fn remove(&mut self, target: NodeId, partition: PartitionId, item: Item) {
        let bytes = self.bytes_of(item);
        *bytes = bytes.saturating_sub(item.bytes);
        let Some(kept) = self.targets.get_mut(&target) else {
            return;
        };
        kept.total.hints = kept.total.hints.saturating_sub(1);
        kept.total.bytes = kept.total.bytes.saturating_sub(item.bytes);
        take_one(&mut kept.ages, &age_step(item));
        if item.sloppy {
            kept.total.sloppy = kept.total.sloppy.saturating_sub(1);
            take_one(&mut kept.sloppy, &partition);
        }
    }

    /// After a start: a target with hints has been away since its oldest one was written.
    pub(super) fn loaded(&mut self) {
        for target in self.targets.values_mut() {
            target.away_since_ms = target.ages.keys().next().map(|step| step * AGE_STEP_MS);
        }
    }

    /// The target takes writes again.
    pub(super) fn reached(&mut self, target: NodeId) {
        if let Some(kept) = self.targets.get_mut(&target) {
            kept.away_since_ms = None;
            if kept.total.hints == 0 {
                self.targets.remove(&target);
            }
        }
    }

    /// Whether some target misses writes.
    pub(super) fn is_anyone_away(&self) -> bool {
        let mut targets = self.targets.values();
        targets.any(|kept| kept.away_since_ms.is_some())
    }

    /// What is kept for a target.
    pub(super) fn of(&self, target: NodeId) -> TargetBacklog {
        self.targets
            .get(&target)
            .map_or_else(Default::default, Target::total)
    }

    /// The targets for which something is kept.
    pub(super) fn all(&self) -> Vec<(NodeId, TargetBacklog)> {
        let kept = self.targets.iter().filter(|(_, kept)| kept.total.hints > 0);
        kept.map(|(target, kept)| (*target, kept.total())).collect()
    }

    /// Bytes of all that is kept.
    pub(super) fn bytes(&self) -> u64 {
        self.ordinary_bytes.saturating_add(self.sloppy_bytes)
    }

    /// Sloppy writes of the partition that wait for their owners. While there are any, no delete of the partition
    /// may be forgotten.
    pub(super) fn sloppy_of(&self, partition: PartitionId) -> u64 {
        let targets = self.targets.values();
        let counts = targets.filter_map(|kept| kept.sloppy.get(&partition));
        counts.sum()
    }

    fn bytes_of(&mut self, item: Item) -> &mut u64 {
        if item.sloppy {
            &mut self.sloppy_bytes
        } else {
            &mut self.ordinary_bytes
        }
    }
}

impl Target {
    fn total(&self) -> TargetBacklog {
        let oldest = self.ages.keys().next();
        TargetBacklog {
            oldest_ms: oldest.map_or(0, |step| step * AGE_STEP_MS),
            ..self.total
        }
    }
}

fn age_step(item: Item) -> u64 {
    item.written.ms() / AGE_STEP_MS
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, u64>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const MAX: u64 = 1000;

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn limits() -> HintLimits {
        HintLimits {
            window: Duration::from_secs(60),
            max_sloppy_bytes: 500,
            max_waiting: 3,
            ..HintLimits::default()
        }
    }

    fn item(bytes: u64, sloppy: bool, ms: u64) -> Item {
        Item {
            bytes,
            sloppy,
            written: HlcStamp::at_ms(ms),
        }
    }

    #[test]
    fn each_bound_ends_what_is_kept_and_says_so() {
        let mut backlog = Backlog::default();
        let mut admit = |bytes, now_ms| backlog.admit(node(1), bytes, &limits(), MAX, now_ms);
        assert_eq!(admit(MAX + 1, 0), Err(DropReason::Space));
        assert_eq!(admit(MAX, 60_000), Ok(()));
        assert_eq!(admit(1, 60_001), Err(DropReason::Window));
        backlog.reached(node(1));
        let mut admit = |now_ms| backlog.admit(node(1), 1, &limits(), MAX, now_ms);
        assert_eq!([admit(60_001), admit(60_001)], [Ok(()), Ok(())]);
        assert_eq!(admit(60_001), Err(DropReason::Waiting));
        backlog.no_longer_waiting();
        assert_eq!(backlog.admit(node(2), 1, &limits(), MAX, 0), Ok(()));
    }

    #[test]
    fn sloppy_writes_have_a_bound_of_their_own() {
        let mut backlog = Backlog::default();
        backlog.put(node(1), PartitionId(1), None, item(MAX, false, 0));
        assert!(backlog.has_sloppy_room(500, &limits()));
        assert!(!backlog.has_sloppy_room(501, &limits()));
        backlog.put(node(1), PartitionId(2), None, item(500, true, 0));
        assert!(!backlog.has_sloppy_room(1, &limits()));
        let of = |partition| backlog.sloppy_of(PartitionId(partition));
        assert_eq!((of(2), of(1)), (1, 0));
    }

    #[test]
    fn after_a_start_the_oldest_hint_tells_since_when_its_target_is_away() {
        let mut backlog = Backlog::default();
        backlog.put(node(1), PartitionId(1), None, item(1, false, 40_000));
        backlog.put(node(1), PartitionId(1), None, item(1, false, 90_000));
        backlog.loaded();
        let late = backlog.admit(node(1), 1, &limits(), MAX, 100_001);
        assert_eq!(late, Err(DropReason::Window));
        assert_eq!(backlog.of(node(1)).oldest_ms, 40_000);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Put(u64, bool, u64),
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1..200_u64, any::<bool>(), 0..100_000_u64).prop_map(|(b, s, ms)| Step::Put(b, s, ms)),
            2 => any::<usize>().prop_map(Step::Remove),
        ]
    }

    proptest! {
        /// The sums are those of what is there, whatever came and went.
        #[test]
        fn the_sums_are_those_of_what_is_kept(steps in prop::collection::vec(step(), 0..60)) {
            let (mut backlog, mut model) = (Backlog::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Put(bytes, sloppy, ms) => {
                        let (target, partition) = (node(u128::from(bytes % 3)), PartitionId(u16::try_from(ms % 4).unwrap()));
                        let item = item(bytes, sloppy, ms);
                        backlog.put(target, partition, None, item);
                        model.push((target, partition, item));
                    }
                    Step::Remove(at) if !model.is_empty() => {
                        let (target, partition, item) = model.remove(at % model.len());
                        backlog.remove(target, partition, item);
                    }
                    Step::Remove(_) => {}
                }
            }
            for target in (0..3).map(node) {
                let kept: Vec<_> = model.iter().filter(|(other, _, _)| *other == target).collect();
                let total = backlog.of(target);
                prop_assert_eq!(total.hints, kept.len() as u64);
                prop_assert_eq!(total.bytes, kept.iter().map(|(_, _, item)| item.bytes).sum::<u64>());
                let oldest = kept.iter().map(|(_, _, item)| item.written.ms() / AGE_STEP_MS * AGE_STEP_MS).min();
                prop_assert_eq!(total.oldest_ms, oldest.unwrap_or(0));
            }
            prop_assert_eq!(backlog.bytes(), model.iter().map(|(_, _, item)| item.bytes).sum::<u64>());
            for partition in (0..4).map(PartitionId) {
                let sloppy = model.iter().filter(|(_, other, item)| *other == partition && item.sloppy);
                prop_assert_eq!(backlog.sloppy_of(partition), sloppy.count() as u64);
            }
        }

        /// Never more than the bound, never more than may wait, whatever is offered.
        #[test]
        fn what_is_admitted_fits(offers in prop::collection::vec((1..300_u64, any::<bool>()), 0..60)) {
            let mut backlog = Backlog::default();
            let mut waiting = Vec::new();
            for (bytes, settles) in offers {
                if backlog.admit(node(1), bytes, &limits(), MAX, 0).is_ok() {
                    waiting.push(bytes);
                }
                prop_assert!(waiting.len() <= limits().max_waiting);
                if settles && let Some(bytes) = waiting.pop() {
                    backlog.no_longer_waiting();
                    backlog.put(node(1), PartitionId(0), None, item(bytes, false, 0));
                }
                let most = MAX + 300 * limits().max_waiting as u64;
                prop_assert!(backlog.of(node(1)).bytes <= most);
            }
        }
    }
}
