//! A namespace for each scenario.
//!
//! It enforces the `restricted` pod security standard, so whatever a scenario starts proves that
//! it needs no privilege. It is deleted after success. After a failure it stays, and all that
//! could explain the failure is written to `e2e/artifacts/<scenario>/`.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use anyhow::{Context, Result, bail};
use futures::FutureExt;
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::Time};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use crate::{artifacts, conditions::await_object};

/// How long a namespace may take to disappear.
const DELETION: Duration = Duration::from_secs(120);

/// The namespace of a running scenario.
#[derive(Clone)]
pub struct TestNamespace {
    /// Speaks to the API server as an administrator.
    pub client: Client,
    /// The namespace's name, new for every run.
    pub name: String,
    /// When it was created, by the API server's clock.
    pub created: Option<Time>,
}

impl TestNamespace {
    /// The API of a kind in this namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }
}

/// Runs a scenario in a namespace of its own.
///
/// # Panics
/// When the scenario does, after the evidence is written.
pub async fn with_namespace<F, Fut>(scenario: &str, body: F) -> Result<()>
where
    F: FnOnce(TestNamespace) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let client = Client::try_default().await.context(
        "find the cluster; scenarios run inside one: cargo run -p annulus-e2e -- run COMMAND (see e2e/README.md)",
    )?;
    let namespace = create(client, scenario).await?;
    let mut outcome = AssertUnwindSafe(body(namespace.clone()))
        .catch_unwind()
        .await;
    if let Ok(Ok(())) = outcome {
        outcome = Ok(refuse_error_lines(&namespace).await);
    }
    match outcome {
        Ok(Ok(())) => delete(&namespace).await,
        failed => {
            match artifacts::write(&namespace, scenario).await {
                Ok(path) => eprintln!("{} is kept; evidence: {}", namespace.name, path.display()),
                Err(error) => eprintln!("no evidence could be written: {error:#}"),
            }
            failed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }
    }
}

async fn create(client: Client, scenario: &str) -> Result<TestNamespace> {
    let wanted = serde_json::from_value(json!({
        "metadata": {
            "generateName": format!("e2e-{}-", scenario.replace('_', "-")),
            "labels": {
                "annulus.dev/e2e": scenario,
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/enforce-version": "latest",
            },
        },
    }))
    .context("describe the namespace")?;
    let created = Api::<Namespace>::all(client.clone())
        .create(&PostParams::default(), &wanted)
        .await
        .context("create the scenario's namespace")?;
    let name = created
        .metadata
        .name
        .context("the API server gave the namespace no name")?;
    Ok(TestNamespace {
        client,
        name,
        created: created.metadata.creation_timestamp,
    })
}

async fn delete(namespace: &TestNamespace) -> Result<()> {
    let api = Api::<Namespace>::all(namespace.client.clone());
    api.delete(&namespace.name, &DeleteParams::default())
        .await
        .with_context(|| format!("delete namespace {}", namespace.name))?;
    let gone = |found: Option<&Namespace>| found.is_none();
    await_object(
        &api,
        &namespace.name,
        "the namespace is gone",
        DELETION,
        gone,
    )
    .await?;
    Ok(())
}

/// An error in a log means that a person should look, also where the scenario saw nothing wrong.
async fn refuse_error_lines(namespace: &TestNamespace) -> Result<()> {
    let mut found = Vec::new();
    for (pod, log) in artifacts::logs(namespace).await? {
        let errors = log.lines().filter(|line| is_error_line(line)).take(5);
        found.extend(errors.map(|line| format!("{pod}: {line}")));
    }
    if !found.is_empty() {
        bail!(
            "the scenario went well, but the logs have errors:\n{}",
            found.join("\n")
        );
    }
    Ok(())
}

/// Both formats of the logs: text (level in the second column, maybe coloured) and JSON.
fn is_error_line(line: &str) -> bool {
    let bare = |word: &str| word.trim_matches(|c: char| !c.is_ascii_uppercase()) == "ERROR";
    line.contains(r#""level":"ERROR""#) || line.split_whitespace().take(2).any(bare)
}

#[cfg(test)]
mod tests {
    use super::is_error_line;

    #[test]
    fn errors_are_found_by_their_level_and_not_by_their_words() {
        assert!(is_error_line(
            "2026-01-01T00:00:00Z ERROR annulus_node: engine is poisoned"
        ));
        assert!(is_error_line(
            r#"{"timestamp":"…","level":"ERROR","message":"x"}"#
        ));
        assert!(is_error_line(
            "2026-01-01T00:00:00Z \u{1b}[31mERROR\u{1b}[0m annulus_node: x"
        ));
        assert!(!is_error_line(
            "2026-01-01T00:00:00Z  INFO annulus_node: peer said ERROR"
        ));
    }
}
