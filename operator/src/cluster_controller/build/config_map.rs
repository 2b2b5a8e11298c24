//! The nodes' configuration file: the same for all nodes of a cluster. A node's name comes to
//! it on its command line.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use crate::cluster_controller::build::cluster_meta;
use crate::cluster_controller::build::context_key::CONTEXT_KEY_FILE;
use crate::cluster_controller::build::pod::{CONTEXT_KEY_DIRECTORY, DATA_PATH};
use crate::cluster_controller::validate::ValidCluster;
use crate::crd::Rebalance;
use crate::names;

/// Key of the file in the ConfigMap, and its name where it is mounted.
pub(super) const CONFIG_FILE: &str = "config.yaml";

pub(super) fn config_map(cluster: &ValidCluster) -> ConfigMap {
    let data = BTreeMap::from([(CONFIG_FILE.to_owned(), config(cluster))]);
    ConfigMap {
        metadata: cluster_meta(cluster, names::config_map(&cluster.name)),
        data: Some(data),
        ..ConfigMap::default()
    }
}

/// The file's content.
pub(super) fn config(cluster: &ValidCluster) -> String {
    let listen = |port: i32| format!("0.0.0.0:{port}");
    let mut config = json!({
        "data_dir": DATA_PATH,
        "context_key_file": format!("{CONTEXT_KEY_DIRECTORY}/{CONTEXT_KEY_FILE}"),
        "listen": {
            "grpc": listen(names::GRPC_PORT),
            "http": listen(names::HTTP_PORT),
            "peer": listen(names::PEER_PORT),
            "admin": listen(names::ADMIN_PORT),
        },
        "consistency": {
            "read": cluster.consistency.read,
            "write": cluster.consistency.write,
        },
        "log": { "level": "info", "format": "json" },
    });
    // A default is left out: pods of clusters that never asked for another keep their revision.
    if cluster.streams_per_node != Rebalance::default().streams_per_node {
        config["moves"] = json!({"streams": cluster.streams_per_node});
    }
    serde_yaml::to_string(&config).expect("a JSON value can be written as YAML")
}
