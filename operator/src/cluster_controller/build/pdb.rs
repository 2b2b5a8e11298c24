//! What voluntary evictions (node drains, autoscalers) may take at a time: one node where the
//! default quorum can do without a copy, else none.
//!
//! Said as a number of nodes that must stay. `maxUnavailable` would make Kubernetes ask the
//! pods' owners for their `scale`; a KVNode has none, and then nothing may be evicted, ever.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster_controller::build::cluster_meta;
use crate::cluster_controller::validate::ValidCluster;
use crate::names;

/// `nodes` is the number of nodes that are to exist.
pub(super) fn pdb(cluster: &ValidCluster, nodes: usize) -> PodDisruptionBudget {
    let copies = usize::from(cluster.replication_factor);
    let spare = copies.saturating_sub(cluster.quorum).min(1);
    let stay = i32::try_from(nodes.saturating_sub(spare)).unwrap_or(i32::MAX);
    PodDisruptionBudget {
        metadata: cluster_meta(cluster, cluster.name.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(stay)),
            selector: Some(LabelSelector {
                match_labels: Some(names::pod_selector(&cluster.name)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
