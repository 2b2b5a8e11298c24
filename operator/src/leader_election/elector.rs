//! The loop around the Lease.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::leader_election::lease::{
    LEASE_DURATION, Observation, RENEW_DEADLINE, RETRY_PERIOD, SeenLease, Verdict, evaluate,
    observe,
};

/// One call to the API server.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// The lease is gone: the process must end, for another replica works now.
#[derive(Debug, Error)]
#[error("the lease was not renewed for {} s or belongs to another replica", RENEW_DEADLINE.as_secs())]
pub(crate) struct Lost;

/// Wins and keeps the Lease.
pub(crate) struct Elector {
    leases: Api<Lease>,
    name: String,
    id: String,
    now: fn() -> Timestamp,
    seen: Option<Observation<Instant>>,
}

impl Elector {
    /// An elector for the Lease `namespace/name` under the identity `id`.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        id: &str,
        now: fn() -> Timestamp,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            id: id.to_owned(),
            now,
            seen: None,
        }
    }

    /// Waits until this replica leads. `false` when `shutdown` came first.
    pub(crate) async fn win(&mut self, shutdown: &CancellationToken) -> bool {
        loop {
            match self.attempt(CALL_TIMEOUT).await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "cannot try for the lease"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return false,
                () = sleep(RETRY_PERIOD) => {}
            }
        }
    }

    /// Renews until `shutdown`, then gives the lease up, or until it is lost.
    pub(crate) async fn keep(&mut self, shutdown: &CancellationToken) -> Result<(), Lost> {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => {
                    self.give_up().await;
                    return Ok(());
                }
                () = sleep(RETRY_PERIOD) => {}
            }
            // From before the call: another replica's wait begins when the write lands.
            let started = Instant::now();
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            match self.attempt(CALL_TIMEOUT.min(left)).await {
                Ok(true) => renewed = started,
                Ok(false) => return Err(Lost),
                Err(error) => tracing::warn!(%error, "cannot renew the lease"),
            }
            if renewed.elapsed() >= RENEW_DEADLINE {
                return Err(Lost);
            }
        }
    }

    /// Looks at the lease and takes or renews it where it may. Whether it is ours now.
    async fn attempt(&mut self, limit: Duration) -> Result<bool, kube::Error> {
        let attempt = timeout(limit, self.attempt_untimed());
        attempt.await.unwrap_or_else(|_| {
            Err(kube::Error::Service(
                "the API server did not answer in time".into(),
            ))
        })
    }

    async fn attempt_untimed(&mut self) -> Result<bool, kube::Error> {
        let now = Instant::now();
        let lease = self.leases.get_opt(&self.name).await?;
        self.seen = observe(self.seen.take(), lease.as_ref().map(seen), now);
        let unchanged = self
            .seen
            .as_ref()
            .map_or(Duration::ZERO, |seen| now - seen.since);
        let verdict = evaluate(
            self.seen.as_ref().map(|seen| &seen.lease),
            &self.id,
            unchanged,
        );
        let written = match (verdict, lease) {
            (Verdict::Wait, _) => return Ok(false),
            (_, None) => {
                let lease = self.lease(None, true);
                self.leases.create(&PostParams::default(), &lease).await
            }
            (verdict, Some(lease)) => {
                // The resourceVersion makes it a compare-and-swap.
                let lease = self.lease(Some(lease), verdict == Verdict::Take);
                self.leases
                    .replace(&self.name, &PostParams::default(), &lease)
                    .await
            }
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 && verdict == Verdict::Take => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn lease(&self, old: Option<Lease>, taken: bool) -> Lease {
        let now = MicroTime((self.now)());
        let name = Some(self.name.clone());
        let old = old.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name,
                ..ObjectMeta::default()
            },
            spec: None,
        });
        let (metadata, old) = (old.metadata, old.spec.unwrap_or_default());
        let transitions = old.lease_transitions.unwrap_or(0);
        let spec = LeaseSpec {
            holder_identity: Some(self.id.clone()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            acquire_time: if taken {
                Some(now.clone())
            } else {
                old.acquire_time
            },
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(i32::from(taken))),
            ..LeaseSpec::default()
        };
        Lease {
            metadata,
            spec: Some(spec),
        }
    }

    /// Lets the next replica take over at once.
    async fn give_up(&self) {
        let Ok(Ok(Some(mut lease))) = timeout(CALL_TIMEOUT, self.leases.get_opt(&self.name)).await
        else {
            return;
        };
        let Some(spec) = lease.spec.as_mut() else {
            return;
        };
        if spec.holder_identity.as_deref() != Some(self.id.as_str()) {
            return;
        }
        spec.holder_identity = Some(String::new());
        let params = PostParams::default();
        let replace = self.leases.replace(&self.name, &params, &lease);
        if !matches!(timeout(CALL_TIMEOUT, replace).await, Ok(Ok(_))) {
            tracing::warn!("cannot give the lease up; it runs out by itself");
        }
    }
}

fn seen(lease: &Lease) -> SeenLease {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    SeenLease {
        holder: spec.holder_identity.unwrap_or_default(),
        renewed: spec
            .renew_time
            .map(|time| time.0.to_string())
            .unwrap_or_default(),
        duration: seconds.map_or(LEASE_DURATION, Duration::from_secs),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use http::{Request, Response};
    use kube::client::Body;
    use tower::service_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_leader_whose_api_server_hangs_stops_before_another_can_start() {
        let hanging =
            service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
        let client = Client::new(hanging, "default");
        let mut elector = Elector::new(client, "n", "l", "a", || Timestamp::UNIX_EPOCH);
        let started = Instant::now();
        let kept = elector.keep(&CancellationToken::new()).await;
        assert!(kept.is_err());
        assert!(
            started.elapsed() < LEASE_DURATION,
            "{:?}",
            started.elapsed()
        );
    }
}
