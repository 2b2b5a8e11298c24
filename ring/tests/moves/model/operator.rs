//! What the operator does, and what befalls it.

use std::collections::BTreeSet;

use annulus_ring::{Change, NodeReport, PlannedMove, Rules, Stage, Standing, advance};

use super::{JOINER, Kind, P, World};

impl World {
    pub(super) fn poll(&mut self, node: usize) {
        let replica = &self.replicas[node];
        let mut report = NodeReport {
            standing: replica.standing,
            acked: replica.acked,
            moves: replica.report.clone().into_iter().collect(),
        };
        if report.standing != Standing::Alive {
            report.moves.clear();
        }
        self.evidence.0.insert(self.id(node), report);
    }

    pub(super) fn operate(&mut self) {
        if !self.began {
            self.begin();
            return;
        }
        let rules = Rules {
            read_min: 2,
            write_min: 2,
        };
        let current = self.current();
        let mut cancelled = BTreeSet::new();
        if self.cancelled {
            cancelled.extend(current.moves().iter().map(|it| it.id));
        }
        let changes = advance(current, &self.evidence, rules, &cancelled).changes;
        if changes.is_empty() {
            return;
        }
        let next = current.apply(&changes).unwrap();
        let stage = next.move_of(P).map(|it| it.stage);
        self.committed |= stage == Some(Stage::Commit);
        self.published.push(next);
    }

    pub(super) fn begin(&mut self) {
        if self.acked == 0 {
            return;
        }
        let lost = self.kind == Kind::Replace;
        if lost {
            self.lose(0);
        }
        let planned = PlannedMove {
            partition: P,
            add: (self.kind != Kind::RemoveOnly).then(|| self.id(JOINER)),
            remove: (self.kind != Kind::AddOnly).then(|| self.id(0)),
            lost,
        };
        let next = self.current().apply(&[Change::Start(planned)]).unwrap();
        self.published.push(next);
        self.began = true;
    }

    /// The one disk that may be lost, or a change of mind.
    pub(super) fn misfortune(&mut self, node: usize) {
        let nobody_lost = self
            .replicas
            .iter()
            .all(|it| it.standing == Standing::Alive);
        match self.below(20) {
            0 if nobody_lost && self.began => self.lose(node),
            1..=3 => self.cancelled = self.fickle,
            4..=7 => self.cancelled = false,
            _ => {}
        }
    }

    pub(super) fn lose(&mut self, node: usize) {
        let replica = &mut self.replicas[node];
        replica.standing = Standing::Destroyed;
        replica.data = 0;
        replica.applies.clear();
        replica.snapshots.clear();
        replica.report = None;
    }
}
