//! Whose an object is that has one of the cluster's names: the cluster's, that of a deleted
//! cluster of the same name, or somebody else's. Pure.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::{Resource, ResourceExt};

use crate::crd::KVCluster;
use crate::names::CLUSTER_LABEL;

/// Whether garbage collection is still to take the object, because the KVCluster that owned it
/// is gone: `uid` is that of the one which has the name now. To take such an object up would be
/// a race for it, and with `whenDeleted: Delete` for each single disk.
pub(super) fn is_left_over<K: Resource>(object: &K, uid: &str) -> bool {
    let kind = KVCluster::kind(&());
    object
        .owner_references()
        .iter()
        .any(|owner| owner.kind == kind && owner.uid != uid)
}

/// Whether the object is not the cluster's: another cluster's, or one that the operator never
/// made. A claim without label is nobody's yet: made beforehand, say from a snapshot, it is
/// meant to be taken up.
pub(super) fn is_foreign<K>(object: &K, cluster: &str, uid: &str) -> bool
where
    K: Resource<DynamicType = ()>,
{
    if let Some(label) = object.labels().get(CLUSTER_LABEL) {
        return label != cluster;
    }
    let owners = object.owner_references();
    let claim = K::kind(&()) == PersistentVolumeClaim::kind(&());
    !claim && owners.iter().all(|owner| owner.uid != uid)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use kube::api::ObjectMeta;

    use super::*;

    fn meta(label: Option<&str>, owner: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            labels: label.map(|label| [(CLUSTER_LABEL.to_owned(), label.to_owned())].into()),
            owner_references: owner.map(|uid| {
                vec![OwnerReference {
                    kind: "KVCluster".into(),
                    uid: uid.into(),
                    ..OwnerReference::default()
                }]
            }),
            ..ObjectMeta::default()
        }
    }

    fn service(label: Option<&str>, owner: Option<&str>) -> Service {
        Service {
            metadata: meta(label, owner),
            ..Service::default()
        }
    }

    #[test]
    fn what_a_deleted_cluster_owns_is_left_over_and_what_nobody_owns_is_not() {
        assert!(is_left_over(&service(Some("orders"), Some("old")), "new"));
        assert!(!is_left_over(&service(Some("orders"), Some("new")), "new"));
        assert!(!is_left_over(&service(Some("orders"), None), "new"));
    }

    #[test]
    fn the_label_tells_and_without_it_the_owner() {
        let foreign = |object: &Service| is_foreign(object, "orders", "uid");
        assert!(!foreign(&service(Some("orders"), None)));
        assert!(!foreign(&service(None, Some("uid"))), "its label was taken");
        assert!(foreign(&service(None, None)));
        assert!(foreign(&service(Some("orders-eu"), Some("uid"))));
    }

    #[test]
    fn a_claim_may_be_made_beforehand() {
        let claim = |label| PersistentVolumeClaim {
            metadata: meta(label, None),
            ..PersistentVolumeClaim::default()
        };
        assert!(!is_foreign(&claim(None), "orders", "uid"));
        assert!(is_foreign(&claim(Some("orders-eu")), "orders", "uid"));
    }
}
