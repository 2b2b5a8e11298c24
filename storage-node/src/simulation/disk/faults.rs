//! What a simulation does to a disk.

use super::trees::taken_out;
use super::{SimDisk, SyncTakes, apply, records};
use crate::storage::{Batch, Space};

impl SimDisk {
    /// The mistake of a recovery that drops the end of the log, synced or not.
    pub fn forget_tail_at_crashes(&self) {
        self.0.medium.lock().forgetful = true;
    }

    /// Flips a bit of some client's record. Whether there was one.
    pub fn damage_a_record(&self) -> bool {
        let mut medium = self.0.medium.lock();
        let found = records(&medium);
        if found.is_empty() {
            return false;
        }
        let entry = &found[self.0.chance.index(found.len())];
        let bit = self.0.chance.index(entry.value.len() * 8);
        let mut value = entry.value.to_vec();
        value[bit / 8] ^= 1 << (bit % 8);
        let mut batch = Batch::new();
        batch.put(Space::Data, entry.key.clone(), value);
        apply(&medium.durable, &batch);
        apply(&medium.live, &batch);
        medium.damaged.insert(entry.key.clone());
        true
    }

    /// So many in a thousand of the clients' records are gone, from the hash trees too, as if they had never
    /// been. How many those are. Call it while no process has the disk.
    pub fn lose_records(&self, per_mille: u64) -> usize {
        let medium = self.0.medium.lock();
        let (mut batch, mut lost) = (Batch::new(), 0);
        for entry in records(&medium) {
            if self.0.chance.hits(per_mille) {
                if let Some((partition, change)) = taken_out(&entry) {
                    change.put_into(&mut batch, partition);
                }
                batch.delete(Space::Data, entry.key);
                lost += 1;
            }
        }
        apply(&medium.durable, &batch);
        apply(&medium.live, &batch);
        lost
    }

    /// How long syncs take from now on.
    pub fn set_sync_takes(&self, takes: SyncTakes) {
        self.0.medium.lock().sync_takes = takes;
    }

    /// Whether syncs fail; until the next crash of the running node.
    pub fn set_syncs_fail(&self, fail: bool) {
        self.0.medium.lock().failing_syncs = fail;
    }

    /// How full the disk is, in percent.
    pub fn set_used_percent(&self, used: u64) {
        self.0.medium.lock().used_percent = used.min(100);
    }

    /// Nothing is written or read while the disk stalls.
    pub fn set_stalled(&self, stalled: bool) {
        self.0.stalled.set(stalled);
    }
}
