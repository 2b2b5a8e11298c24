//! What replicas do: learn, acknowledge, apply, copy, compare, drain, delete.

use annulus_ring::{Move, MoveReport, RingEpoch, Stage};

use super::{Mistake, P, Violation, World, index, place};

impl World {
    pub(super) fn finish_apply(&mut self, node: usize) {
        if self.replicas[node].applies.is_empty() || !self.is_alive(node) {
            return;
        }
        let pick = self.below(self.replicas[node].applies.len());
        let (at, stamp) = self.replicas[node].applies.swap_remove(pick);
        self.replicas[node].data |= 1 << at;
        let unchecked = matches!(
            self.mistake,
            Mistake::OnlyWait | Mistake::NeitherWaitNorCheckAfter
        );
        let fenced = !unchecked && self.is_fenced(node, stamp, true);
        let operation = &mut self.operations[at];
        if fenced || operation.over || operation.stamp != stamp {
            return;
        }
        operation.answered.push(node);
        self.conclude_write(at);
    }

    pub(super) fn learn_some(&mut self, node: usize) {
        let newest = self.published.len() as u64;
        let held = self.replicas[node].held.0;
        if held < newest && self.is_alive(node) {
            let by = self.below(usize::try_from(newest - held).unwrap()) as u64;
            self.learn(node, RingEpoch(newest - by));
        }
    }

    pub(super) fn learn(&mut self, node: usize, epoch: RingEpoch) {
        let (old, new) = (self.at(self.replicas[node].held), self.at(epoch));
        let fence = match new.move_of(P) {
            Some(it) => it.since,
            None if old.move_of(P).is_some() || old.owners(P) != new.owners(P) => epoch,
            None => RingEpoch(0),
        };
        let session = new.move_of(P).map(|it| it.id);
        let is_holder = new.is_holder(P, index(node));
        let replica = &mut self.replicas[node];
        replica.fence = replica.fence.max(fence);
        replica.held = epoch;
        if replica.report.as_ref().map(|report| report.id) != session {
            replica.report = session.map(MoveReport::new);
            replica.snapshots.clear();
        }
        if !is_holder {
            replica.data = 0;
        }
    }

    pub(super) fn acknowledge(&mut self, node: usize) {
        let replica = &mut self.replicas[node];
        let fence = replica.fence;
        let waits = replica.applies.iter().any(|(_, stamp)| *stamp < fence);
        let ignores = matches!(
            self.mistake,
            Mistake::OnlyCheckAfter | Mistake::NeitherWaitNorCheckAfter
        );
        if ignores || !waits {
            replica.acked = replica.held;
        }
    }

    /// What the move asks of this node, as the node knows it.
    pub(super) fn work(&mut self, node: usize) -> Result<(), Violation> {
        let held = self.at(self.replicas[node].held);
        let Some(it) = held.move_of(P).copied().filter(|_| self.is_alive(node)) else {
            return Ok(());
        };
        let syncs = held.syncers(&it).any(|syncer| place(syncer) == node);
        let me = Some(index(node));
        if it.add == me {
            self.report(node).ready = true;
        }
        let early = self.mistake == Mistake::SnapshotBeforeBarrier;
        match it.stage {
            Stage::Prepare | Stage::Dual if early && it.add == me => self.copy(node, &it),
            Stage::Stream if it.add == me => self.copy(node, &it),
            Stage::Verify | Stage::Cleanup if syncs => self.compare(node, &it),
            Stage::ReadNew if it.remove == me && self.mistake == Mistake::CleanupBeforeCommit => {
                return self.delete(node, &it);
            }
            Stage::Commit if it.remove == me => self.drain(node, &it),
            Stage::Cleanup if it.remove == me => return self.delete(node, &it),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn report(&mut self, node: usize) -> &mut MoveReport {
        self.replicas[node].report.as_mut().unwrap()
    }

    /// Takes a snapshot of a source, or merges one taken before.
    pub(super) fn copy(&mut self, node: usize, it: &Move) {
        if let Some((source, data)) = self.replicas[node].snapshots.pop() {
            self.replicas[node].data |= data;
            let id = self.id(source);
            let mut from = vec![id];
            if self.mistake == Mistake::OneSurvivorIsEnough {
                let sources = self.sources(node, it);
                from = sources.into_iter().map(|source| self.id(source)).collect();
            }
            self.report(node).streamed.from.extend(from);
            return;
        }
        let sources = self.sources(node, it);
        let source = sources[self.below(sources.len())];
        if !self.is_alive(source) {
            return;
        }
        if self.replicas[source].held < self.replicas[node].held {
            self.learn(source, self.replicas[node].held);
        }
        let allowed = self.replicas[source].acked >= it.since;
        if allowed || self.mistake == Mistake::SnapshotBeforeBarrier {
            let data = self.replicas[source].data;
            self.replicas[node].snapshots.push((source, data));
        }
    }

    pub(super) fn sources(&self, node: usize, it: &Move) -> Vec<usize> {
        let held = self.at(self.replicas[node].held);
        let sources = held.sync_sources(it, index(node), 2);
        sources.iter().map(place).collect()
    }

    pub(super) fn compare(&mut self, node: usize, it: &Move) {
        let sources = self.sources(node, it);
        if sources.is_empty() {
            return;
        }
        let source = sources[self.below(sources.len())];
        if !self.is_alive(source) || self.replicas[source].acked < it.since {
            return;
        }
        if it.add.is_none() {
            self.replicas[node].data |= self.replicas[source].data;
        }
        let id = self.id(source);
        self.report(node).verified.push(id);
    }

    pub(super) fn drain(&mut self, node: usize, it: &Move) {
        if self.replicas[node].acked < it.since {
            return;
        }
        let new = self.at(self.replicas[node].held).new_owners(P);
        let new: Vec<usize> = new.iter().map(place).collect();
        let to = new[self.below(new.len())];
        if !self.is_alive(to) {
            return;
        }
        if self.mistake != Mistake::NoDrain {
            self.replicas[to].data |= self.replicas[node].data;
        }
        let id = self.id(to);
        self.report(node).drained.push(id);
    }

    pub(super) fn delete(&mut self, node: usize, it: &Move) -> Result<(), Violation> {
        let new = self.at(self.replicas[node].held).new_owners(P);
        let had = new.iter().filter(|it| self.is_alive(place(*it)));
        let lacked = had.fold(0, |lacked, owner| {
            lacked | (self.replicas[node].data & !self.replicas[place(owner)].data)
        });
        self.replicas[node].data = 0;
        self.report(node).cleaned = true;
        if lacked != 0 && !it.lost {
            return Err(format!(
                "the leaver deleted {lacked:b}, which new owners lack"
            ));
        }
        Ok(())
    }
}
