//! The watches: one per kind, limited to the operator's own labels, feeding both the caches
//! and the reconcile loop.
//!
//! kube's stream control is still behind a feature that may change: it is used in this file
//! only.

use std::fmt::Debug;
use std::future::ready;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use futures::{FutureExt, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::Api;
use kube::runtime::controller::{
    Action, Config as ControllerConfig, Controller, Error as ControllerError,
};
use kube::runtime::reflector::{self, ObjectRef, Store, store::Writer};
use kube::runtime::{PredicateConfig, WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::cluster_controller::{ReconcileError, on_error, reconcile};
use crate::context::Context;
use crate::crd::{KVCluster, KVNode, KVRing};
use crate::names;
use crate::node_client::NodeClient;

/// Clusters worked on at the same time.
const CONCURRENT_CLUSTERS: u16 = 8;
/// Changes that come within this time make one run. While vnodes move, each run may make an epoch, which every node
/// writes to its disk and some requests have to be asked again for: the stages of many moves are to go together.
const DEBOUNCE: Duration = Duration::from_millis(500);
/// How long a run waits for the caches.
const SYNC_TIMEOUT: Duration = Duration::from_secs(20);

/// The caches are not filled: the API server is slow, or does not let the operator watch.
#[derive(Debug, Error)]
#[error("the watches are not synced after {} s: does the operator have its RBAC rules, and are the CRDs installed?", SYNC_TIMEOUT.as_secs())]
pub(crate) struct NotSynced;

/// What the watches have seen.
pub(crate) struct Cache {
    /// KVNodes.
    pub(crate) nodes: Store<KVNode>,
    /// Pods.
    pub(crate) pods: Store<Pod>,
    /// Claims.
    pub(crate) claims: Store<PersistentVolumeClaim>,
    /// Services.
    pub(crate) services: Store<Service>,
    /// ConfigMaps.
    pub(crate) config_maps: Store<ConfigMap>,
    /// PodDisruptionBudgets.
    pub(crate) budgets: Store<PodDisruptionBudget>,
    /// ServiceAccounts.
    pub(crate) service_accounts: Store<ServiceAccount>,
}

/// The writing ends of a [`Cache`].
pub(crate) struct CacheWriters {
    pub(crate) nodes: Writer<KVNode>,
    pub(crate) pods: Writer<Pod>,
    pub(crate) claims: Writer<PersistentVolumeClaim>,
    pub(crate) services: Writer<Service>,
    pub(crate) config_maps: Writer<ConfigMap>,
    pub(crate) budgets: Writer<PodDisruptionBudget>,
    pub(crate) service_accounts: Writer<ServiceAccount>,
}

impl Cache {
    /// Empty caches and their writing ends.
    pub(crate) fn new() -> (Self, CacheWriters) {
        let (nodes, nodes_w) = reflector::store();
        let (pods, pods_w) = reflector::store();
        let (claims, claims_w) = reflector::store();
        let (services, services_w) = reflector::store();
        let (config_maps, config_maps_w) = reflector::store();
        let (budgets, budgets_w) = reflector::store();
        let (service_accounts, service_accounts_w) = reflector::store();
        let writers = CacheWriters {
            nodes: nodes_w,
            pods: pods_w,
            claims: claims_w,
            services: services_w,
            config_maps: config_maps_w,
            budgets: budgets_w,
            service_accounts: service_accounts_w,
        };
        let cache = Self {
            nodes,
            pods,
            claims,
            services,
            config_maps,
            budgets,
            service_accounts,
        };
        (cache, writers)
    }

    /// Waits until every kind has been listed once. Acting on less would take what exists for
    /// missing.
    pub(crate) async fn wait_until_synced(&self) -> Result<(), NotSynced> {
        let all = try_join_all([
            self.nodes.wait_until_ready().boxed(),
            self.pods.wait_until_ready().boxed(),
            self.claims.wait_until_ready().boxed(),
            self.services.wait_until_ready().boxed(),
            self.config_maps.wait_until_ready().boxed(),
            self.budgets.wait_until_ready().boxed(),
            self.service_accounts.wait_until_ready().boxed(),
        ]);
        match tokio::time::timeout(SYNC_TIMEOUT, all).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotSynced),
        }
    }
}

/// Runs the reconcile loop for one namespace, or for all, until `shutdown`.
pub(crate) async fn run_controller<N: NodeClient>(
    client: Client,
    namespace: Option<String>,
    writers: CacheWriters,
    context: Arc<Context<N>>,
    shutdown: CancellationToken,
) {
    let scope = Scope { client, namespace };
    let (clusters, clusters_w) = reflector::store();
    let changes = watcher(scope.api::<KVCluster>(), watcher::Config::default())
        .default_backoff()
        .reflect(clusters_w)
        .applied_objects()
        .predicate_filter(spec_or_identity, PredicateConfig::default());
    let config = ControllerConfig::default()
        .debounce(DEBOUNCE)
        .concurrency(CONCURRENT_CLUSTERS);
    Controller::for_stream(changes, clusters)
        .with_config(config)
        .watches_stream(scope.reflected(writers.nodes), cluster_of)
        .watches_stream(scope.reflected(writers.pods), cluster_of)
        .watches_stream(scope.reflected(writers.claims), cluster_of)
        .watches_stream(scope.reflected(writers.services), cluster_of)
        .watches_stream(scope.reflected(writers.config_maps), cluster_of)
        .watches_stream(scope.reflected(writers.budgets), cluster_of)
        .watches_stream(scope.reflected(writers.service_accounts), cluster_of)
        .watches(
            scope.api::<KVRing>(),
            watcher::Config::default().labels(&names::own_objects_selector()),
            cluster_of,
        )
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(reconcile::<N>, on_error::<N>, context.clone())
        .for_each(|result| {
            note(result, &context);
            ready(())
        })
        .await;
}

/// Notes how a run or a watch went.
fn note<N>(result: RunResult, context: &Context<N>) {
    match result {
        Ok((cluster, _)) => tracing::debug!(%cluster, "reconciled"),
        // What it owned is being collected, and each such object asks for a run.
        Err(ControllerError::ObjectNotFound(cluster)) => {
            context.forget(
                &cluster.name,
                cluster.namespace.as_deref().unwrap_or_default(),
            );
            tracing::debug!(%cluster, "gone");
        }
        // Logged where the delay before the next run is known.
        Err(ControllerError::ReconcilerFailed(..)) => {}
        Err(error) => tracing::warn!(%error, "a watch fails and is tried again"),
    }
}

type RunResult =
    Result<(ObjectRef<KVCluster>, Action), ControllerError<ReconcileError, watcher::Error>>;

struct Scope {
    client: Client,
    namespace: Option<String>,
}

impl Scope {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// A watch on the operator's own objects of a kind, which fills its cache and gives every
    /// object that came, changed or went.
    fn reflected<K>(
        &self,
        writer: Writer<K>,
    ) -> impl futures::Stream<Item = Result<K, watcher::Error>> + Send + 'static
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let config = watcher::Config::default().labels(&names::own_objects_selector());
        watcher(self.api::<K>(), config)
            .default_backoff()
            .reflect(writer)
            .touched_objects()
    }
}

/// The cluster that an object belongs to, by its label.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that kube asks for"
)]
fn cluster_of<K: Resource>(object: K) -> Option<ObjectRef<KVCluster>> {
    let cluster = object.labels().get(names::CLUSTER_LABEL)?;
    Some(ObjectRef::new(cluster).within(&object.namespace()?))
}

/// Changes of the status, which is the operator's own, are no reason to run. A cluster deleted
/// and made anew is another one.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the signature of kube's predicates"
)]
fn spec_or_identity(cluster: &KVCluster) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    cluster.metadata.generation.hash(&mut hasher);
    cluster.metadata.uid.hash(&mut hasher);
    cluster
        .metadata
        .deletion_timestamp
        .is_some()
        .hash(&mut hasher);
    Some(hasher.finish())
}
