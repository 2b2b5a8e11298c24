use kube::CustomResourceExt;
use kube::core::cel::{validate_cel, validate_cel_update};
use serde_json::{Value, json};

use super::*;
use crate::fixtures;

fn schema(name: &str) -> Value {
    let (_, yaml) = all().into_iter().find(|(file, _)| *file == name).unwrap();
    let crd: Value = serde_yaml::from_str(&yaml).unwrap();
    crd["spec"]["versions"][0].clone()
}

fn refused(change: impl FnOnce(&mut KVCluster)) -> String {
    let mut cluster = fixtures::cluster(3);
    change(&mut cluster);
    validate_cel(&cluster)
        .expect_err("must be refused")
        .to_string()
}

fn update_refused(change: impl FnOnce(&mut KVCluster)) -> String {
    let (old, mut new) = (fixtures::cluster(3), fixtures::cluster(3));
    change(&mut new);
    validate_cel_update(&new, &old)
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn manifests_are_small_and_hold_no_format_that_the_server_does_not_know() {
    for (name, yaml) in all() {
        assert!(yaml.len() < 100 * 1024, "{name} has {} bytes", yaml.len());
        assert!(!yaml.contains("format: uint"), "{name}");
    }
}

#[test]
fn everything_but_the_number_of_nodes_has_a_default() {
    let cluster: KVCluster = serde_json::from_value(json!({
        "apiVersion": "annulus.dev/v1alpha1", "kind": "KVCluster",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {"pools": [{"nodes": 3}]}
    }))
    .unwrap();
    assert_eq!(cluster.spec, fixtures::cluster(3).spec);
    let schema = schema("kvclusters.yaml");
    let spec = &schema["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert_eq!(spec["required"], json!(["pools"]));
    assert_eq!(
        spec["properties"]["pools"]["items"]["required"],
        json!(["nodes"])
    );
    assert_eq!(spec["properties"]["replicationFactor"]["default"], 3);
    assert_eq!(spec["properties"]["partitions"]["default"], 256);
    let storage = &spec["properties"]["pools"]["items"]["properties"]["storage"];
    assert_eq!(storage["default"]["size"], "10Gi");
    assert_eq!(storage["properties"]["whenDeleted"]["default"], "Retain");
}

#[test]
fn lists_are_maps_where_server_side_apply_must_merge_them() {
    let schema = schema("kvclusters.yaml");
    let root = &schema["schema"]["openAPIV3Schema"]["properties"];
    let conditions = &root["status"]["properties"]["conditions"];
    assert_eq!(conditions["x-kubernetes-list-type"], "map");
    assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
    let pools = &root["spec"]["properties"]["pools"];
    assert_eq!(pools["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(
        pools["items"]["properties"]["zones"]["x-kubernetes-list-type"],
        "set"
    );
}

#[test]
fn columns_short_name_and_scale_are_the_public_ones() {
    let crd = KVCluster::crd();
    assert_eq!(crd.spec.names.short_names, Some(vec!["kvc".to_owned()]));
    let version = schema("kvclusters.yaml");
    let columns: Vec<&str> = version["additionalPrinterColumns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["Ready", "Status", "Epoch", "Operation", "Age"]);
    assert_eq!(
        version["subresources"]["scale"]["specReplicasPath"],
        ".spec.nodes"
    );
    assert_eq!(
        version["subresources"]["scale"]["statusReplicasPath"],
        ".status.nodes"
    );
}

#[test]
fn a_plain_cluster_passes_all_rules() {
    validate_cel(&fixtures::cluster(3)).unwrap();
    validate_cel_update(&fixtures::cluster(5), &fixtures::cluster(3)).unwrap();
}

#[test]
fn the_number_of_partitions_is_a_power_of_two() {
    assert!(refused(|c| c.spec.partitions = 100).contains("power of two"));
    assert!(refused(|c| c.spec.partitions = 0).contains("power of two"));
}

#[test]
fn there_are_as_many_nodes_as_copies() {
    assert!(refused(|c| c.spec.replication_factor = 4).contains("must not exceed the number"));
    assert!(refused(|c| c.spec.nodes = Some(2)).contains("must not exceed the number"));
}

#[test]
fn pods_names_fit_and_no_two_services_collide() {
    assert!(refused(|c| c.metadata.name = Some("x".repeat(37))).contains("36"));
    assert!(refused(|c| c.metadata.name = Some("9lives".into())).contains("start with a letter"));
    assert!(refused(|c| c.metadata.name = Some("a-peers".into())).contains("-peers"));
}

#[test]
fn consistency_stays_within_the_number_of_copies() {
    assert!(refused(|c| c.spec.consistency.write = "4".into()).contains("consistency.write"));
    let mut cluster = fixtures::cluster(3);
    cluster.spec.consistency.read = "3".into();
    validate_cel(&cluster).unwrap();
}

#[test]
fn consistency_is_a_name_or_a_number_quoted_or_not() {
    for written in [json!(2), json!("2")] {
        let mut cluster = serde_json::to_value(fixtures::cluster(3)).unwrap();
        cluster["spec"]["consistency"] = json!({"read": written});
        let cluster: KVCluster = serde_json::from_value(cluster).unwrap();
        let consistency = &cluster.spec.consistency;
        assert_eq!(
            (consistency.read.as_str(), consistency.write.as_str()),
            ("2", "quorum")
        );
    }
    let schema = schema("kvclusters.yaml");
    let spec = &schema["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let read = &spec["properties"]["consistency"]["properties"]["read"];
    assert_eq!(read["x-kubernetes-int-or-string"], true);
    assert_eq!(read["default"], "quorum");
    assert_eq!(
        read["type"],
        Value::Null,
        "a type would refuse the other one"
    );
}

#[test]
fn the_scaled_count_needs_a_single_pool() {
    let two_pools = |c: &mut KVCluster| {
        c.spec.pools.push(fixtures::pool("other", 3));
        c.spec.nodes = Some(6);
    };
    assert!(refused(two_pools).contains("exactly one pool"));
}

#[test]
fn what_cannot_change_on_a_living_cluster_is_immutable() {
    assert!(update_refused(|c| c.spec.partitions = 512).contains("partitions is immutable"));
    assert!(update_refused(|c| c.spec.pools[0].name = "new".into()).contains("pool"));
}

#[test]
fn disks_grow_but_never_shrink() {
    let resized = |size: &str| {
        let mut cluster = fixtures::cluster(3);
        cluster.spec.pools[0].storage.size = size.into();
        validate_cel_update(&cluster, &fixtures::cluster(3))
    };
    resized("20Gi").unwrap();
    assert!(
        resized("5Gi")
            .unwrap_err()
            .to_string()
            .contains("cannot shrink")
    );
    assert!(refused(|c| c.spec.pools[0].storage.size = "big".into()).contains("quantity"));
}

#[test]
fn a_class_is_immutable() {
    let class = |c: &mut KVCluster| c.spec.pools[0].storage.storage_class_name = Some("x".into());
    assert!(update_refused(class).contains("storageClassName is immutable"));
}

#[test]
fn a_new_cluster_is_not_taken_for_a_finished_one() {
    let schema = schema("kvclusters.yaml");
    let status = &schema["schema"]["openAPIV3Schema"]["properties"]["status"];
    let cluster: KVClusterStatus = serde_json::from_value(status["default"].clone()).unwrap();
    let [ready] = &cluster.conditions[..] else {
        panic!("not one condition")
    };
    assert_eq!(
        (ready.type_.as_str(), ready.status.as_str()),
        ("Ready", "Unknown")
    );
    assert_eq!(cluster.ring_epoch, None, "or no ring would ever be founded");
}
