//! Third step: the objects that a cluster consists of, one kind a file. Pure: the same
//! cluster gives the same objects, whatever exists.
//!
//! Everything is owned by the KVCluster, and a pod by its KVNode, so that deleting the cluster
//! needs no finalizer. Claims are owned only where the user asked for their deletion.

mod claim;
mod config_map;
mod context_key;
mod node;
mod pdb;
mod pod;
mod ring;
mod service;
mod service_account;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use crate::cluster_controller::validate::{NodeSeat, ValidCluster};
use crate::crd::{DesiredNodeState, KVNode, Pool};
use crate::names;

pub(crate) use context_key::context_key;
pub(crate) use pod::pod;
pub(crate) use ring::ring;

/// What the operator knows of a node beyond its seat, recorded in its KVNode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeRecord {
    /// The image its next pod runs, if it has one already.
    pub(crate) image: Option<String>,
    /// Its zone, if known.
    pub(crate) zone: Option<String>,
    /// Its disk's identity, if known.
    pub(crate) node_id: Option<String>,
    /// The claim that this was reported from.
    pub(crate) claim: Option<String>,
    /// What is wanted of it.
    pub(crate) desired_state: DesiredNodeState,
}

/// A node of the cluster that is to exist.
pub(crate) struct NodeSource<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its place in the spec.
    pub(crate) seat: &'a NodeSeat,
    /// Its pool.
    pub(crate) pool: &'a Pool,
    /// What is recorded of it.
    pub(crate) record: NodeRecord,
}

/// The objects that exist once per cluster.
pub(crate) struct ClusterObjects {
    /// The nodes' identity towards Kubernetes: none.
    pub(crate) service_account: ServiceAccount,
    /// The nodes' configuration.
    pub(crate) config_map: ConfigMap,
    /// For clients and between nodes.
    pub(crate) services: [Service; 2],
    /// What voluntary evictions may take.
    pub(crate) pdb: PodDisruptionBudget,
}

/// The objects of one node that are applied whenever they differ.
pub(crate) struct NodeObjects {
    /// The node.
    pub(crate) node: KVNode,
    /// Its disk.
    pub(crate) claim: PersistentVolumeClaim,
}

/// Builds what exists once per cluster; `nodes` is the number of nodes that are to exist.
pub(crate) fn cluster_objects(cluster: &ValidCluster, nodes: usize) -> ClusterObjects {
    ClusterObjects {
        service_account: service_account::service_account(cluster),
        config_map: config_map::config_map(cluster),
        services: [service::clients(cluster), service::peers(cluster)],
        pdb: pdb::pdb(cluster, nodes),
    }
}

/// Builds what exists once per node, without its pod: that one needs the KVNode's uid.
pub(crate) fn node_objects(cluster: &ValidCluster, source: &NodeSource<'_>) -> NodeObjects {
    NodeObjects {
        node: node::node(cluster, source),
        claim: claim::claim(cluster, source),
    }
}

/// Metadata of an object that belongs to the cluster as a whole.
fn cluster_meta(cluster: &ValidCluster, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(names::cluster_labels(&cluster.name)),
        owner_references: Some(vec![cluster_owner(cluster)]),
        ..ObjectMeta::default()
    }
}

/// Metadata of an object that belongs to one node, without an owner.
fn node_meta(cluster: &ValidCluster, source: &NodeSource<'_>) -> ObjectMeta {
    ObjectMeta {
        name: Some(source.name.to_owned()),
        namespace: Some(cluster.namespace.clone()),
        labels: Some(names::node_labels(
            &cluster.name,
            &source.seat.pool,
            source.name,
        )),
        ..ObjectMeta::default()
    }
}

fn cluster_owner(cluster: &ValidCluster) -> OwnerReference {
    OwnerReference {
        api_version: "annulus.dev/v1alpha1".to_owned(),
        kind: "KVCluster".to_owned(),
        name: cluster.name.clone(),
        uid: cluster.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests;
