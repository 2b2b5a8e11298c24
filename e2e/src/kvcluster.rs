//! A `KVCluster` as its user handles it: YAML in, status out.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{
        ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    },
};
use serde_json::Value;

use crate::{conditions::await_object, namespace::TestNamespace};

/// Port of a node's HTTP interface.
pub const HTTP_PORT: u16 = 9601;

/// How long a cluster of three nodes may take from `apply` to Ready on a slow machine.
pub const FOUNDING: Duration = Duration::from_secs(180);

/// A cluster that a scenario created.
#[derive(Clone)]
pub struct KvCluster {
    namespace: TestNamespace,
    name: String,
}

/// One entry of `status.conditions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterCondition {
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// A CamelCase word.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

/// A node's HTTP interface, as it can be reached at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod.
    pub pod: String,
    /// `http://<ip>:9601`.
    pub url: String,
}

/// A cluster of three nodes with small volumes and little else said.
pub fn three_nodes(name: &str) -> String {
    format!(
        "
apiVersion: annulus.dev/v1alpha1
kind: KVCluster
metadata: {{name: {name}}}
spec:
  replicationFactor: 3
  partitions: 64
  pools:
  - name: default
    nodes: 3
    storage: {{size: 1Gi}}
"
    )
}

/// The API of one of our kinds in the scenario's namespace.
pub fn annulus_api(namespace: &TestNamespace, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("annulus.dev", "v1alpha1", kind));
    Api::namespaced_with(namespace.client.clone(), &namespace.name, &resource)
}

impl KvCluster {
    /// Creates a cluster from YAML. An API error is given back as it is, so that scenarios can
    /// look at it.
    pub async fn create(namespace: &TestNamespace, yaml: &str) -> Result<Self> {
        let object: DynamicObject = serde_yaml::from_str(yaml).context("read the manifest")?;
        let name = object
            .metadata
            .name
            .clone()
            .context("the manifest has no name")?;
        annulus_api(namespace, "KVCluster")
            .create(&PostParams::default(), &object)
            .await?;
        Ok(Self {
            namespace: namespace.clone(),
            name,
        })
    }

    fn api(&self) -> Api<DynamicObject> {
        annulus_api(&self.namespace, "KVCluster")
    }

    /// Where it is.
    pub fn namespace(&self) -> &TestNamespace {
        &self.namespace
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Merges a change into the object, as `kubectl patch --type merge` does.
    pub async fn patch(&self, change: Value) -> Result<()> {
        self.api()
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(change))
            .await?;
        Ok(())
    }

    /// The whole status; null before the operator wrote one.
    pub async fn status(&self) -> Result<Value> {
        let object = self
            .api()
            .get(&self.name)
            .await
            .context("get the cluster")?;
        Ok(object.data.get("status").cloned().unwrap_or(Value::Null))
    }

    /// `status.ringEpoch`.
    pub async fn ring_epoch(&self) -> Result<u64> {
        let status = self.status().await?;
        status["ringEpoch"]
            .as_u64()
            .with_context(|| format!("no ringEpoch in {status}"))
    }

    /// A condition; nothing while the operator has not written it.
    pub async fn condition(&self, type_: &str) -> Result<Option<ClusterCondition>> {
        Ok(condition_in(
            &self
                .api()
                .get(&self.name)
                .await
                .context("get the cluster")?,
            type_,
        ))
    }

    /// Waits until a condition has a status (`True`, `False`) for the present generation.
    pub async fn await_condition(
        &self,
        type_: &str,
        status: &str,
        deadline: Duration,
    ) -> Result<ClusterCondition> {
        let what = format!("{type_}={status} for the present generation");
        let holds = |object: Option<&DynamicObject>| {
            object.is_some_and(|object| {
                is_observed(object)
                    && condition_in(object, type_).is_some_and(|found| found.status == status)
            })
        };
        let found = await_object(&self.api(), &self.name, &what, deadline, holds).await?;
        found
            .and_then(|object| condition_in(&object, type_))
            .with_context(|| format!("{} vanished", self.name))
    }

    /// Waits until the cluster is Ready.
    pub async fn await_ready(&self, deadline: Duration) -> Result<()> {
        self.await_condition("Ready", "True", deadline)
            .await
            .map(drop)
    }

    /// The nodes' pods, found by the selector that the status publishes.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let status = self.status().await?;
        let selector = status["selector"].as_str().unwrap_or_default();
        ensure!(!selector.is_empty(), "the status has no selector: {status}");
        let api: Api<Pod> = self.namespace.api();
        let mut pods = api
            .list(&ListParams::default().labels(selector))
            .await?
            .items;
        pods.sort_by(|left, right| left.metadata.name.cmp(&right.metadata.name));
        Ok(pods)
    }

    /// Where each pod that runs can be reached now, in the order of the pods' names.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>> {
        Ok(self.pods().await?.iter().filter_map(endpoint_of).collect())
    }

    /// The endpoints, which must be so many.
    pub async fn all_endpoints(&self, count: usize) -> Result<Vec<Endpoint>> {
        let endpoints = self.endpoints().await?;
        if endpoints.len() != count {
            bail!("{count} nodes should be reachable, not {endpoints:?}");
        }
        Ok(endpoints)
    }
}

fn endpoint_of(pod: &Pod) -> Option<Endpoint> {
    let status = pod.status.as_ref()?;
    let leaving = pod.metadata.deletion_timestamp.is_some();
    let ip = status
        .pod_ip
        .as_ref()
        .filter(|_| !leaving && is_ready(pod))?;
    Some(Endpoint {
        pod: pod.metadata.name.clone()?,
        url: format!("http://{ip}:{HTTP_PORT}"),
    })
}

/// Whether a pod passes its readiness probe.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|found| found.type_ == "Ready" && found.status == "True")
}

fn is_observed(object: &DynamicObject) -> bool {
    object.data["status"]["observedGeneration"].as_i64() == object.metadata.generation
}

fn condition_in(object: &DynamicObject, type_: &str) -> Option<ClusterCondition> {
    let conditions = object.data["status"]["conditions"].as_array()?;
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == type_)?;
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some(ClusterCondition {
        status: text("status"),
        reason: text("reason"),
        message: text("message"),
    })
}

#[cfg(test)]
mod tests {
    use kube::api::DynamicObject;
    use serde_json::json;

    use super::{condition_in, is_observed, three_nodes};

    fn cluster(generation: i64, observed: i64) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {"name": "c", "generation": generation},
            "status": {
                "observedGeneration": observed,
                "conditions": [{"type": "Ready", "status": "True", "reason": "Serving", "message": "m"}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_condition_of_an_older_generation_does_not_count() {
        assert!(is_observed(&cluster(2, 2)));
        assert!(!is_observed(&cluster(3, 2)));
        assert_eq!(
            condition_in(&cluster(2, 2), "Ready").unwrap().reason,
            "Serving"
        );
        assert_eq!(condition_in(&cluster(2, 2), "Degraded"), None);
    }

    #[test]
    fn the_standard_manifest_is_yaml() {
        let object: DynamicObject = serde_yaml::from_str(&three_nodes("orders")).unwrap();
        assert_eq!(object.metadata.name.as_deref(), Some("orders"));
        assert_eq!(object.data["spec"]["pools"][0]["nodes"], 3);
    }
}
