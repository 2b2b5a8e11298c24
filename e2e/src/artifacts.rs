//! Evidence of a failed scenario: objects, events and logs, as files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, LogParams},
};

use crate::{installation::OPERATOR_NAMESPACE, namespace::TestNamespace};

/// The newest part of a log that is kept, per container.
const LOG_LINES: i64 = 20_000;

/// What is dumped of the scenario's namespace. No Secrets: artefacts get passed around.
const KINDS: [(&str, &str, &str); 11] = [
    ("annulus.dev", "v1alpha1", "KVCluster"),
    ("annulus.dev", "v1alpha1", "KVNode"),
    ("annulus.dev", "v1alpha1", "KVRing"),
    ("", "v1", "Pod"),
    ("", "v1", "PersistentVolumeClaim"),
    ("", "v1", "Service"),
    ("", "v1", "ConfigMap"),
    ("discovery.k8s.io", "v1", "EndpointSlice"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("", "v1", "ServiceAccount"),
];

/// Writes all evidence to `e2e/artifacts/<scenario>/`, in place of what an earlier run left.
pub async fn write(namespace: &TestNamespace, scenario: &str) -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("artifacts")
        .join(scenario);
    if directory.exists() {
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("remove old evidence {}", directory.display()))?;
    }
    std::fs::create_dir_all(directory.join("logs")).context("create the evidence directory")?;
    for (group, version, kind) in KINDS {
        // A kind that is not installed is evidence as well, and no reason to stop.
        let text = objects(namespace, group, version, kind)
            .await
            .unwrap_or_else(|error| format!("# cannot be listed: {error:#}\n"));
        write_file(
            &directory.join(format!("{}.yaml", kind.to_lowercase())),
            &text,
        )?;
    }
    write_file(&directory.join("events.txt"), &events(namespace).await?)?;
    for (pod, log) in logs(namespace).await? {
        write_file(&directory.join("logs").join(format!("{pod}.log")), &log)?;
    }
    Ok(directory)
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

async fn objects(
    namespace: &TestNamespace,
    group: &str,
    version: &str,
    kind: &str,
) -> Result<String> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> =
        Api::namespaced_with(namespace.client.clone(), &namespace.name, &resource);
    let mut text = String::new();
    for mut object in api.list(&ListParams::default()).await?.items {
        object.metadata.managed_fields = None;
        text += "---\n";
        text += &serde_yaml::to_string(&object)?;
    }
    Ok(text)
}

async fn events(namespace: &TestNamespace) -> Result<String> {
    let api: Api<Event> = namespace.api();
    let list = api
        .list(&ListParams::default())
        .await
        .context("list events")?;
    let mut lines: Vec<_> = list.items.iter().map(event_line).collect();
    lines.sort();
    Ok(lines.join("\n"))
}

fn event_line(event: &Event) -> String {
    let object = &event.involved_object;
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let time = event
        .last_timestamp
        .as_ref()
        .map(|time| time.0.to_string())
        .or_else(|| event.event_time.as_ref().map(|time| time.0.to_string()));
    format!(
        "{} {} {}/{} {}: {} (×{})",
        or_dash(&time),
        or_dash(&event.type_),
        or_dash(&object.kind),
        or_dash(&object.name),
        or_dash(&event.reason),
        or_dash(&event.message),
        event.count.unwrap_or(1),
    )
}

/// The logs of all containers of the scenario's namespace and of the operator since the scenario
/// began, current and previous ones, by `pod.container`.
pub async fn logs(namespace: &TestNamespace) -> Result<Vec<(String, String)>> {
    let mut logs = Vec::new();
    for name in [namespace.name.as_str(), OPERATOR_NAMESPACE] {
        let api: Api<Pod> = Api::namespaced(namespace.client.clone(), name);
        for pod in api
            .list(&ListParams::default())
            .await
            .context("list pods")?
            .items
        {
            let Some(pod_name) = &pod.metadata.name else {
                continue;
            };
            for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
                for previous in [false, true] {
                    let parameters = LogParams {
                        container: Some(container.name.clone()),
                        previous,
                        tail_lines: Some(LOG_LINES),
                        since_time: namespace.created.as_ref().map(|created| created.0),
                        ..LogParams::default()
                    };
                    // Absent when the container never started, or never restarted.
                    if let Ok(log) = api.logs(pod_name, &parameters).await {
                        let suffix = if previous { ".previous" } else { "" };
                        logs.push((format!("{pod_name}.{}{suffix}", container.name), log));
                    }
                }
            }
        }
    }
    Ok(logs)
}
