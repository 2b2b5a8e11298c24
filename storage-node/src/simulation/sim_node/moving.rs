//! What a simulated node shows of moves.

use annulus_ring::{MoveReport, NodeReport, RingEpoch, Standing, Streamed};

use super::SimNode;
use crate::moves::MoveReport as Reported;

impl SimNode {
    /// What it says of moves when the operator asks (`GetMoves`); `None` while it is down.
    pub fn moves_report(&self) -> Option<NodeReport> {
        let running = self.running.lock().clone()?;
        // Asked for first: what is acknowledged only grows.
        let acked = running.placement.acked();
        Some(NodeReport {
            standing: Standing::Alive,
            acked,
            moves: running.moves.report().into_iter().map(told).collect(),
        })
    }

    /// What keeps it from its part in moves, in words.
    pub fn obstacles(&self) -> Vec<String> {
        let running = self.running.lock().clone();
        let reports = running.map(|running| running.moves.report());
        let reports = reports.into_iter().flatten();
        reports
            .filter_map(|report| {
                let obstacle = report.obstacle?;
                Some(format!(
                    "{} {} at {}: {obstacle}",
                    report.id, report.stage, self.name
                ))
            })
            .collect()
    }

    /// The epochs under which it may be applying something now: the first and the last; `None` while it is down.
    pub fn epochs_in_use(&self) -> Option<(RingEpoch, RingEpoch)> {
        let running = self.running.lock().clone()?;
        Some((running.placement.acked(), running.placement.epoch()))
    }

    /// Partitions of which it has a copy that its placement does not have it hold; none while it is down.
    pub fn released(&self) -> usize {
        let running = self.running.lock().clone();
        running.map_or(0, |running| running.replica.released().len())
    }
}

fn told(report: Reported) -> MoveReport {
    MoveReport {
        ready: report.ready,
        streamed: Streamed {
            bytes: report.streamed.bytes,
            keys: report.streamed.keys,
            from: report.streamed.from,
        },
        verified: report.verified,
        drained: report.drained,
        cleaned: report.cleaned,
        ..MoveReport::new(report.id)
    }
}
