//! First step: everything that the other steps look at, read once.
//!
//! Objects come from the watches' caches, the placement from the API server itself (it must not
//! be stale when the ring is founded), the nodes' state from the nodes.

use std::collections::BTreeMap;
use std::sync::Arc;

use annulus_ring::{NodeId, Placement};
use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::Api;
use kube::runtime::reflector::Store;
use kube::{Client, Resource, ResourceExt};

use crate::cluster_controller::ReconcileError;
use crate::cluster_controller::apply::described;
use crate::cluster_controller::ownership::is_left_over;
use crate::context::Context;
use crate::crd::{KVCluster, KVNode, KVRing};
use crate::names;
use crate::node_client::{MovesReport, NodeClient, NodeReport};

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// How many nodes are asked at the same time.
const CONCURRENT_QUESTIONS: usize = 32;

/// What there is of a cluster.
#[derive(Default)]
pub(crate) struct World {
    /// Its nodes, by name.
    pub(crate) nodes: BTreeMap<String, NodeView>,
    /// Its placement.
    pub(crate) ring: RingView,
    /// What a deleted cluster of the same name still owns. While there is any, the rest of the
    /// world is not looked at.
    pub(crate) left_over: Vec<String>,
}

/// What there is of a node.
#[derive(Default)]
pub(crate) struct NodeView {
    /// The KVNode.
    pub(crate) node: Option<Arc<KVNode>>,
    /// Its pod.
    pub(crate) pod: Option<Arc<Pod>>,
    /// Its claim.
    pub(crate) claim: Option<Arc<PersistentVolumeClaim>>,
    /// Its zone, recorded or just read.
    pub(crate) zone: Option<String>,
    /// What it says of itself.
    pub(crate) report: Option<NodeReport>,
    /// What it says of its moves, if there are any in the ring.
    pub(crate) moves: Option<MovesReport>,
    /// Whether its pod was built from something else than the present spec; known after apply.
    pub(crate) outdated: bool,
}

/// The recorded placement.
#[derive(Default)]
pub(crate) enum RingView {
    /// There is none.
    #[default]
    Absent,
    /// There is one.
    Recorded {
        /// The object's resourceVersion.
        version: Option<String>,
        /// Whether it has an owner. Without one it would outlive its cluster.
        owned: bool,
        /// The placement.
        placement: Box<Placement>,
    },
    /// There is an object, but it holds no placement.
    Unreadable(String),
}

impl RingView {
    /// The placement, if it can be read.
    pub(crate) fn placement(&self) -> Option<&Placement> {
        match self {
            Self::Recorded { placement, .. } => Some(placement),
            Self::Absent | Self::Unreadable(_) => None,
        }
    }

    /// Reads the object.
    pub(crate) fn of(ring: &KVRing) -> Self {
        match Placement::try_from(&ring.spec) {
            Ok(placement) => Self::Recorded {
                version: ring.resource_version(),
                owned: !ring.owner_references().is_empty(),
                placement: Box::new(placement),
            },
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

impl NodeView {
    /// Whether the pod serves: it runs, is ready, and is not on its way out.
    pub(crate) fn serves(&self) -> bool {
        self.pod.as_deref().is_some_and(|pod| {
            let ready = pod
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_ref())
                .is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
            ready && pod.metadata.deletion_timestamp.is_none()
        })
    }

    /// Where the node's admin service listens now.
    pub(crate) fn admin_address(&self) -> Option<String> {
        let pod = self.pod.as_deref()?;
        let status = pod.status.as_ref()?;
        let running = status.phase.as_deref() == Some("Running");
        let ip = status
            .pod_ip
            .as_deref()
            .filter(|ip| running && !ip.is_empty())?;
        let host = if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.to_owned()
        };
        Some(format!("{host}:{}", names::ADMIN_PORT))
    }

    /// The identity that it reported last, if it ever did.
    pub(crate) fn recorded(&self) -> Option<NodeId> {
        let recorded = self.node.as_deref()?.spec.node_id.as_ref()?;
        recorded.parse().ok()
    }

    /// Whether its claim is not the one any more that this identity was reported from.
    pub(crate) fn claim_changed(&self) -> bool {
        let recorded = self
            .node
            .as_deref()
            .and_then(|node| node.spec.claim.as_ref());
        let present = self.claim.as_deref().and_then(ResourceExt::uid);
        recorded.is_some_and(|recorded| present.as_ref() != Some(recorded))
    }

    /// Since when the ring's member of this name has been missing, as was recorded.
    pub(crate) fn missing_since(&self) -> Option<Timestamp> {
        let status = self.node.as_deref()?.status.as_ref()?;
        status.missing_since.as_ref().map(|since| since.0)
    }

    /// Whether a person wants its data moved away.
    pub(crate) fn drains(&self) -> bool {
        let node = self.node.as_deref();
        let note = node.and_then(|node| node.annotations().get(names::DRAIN_ANNOTATION));
        note.is_some_and(|value| value == "true")
    }

    fn machine(&self) -> Option<&str> {
        self.pod.as_deref()?.spec.as_ref()?.node_name.as_deref()
    }
}

/// Reads what there is of `cluster`.
pub(crate) async fn dereference<N: NodeClient>(
    cluster: &KVCluster,
    context: &Context<N>,
) -> Result<World, ReconcileError> {
    context.cache.wait_until_synced().await?;
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
    let rings: Api<KVRing> = Api::namespaced(context.client.clone(), &namespace);
    let ring = rings.get_opt(&name).await;
    let ring = ring.map_err(ReconcileError::ReadRing)?;
    let left_over = left_over(cluster, ring.as_ref(), context);
    if !left_over.is_empty() {
        return Ok(World {
            left_over,
            ..World::default()
        });
    }
    let ring = ring.as_ref().map_or(RingView::Absent, RingView::of);
    let mut nodes = cached(context, &name, &namespace);
    let moves = ring
        .placement()
        .is_some_and(|ring| !ring.moves().is_empty());
    ask_nodes(&mut nodes, &context.nodes, moves).await;
    find_zones(&mut nodes, &context.client).await;
    Ok(World {
        nodes,
        ring,
        left_over,
    })
}

/// What is still to be garbage-collected after a deleted cluster of the same name.
fn left_over<N>(cluster: &KVCluster, ring: Option<&KVRing>, context: &Context<N>) -> Vec<String> {
    let (cache, mut found) = (&context.cache, Vec::new());
    let uid = cluster.uid().unwrap_or_default();
    found.extend(ring.filter(|ring| is_left_over(*ring, &uid)).map(described));
    found.extend(left_over_in(&cache.nodes, cluster));
    found.extend(left_over_in(&cache.claims, cluster));
    found.extend(left_over_in(&cache.services, cluster));
    found.extend(left_over_in(&cache.config_maps, cluster));
    found.extend(left_over_in(&cache.budgets, cluster));
    found.extend(left_over_in(&cache.service_accounts, cluster));
    // A message in another order would be another status.
    found.sort_unstable();
    found
}

fn left_over_in<K>(cache: &Store<K>, cluster: &KVCluster) -> Vec<String>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let (name, namespace) = (cluster.name_any(), cluster.namespace().unwrap_or_default());
    let uid = cluster.uid().unwrap_or_default();
    cache
        .state_filter(|object| belongs(object, &name, &namespace) && is_left_over(object, &uid))
        .iter()
        .map(|object| described(&**object))
        .collect()
}

/// The cluster's per-node objects, from the caches.
fn cached<N>(context: &Context<N>, cluster: &str, namespace: &str) -> BTreeMap<String, NodeView> {
    let mut nodes: BTreeMap<String, NodeView> = BTreeMap::new();
    for node in context
        .cache
        .nodes
        .state_filter(|node| belongs(node, cluster, namespace))
    {
        let view = nodes.entry(node.name_any()).or_default();
        view.zone.clone_from(&node.spec.zone);
        view.node = Some(node);
    }
    for pod in context
        .cache
        .pods
        .state_filter(|pod| belongs(pod, cluster, namespace))
    {
        let view = nodes.entry(pod.name_any()).or_default();
        view.pod = Some(pod);
    }
    for claim in context
        .cache
        .claims
        .state_filter(|claim| belongs(claim, cluster, namespace))
    {
        let view = nodes.entry(claim.name_any()).or_default();
        view.claim = Some(claim);
    }
    nodes
}

fn belongs<K: Resource>(object: &K, cluster: &str, namespace: &str) -> bool {
    object.namespace().as_deref() == Some(namespace)
        && object
            .labels()
            .get(names::CLUSTER_LABEL)
            .is_some_and(|label| label == cluster)
}

/// Asks every running node who and how it is, and of its moves, if there are any. One that does not answer is left without report;
/// so is one that answers under another name, for its address was another pod's.
async fn ask_nodes<N: NodeClient>(
    nodes: &mut BTreeMap<String, NodeView>,
    client: &N,
    of_moves: bool,
) {
    let questions = nodes
        .iter()
        .filter_map(|(name, view)| view.admin_address().map(|address| (name.clone(), address)));
    let questions: Vec<(String, String)> = questions.collect();
    let answers: Vec<(String, NodeReport, Option<MovesReport>)> = stream::iter(questions)
        .map(|(name, address)| async move {
            match client.status(&address).await {
                Ok(report) if report.name == name => {
                    let moves = if of_moves {
                        ask_of_moves(&name, &address, client).await
                    } else {
                        None
                    };
                    Some((name, report, moves))
                }
                Ok(report) => {
                    tracing::debug!(node = name, address, answered = report.name, "another node");
                    None
                }
                Err(error) => {
                    tracing::debug!(node = name, address, %error, "node does not answer");
                    None
                }
            }
        })
        .buffer_unordered(CONCURRENT_QUESTIONS)
        .filter_map(|answer| async move { answer })
        .collect()
        .await;
    for (name, report, moves) in answers {
        let view = nodes.entry(name).or_default();
        (view.report, view.moves) = (Some(report), moves);
    }
}

async fn ask_of_moves<N: NodeClient>(name: &str, address: &str, client: &N) -> Option<MovesReport> {
    match client.moves(address).await {
        Ok(moves) => Some(moves),
        Err(error) => {
            tracing::warn!(node = name, %error, "node does not say how its moves are");
            None
        }
    }
}

/// Reads the zone of nodes that are scheduled and whose zone is not recorded yet.
async fn find_zones(nodes: &mut BTreeMap<String, NodeView>, client: &Client) {
    let machines: Api<Node> = Api::all(client.clone());
    for (name, view) in nodes.iter_mut().filter(|(_, view)| view.zone.is_none()) {
        let Some(machine) = view.machine() else {
            continue;
        };
        view.zone = match machines.get_metadata_opt(machine).await {
            Ok(Some(found)) => {
                let zone = found
                    .labels()
                    .get(ZONE_LABEL)
                    .filter(|zone| !zone.is_empty());
                Some(zone.cloned().unwrap_or_else(|| names::NO_ZONE.to_owned()))
            }
            Ok(None) => None,
            // Installed without the right to get nodes: the cluster has no zones.
            Err(kube::Error::Api(status)) if status.code == 403 => {
                tracing::warn!(
                    node = name.as_str(),
                    machine,
                    "not allowed to read the zone"
                );
                Some(names::NO_ZONE.to_owned())
            }
            Err(error) => {
                tracing::warn!(node = name.as_str(), machine, %error, "cannot read the zone");
                None
            }
        };
    }
}
