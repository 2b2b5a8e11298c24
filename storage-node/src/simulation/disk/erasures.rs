//! What a node had of a partition whose copy it deletes.

use annulus_ring::PartitionId;
use bytes::Bytes;

use super::super::observer::Erased;
use super::{Medium, SimEngine};
use crate::replica::joined_key;
use crate::storage::{Batch, Change, Engine as _, KeyRange, ScanLimit, Space};

impl SimEngine {
    /// A copy is deleted with its identity; one that is emptied to be rebuilt gets another.
    pub(super) fn report_erasure(
        &self,
        medium: &mut Medium,
        batch: &Batch,
        (from, to): (&Bytes, &Bytes),
    ) {
        let ends_identity = |change: &Change| matches!(change, Change::Delete(Space::Meta, _));
        let Some((partition, _)) = from.split_first_chunk() else {
            return;
        };
        if !batch.changes().iter().any(ends_identity) {
            return;
        }
        let range = KeyRange {
            start: from.to_vec(),
            end: Some(to.to_vec()),
        };
        let all = ScanLimit {
            entries: usize::MAX,
            bytes: usize::MAX,
        };
        let found = medium.live.scan(Space::Data, &range, all);
        let found = found.expect("memory does not fail");
        let states = found.into_iter().filter_map(|entry| {
            let state = medium.seen_states.get(&entry.key, &entry.value).ok()?;
            Some((entry.key, state))
        });
        let had: Vec<_> = states.collect();
        let partition = PartitionId(u16::from_be_bytes(*partition));
        let joined = medium.live.get(Space::Meta, &joined_key(partition));
        let joined = joined.expect("memory does not fail");
        let joined = joined.and_then(|id| std::str::from_utf8(&id).ok()?.parse().ok());
        self.disk.0.observer.erased(&Erased {
            node: self.disk.0.node,
            partition,
            joined,
            had,
        });
    }
}
