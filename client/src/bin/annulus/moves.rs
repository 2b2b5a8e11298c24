//! What moves: the moves of the placement, and what the nodes say of them.

use std::collections::BTreeMap;

use annulus_proto::admin::v1::{GetMovesRequest, GetMovesResponse};
use annulus_ring::{Node, NodeId, Placement, Stage};
use futures::StreamExt;
use futures::stream;
use serde::Serialize;
use tokio::time::timeout;

use crate::admin;
use crate::text;

/// Nodes that are asked at the same time.
const MAX_AT_ONCE: usize = 32;

/// Characters of a bar.
const BAR_WIDTH: usize = 30;

/// Problems that are shown.
const SHOWN_PROBLEMS: usize = 5;

/// The moves under way.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Moves {
    /// How many, by stage.
    stages: BTreeMap<String, usize>,
    /// Nodes that vnodes come to, by name.
    arrivals: BTreeMap<String, Arrival>,
    /// What the nodes say holds moves up.
    problems: Vec<String>,
}

/// What comes to one node.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Arrival {
    /// Vnodes under way.
    vnodes: usize,
    /// Of which it has all data.
    copied: usize,
    /// Bytes that it has received.
    bytes: u64,
    /// Bytes that it is to receive, of those vnodes that it has begun with.
    expected_bytes: u64,
    /// Vnodes that are copied, those under way in part; nodes know the bytes of these alone.
    progress: f64,
}

/// Asks the nodes; `None` when nothing moves.
pub(crate) async fn under_way(placement: &Placement) -> Option<Moves> {
    if placement.moves().is_empty() {
        return None;
    }
    let asked = placement.nodes().iter().map(|node| async move {
        let report = report(&node.addresses.admin).await;
        (node.id, report)
    });
    let reports = stream::iter(asked).buffer_unordered(MAX_AT_ONCE);
    let reports: BTreeMap<NodeId, GetMovesResponse> = reports
        .filter_map(|(id, report)| async move { Some((id, report?)) })
        .collect()
        .await;
    Some(gather(placement, &reports))
}

async fn report(address: &str) -> Option<GetMovesResponse> {
    let mut client = admin::client(address).ok()?;
    let asked = client.get_moves(GetMovesRequest {});
    let answer = timeout(admin::NODE_TIMEOUT, asked).await.ok()?.ok()?;
    Some(answer.into_inner())
}

fn gather(placement: &Placement, reports: &BTreeMap<NodeId, GetMovesResponse>) -> Moves {
    let mut stages: BTreeMap<String, usize> = BTreeMap::new();
    let mut arrivals: BTreeMap<String, Arrival> = BTreeMap::new();
    for it in placement.moves() {
        *stages.entry(it.stage.to_string()).or_default() += 1;
        let Some(joins) = it.add.map(|node| placement.node(node)) else {
            continue;
        };
        let arrival = arrivals.entry(joins.name.clone()).or_default();
        arrival.vnodes += 1;
        let is_copied = it.stage > Stage::Stream;
        arrival.copied += usize::from(is_copied);
        let reported = reports.get(&joins.id).map(|report| &report.moves);
        let id = it.id.to_string();
        let report = reported.and_then(|all| all.iter().find(|report| report.id == id));
        let (bytes, expected) = report.map_or((0, 0), |report| {
            let bytes = report.streamed_bytes;
            (bytes, report.expected_bytes.max(bytes))
        });
        arrival.bytes += bytes;
        arrival.expected_bytes += expected;
        arrival.progress += if is_copied {
            1.0
        } else {
            bytes as f64 / expected.max(1) as f64
        };
    }
    let problems = placement.nodes().iter().flat_map(|node: &Node| {
        let moves = reports.get(&node.id).map(|report| report.moves.as_slice());
        let moves = moves.unwrap_or_default().iter();
        let stuck = moves.filter(|report| !report.problem.is_empty());
        stuck.map(|report| format!("{} at {}: {}", report.id, node.name, report.problem))
    });
    Moves {
        problems: problems.collect(),
        stages,
        arrivals,
    }
}

impl Moves {
    /// How many there are at which stage, in a line.
    pub(crate) fn line(&self) -> String {
        let count: usize = self.stages.values().sum();
        let stages = Stage::ALL.iter().filter_map(|stage| {
            let count = self.stages.get(stage.name())?;
            Some(format!("{count} {stage}"))
        });
        let stages: Vec<String> = stages.collect();
        format!("{count} moves: {}", stages.join(", "))
    }

    /// A bar for each node that vnodes come to, and what holds moves up.
    pub(crate) fn bars(&self) -> String {
        let width = self.arrivals.keys().map(String::len).max().unwrap_or(0);
        let bars = self.arrivals.iter().map(|(node, arrival)| {
            format!(
                "{node:width$}  {}  {} of {} vnodes copied, {} of {}",
                bar(arrival.share()),
                arrival.copied,
                arrival.vnodes,
                text::show_bytes(arrival.bytes),
                text::show_bytes(arrival.expected_bytes),
            )
        });
        let problems = self.problems.iter().take(SHOWN_PROBLEMS).cloned();
        bars.chain(problems).collect::<Vec<_>>().join("\n")
    }
}

impl Arrival {
    /// How much is copied.
    fn share(&self) -> f64 {
        self.progress / self.vnodes.max(1) as f64
    }
}

fn bar(share: f64) -> String {
    let share = share.clamp(0.0, 1.0);
    let steps = 1..=BAR_WIDTH;
    let full = steps
        .filter(|step| *step as f64 <= share * BAR_WIDTH as f64)
        .count();
    format!(
        "[{}{}] {:>3.0}%",
        "#".repeat(full),
        ".".repeat(BAR_WIDTH - full),
        share * 100.0
    )
}

#[cfg(test)]
mod tests {
    use annulus_proto::admin::v1::MoveReport;
    use annulus_ring::{Desired, MoveLimits, next_batch};

    use super::*;
    use crate::dev::fixtures::founded_in;

    /// Three of four nodes are to be left: the fourth's vnodes move to them.
    fn shrinking() -> Placement {
        let ring = founded_in(4, 1);
        let desired = Desired {
            nodes: &ring.nodes()[..3],
            replication_factor: ring.replication_factor(),
            gone: &std::collections::BTreeSet::new(),
            away: &std::collections::BTreeSet::new(),
        };
        let batch = next_batch(&ring, &desired, MoveLimits::default()).unwrap();
        ring.apply(&batch.changes).unwrap()
    }

    #[test]
    fn moves_are_counted_by_stage_and_by_who_receives() {
        let ring = shrinking();
        let first = ring.moves()[0];
        let all_of = ring.moves().iter().filter(|it| it.add == first.add).count();
        let joins = ring.node(first.add.unwrap());
        let report = MoveReport {
            id: first.id.to_string(),
            streamed_bytes: 50,
            expected_bytes: 100,
            problem: "no room".into(),
            ..MoveReport::default()
        };
        let answer = GetMovesResponse {
            acked_epoch: 2,
            moves: vec![report],
            ..GetMovesResponse::default()
        };
        let moves = gather(&ring, &BTreeMap::from([(joins.id, answer)]));
        let count = ring.moves().len();
        assert_eq!(moves.line(), format!("{count} moves: {count} PREPARE"));
        assert_eq!(
            moves.arrivals.values().map(|it| it.vnodes).sum::<usize>(),
            count
        );
        assert_eq!(moves.arrivals[&joins.name].bytes, 50);
        assert_eq!(
            moves.problems,
            [format!("{} at {}: no room", first.id, joins.name)]
        );
        // Half of one vnode; the others have not begun.
        let share = moves.arrivals[&joins.name].share();
        assert!((share - 0.5 / all_of as f64).abs() < 1e-9, "{share}");
    }

    #[test]
    fn a_bar_is_never_longer_than_itself() {
        assert_eq!(bar(0.0), format!("[{}]   0%", ".".repeat(30)));
        assert_eq!(bar(7.0), format!("[{}] 100%", "#".repeat(30)));
    }
}
