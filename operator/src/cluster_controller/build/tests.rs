use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::cluster_controller::validate::validate;
use crate::crd::{KVCluster, RetentionPolicy};
use crate::fixtures;

struct Built {
    cluster: ValidCluster,
    objects: NodeObjects,
    pod: Pod,
}

fn built(cluster: &KVCluster, record: NodeRecord) -> Built {
    let cluster = validate(cluster, &fixtures::defaults()).unwrap();
    let seat = cluster.nodes["orders-default-0"].clone();
    let pool = cluster.pools["default"].clone();
    let source = NodeSource {
        name: "orders-default-0",
        seat: &seat,
        pool: &pool,
        record,
    };
    let mut objects = node_objects(&cluster, &source);
    objects.node.metadata.uid = Some("node-uid".into());
    let pod = pod(&cluster, &source, &objects.node);
    Built {
        cluster,
        objects,
        pod,
    }
}

fn value<T: serde::Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap()
}

#[test]
fn a_pod_meets_the_restricted_standard() {
    let pod = value(&built(&fixtures::cluster(3), NodeRecord::default()).pod);
    let spec = &pod["spec"];
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert_eq!(spec["securityContext"]["runAsUser"], 65532);
    assert_eq!(spec["securityContext"]["fsGroup"], 65532);
    assert_eq!(
        spec["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(spec["automountServiceAccountToken"], false);
    let container = &spec["containers"][0]["securityContext"];
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(container["readOnlyRootFilesystem"], true);
}

#[test]
fn a_pod_has_a_stable_dns_name_and_its_own_disk() {
    let built = built(&fixtures::cluster(3), NodeRecord::default());
    let pod = value(&built.pod);
    assert_eq!(pod["metadata"]["name"], "orders-default-0");
    assert_eq!(pod["spec"]["hostname"], "orders-default-0");
    assert_eq!(pod["spec"]["subdomain"], "orders-peers");
    assert_eq!(
        pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"],
        "orders-default-0"
    );
    assert_eq!(
        built.objects.claim.metadata.name.as_deref(),
        Some("orders-default-0")
    );
    assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "KVNode");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "node-uid");
}

#[test]
fn the_number_of_streams_is_told_where_it_is_another_than_usual() {
    let mut cluster = fixtures::cluster(3);
    let usual = built(&cluster, NodeRecord::default()).cluster;
    assert!(!config_map::config(&usual).contains("moves"));
    cluster.spec.rebalance.streams_per_node = 5;
    let config = config_map::config(&built(&cluster, NodeRecord::default()).cluster);
    let config: Value = serde_yaml::from_str(&config).unwrap();
    assert_eq!(config["moves"], json!({"streams": 5}));
}

#[test]
fn probes_ask_the_admin_port() {
    let pod = value(&built(&fixtures::cluster(3), NodeRecord::default()).pod);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(
        container["livenessProbe"]["httpGet"],
        json!({"path": "/livez", "port": "admin"})
    );
    assert_eq!(
        container["readinessProbe"]["httpGet"],
        json!({"path": "/readyz", "port": "admin"})
    );
    assert_eq!(
        container["ports"][3],
        json!({"name": "admin", "containerPort": 9603, "protocol": "TCP"})
    );
    assert_eq!(
        container["args"],
        json!([
            "--config",
            "/etc/annulus/config.yaml",
            "--name",
            "$(POD_NAME)"
        ])
    );
}

#[test]
fn a_long_replay_is_no_reason_to_kill_a_node() {
    let pod = value(&built(&fixtures::cluster(3), NodeRecord::default()).pod);
    let probe = &pod["spec"]["containers"][0]["startupProbe"];
    assert_eq!(probe["httpGet"], json!({"path": "/livez", "port": "admin"}));
    let seconds = |field: &str| probe[field].as_i64().unwrap();
    assert!(seconds("periodSeconds") * seconds("failureThreshold") >= 3600);
}

#[test]
fn a_node_leaves_the_services_before_it_stops() {
    let pod = value(&built(&fixtures::cluster(3), NodeRecord::default()).pod);
    let leave = &pod["spec"]["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"];
    let grace = &pod["spec"]["terminationGracePeriodSeconds"];
    assert_eq!((leave, grace), (&json!(3), &json!(63)));
}

#[test]
fn zones_of_a_pool_bind_its_pods() {
    let mut cluster = fixtures::cluster(3);
    cluster.spec.pools[0].zones = vec!["a".into(), "b".into()];
    let pod = value(&built(&cluster, NodeRecord::default()).pod);
    let term = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        ["nodeSelectorTerms"][0];
    assert_eq!(
        term["matchExpressions"][0],
        json!({"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a", "b"]})
    );
}

#[test]
fn the_configuration_says_where_everything_is() {
    let cluster = validate(&fixtures::cluster(3), &fixtures::defaults()).unwrap();
    let map = cluster_objects(&cluster, 3).config_map;
    let config: Value = serde_yaml::from_str(&map.data.unwrap()["config.yaml"]).unwrap();
    assert_eq!(config["data_dir"], "/var/lib/annulus");
    assert_eq!(
        config["context_key_file"],
        "/etc/annulus-secrets/context.key"
    );
    assert_eq!(config["listen"]["admin"], "0.0.0.0:9603");
    assert_eq!(
        config["consistency"],
        json!({"read": "quorum", "write": "quorum"})
    );
}

#[test]
fn services_are_one_for_clients_and_one_between_nodes() {
    let cluster = validate(&fixtures::cluster(3), &fixtures::defaults()).unwrap();
    let [clients, peers] = cluster_objects(&cluster, 3).services;
    let (clients, peers) = (value(&clients), value(&peers));
    assert_eq!(clients["metadata"]["name"], "orders");
    let ports: Vec<i64> = clients["spec"]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["port"].as_i64().unwrap())
        .collect();
    assert_eq!(ports, [9600, 9601]);
    assert_eq!(peers["metadata"]["name"], "orders-peers");
    assert_eq!(peers["spec"]["clusterIP"], "None");
    assert_eq!(peers["spec"]["publishNotReadyAddresses"], true);
}

#[test]
fn evictions_take_one_node_at_a_time_where_the_quorum_allows_it() {
    let staying = |nodes: i32, write: &str| {
        let mut cluster = fixtures::cluster(nodes);
        cluster.spec.consistency.write = write.into();
        let cluster = validate(&cluster, &fixtures::defaults()).unwrap();
        let budget = value(&cluster_objects(&cluster, cluster.nodes.len()).pdb);
        assert!(
            budget["spec"]["maxUnavailable"].is_null(),
            "Kubernetes cannot tell how many pods a KVNode should have"
        );
        budget["spec"]["minAvailable"].clone()
    };
    assert_eq!(staying(3, "quorum"), 2);
    assert_eq!(staying(7, "quorum"), 6);
    assert_eq!(staying(3, "all"), 3);
}

#[test]
fn garbage_collection_never_takes_data_that_is_to_be_kept() {
    let retained = built(&fixtures::cluster(3), NodeRecord::default());
    assert_eq!(retained.objects.claim.metadata.owner_references, None);
    assert_eq!(
        context_key(&retained.cluster, [1; 32])
            .metadata
            .owner_references,
        None
    );

    let mut cluster = fixtures::cluster(3);
    cluster.spec.pools[0].storage.when_deleted = RetentionPolicy::Delete;
    let deleted = built(&cluster, NodeRecord::default());
    let owners = deleted.objects.claim.metadata.owner_references.unwrap();
    assert_eq!(
        owners[0].kind, "KVCluster",
        "a KVNode deleted by hand must not take its data"
    );
    assert!(
        context_key(&deleted.cluster, [1; 32])
            .metadata
            .owner_references
            .is_some()
    );
}

#[test]
fn a_new_default_image_changes_no_node_that_exists() {
    let record = NodeRecord {
        image: Some("node:0".into()),
        ..NodeRecord::default()
    };
    assert_eq!(
        built(&fixtures::cluster(3), record.clone())
            .objects
            .node
            .spec
            .image,
        "node:0"
    );
    assert_eq!(
        built(&fixtures::cluster(3), NodeRecord::default())
            .objects
            .node
            .spec
            .image,
        "node:1"
    );
    let mut cluster = fixtures::cluster(3);
    cluster.spec.image = Some("node:2".into());
    assert_eq!(built(&cluster, record).objects.node.spec.image, "node:2");
}

#[test]
fn the_revision_tells_what_a_pod_was_built_from() {
    let revision = |cluster: &KVCluster| {
        let pod = built(cluster, NodeRecord::default()).pod;
        pod.metadata.annotations.unwrap()[names::REVISION_ANNOTATION].clone()
    };
    let mut cluster = fixtures::cluster(3);
    let before = revision(&cluster);
    assert_eq!(before, revision(&cluster));
    cluster.spec.consistency.read = "one".into();
    assert_ne!(
        before,
        revision(&cluster),
        "the configuration file counts, too"
    );
}
