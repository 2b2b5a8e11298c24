//! A founded ring that changes.

use super::*;

impl Lab {
    /// Runs of the loop, of the kubelet and of garbage collection, until the ring is as the spec
    /// asks; a second each.
    async fn settle(&self) {
        for _ in 0..200 {
            let _ = self.run().await;
            self.collect_garbage();
            pass(1);
            let status = self.cluster().status.unwrap();
            if status.operation.is_none() && self.condition("Ready").0 == "True" {
                return;
            }
        }
        panic!("does not settle: {:#?}", self.cluster().status);
    }

    fn members(&self) -> Vec<String> {
        let nodes = self.ring().unwrap().spec.nodes;
        let mut names: Vec<String> = nodes.into_iter().map(|node| node.name).collect();
        names.sort_unstable();
        names
    }

    fn pods(&self) -> Vec<String> {
        let pods = self.api.all::<Pod>("pods");
        pods.iter().map(ResourceExt::name_any).collect()
    }

    fn scale(&self, nodes: i32) {
        self.edit(|cluster| cluster.spec.nodes = Some(nodes));
    }

    fn operation(&self) -> crate::crd::Operation {
        self.cluster().status.unwrap().operation.unwrap()
    }
}

fn names(nodes: i32) -> Vec<String> {
    (0..nodes)
        .map(|node| format!("orders-default-{node}"))
        .collect()
}

#[tokio::test]
async fn nodes_join_and_leave() {
    let lab = Lab::ready(3).await;
    lab.scale(5);
    lab.run().await.unwrap();
    let operation = lab.operation();
    assert_eq!(operation.r#type, OperationType::ScaleOut);
    assert_eq!(operation.phase, "StartingNodes");
    assert_eq!(lab.condition("Degraded").0, "False", "nothing is lost");
    assert_eq!(
        lab.condition("Progressing"),
        ("True".into(), "ScalingOut".into())
    );
    lab.settle().await;
    assert_eq!((lab.members(), lab.pods()), (names(5), names(5)));
    assert_eq!(lab.cluster().status.unwrap().ready, "5/5");

    lab.scale(4);
    lab.run().await.unwrap();
    assert_eq!(lab.operation().r#type, OperationType::ScaleIn);
    let leaver = lab.api.get("kvnodes", "orders-default-4").unwrap();
    assert_eq!(leaver["spec"]["desiredState"], "Draining");
    lab.settle().await;
    assert_eq!((lab.members(), lab.pods()), (names(4), names(4)));
    let claims = lab.api.all::<Value>("persistentvolumeclaims").len();
    assert_eq!(claims, 5, "whenScaled is Retain");
    for node in lab.api.all::<KVNode>("kvnodes") {
        assert_eq!(node.spec.desired_state, DesiredNodeState::Active);
    }
}

#[tokio::test]
async fn the_claim_of_a_node_that_left_empty_goes_if_that_is_wanted() {
    let lab = Lab::ready(4).await;
    lab.edit(|c| c.spec.pools[0].storage.when_scaled = RetentionPolicy::Delete);
    lab.scale(3);
    lab.settle().await;
    let claims = lab.api.all::<Value>("persistentvolumeclaims").len();
    assert_eq!((lab.members(), claims), (names(3), 3));
}

#[tokio::test]
async fn a_retained_disk_joins_again() {
    let lab = Lab::ready(4).await;
    let before: BTreeSet<String> = lab
        .ring()
        .unwrap()
        .spec
        .nodes
        .into_iter()
        .map(|it| it.id)
        .collect();
    lab.scale(3);
    lab.settle().await;
    lab.scale(4);
    lab.settle().await;
    let after: BTreeSet<String> = lab
        .ring()
        .unwrap()
        .spec
        .nodes
        .into_iter()
        .map(|it| it.id)
        .collect();
    assert_eq!((lab.members(), after), (names(4), before));
}

#[tokio::test]
async fn killed_after_any_number_of_writes_it_scales_all_the_same() {
    for writes in (0..40).step_by(3) {
        let lab = Lab::ready(3).await;
        lab.scale(4);
        lab.api.limit_writes(Some(writes));
        for _ in 0..12 {
            let _ = lab.run().await;
            pass(1);
        }
        lab.api.limit_writes(None);
        lab.scale(3);
        lab.settle().await;
        assert_eq!(
            (lab.members(), lab.pods()),
            (names(3), names(3)),
            "{writes}"
        );
    }
}

#[tokio::test]
async fn a_lost_disk_is_replaced_when_its_time_is_over() {
    let lab = Lab::ready(4).await;
    let lost = lab.ring().unwrap().spec.nodes;
    let lost = lost
        .iter()
        .find(|node| node.name == "orders-default-1")
        .unwrap()
        .id
        .clone();
    lab.api.remove("pods", "orders-default-1");
    lab.api.remove("persistentvolumeclaims", "orders-default-1");
    for _ in 0..6 {
        lab.run().await.unwrap();
        pass(30);
    }
    assert_eq!(
        lab.condition("Degraded"),
        ("True".into(), "NodeReplaced".into())
    );
    assert_eq!(lab.ring().unwrap().spec.epoch, 1);
    pass(900);
    lab.settle().await;
    assert_eq!(lab.members(), names(4));
    let nodes = lab.ring().unwrap().spec.nodes;
    assert!(nodes.iter().all(|node| node.id != lost));
    assert_eq!(lab.condition("Degraded").0, "False");
    assert_eq!(lab.condition("FullyReplicated").0, "True");
}

#[tokio::test]
async fn a_plan_waits_for_its_approval() {
    let lab = Lab::ready(3).await;
    lab.edit(|cluster| cluster.spec.approval = Approval::Manual);
    lab.scale(4);
    for _ in 0..4 {
        lab.run().await.unwrap();
    }
    let plan = lab.operation().plan.unwrap();
    // The zone of the fourth node has one other, and holds a copy of everything.
    assert_eq!(plan.moves, Some(128));
    assert_eq!(plan.pairs, ["orders-default-0 -> orders-default-3: 128"]);
    assert_eq!(
        lab.condition("Stalled"),
        ("True".into(), "AwaitingApproval".into())
    );
    assert_eq!(lab.ring().unwrap().spec.epoch, 1);
    lab.edit(|cluster| {
        let note = (names::APPROVE_ANNOTATION.to_owned(), plan.id.clone());
        cluster.metadata.annotations = Some(BTreeMap::from([note]));
    });
    lab.settle().await;
    assert_eq!(lab.members(), names(4));
}

#[tokio::test]
async fn figures_are_written_every_five_seconds_and_epochs_once_a_run() {
    let lab = Lab::ready(3).await;
    lab.scale(4);
    for _ in 0..4 {
        lab.run().await.unwrap();
    }
    assert_eq!(lab.operation().phase, "Moving");
    for node in lab.nodes.0.lock().values() {
        let takes_part = ["orders-default-0", "orders-default-3"].contains(&node.name.as_str());
        let rate = if takes_part { 50 << 20 } else { 0 };
        assert_eq!(node.rate, rate, "{} was told its rate", node.name);
    }
    lab.api.take_log();
    let epoch = lab.ring().unwrap().spec.epoch;
    for _ in 0..5 {
        lab.run().await.unwrap();
        pass(1);
    }
    let log = lab.api.take_log();
    let count = |what: &str| log.iter().filter(|line| line.contains(what)).count();
    assert_eq!(count("PUT kvrings/orders"), 5);
    assert_eq!(lab.ring().unwrap().spec.epoch, epoch + 5);
    assert!(count("PATCH kvclusters/orders") <= 1, "{log:?}");
    assert!(count("PATCH kvnodes") <= 4, "{log:?}");
}

#[tokio::test]
async fn a_node_that_does_nothing_for_its_moves_is_named() {
    let lab = Lab::ready(3).await;
    lab.scale(4);
    lab.run().await.unwrap();
    for node in lab.nodes.0.lock().values_mut() {
        node.idle = node.name == "orders-default-3";
    }
    for _ in 0..8 {
        lab.run().await.unwrap();
        pass(5);
    }
    let operation = lab.operation();
    let waits = operation.waiting_for.unwrap();
    assert!(
        waits.contains("orders-default-3 has not made its vnode"),
        "{waits}"
    );
    assert!(operation.cancellable);
    lab.scale(3);
    lab.settle().await;
    assert_eq!(lab.members(), names(3));
    assert_eq!(lab.api.all::<Pod>("pods").len(), 3);
}

#[tokio::test]
async fn an_annotated_node_is_emptied() {
    let lab = Lab::ready(4).await;
    let mut node = lab.api.get("kvnodes", "orders-default-2").unwrap();
    node["metadata"]["annotations"] = json!({names::DRAIN_ANNOTATION: "true"});
    lab.api.put("kvnodes", node);
    lab.settle().await;
    // What nodes hold is told by the look after the last change.
    lab.run().await.unwrap();
    let nodes = lab.api.all::<KVNode>("kvnodes");
    assert_eq!(nodes[2].spec.desired_state, DesiredNodeState::Draining);
    assert_eq!(nodes[2].status.as_ref().unwrap().vnodes, 0);
    assert_eq!(lab.members(), names(4));
}
