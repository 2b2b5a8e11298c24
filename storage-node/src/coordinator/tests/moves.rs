//! One partition moves from node to node, stage by stage, under requests.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annulus_proto::model::{ErrorCode, Outcome};
use annulus_proto::peer::v1::{Request, ScanStates, reply, request};
use annulus_ring::{
    Change, Evidence, Move, MoveId, NodeIndex, NodeReport, PartitionId, Placement,
    PlacementDocument, PlannedMove, RingEpoch, Rules, Stage, Standing, advance,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::cluster::{Ask, Cluster, Fault, TestNode};
use crate::clock::{Clock as _, SystemClock};
use crate::moves::MoveReport;

/// Four nodes, and the move of one partition from its first owner to the node that does not own it.
struct Operator {
    cluster: Cluster,
    document: PlacementDocument,
    partition: PartitionId,
    leaver: usize,
    stayers: [usize; 2],
    joiner: usize,
}

impl Operator {
    async fn start() -> Self {
        let cluster = Cluster::start(4).await;
        for node in &cluster.nodes {
            tokio::spawn(node.moves.clone().run(CancellationToken::new()));
        }
        let ask = Ask::key("k");
        let (owners, others) = cluster.owners(&ask);
        let partition = cluster.placement(1).locate("kv", b"k").0;
        Self {
            document: cluster.document(1),
            partition,
            leaver: owners[0],
            stayers: [owners[1], owners[2]],
            joiner: others[0],
            cluster,
        }
    }

    fn node(&self, at: usize) -> &TestNode {
        &self.cluster.nodes[at]
    }

    /// The next placement, with the move at that stage, or without it.
    fn next(&mut self, stage: Option<Stage>) {
        self.document.epoch.0 += 1;
        let epoch = self.document.epoch;
        let index = |at: usize| NodeIndex(u16::try_from(at).unwrap());
        let (leaver, joiner) = (index(self.leaver), index(self.joiner));
        let id = self.document.moves.first().map_or(
            MoveId {
                epoch,
                partition: self.partition,
            },
            |it| it.id,
        );
        self.document.moves.clear();
        let first = usize::from(self.partition.0) * 3;
        let row = &mut self.document.owners[first..first + 3];
        let Some(stage) = stage else {
            return;
        };
        let (from, to) = if stage.serves_new() {
            (leaver, joiner)
        } else {
            (joiner, leaver)
        };
        for owner in row.iter_mut().filter(|owner| **owner == from) {
            *owner = to;
        }
        self.document.moves.push(Move {
            id,
            add: Some(joiner),
            remove: Some(leaver),
            stage,
            since: epoch,
            lost: false,
        });
    }

    async fn install_on(&self, nodes: &[usize]) {
        for at in nodes {
            let placement = self.document.clone().try_into().unwrap();
            self.node(*at).placement.install(placement).await.unwrap();
        }
    }

    /// Every node has the next placement.
    async fn enter(&mut self, stage: Option<Stage>) {
        self.next(stage);
        self.install_on(&[0, 1, 2, 3]).await;
    }

    /// Every node has acknowledged it, too.
    async fn pass_barrier(&self) {
        for node in &self.cluster.nodes {
            eventually("acknowledged", || {
                node.placement.acked() == self.document.epoch
            })
            .await;
        }
    }

    fn report(&self, at: usize) -> MoveReport {
        let reports = self.node(at).moves.report();
        let found = reports
            .into_iter()
            .find(|it| it.id.partition == self.partition);
        found.expect("the move concerns this node")
    }

    /// Keys of the partition.
    fn keys(&self, prefix: &str, count: usize) -> Vec<Ask> {
        let placement = self.cluster.placement(1);
        let keys = (0..).map(|number| format!("{prefix}-{number}"));
        let here = keys.filter(|key| placement.locate("kv", key.as_bytes()).0 == self.partition);
        here.take(count).map(|key| Ask::key(&key)).collect()
    }

    /// Stages up to this one, as soon as there is the evidence that each asks for.
    async fn walk_to(&mut self, last: Stage) {
        for stage in Stage::ALL.into_iter().filter(|stage| *stage <= last) {
            self.walk_on(stage).await;
        }
    }

    /// The next stage, until there is the evidence that it asks for.
    async fn walk_on(&mut self, stage: Stage) {
        let (leaver, joiner) = (self.leaver, self.joiner);
        self.enter(Some(stage)).await;
        self.pass_barrier().await;
        let what = format!("evidence of {stage}");
        eventually(&what, || match stage {
            Stage::Prepare => self.report(joiner).ready,
            Stage::Stream => self.report(joiner).streamed.from == [self.node(leaver).id],
            Stage::Verify => self.report(joiner).verified == [self.node(leaver).id],
            Stage::Commit => self.report(leaver).drained.len() == 3,
            Stage::Cleanup => self.report(leaver).cleaned,
            Stage::Dual | Stage::ReadNew => true,
        })
        .await;
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let patience = SystemClock.now() + Duration::from_secs(30);
    while !holds() {
        assert!(SystemClock.now() < patience, "never: {what}");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn during_a_move_a_quorum_of_the_old_owners_alone_acknowledges_nothing() {
    let mut operator = Operator::start().await;
    operator.enter(Some(Stage::Prepare)).await;
    operator.enter(Some(Stage::Dual)).await;
    let (leaver, joiner) = (operator.leaver, operator.joiner);
    let [stays, also_stays] = operator.stayers;
    let ask = Ask::key("k").within_ms(1000);

    operator.cluster.fail(joiner, Fault::Refuses);
    operator.node(leaver).put(&ask, "one").await.unwrap();
    // The leaver and one that stays are two of the three old owners, and one of the new.
    operator.cluster.fail(also_stays, Fault::Refuses);
    let error = operator.node(leaver).put(&ask, "two").await.unwrap_err();
    let said = (error.code, error.outcome);
    assert_eq!(
        said,
        (ErrorCode::QuorumUnavailable, Outcome::Unknown),
        "{error}"
    );
    // Known beforehand, it is refused before anything happens.
    operator.cluster.fail(joiner, Fault::Down);
    operator.cluster.fail(also_stays, Fault::Down);
    let error = operator.node(stays).put(&ask, "three").await.unwrap_err();
    let said = (error.code, error.outcome);
    assert_eq!(
        said,
        (ErrorCode::QuorumUnavailable, Outcome::Rejected),
        "{error}"
    );

    operator.cluster.heal();
    let all = Ask::key("k").w("all");
    operator.node(stays).put(&all, "four").await.unwrap();
    eventually("the joining owner has the write", || {
        let status = operator.node(joiner).replica.vnode(operator.partition);
        status.is_some_and(|status| status.rebuilding.is_some())
    })
    .await;
}

#[tokio::test]
async fn a_coordinator_of_an_older_stage_is_refused_and_learns_the_newer() {
    let mut operator = Operator::start().await;
    operator.enter(Some(Stage::Prepare)).await;
    operator.next(Some(Stage::Dual));
    let (leaver, joiner) = (operator.leaver, operator.joiner);
    let [stays, also_stays] = operator.stayers;
    operator.install_on(&[stays, also_stays, joiner]).await;

    // What did not change is served under either epoch.
    let placement = operator.cluster.placement(1);
    let keys = (0..).map(|number| format!("other-{number}"));
    let other = keys
        .map(|key| Ask::key(&key))
        .find(|ask| placement.locate("kv", ask.key.as_bytes()).0 != operator.partition);
    let other = other.unwrap().w("all");
    operator.node(leaver).put(&other, "value").await.unwrap();
    let held = |at: usize| operator.node(at).placement.epoch();
    assert_eq!(held(leaver), RingEpoch(2), "nobody had to tell it");

    operator
        .node(leaver)
        .put(&Ask::key("k").w("all"), "value")
        .await
        .unwrap();
    assert_eq!(held(leaver), RingEpoch(3));
}

#[tokio::test]
async fn a_partition_moves_under_writes_and_nothing_is_lost() {
    let mut operator = Operator::start().await;
    let before = operator.keys("before", 40);
    for ask in &before {
        operator
            .node(operator.stayers[0])
            .put(ask, "value")
            .await
            .unwrap();
    }
    let meanwhile = operator.keys("meanwhile", 400);
    let nodes: Vec<_> = operator
        .cluster
        .nodes
        .iter()
        .map(|node| node.coordinator.clone())
        .collect();
    let is_over = AtomicBool::new(false);
    let write = async {
        let mut written = Vec::new();
        for (turn, ask) in meanwhile.iter().enumerate() {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            let put = super::ask::put_of(ask, "value");
            nodes[turn % nodes.len()].put(put).await.unwrap();
            written.push(ask.clone());
            sleep(Duration::from_millis(2)).await; // paced: writes all through the move
        }
        written
    };
    let walk = async {
        operator.walk_to(Stage::Cleanup).await;
        operator.enter(None).await;
        operator.pass_barrier().await;
        is_over.store(true, Ordering::Relaxed);
    };
    let (written, ()) = futures::join!(write, walk);
    assert!(written.len() > 10, "{}", written.len());

    let (leaver, joiner) = (operator.leaver, operator.joiner);
    assert_eq!(
        operator.node(leaver).replica.vnode(operator.partition),
        None
    );
    assert!(operator.node(leaver).replica.released().is_empty());
    for ask in before.iter().chain(&written) {
        for node in &operator.cluster.nodes {
            assert_eq!(
                node.values(&ask.clone().r("all")).await,
                ["value"],
                "{ask:?}"
            );
        }
        assert!(operator.node(joiner).copy(ask).await.is_some(), "{ask:?}");
    }
}

#[tokio::test]
async fn a_move_that_is_called_off_leaves_nothing_and_the_next_begins_anew() {
    let mut operator = Operator::start().await;
    let keys = operator.keys("k", 20);
    for ask in &keys {
        operator
            .node(operator.leaver)
            .put(ask, "value")
            .await
            .unwrap();
    }
    operator.walk_to(Stage::Verify).await;
    let (joiner, partition) = (operator.joiner, operator.partition);
    let first = operator.node(joiner).replica.vnode(partition).unwrap();
    assert!(first.is_serving && first.joined == Some(operator.document.moves[0].id));
    operator.enter(None).await;
    let replica = &operator.node(joiner).replica;
    assert_eq!(replica.vnode(partition), None);
    eventually("the copy is deleted", || replica.released().is_empty()).await;

    operator.walk_to(Stage::Stream).await;
    let second = operator.node(joiner).replica.vnode(partition).unwrap();
    assert_ne!(second.vnode_id, first.vnode_id);
    assert_eq!(operator.report(joiner).streamed.keys, 20);
    assert!(operator.report(joiner).expected_bytes > 0);
}

#[tokio::test]
async fn a_copy_of_an_earlier_move_is_nothing_to_a_later_one() {
    let mut operator = Operator::start().await;
    operator.walk_to(Stage::Prepare).await;
    let (joiner, partition) = (operator.joiner, operator.partition);
    let first = operator.node(joiner).replica.vnode(partition).unwrap();
    // The node does not see that the move was called off, only that there is another one.
    operator.next(None);
    operator.enter(Some(Stage::Prepare)).await;
    let second = operator.node(joiner).replica.vnode(partition).unwrap();
    assert_ne!(second.joined, first.joined);
    assert_ne!(second.vnode_id, first.vnode_id);
}

#[tokio::test]
async fn whatever_belongs_to_a_move_that_is_over_is_refused() {
    let mut operator = Operator::start().await;
    operator.walk_to(Stage::Dual).await;
    let ask = async |operator: &Operator, session: String| {
        let body = request::Body::ScanStates(ScanStates {
            partition: operator.partition.0.into(),
            limit_bytes: 1000,
            ..ScanStates::default()
        });
        let asked = Request {
            id: 1,
            epoch: operator.document.epoch.0,
            session,
            deadline_ms: 1000,
            body: Some(body),
        };
        match operator
            .node(operator.leaver)
            .responder
            .respond(asked)
            .await
            .body
        {
            Some(reply::Body::Error(error)) => error.code,
            Some(reply::Body::ScanStates(_)) => "given".into(),
            other => panic!("{other:?}"),
        }
    };
    let session = operator.document.moves[0].id.to_string();
    let early = ask(&operator, session.clone()).await;
    assert_eq!(
        early, "unavailable",
        "before the barrier of DUAL nothing is given"
    );
    operator.walk_on(Stage::Stream).await;
    assert_eq!(ask(&operator, session.clone()).await, "given");
    assert_eq!(ask(&operator, "e77-p0".into()).await, "conflict");
    operator.enter(None).await;
    assert_eq!(ask(&operator, session).await, "conflict");
}

/// What the nodes show, as who decides reads it.
fn evidence(cluster: &Cluster) -> Evidence {
    let report = |report: MoveReport| annulus_ring::MoveReport {
        ready: report.ready,
        streamed: annulus_ring::Streamed {
            bytes: report.streamed.bytes,
            keys: report.streamed.keys,
            from: report.streamed.from,
        },
        verified: report.verified,
        drained: report.drained,
        cleaned: report.cleaned,
        ..annulus_ring::MoveReport::new(report.id)
    };
    let nodes = cluster.nodes.iter().map(|node| {
        let acked = node.placement.acked();
        let moves = node.moves.report().into_iter().map(report);
        let shown = NodeReport {
            standing: Standing::Alive,
            acked,
            moves: moves.collect(),
        };
        (node.id, shown)
    });
    Evidence(nodes.collect())
}

/// Carries moves through by the ring's own rules.
async fn carry(cluster: &Cluster, placement: Placement, starts: Vec<PlannedMove>) -> Placement {
    let rules = Rules {
        read_min: 2,
        write_min: 2,
    };
    let mut placement = placement;
    let mut changes: Vec<_> = starts.into_iter().map(Change::Start).collect();
    let patience = SystemClock.now() + Duration::from_secs(60);
    loop {
        if !changes.is_empty() {
            placement = placement.apply(&changes).unwrap();
            for node in &cluster.nodes {
                node.placement.install(placement.clone()).await.unwrap();
            }
        }
        if placement.moves().is_empty() {
            return placement;
        }
        let decided = advance(&placement, &evidence(cluster), rules, &BTreeSet::new());
        let waits: Vec<_> = decided.waits.iter().map(ToString::to_string).collect();
        assert!(SystemClock.now() < patience, "still waiting: {waits:?}");
        changes = decided.changes;
        sleep(Duration::from_millis(1)).await;
    }
}

async fn holds_just_its_own(cluster: &Cluster, placement: &Placement) {
    for node in &cluster.nodes {
        let own = placement.index_of(node.id).unwrap();
        let vnodes = node.replica.vnodes();
        let held: Vec<_> = vnodes.iter().map(|vnode| vnode.partition).collect();
        let owned: Vec<_> = placement.partitions_of(own).collect();
        assert_eq!(held, owned);
        assert!(vnodes.iter().all(|vnode| vnode.is_serving));
        eventually("all else is deleted", || node.replica.released().is_empty()).await;
    }
}

#[tokio::test]
async fn the_ring_s_own_rules_carry_many_moves_through_on_what_the_nodes_show() {
    let cluster = Cluster::start(4).await;
    for node in &cluster.nodes {
        tokio::spawn(node.moves.clone().run(CancellationToken::new()));
    }
    let keys: Vec<_> = (0..60).map(|n| Ask::key(&format!("key-{n}"))).collect();
    for (turn, ask) in keys.iter().enumerate() {
        cluster.nodes[turn % 4].put(ask, "value").await.unwrap();
    }
    let first = cluster.placement(1);
    let id = |placement: &Placement, node: NodeIndex| placement.node(node).id;
    let everywhere = first.partitions().ids().map(|partition| {
        let owners = first.owners(partition);
        let other = first.node_indexes().find(|node| !owners.contains(node));
        PlannedMove {
            partition,
            add: other.map(|node| id(&first, node)),
            remove: Some(id(&first, owners[1])),
            lost: false,
        }
    });
    let second = carry(&cluster, first.clone(), everywhere.collect()).await;
    holds_just_its_own(&cluster, &second).await;

    // One owner fewer, and one more again.
    let partition = PartitionId(3);
    let gone = id(&second, second.owners(partition)[0]);
    let fewer = PlannedMove {
        partition,
        add: None,
        remove: Some(gone),
        lost: false,
    };
    let third = carry(&cluster, second, vec![fewer]).await;
    assert_eq!(third.owners(partition).len(), 2);
    holds_just_its_own(&cluster, &third).await;
    let more = PlannedMove {
        add: Some(gone),
        remove: None,
        ..fewer
    };
    let last = carry(&cluster, third, vec![more]).await;
    holds_just_its_own(&cluster, &last).await;
    for ask in &keys {
        for node in &cluster.nodes {
            assert_eq!(
                node.values(&ask.clone().r("all")).await,
                ["value"],
                "{ask:?}"
            );
        }
    }
}
