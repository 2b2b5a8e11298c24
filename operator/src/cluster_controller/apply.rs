//! Fourth step: what was built comes to be.
//!
//! Server-side apply with one field manager, and only where the object that the watch has seen
//! differs. Pods and the context key are created when missing and never changed. One object
//! that is refused does not keep the others from being made.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cluster_controller::build::{
    NodeRecord, NodeSource, cluster_objects, context_key, node_objects, pod,
};
use crate::cluster_controller::dereference::{NodeView, World};
use crate::cluster_controller::validate::{NodeSeat, ValidCluster};
use crate::cluster_controller::write_error::WriteError;
use crate::context::Context;
use crate::crd::{DesiredNodeState, KVNode};
use crate::names::{FIELD_MANAGER, REVISION_ANNOTATION};
use crate::node_client::NodeClient;

/// Makes everything that the cluster consists of; what could not be made.
pub(crate) async fn apply<N: NodeClient>(
    cluster: &ValidCluster,
    world: &mut World,
    context: &Context<N>,
) -> Vec<WriteError> {
    let mut errors = apply_cluster(cluster, context).await;
    for (name, seat) in seats(cluster, world) {
        let view = world.nodes.entry(name.clone()).or_default();
        if let Err(error) = apply_node(cluster, &name, &seat, view, context).await {
            errors.push(error);
        }
    }
    errors
}

/// The nodes that are to exist: those of the ring once it is founded, before that those of the
/// spec. A changed spec neither adds to a founded ring nor takes from it.
pub(crate) fn seats(cluster: &ValidCluster, world: &World) -> BTreeMap<String, NodeSeat> {
    let Some(ring) = world.ring.placement() else {
        return cluster.nodes.clone();
    };
    let members = ring.nodes().iter();
    members
        .filter_map(|member| {
            let capacity = member.capacity.get();
            let seat = cluster.seat_of(&member.name)?;
            Some((member.name.clone(), NodeSeat { capacity, ..seat }))
        })
        .collect()
}

async fn apply_cluster<N: NodeClient>(
    cluster: &ValidCluster,
    context: &Context<N>,
) -> Vec<WriteError> {
    let (client, cache) = (&context.client, &context.cache);
    let objects = cluster_objects(cluster);
    let [clients, peers] = &objects.services;
    let results = [
        apply_object(client, &cache.service_accounts, &objects.service_account).await,
        apply_object(client, &cache.config_maps, &objects.config_map).await,
        apply_object(client, &cache.services, clients).await,
        apply_object(client, &cache.services, peers).await,
        apply_object(client, &cache.budgets, &objects.pdb).await,
        create_context_key(cluster, context).await,
    ];
    results.into_iter().filter_map(Result::err).collect()
}

/// Creates the context key if there is none: the API server refuses a second one.
async fn create_context_key<N: NodeClient>(
    cluster: &ValidCluster,
    context: &Context<N>,
) -> Result<(), WriteError> {
    let secret = context_key(cluster, (context.random)());
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &cluster.namespace);
    create(&secrets, &secret).await
}

/// Makes a node, its claim and its pod, in this order: a pod needs the other two.
async fn apply_node<N: NodeClient>(
    cluster: &ValidCluster,
    name: &str,
    seat: &NodeSeat,
    view: &mut NodeView,
    context: &Context<N>,
) -> Result<(), WriteError> {
    let Some(pool) = cluster.pools.get(&seat.pool) else {
        return Ok(());
    };
    let record = record(view);
    let source = NodeSource {
        name,
        seat,
        pool,
        record,
    };
    let objects = node_objects(cluster, &source);
    let client = &context.client;
    let node = match view.node.as_deref() {
        Some(live) if covers(live, &objects.node) => live.clone(),
        _ => apply_now(client, &objects.node).await?,
    };
    apply_object(client, &context.cache.claims, &objects.claim).await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &cluster.namespace);
    let desired = pod(cluster, &source, &node);
    match view.pod.as_deref() {
        None if can_run(&node, view) => create(&pods, &desired).await?,
        None => {}
        Some(live) if is_over(live) => delete(&pods, live).await?,
        Some(live) => view.outdated = revision(live) != revision(&desired),
    }
    view.node = Some(Arc::new(node));
    Ok(())
}

fn record(view: &NodeView) -> NodeRecord {
    let recorded = view.node.as_deref().map(|node| &node.spec);
    let reported = view.report.as_ref().map(|report| report.id.to_string());
    NodeRecord {
        image: recorded.map(|spec| spec.image.clone()),
        zone: view.zone.clone(),
        node_id: reported.or_else(|| recorded.and_then(|spec| spec.node_id.clone())),
    }
}

/// A node that is being deleted gets no pod: garbage collection would take it away again.
fn can_run(node: &KVNode, view: &NodeView) -> bool {
    let leaving = |meta: &kube::api::ObjectMeta| meta.deletion_timestamp.is_some();
    let claim_leaves = view
        .claim
        .as_deref()
        .is_some_and(|claim| leaving(&claim.metadata));
    node.spec.desired_state != DesiredNodeState::Gone && !leaving(&node.metadata) && !claim_leaves
}

/// A pod that was evicted or has ended never runs again: it must make room for the next.
fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Failed" | "Succeeded")) && pod.metadata.deletion_timestamp.is_none()
}

fn revision(pod: &Pod) -> Option<&String> {
    pod.annotations().get(REVISION_ANNOTATION)
}

/// Deletes exactly this object, not one of the same name; that it is gone is as good.
pub(crate) async fn delete<K>(api: &Api<K>, object: &K) -> Result<(), WriteError>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(&object.name_any(), &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(WriteError::new(described(object), &error)),
    }
}

/// Applies an object unless the one that the watch has seen has all of it already.
async fn apply_object<K>(client: &Client, live: &Store<K>, desired: &K) -> Result<(), WriteError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let seen = live.get(&ObjectRef::from_obj(desired));
    if seen.is_some_and(|live| covers(&*live, desired)) {
        return Ok(());
    }
    apply_now(client, desired).await.map(drop)
}

async fn apply_now<K>(client: &Client, desired: &K) -> Result<K, WriteError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    let namespace = desired.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&desired.name_any(), &params, &Patch::Apply(desired))
        .await
        .map_err(|error| WriteError::new(described(desired), &error))
}

/// Creates an object; that it exists already is as good.
pub(crate) async fn create<K>(api: &Api<K>, object: &K) -> Result<(), WriteError>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(WriteError::new(described(object), &error)),
    }
}

/// Kind and name, for messages.
pub(crate) fn described<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{} {}", K::kind(&()), object.name_any())
}

/// Whether `live` has everything that `desired` asks for. What the API server adds by default
/// does not count; an owner that is not desired does.
fn covers<K: Resource + Serialize>(live: &K, desired: &K) -> bool {
    let owners = |object: &K| {
        let mut uids: Vec<String> = object
            .owner_references()
            .iter()
            .map(|owner| owner.uid.clone())
            .collect();
        uids.sort_unstable();
        uids
    };
    let (Ok(live_value), Ok(desired_value)) =
        (serde_json::to_value(live), serde_json::to_value(desired))
    else {
        return false;
    };
    owners(live) == owners(desired) && contains(&live_value, &desired_value)
}

fn contains(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => desired
            .iter()
            .all(|(key, wanted)| live.get(key).is_some_and(|found| contains(found, wanted))),
        (Value::Array(live), Value::Array(desired)) => {
            live.len() == desired.len()
                && live
                    .iter()
                    .zip(desired)
                    .all(|(live, desired)| contains(live, desired))
        }
        (live, desired) => live == desired,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::contains;

    #[test]
    fn what_the_server_adds_is_no_difference() {
        let desired = json!({"spec": {"ports": [{"port": 1}], "selector": {"a": "b"}}});
        let live = json!({
            "spec": {"ports": [{"port": 1, "protocol": "TCP"}], "selector": {"a": "b"}, "ip": "x"},
            "status": {}
        });
        assert!(contains(&live, &desired));
    }

    #[test]
    fn what_somebody_changed_or_removed_is_one() {
        let desired = json!({"spec": {"ports": [{"port": 1}, {"port": 2}]}});
        assert!(!contains(
            &json!({"spec": {"ports": [{"port": 1}]}}),
            &desired
        ));
        assert!(!contains(
            &json!({"spec": {"ports": [{"port": 1}, {"port": 3}]}}),
            &desired
        ));
        assert!(!contains(&json!({}), &desired));
    }
}
