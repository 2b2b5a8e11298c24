//! The nodes' service account: an identity without any right and without a token.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::cluster_controller::build::cluster_meta;
use crate::cluster_controller::validate::ValidCluster;
use crate::names;

pub(super) fn service_account(cluster: &ValidCluster) -> ServiceAccount {
    ServiceAccount {
        metadata: cluster_meta(cluster, names::service_account(&cluster.name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
