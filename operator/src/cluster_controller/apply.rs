//! Fourth step: what was built comes to be.
//!
//! Server-side apply with one field manager, and only where the object that the watch has seen
//! differs. Pods and the context key are created when missing and never changed. An object of
//! the same name that is somebody else's is left alone. One object that is refused does not keep
//! the others from being made.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use annulus_ring::Placement;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Secret};
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
use crate::cluster_controller::ownership::is_foreign;
use crate::cluster_controller::validate::{NodeSeat, ValidCluster};
use crate::cluster_controller::write_error::WriteError;
use crate::context::Context;
use crate::crd::{DesiredNodeState, KVNode};
use crate::names::{CLUSTER_LABEL, FIELD_MANAGER, REVISION_ANNOTATION};
use crate::node_client::NodeClient;

/// What became of an [`apply`].
pub(crate) struct Applied {
    /// What could not be made.
    pub(crate) errors: Vec<WriteError>,
    /// Whether there was no context key.
    pub(crate) key_made: bool,
}

/// Makes everything that the cluster consists of.
pub(crate) async fn apply<N: NodeClient>(
    cluster: &ValidCluster,
    world: &mut World,
    context: &Context<N>,
) -> Applied {
    let seats = seats(cluster, world);
    let mut errors = apply_cluster(cluster, seats.len(), context).await;
    let key = create_context_key(cluster, context).await;
    let key_made = matches!(key, Ok(Created::Now));
    errors.extend(key.err());
    for (name, seat) in seats {
        let view = world.nodes.entry(name.clone()).or_default();
        if let Err(error) = apply_node(cluster, &name, &seat, view, context).await {
            errors.push(error);
        }
    }
    Applied { errors, key_made }
}

/// The nodes that are to exist: those of the spec, and those that the ring still has.
pub(crate) fn seats(cluster: &ValidCluster, world: &World) -> BTreeMap<String, NodeSeat> {
    let mut seats = cluster.nodes.clone();
    let members = world.ring.placement().map(Placement::nodes);
    for member in members.unwrap_or_default() {
        if seats.contains_key(&member.name) {
            continue;
        }
        if let Some(seat) = cluster.seat_of(&member.name) {
            let capacity = member.capacity.get();
            seats.insert(member.name.clone(), NodeSeat { capacity, ..seat });
        }
    }
    seats
}

async fn apply_cluster<N: NodeClient>(
    cluster: &ValidCluster,
    nodes: usize,
    context: &Context<N>,
) -> Vec<WriteError> {
    let cache = &context.cache;
    let to = Applier {
        client: &context.client,
        cluster,
    };
    let objects = cluster_objects(cluster, nodes);
    let [clients, peers] = &objects.services;
    let (account, config) = (&objects.service_account, &objects.config_map);
    let errors = [
        to.apply(&cache.service_accounts, account).await.err(),
        to.apply(&cache.config_maps, config).await.err(),
        to.apply(&cache.services, clients).await.err(),
        to.apply(&cache.services, peers).await.err(),
        to.apply(&cache.budgets, &objects.pdb).await.err(),
    ];
    errors.into_iter().flatten().collect()
}

/// Creates the context key if there is none: the API server refuses a second one.
async fn create_context_key<N: NodeClient>(
    cluster: &ValidCluster,
    context: &Context<N>,
) -> Result<Created, WriteError> {
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
    let record = record(view, cluster.nodes.contains_key(name));
    let source = NodeSource {
        name,
        seat,
        pool,
        record,
    };
    let objects = node_objects(cluster, &source);
    let to = Applier {
        client: &context.client,
        cluster,
    };
    let node = to.apply(&context.cache.nodes, &objects.node).await?;
    to.apply(&context.cache.claims, &objects.claim).await?;
    let desired = pod(cluster, &source, &node);
    match view.pod.as_deref() {
        None if can_run(&node, view) => to.create_pod(&desired).await?,
        None => {}
        Some(live) => {
            let outdated = revision(live) != revision(&desired);
            if is_over(live) || (outdated && is_idle(live)) {
                delete(&to.api(), live).await?;
            } else {
                view.outdated = outdated;
            }
        }
    }
    view.node = Some(node);
    Ok(())
}

fn record(view: &NodeView, is_wanted: bool) -> NodeRecord {
    let recorded = view.node.as_deref().map(|node| &node.spec);
    let reported = view.report.as_ref().map(|report| report.id.to_string());
    let claim = match &reported {
        Some(_) => view.claim.as_deref().and_then(ResourceExt::uid),
        None => recorded.and_then(|spec| spec.claim.clone()),
    };
    NodeRecord {
        image: recorded.map(|spec| spec.image.clone()),
        zone: view.zone.clone(),
        node_id: reported.or_else(|| recorded.and_then(|spec| spec.node_id.clone())),
        claim,
        desired_state: if is_wanted && !view.drains() {
            DesiredNodeState::Active
        } else {
            DesiredNodeState::Draining
        },
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

/// A pod in which nothing runs, because its image cannot be pulled, say, or its process ends at
/// once. Nothing is lost with it, and so it may follow the spec: that is how a mistake in the
/// spec is mended.
fn is_idle(pod: &Pod) -> bool {
    let Some(status) = &pod.status else {
        return false;
    };
    let waits = |container: &ContainerStatus| {
        let state = container.state.as_ref();
        state.is_some_and(|state| state.waiting.is_some())
    };
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let pending = status.phase.as_deref() == Some("Pending");
    let waiting = !containers.is_empty() && containers.iter().all(waits);
    (pending || waiting) && pod.metadata.deletion_timestamp.is_none()
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

/// Writes a cluster's objects, but none that is somebody else's.
struct Applier<'a> {
    client: &'a Client,
    cluster: &'a ValidCluster,
}

impl Applier<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.cluster.namespace)
    }

    /// Applies an object unless the one that there is has all of it already; the object as it is.
    async fn apply<K>(&self, seen: &Store<K>, desired: &K) -> Result<Arc<K>, WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let failed = |error: kube::Error| WriteError::new(described(desired), &error);
        let (api, name) = (self.api::<K>(), desired.name_any());
        let live = match seen.get(&ObjectRef::from_obj(desired)) {
            Some(live) => Some(live),
            // The watch sees our own objects only: it may be somebody else's.
            None => api.get_opt(&name).await.map_err(failed)?.map(Arc::new),
        };
        if let Some(live) = live {
            self.refuse_foreign(&*live)?;
            if covers(&*live, desired) {
                return Ok(live);
            }
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = api.patch(&name, &params, &Patch::Apply(desired)).await;
        applied.map(Arc::new).map_err(failed)
    }

    async fn create_pod(&self, pod: &Pod) -> Result<(), WriteError> {
        let pods: Api<Pod> = self.api();
        if create(&pods, pod).await? == Created::Before {
            let live = pods.get_opt(&pod.name_any()).await;
            let live = live.map_err(|error| WriteError::new(described(pod), &error))?;
            live.map_or(Ok(()), |live| self.refuse_foreign(&live))?;
        }
        Ok(())
    }

    fn refuse_foreign<K>(&self, live: &K) -> Result<(), WriteError>
    where
        K: Resource<DynamicType = ()>,
    {
        if !is_foreign(live, &self.cluster.name, &self.cluster.uid) {
            return Ok(());
        }
        Err(WriteError::Refused {
            object: described(live),
            message: format!(
                "it is not this cluster's (no label {CLUSTER_LABEL}: {}) and is left alone",
                self.cluster.name
            ),
        })
    }
}

/// Whether an object was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Created {
    /// Just now.
    Now,
    /// There was one of that name already.
    Before,
}

/// Creates an object unless there is one of that name.
async fn create<K>(api: &Api<K>, object: &K) -> Result<Created, WriteError>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Debug,
{
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    match api.create(&params, object).await {
        Ok(_) => Ok(Created::Now),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Created::Before),
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
