//! Waiting for something to become true, with a deadline and a reason when it does not.

use std::{fmt::Debug, future::Future, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use kube::{
    Api, Resource,
    runtime::wait::{Condition, await_condition},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

/// First pause between two probes of [`eventually`]; it doubles up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Watches an object until it satisfies `condition`. The error shows the object as it was last.
pub async fn await_object<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    deadline: Duration,
    condition: impl Condition<K>,
) -> Result<Option<K>>
where
    K: Clone + Debug + Send + DeserializeOwned + Serialize + Resource + 'static,
{
    if let Ok(outcome) = timeout(deadline, await_condition(api.clone(), name, condition)).await {
        return outcome.with_context(|| format!("watch {name} for: {what}"));
    }
    let last = api
        .get_opt(name)
        .await
        .with_context(|| format!("get {name}"))?;
    bail!(
        "gave up after {deadline:?} waiting for: {what}. {name} is now:\n{}",
        last.map_or_else(|| "absent".to_owned(), |object| describe(&object))
    )
}

fn describe(object: &impl Serialize) -> String {
    let value = serde_json::to_value(object).unwrap_or(Value::Null);
    serde_yaml::to_string(value.get("status").unwrap_or(&value))
        .unwrap_or_else(|error| format!("(cannot be shown: {error})"))
}

/// Calls `probe` until it succeeds, with growing pauses. The error is the last one of the probe.
pub async fn eventually<T, F, Fut>(what: &str, deadline: Duration, mut probe: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let end = Instant::now() + deadline;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let last = match timeout(end.duration_since(Instant::now()), probe()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => error,
            Err(_) => anyhow!("the probe did not come back"),
        };
        if Instant::now() + pause >= end {
            return Err(last.context(format!("gave up after {deadline:?} waiting for: {what}")));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use anyhow::{bail, ensure};

    use super::eventually;

    #[tokio::test(start_paused = true)]
    async fn eventually_tries_until_the_probe_succeeds() {
        let calls = Cell::new(0);
        let found = eventually("the fifth call", Duration::from_secs(60), async || {
            calls.set(calls.get() + 1);
            ensure!(calls.get() >= 5, "call {}", calls.get());
            Ok(calls.get())
        });
        assert_eq!(found.await.unwrap(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn eventually_ends_at_its_deadline_with_the_last_error() {
        let never = eventually(
            "nothing",
            Duration::from_secs(3),
            async || -> anyhow::Result<()> { bail!("still not") },
        );
        let error = format!("{:#}", never.await.unwrap_err());
        assert!(
            error.contains("waiting for: nothing") && error.contains("still not"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn eventually_does_not_wait_for_a_probe_that_hangs() {
        let hanging = eventually("an answer", Duration::from_secs(3), async || {
            std::future::pending::<anyhow::Result<()>>().await
        });
        assert!(hanging.await.is_err());
    }
}
