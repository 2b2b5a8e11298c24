//! Last step: say what was found and done. Written only when it differs.

use annulus_ring::Placement;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::{Resource, ResourceExt};
use serde_json::json;

use crate::cluster_controller::ReconcileError;
use crate::cluster_controller::dereference::{NodeView, World};
use crate::cluster_controller::write_error::{WriteError, namespace_ends};
use crate::context::Context;
use crate::crd::{KVCluster, KVNode, KVNodeStatus, NodePhase};
use crate::names::{self, FIELD_MANAGER};
use crate::node_client::{NodeClient, NodeReport};
use crate::status::{EventLevel, Facts, Reason, changes, is_news, milestones, report};

const MIB_64: u64 = 64 << 20;
const GIB: u64 = 1 << 30;

/// Writes the statuses of the cluster and its nodes, and publishes events.
pub(crate) async fn update_status<N: NodeClient>(
    cluster: &KVCluster,
    world: &World,
    facts: &Facts,
    context: &Context<N>,
) -> Result<(), ReconcileError> {
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
    let old = cluster.status.as_ref();
    let now = Time((context.now)());
    let new = report(&name, facts, old, &now);
    context.metrics.conditions(cluster, &new.conditions);
    let figures_are_due = is_news(old, &new, &now);
    update_nodes(&name, &namespace, world, figures_are_due, context).await?;
    if old != Some(&new) && figures_are_due {
        let clusters: Api<KVCluster> = Api::namespaced(context.client.clone(), &namespace);
        let patch = json!({
            "apiVersion": KVCluster::api_version(&()),
            "kind": KVCluster::kind(&()),
            "status": new,
        });
        let written = clusters
            .patch_status(
                &name,
                &PatchParams::apply(FIELD_MANAGER).force(),
                &Patch::Apply(patch),
            )
            .await;
        match written {
            // Deleted meanwhile: nobody is left to be told.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            written => written.map_err(ReconcileError::WriteStatus)?,
        };
    }
    for (reason, message) in &facts.events {
        publish(cluster, *reason, message, context).await;
    }
    if !figures_are_due {
        return Ok(());
    }
    let before = old.and_then(|old| old.operation.as_ref());
    for (reason, message) in milestones(before, new.operation.as_ref()) {
        publish(cluster, reason, &message, context).await;
    }
    let before = old.map(|old| old.conditions.as_slice()).unwrap_or_default();
    for change in changes(before, &new.conditions) {
        publish(cluster, change.reason, &change.message, context).await;
    }
    Ok(())
}

/// An event that cannot be published is no reason to try everything again.
async fn publish<N>(cluster: &KVCluster, reason: Reason, message: &str, context: &Context<N>) {
    let event = Event {
        type_: match reason.level() {
            EventLevel::Warning => EventType::Warning,
            EventLevel::Silent | EventLevel::Normal => EventType::Normal,
        },
        reason: reason.as_str().to_owned(),
        note: Some(message.to_owned()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let (recorder, about) = (&context.recorder, cluster.object_ref(&()));
    match recorder.publish(&event, &about).await {
        Err(error) if !namespace_ends(&error) => {
            let error = WriteError::new(event.reason, &error);
            tracing::warn!(%error, "cannot publish an event");
        }
        _ => {}
    }
}

async fn update_nodes<N>(
    cluster: &str,
    namespace: &str,
    world: &World,
    figures_are_due: bool,
    context: &Context<N>,
) -> Result<(), ReconcileError> {
    let nodes: Api<KVNode> = Api::namespaced(context.client.clone(), namespace);
    for (name, view) in &world.nodes {
        let Some(node) = view.node.as_deref() else {
            continue;
        };
        let address = names::node_host(cluster, namespace, name);
        let old = node.status.clone().unwrap_or_default();
        let mut new = node_status(old.clone(), address, view);
        new.missing_since = is_missing(name, view, world.ring.placement(), &old)
            .then(|| old.missing_since.clone())
            .map(|since| since.unwrap_or_else(|| Time((context.now)())));
        let figures_only = (new.phase, &new.missing_since) == (old.phase, &old.missing_since);
        if node.status.as_ref() == Some(&new) || (figures_only && !figures_are_due) {
            continue;
        }
        let patch = json!({
            "apiVersion": KVNode::api_version(&()),
            "kind": KVNode::kind(&()),
            "status": new,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match nodes
            .patch_status(name, &params, &Patch::Apply(patch))
            .await
        {
            Ok(_) => {}
            // Deleted meanwhile: the next run makes it anew.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(ReconcileError::WriteStatus(error)),
        }
    }
    Ok(())
}

/// Whether the ring's member of this name is missing. One that serves and missed one question is
/// not.
fn is_missing(name: &str, view: &NodeView, ring: Option<&Placement>, old: &KVNodeStatus) -> bool {
    let members = ring.map(Placement::nodes).unwrap_or_default();
    let Some(member) = members.iter().find(|node| node.name == name) else {
        return false;
    };
    match &view.report {
        Some(report) => report.id != member.id,
        None => !view.serves() || old.missing_since.is_some(),
    }
}

/// The node's status. A serving node that missed one question keeps what it said before.
fn node_status(old: KVNodeStatus, address: String, view: &NodeView) -> KVNodeStatus {
    match &view.report {
        Some(report) => reported(address, report, &old),
        None if view.serves() => KVNodeStatus { address, ..old },
        None => KVNodeStatus {
            address,
            phase: NodePhase::Unreachable,
            ..old
        },
    }
}

fn reported(address: String, report: &NodeReport, old: &KVNodeStatus) -> KVNodeStatus {
    KVNodeStatus {
        address,
        phase: report.phase,
        ring_epoch: report.holds.map_or(0, |held| signed(held.epoch.0)),
        vnodes: i64::from(report.vnodes),
        data_bytes: coarse(report.data_bytes, old.data_bytes, MIB_64),
        disk_free_bytes: coarse(report.disk_free_bytes, old.disk_free_bytes, GIB),
        generation: signed(report.generation),
        version: report.version.clone(),
        missing_since: None,
    }
}

/// Rounded down to whole units. What is less than a unit away from what was said before is not
/// worth a write: a size that swings around a boundary would make one at each look.
fn coarse(bytes: u64, old: i64, unit: u64) -> i64 {
    if signed(bytes).abs_diff(old) < unit {
        return old;
    }
    signed(bytes / unit * unit)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{GIB, coarse, signed};

    #[test]
    fn a_size_that_swings_around_a_boundary_stays_as_it_was_said() {
        let said = coarse(5 * GIB + 1, 0, GIB);
        assert_eq!(said, signed(5 * GIB));
        assert_eq!(coarse(5 * GIB - 1, said, GIB), said);
        assert_eq!(coarse(6 * GIB, said, GIB), signed(6 * GIB));
        assert_eq!(coarse(4 * GIB - 1, said, GIB), signed(3 * GIB));
    }
}
