//! Whether a node's disk is slow beside the others': pure.
//!
//! Slow is what takes `factor` times as long as the median of the others, for syncs or for reads, and has done so at
//! every look for as long as `lasting`; and it is so no more after as long without. A disk that is asked for nothing,
//! because the others are preferred, is not slow any more in the end, and gets its chance.
//!
//! With less than two others there is no telling which one is slow.

use std::collections::BTreeMap;
use std::time::Duration;

use annulus_ring::NodeId;
use tokio::time::Instant;

use super::{DiskPace, DiskReport, SlowDiskRules};

/// What a node said counts for so many rounds of asking.
const REMEMBERED_ROUNDS: u32 = 30;

/// A median of fewer is one node's word.
const LEAST_OTHERS: usize = 2;

/// What is known of all disks.
#[derive(Debug)]
pub(super) struct Comparison {
    rules: SlowDiskRules,
    others: BTreeMap<NodeId, (Instant, DiskReport)>,
    is_slow: bool,
    /// Since when the figures have said the opposite.
    otherwise_since: Option<Instant>,
}

impl Comparison {
    pub(super) fn new(rules: SlowDiskRules) -> Self {
        Self {
            rules,
            others: BTreeMap::new(),
            is_slow: false,
            otherwise_since: None,
        }
    }

    /// Another node has said how its disk is.
    pub(super) fn heard(&mut self, node: NodeId, report: DiskReport, now: Instant) {
        self.others.insert(node, (now, report));
    }

    /// Only these are there, beside this one.
    pub(super) fn keep(&mut self, others: &[NodeId], now: Instant) {
        let remembered = self.rules.every * REMEMBERED_ROUNDS;
        self.others.retain(|node, (heard, _)| {
            others.contains(node) && now.saturating_duration_since(*heard) <= remembered
        });
    }

    /// Looks at this node's own disk. Whether it is slow.
    pub(super) fn judge(&mut self, own: DiskPace, now: Instant) -> bool {
        if self.exceeds(own) == self.is_slow {
            self.otherwise_since = None;
            return self.is_slow;
        }
        let since = *self.otherwise_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.rules.lasting {
            self.is_slow = !self.is_slow;
            self.otherwise_since = None;
        }
        self.is_slow
    }

    /// The others whose disks are slow, by their own word.
    pub(super) fn slow_others(&self) -> impl Iterator<Item = NodeId> + '_ {
        let slow = self.others.iter().filter(|(_, (_, said))| said.is_slow);
        slow.map(|(node, _)| *node)
    }

    fn exceeds(&self, own: DiskPace) -> bool {
        self.is_longer(own.sync, |pace| pace.sync) || self.is_longer(own.read, |pace| pace.read)
    }

    fn is_longer(&self, own: Option<Duration>, of: impl Fn(&DiskPace) -> Option<Duration>) -> bool {
        let Some(own) = own.filter(|own| *own > self.rules.at_least) else {
            return false;
        };
        let said = self.others.values().filter_map(|(_, said)| of(&said.pace));
        let mut said: Vec<_> = said.collect();
        said.sort_unstable();
        // Of an even number the longer: when in doubt, nobody is slow.
        said.len() >= LEAST_OTHERS && own > said[said.len() / 2] * self.rules.factor
    }
}

#[cfg(test)]
#[path = "comparison_test.rs"]
mod tests;
