//! A node's claim: its disk, and so its identity.
//!
//! With `whenDeleted: Retain` it has no owner, and nothing but a person deletes it. With
//! `Delete` it is owned by the KVCluster, not by the KVNode: deleting a KVNode by hand must
//! heal, not lose data.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::cluster_controller::build::{NodeSource, cluster_owner, node_meta};
use crate::cluster_controller::validate::ValidCluster;
use crate::crd::RetentionPolicy;

pub(super) fn claim(cluster: &ValidCluster, source: &NodeSource<'_>) -> PersistentVolumeClaim {
    let storage = &source.pool.storage;
    let mut metadata = node_meta(cluster, source);
    if storage.when_deleted == RetentionPolicy::Delete {
        let mut owner = cluster_owner(cluster);
        owner.block_owner_deletion = None;
        metadata.owner_references = Some(vec![owner]);
    }
    let requests = BTreeMap::from([("storage".to_owned(), Quantity(storage.size.clone()))]);
    PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some(requests),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
