//! The whole loop against an API server and nodes in memory.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use annulus_ring::NodeId;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::context::{Backoff, Watching};
use crate::crd::{Approval, DesiredNodeState, KVNode, KVRing, OperationType, RetentionPolicy};
use crate::fake_api::FakeApi;
use crate::fixtures;
use crate::metrics::Metrics;
use crate::names::{self, NODE_LABEL};
use crate::watches::Cache;

mod fake_nodes;
mod moving;

use fake_nodes::{FakeNode, FakeNodes};

thread_local! {
    static CLOCK: Cell<Timestamp> = const { Cell::new(Timestamp::UNIX_EPOCH) };
}

/// Lets time pass for this test.
fn pass(seconds: i64) {
    CLOCK.set(CLOCK.get() + SignedDuration::from_secs(seconds));
}

/// An API server, a kubelet and disks.
#[derive(Clone, Default)]
struct Lab {
    api: FakeApi,
    nodes: FakeNodes,
    disks: Arc<Mutex<BTreeMap<String, FakeNode>>>,
    watching: Watching,
}

impl Lab {
    fn new(nodes: i32) -> Self {
        let lab = Self::default();
        lab.api.put(
            "kvclusters",
            serde_json::to_value(fixtures::cluster(nodes)).unwrap(),
        );
        for (machine, zone) in [("m0", "a"), ("m1", "b"), ("m2", "c")] {
            let labels = json!({"topology.kubernetes.io/zone": zone});
            lab.api.put(
                "nodes",
                json!({
                    "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                    "metadata": {"name": machine, "labels": labels}
                }),
            );
        }
        lab
    }

    async fn ready(nodes: i32) -> Self {
        let lab = Self::new(nodes);
        lab.run_until("Ready").await;
        lab.api.take_log();
        lab
    }

    fn cluster(&self) -> KVCluster {
        self.api.all("kvclusters").remove(0)
    }

    fn edit(&self, change: impl FnOnce(&mut KVCluster)) {
        let mut cluster = self.cluster();
        change(&mut cluster);
        self.api
            .put("kvclusters", serde_json::to_value(cluster).unwrap());
    }

    fn condition(&self, kind: &str) -> (String, String) {
        let status = self.cluster().status.unwrap();
        let all = status.conditions.into_iter();
        let found = all
            .into_iter()
            .find(|condition| condition.type_ == kind)
            .unwrap();
        (found.status, found.reason)
    }

    /// One run of the loop, then of the kubelet.
    async fn run(&self) -> Result<Action, ReconcileError> {
        let result = reconcile(Arc::new(self.cluster()), Arc::new(self.context())).await;
        self.kubelet();
        result
    }

    async fn run_until(&self, condition: &str) {
        for _ in 0..12 {
            let _ = self.run().await;
            if self.cluster().status.is_some() && self.condition(condition).0 == "True" {
                return;
            }
        }
        panic!("never {condition}: {:#?}", self.cluster().status);
    }

    fn context(&self) -> Context<FakeNodes> {
        let (cache, mut writers) = Cache::new();
        fill(&self.api, "kvnodes", &mut writers.nodes);
        fill(&self.api, "pods", &mut writers.pods);
        fill(&self.api, "persistentvolumeclaims", &mut writers.claims);
        fill(&self.api, "services", &mut writers.services);
        fill(&self.api, "configmaps", &mut writers.config_maps);
        fill(&self.api, "poddisruptionbudgets", &mut writers.budgets);
        fill(&self.api, "serviceaccounts", &mut writers.service_accounts);
        // The caches stay readable when their writers are gone, once they are filled.
        std::mem::forget(writers);
        let client = self.api.client();
        let reporter = Reporter {
            controller: "test".into(),
            instance: None,
        };
        Context {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            cache,
            nodes: self.nodes.clone(),
            defaults: fixtures::defaults(),
            metrics: Arc::new(Metrics::new()),
            backoff: Backoff::default(),
            watching: self.watching.clone(),
            now: || CLOCK.get(),
            random: || [7; 32],
        }
    }

    /// Starts pods whose claim exists, on the disk of that claim; ready once they hold a
    /// placement. A claim that is gone took its disk along.
    fn kubelet(&self) {
        let claims: Vec<Value> = self.api.all("persistentvolumeclaims");
        let claim_uid = |name: &str| {
            let claim = claims
                .iter()
                .find(|claim| claim["metadata"]["name"] == name)?;
            claim["metadata"]["uid"].as_str().map(str::to_owned)
        };
        self.nodes.0.lock().values().for_each(|node| {
            self.disks.lock().insert(node.id.to_string(), node.clone());
        });
        self.nodes.0.lock().clear();
        for (at, pod) in self.api.all::<Pod>("pods").into_iter().enumerate() {
            let name = pod.name_any();
            let Some(uid) = claim_uid(&name) else {
                continue;
            };
            let number: u128 = uid.trim_start_matches("uid-").parse().unwrap();
            let id = NodeId(Uuid::from_u128(number));
            let fresh = FakeNode {
                name: name.clone(),
                id,
                placement: None,
                comparisons_overdue: 0,
                rate: 0,
                idle: false,
            };
            let node = self
                .disks
                .lock()
                .entry(id.to_string())
                .or_insert(fresh)
                .clone();
            let ready = if node.placement.is_some() {
                "True"
            } else {
                "False"
            };
            let mut pod = serde_json::to_value(pod).unwrap();
            let ip = format!("10.0.0.{at}");
            pod["spec"]["nodeName"] = json!(format!("m{}", at % 3));
            pod["status"] = json!({
                "phase": "Running", "podIP": ip,
                "conditions": [{"type": "Ready", "status": ready}]
            });
            self.api.put("pods", pod);
            self.nodes.0.lock().insert(format!("{ip}:9603"), node);
        }
    }

    /// Takes away what is owned by something that is not there any more.
    fn collect_garbage(&self) {
        const KINDS: [&str; 9] = [
            "kvrings",
            "kvnodes",
            "persistentvolumeclaims",
            "services",
            "configmaps",
            "serviceaccounts",
            "poddisruptionbudgets",
            "secrets",
            "pods",
        ];
        let everything = |kinds: &[&'static str]| -> Vec<(&'static str, Value)> {
            let of = |kind: &&'static str| {
                let kind = *kind;
                self.api
                    .all::<Value>(kind)
                    .into_iter()
                    .map(move |it| (kind, it))
            };
            kinds.iter().flat_map(of).collect()
        };
        for (kind, object) in everything(&KINDS) {
            let uids: Vec<Value> = everything(&["kvclusters", "kvnodes"])
                .into_iter()
                .map(|(_, owner)| owner["metadata"]["uid"].clone())
                .collect();
            let mut owners = object["metadata"]["ownerReferences"]
                .as_array()
                .into_iter()
                .flatten();
            if owners.any(|owner| !uids.contains(&owner["uid"])) {
                self.api
                    .remove(kind, object["metadata"]["name"].as_str().unwrap());
            }
        }
    }

    /// Deletes the cluster and makes it anew at once, before anything is garbage-collected.
    fn make_anew(&self) {
        self.edit(|cluster| {
            cluster.metadata.uid = Some("22222222-2222-4222-8222-222222222222".into());
            cluster.status = None;
        });
        self.api.take_log();
    }

    fn ring(&self) -> Option<KVRing> {
        self.api.all("kvrings").pop()
    }
}

fn fill<K>(api: &FakeApi, plural: &str, writer: &mut Writer<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + 'static,
{
    writer.apply_watcher_event(&watcher::Event::Init);
    let ours = |object: &K| object.labels().get(names::MANAGED_BY_LABEL).is_some();
    for object in api.all::<K>(plural).into_iter().filter(ours) {
        writer.apply_watcher_event(&watcher::Event::InitApply(object));
    }
    writer.apply_watcher_event(&watcher::Event::InitDone);
}

#[tokio::test]
async fn a_cluster_comes_up_from_its_manifest() {
    let lab = Lab::new(3);
    lab.run_until("Ready").await;
    let status = lab.cluster().status.unwrap();
    assert_eq!(
        (status.ready.as_str(), status.summary.as_str()),
        ("3/3", "Ready")
    );
    assert_eq!((status.ring_epoch, status.operation), (Some(1), None));
    assert_eq!(
        status.selector,
        "annulus.dev/cluster=orders,app.kubernetes.io/component=node"
    );
    assert_eq!(status.conditions.len(), 10);
    for kind in [
        "Available",
        "FullyReplicated",
        "TopologySatisfied",
        "MembershipConverged",
        "CopiesCompared",
    ] {
        assert_eq!(lab.condition(kind).0, "True", "{kind}");
    }
    for kind in ["Reconciling", "Stalled", "Progressing", "Degraded"] {
        assert_eq!(lab.condition(kind).0, "False", "{kind}");
    }
    let ring = lab.ring().unwrap();
    let zones: Vec<&str> = ring
        .spec
        .nodes
        .iter()
        .map(|node| node.zone.as_str())
        .collect();
    assert_eq!(
        zones
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        3
    );
    assert_eq!(
        lab.api.all::<KVNode>("kvnodes")[0].spec.zone.as_deref(),
        Some("a")
    );
}

#[tokio::test]
async fn the_founding_is_seen_while_it_lasts() {
    let lab = Lab::new(3);
    lab.run().await.unwrap();
    let status = lab.cluster().status.unwrap();
    assert_eq!(status.operation.as_ref().unwrap().phase, "StartingNodes");
    assert_eq!(
        (status.summary.as_str(), status.ready.as_str()),
        ("Founding", "0/3")
    );
    assert_eq!(
        lab.condition("Reconciling"),
        ("True".into(), "Founding".into())
    );
    assert_eq!(
        lab.condition("Available"),
        ("False".into(), "NotFounded".into())
    );
}

#[tokio::test]
async fn copies_that_are_not_compared_in_time_are_told() {
    let lab = Lab::ready(3).await;
    for node in lab.nodes.0.lock().values_mut() {
        node.comparisons_overdue = u32::from(node.name.ends_with("-1"));
    }
    lab.run().await.unwrap();
    assert_eq!(
        lab.condition("CopiesCompared"),
        ("False".into(), "ComparisonsOverdue".into())
    );
    assert_eq!(lab.condition("Ready").0, "True");
}

#[tokio::test]
async fn a_cluster_at_rest_is_not_written_to() {
    let lab = Lab::ready(3).await;
    lab.run().await.unwrap();
    lab.run().await.unwrap();
    assert_eq!(lab.api.take_log(), Vec::<String>::new());
}

#[tokio::test]
async fn killed_after_any_number_of_writes_it_comes_up_all_the_same() {
    for writes in 0..32 {
        let lab = Lab::new(3);
        lab.api.limit_writes(Some(writes));
        for _ in 0..4 {
            let _ = lab.run().await;
        }
        lab.api.limit_writes(None);
        lab.run_until("Ready").await;
        let log = lab.api.take_log();
        let foundings = log
            .iter()
            .filter(|line| *line == "POST kvrings/orders")
            .count();
        assert_eq!(foundings, 1, "killed after {writes} writes");
    }
}

#[tokio::test]
async fn what_is_deleted_by_hand_is_made_anew() {
    let lab = Lab::ready(3).await;
    for (plural, name) in [
        ("services", "orders"),
        ("services", "orders-peers"),
        ("poddisruptionbudgets", "orders"),
        ("configmaps", "orders-config"),
        ("serviceaccounts", "orders-node"),
        ("secrets", "orders-context-key"),
        ("pods", "orders-default-1"),
        ("kvnodes", "orders-default-2"),
        ("kvrings", "orders"),
    ] {
        assert!(
            lab.api.remove(plural, name),
            "{plural}/{name} was not there"
        );
        lab.run().await.unwrap();
        assert!(
            lab.api.get(plural, name).is_some(),
            "{plural}/{name} was not made anew"
        );
        lab.run_until("Ready").await;
    }
    let ids: Vec<String> = lab
        .ring()
        .unwrap()
        .spec
        .nodes
        .into_iter()
        .map(|node| node.id)
        .collect();
    for node in lab.api.all::<KVNode>("kvnodes") {
        assert!(
            ids.contains(&node.spec.node_id.unwrap()),
            "a node changed its disk"
        );
    }
}

#[tokio::test]
async fn what_is_changed_by_hand_is_set_back() {
    let lab = Lab::ready(3).await;
    let mut service = lab.api.get("services", "orders").unwrap();
    service["spec"]["selector"] = json!({"app": "other"});
    lab.api.put("services", service);
    lab.run().await.unwrap();
    assert_eq!(lab.api.take_log(), ["PATCH services/orders"]);
}

#[tokio::test]
async fn an_evicted_pod_makes_room_for_the_next() {
    let lab = Lab::ready(3).await;
    let mut pod = lab.api.get("pods", "orders-default-0").unwrap();
    pod["status"] = json!({"phase": "Failed", "reason": "Evicted"});
    lab.api.put("pods", pod);
    let _ = reconcile(Arc::new(lab.cluster()), Arc::new(lab.context())).await;
    assert_eq!(
        lab.condition("Degraded"),
        ("True".into(), "NodesNotReady".into())
    );
    assert_eq!(lab.condition("Available").0, "True");
    lab.run_until("Ready").await;
}

#[tokio::test]
async fn a_lost_disk_degrades_and_founds_nothing() {
    let lab = Lab::ready(3).await;
    let before = lab.ring().unwrap().spec;
    lab.api.remove("pods", "orders-default-0");
    lab.api.remove("persistentvolumeclaims", "orders-default-0");
    for _ in 0..4 {
        lab.run().await.unwrap();
    }
    assert_eq!(
        lab.condition("Degraded"),
        ("True".into(), "NodeReplaced".into())
    );
    assert_eq!(lab.condition("Available").0, "True");
    assert_eq!(lab.condition("FullyReplicated").0, "False");
    assert_eq!(lab.cluster().status.unwrap().ready, "2/3");
    assert_eq!(lab.ring().unwrap().spec, before);
}

#[tokio::test]
async fn all_pods_deleted_at_once_come_back_with_their_data() {
    let lab = Lab::ready(3).await;
    let before = lab.ring().unwrap().spec;
    for pod in lab.api.all::<Pod>("pods") {
        lab.api.remove("pods", &pod.name_any());
    }
    lab.nodes.0.lock().clear();
    lab.run().await.unwrap();
    assert_eq!(
        lab.condition("Available"),
        ("False".into(), "QuorumLost".into())
    );
    lab.run_until("Ready").await;
    assert_eq!(lab.ring().unwrap().spec, before);
}

#[tokio::test]
async fn before_the_founding_the_number_of_nodes_may_change() {
    let lab = Lab::new(5);
    lab.run().await.unwrap();
    assert_eq!(lab.api.all::<Pod>("pods").len(), 5);
    lab.edit(|cluster| cluster.spec.pools[0].nodes = 3);
    for _ in 0..3 {
        let _ = lab.run().await;
        // Garbage collection.
        let kept: Vec<String> = lab
            .api
            .all::<KVNode>("kvnodes")
            .iter()
            .map(ResourceExt::name_any)
            .collect();
        for pod in lab.api.all::<Pod>("pods") {
            if !kept.contains(&pod.labels()[NODE_LABEL]) {
                lab.api.remove("pods", &pod.name_any());
            }
        }
    }
    lab.run_until("Ready").await;
    assert_eq!(lab.ring().unwrap().spec.nodes.len(), 3);
    let claims = lab.api.all::<Value>("persistentvolumeclaims").len();
    assert_eq!(claims, 5, "whenScaled is Retain");
}

#[tokio::test]
async fn an_invalid_spec_stalls_and_touches_nothing() {
    let lab = Lab::ready(3).await;
    lab.edit(|cluster| cluster.spec.replication_factor = 9);
    lab.run().await.unwrap();
    assert_eq!(
        lab.condition("Stalled"),
        ("True".into(), "InvalidSpec".into())
    );
    assert_eq!(lab.condition("Available").0, "True");
    assert_eq!(lab.cluster().status.unwrap().ready, "3/3");
    assert_eq!(lab.api.take_log(), ["PATCH kvclusters/orders"]);
}

#[tokio::test]
async fn an_object_that_is_refused_stalls_with_the_servers_words() {
    let lab = Lab::new(3);
    lab.api.forbid("pods");
    lab.run().await.unwrap();
    assert_eq!(
        lab.condition("Stalled"),
        ("True".into(), "ObjectRefused".into())
    );
    assert!(
        lab.api.get("services", "orders").is_some(),
        "the others are made all the same"
    );
}

#[tokio::test]
async fn a_changed_configuration_is_announced_for_pods_that_run_the_old_one() {
    let lab = Lab::ready(3).await;
    lab.edit(|cluster| cluster.spec.consistency.read = "one".into());
    lab.run().await.unwrap();
    assert_eq!(
        lab.condition("Progressing"),
        ("True".into(), "RevisionPending".into())
    );
    assert_eq!(lab.condition("Ready").0, "True");
    assert_eq!(lab.api.all::<Pod>("pods").len(), 3, "no pod was touched");
}

#[tokio::test]
async fn a_cluster_made_anew_waits_for_the_old_one_and_takes_up_what_was_kept() {
    let lab = Lab::ready(3).await;
    let before = lab.ring().unwrap().spec;
    let key = lab.api.get("secrets", "orders-context-key").unwrap();
    lab.make_anew();
    lab.run().await.unwrap();
    assert_eq!(
        lab.api.take_log(),
        ["PATCH kvclusters/orders"],
        "what is left of the old one is not touched"
    );
    let status = lab.cluster().status.unwrap();
    assert_eq!(status.ring_epoch, None, "that ring is the old cluster's");
    let waits = status.operation.unwrap().waiting_for.unwrap();
    assert!(waits.contains("KVRing orders"), "{waits}");

    lab.collect_garbage();
    assert!(lab.ring().is_none());
    lab.run_until("Ready").await;
    assert_eq!(lab.ring().unwrap().spec, before);
    assert_eq!(lab.api.get("secrets", "orders-context-key").unwrap(), key);
}

#[tokio::test]
async fn a_cluster_made_anew_without_keeping_its_disks_is_founded_anew() {
    let lab = Lab::new(3);
    lab.edit(|c| c.spec.pools[0].storage.when_deleted = RetentionPolicy::Delete);
    lab.run_until("Ready").await;
    let before = lab.ring().unwrap().spec;
    lab.make_anew();
    lab.run().await.unwrap();
    lab.collect_garbage();
    assert!(lab.api.all::<Value>("persistentvolumeclaims").is_empty());
    lab.run_until("Ready").await;
    let after = lab.ring().unwrap().spec;
    assert_eq!(after.epoch, 1);
    assert!(
        after
            .nodes
            .iter()
            .all(|node| before.nodes.iter().all(|old| old.id != node.id))
    );
}

#[tokio::test]
async fn a_ring_without_owner_is_taken_up() {
    let lab = Lab::ready(3).await;
    let mut ring = lab.api.get("kvrings", "orders").unwrap();
    ring["metadata"]["ownerReferences"] = Value::Null;
    lab.api.put("kvrings", ring);
    lab.run().await.unwrap();
    assert_eq!(lab.api.take_log(), ["PUT kvrings/orders"]);
    assert!(lab.ring().unwrap().metadata.owner_references.is_some());
}

#[tokio::test]
async fn objects_of_somebody_else_are_left_alone() {
    for (plural, name, label) in [
        ("services", "orders", None),
        ("pods", "orders-default-0", None),
        ("kvnodes", "orders-default-0", Some("orders-default")),
        (
            "persistentvolumeclaims",
            "orders-default-0",
            Some("orders-default"),
        ),
    ] {
        let lab = Lab::ready(3).await;
        let mut theirs = lab.api.get(plural, name).unwrap();
        theirs["metadata"]["labels"] =
            label.map_or_else(|| json!({}), |label| json!(names::cluster_labels(label)));
        theirs["metadata"]["ownerReferences"] = Value::Null;
        theirs["metadata"]["uid"] = json!("uid-1000");
        lab.api.put(plural, theirs);
        let theirs = lab.api.get(plural, name);
        let _ = reconcile(Arc::new(lab.cluster()), Arc::new(lab.context())).await;
        assert_eq!(lab.api.get(plural, name), theirs, "{plural}/{name}");
        assert_eq!(
            lab.condition("Stalled"),
            ("True".into(), "ObjectRefused".into()),
            "{plural}/{name}"
        );
    }
}

#[tokio::test]
async fn a_claim_made_beforehand_is_taken_up() {
    let lab = Lab::new(3);
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "orders-default-1", "uid": "uid-500"}
    });
    lab.api.put("persistentvolumeclaims", claim);
    lab.run_until("Ready").await;
    let claim = lab
        .api
        .get("persistentvolumeclaims", "orders-default-1")
        .unwrap();
    assert_eq!(claim["metadata"]["uid"], "uid-500");
    assert_eq!(claim["metadata"]["labels"]["annulus.dev/cluster"], "orders");
}

#[tokio::test]
async fn a_pod_in_which_nothing_runs_follows_the_spec() {
    let waiting = json!({"image": "nod:2", "imageID": "", "name": "node", "ready": false,
        "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}});
    for status in [
        json!({"phase": "Pending"}),
        json!({"phase": "Running", "containerStatuses": [waiting]}),
    ] {
        let lab = Lab::new(3);
        lab.edit(|cluster| cluster.spec.image = Some("nod:2".into()));
        lab.run().await.unwrap();
        let mut pod = lab.api.get("pods", "orders-default-0").unwrap();
        pod["status"] = status;
        lab.api.put("pods", pod);
        lab.edit(|cluster| cluster.spec.image = Some("node:2".into()));
        let _ = reconcile(Arc::new(lab.cluster()), Arc::new(lab.context())).await;
        assert!(lab.api.get("pods", "orders-default-0").is_none());
        assert!(
            lab.api.get("pods", "orders-default-1").is_some(),
            "one that runs is not touched"
        );
        lab.run().await.unwrap();
        let pod = lab.api.get("pods", "orders-default-0").unwrap();
        assert_eq!(pod["spec"]["containers"][0]["image"], "node:2");
    }
}

#[tokio::test]
async fn the_claim_of_a_node_that_never_said_it_is_empty_is_kept() {
    let lab = Lab::new(5);
    lab.edit(|c| c.spec.pools[0].storage.when_scaled = RetentionPolicy::Delete);
    lab.run().await.unwrap();
    let silent = |node: &FakeNode| node.name != "orders-default-4";
    lab.nodes.0.lock().retain(|_, node| silent(node));
    lab.edit(|cluster| cluster.spec.pools[0].nodes = 3);
    let _ = reconcile(Arc::new(lab.cluster()), Arc::new(lab.context())).await;
    for node in ["orders-default-3", "orders-default-4"] {
        assert!(lab.api.get("kvnodes", node).is_none(), "{node}");
    }
    let claim = |name: &str| lab.api.get("persistentvolumeclaims", name);
    assert!(claim("orders-default-3").is_none(), "it said so");
    assert!(claim("orders-default-4").is_some());
}

#[tokio::test]
async fn a_retained_disk_brings_its_ring_into_a_new_cluster() {
    let lab = Lab::ready(3).await;
    let before = lab.ring().unwrap().spec;
    lab.edit(|cluster| cluster.status = None);
    for plural in ["kvrings", "kvnodes", "pods", "services", "configmaps"] {
        for object in lab.api.all::<Value>(plural) {
            lab.api
                .remove(plural, object["metadata"]["name"].as_str().unwrap());
        }
    }
    lab.run_until("Ready").await;
    assert_eq!(lab.ring().unwrap().spec, before);
}
