//! The whole loop against an API server and nodes in memory.

use std::collections::BTreeMap;

use annulus_ring::{NodeId, Placement};
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
use crate::context::Backoff;
use crate::crd::{KVNode, KVRing, NodePhase};
use crate::fake_api::FakeApi;
use crate::fixtures;
use crate::metrics::Metrics;
use crate::names::NODE_LABEL;
use crate::node_client::{HeldPlacement, NodeError, NodeReport};
use crate::watches::Cache;

/// Nodes by the address of their pod. What they hold is their disk.
#[derive(Clone, Default)]
struct FakeNodes(Arc<Mutex<BTreeMap<String, FakeNode>>>);

#[derive(Clone)]
struct FakeNode {
    name: String,
    id: NodeId,
    placement: Option<Placement>,
}

impl FakeNodes {
    fn at(&self, address: &str) -> Result<FakeNode, NodeError> {
        let nodes = self.0.lock();
        nodes
            .get(address)
            .cloned()
            .ok_or_else(|| NodeError::Unreachable(address.to_owned()))
    }
}

impl NodeClient for FakeNodes {
    async fn status(&self, address: &str) -> Result<NodeReport, NodeError> {
        let node = self.at(address)?;
        let holds = node.placement.as_ref().map(|placement| HeldPlacement {
            cluster_id: placement.cluster_id(),
            epoch: placement.epoch(),
            fingerprint: placement.fingerprint(),
        });
        let waiting = holds.is_none();
        Ok(NodeReport {
            id: node.id,
            name: node.name,
            holds,
            phase: if waiting {
                NodePhase::WaitingForPlacement
            } else {
                NodePhase::Serving
            },
            vnodes: 0,
            data_bytes: 0,
            disk_free_bytes: 0,
            generation: 1,
            version: "1".into(),
        })
    }

    async fn placement(&self, address: &str) -> Result<Placement, NodeError> {
        self.at(address)?
            .placement
            .ok_or_else(|| NodeError::Refused("none".into()))
    }

    async fn install(&self, address: &str, placement: &Placement) -> Result<(), NodeError> {
        let mut nodes = self.0.lock();
        let node = nodes
            .get_mut(address)
            .ok_or_else(|| NodeError::Unreachable(address.to_owned()))?;
        node.placement = Some(placement.clone());
        Ok(())
    }
}

/// An API server, a kubelet and disks.
#[derive(Clone, Default)]
struct Lab {
    api: FakeApi,
    nodes: FakeNodes,
    disks: Arc<Mutex<BTreeMap<String, FakeNode>>>,
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
            now: || jiff::Timestamp::UNIX_EPOCH,
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
            self.disks
                .lock()
                .entry(node.id.to_string())
                .or_insert_with(|| node.clone())
                .placement = node.placement.clone();
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

    fn ring(&self) -> Option<KVRing> {
        self.api.all("kvrings").pop()
    }
}

fn fill<K>(api: &FakeApi, plural: &str, writer: &mut Writer<K>)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + 'static,
{
    writer.apply_watcher_event(&watcher::Event::Init);
    for object in api.all::<K>(plural) {
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
    assert_eq!(status.conditions.len(), 9);
    for kind in [
        "Available",
        "FullyReplicated",
        "TopologySatisfied",
        "MembershipConverged",
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
async fn a_changed_number_of_nodes_is_refused_and_the_ring_still_looked_after() {
    let lab = Lab::ready(3).await;
    lab.edit(|cluster| cluster.spec.nodes = Some(5));
    lab.run().await.unwrap();
    assert_eq!(
        lab.condition("Stalled"),
        ("True".into(), "ScalingNotSupported".into())
    );
    assert_eq!(lab.condition("Available").0, "True");
    assert_eq!(lab.api.all::<Pod>("pods").len(), 3);
    lab.edit(|cluster| cluster.spec.nodes = Some(3));
    lab.api.remove("pods", "orders-default-2");
    lab.run().await.unwrap();
    assert_eq!(lab.api.all::<Pod>("pods").len(), 3);
    lab.run_until("Ready").await;
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
