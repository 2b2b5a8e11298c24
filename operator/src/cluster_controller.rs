//! The reconcile loop of a KVCluster, in five steps: dereference → validate → build → apply →
//! update_status, and between the last two one round of the membership state machine.
//!
//! Level-triggered: each run starts from what the API and the nodes say, and leaves nothing
//! behind but objects. A write that fails does not keep the others from being made.

mod apply;
mod build;
mod dereference;
mod drive_membership;
mod gather_facts;
mod ownership;
mod units;
mod update_status;
mod validate;
mod write_error;

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use thiserror::Error;
use tokio::time::Instant;

use crate::cluster_controller::apply::apply;
use crate::cluster_controller::dereference::dereference;
use crate::cluster_controller::drive_membership::drive_membership;
use crate::cluster_controller::gather_facts::{Round, gather_facts};
use crate::cluster_controller::update_status::update_status;
pub(crate) use crate::cluster_controller::validate::NodeDefaults;
use crate::cluster_controller::validate::validate;
use crate::context::Context;
use crate::crd::KVCluster;
use crate::node_client::NodeClient;
use crate::watches::NotSynced;

/// How soon a cluster that changes is looked at again.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How soon a cluster in which data moves is looked at again: each look may bring a stage change.
const MOVING_INTERVAL: Duration = Duration::from_secs(1);
/// How soon a cluster at rest is looked at again, should no watch tell sooner.
const STEADY_INTERVAL: Duration = Duration::from_secs(15);

/// Why a run failed as a whole; it is tried again, later each time.
#[derive(Debug, Error)]
pub(crate) enum ReconcileError {
    /// The caches are not filled yet.
    #[error(transparent)]
    NotSynced(#[from] NotSynced),
    /// The ring could not be read.
    #[error("read the KVRing: {0}")]
    ReadRing(#[source] kube::Error),
    /// The status could not be written.
    #[error("write the status: {0}")]
    WriteStatus(#[source] kube::Error),
    /// Some write failed for the moment; the status says the same.
    #[error("{0}")]
    Retrying(String),
}

/// Brings one cluster a step nearer to its spec.
pub(crate) async fn reconcile<N: NodeClient>(
    cluster: Arc<KVCluster>,
    context: Arc<Context<N>>,
) -> Result<Action, ReconcileError> {
    if cluster.metadata.deletion_timestamp.is_some() {
        // Garbage collection does the rest; claims with `Retain` have no owner.
        context.forget(
            &cluster.name_any(),
            &cluster.namespace().unwrap_or_default(),
        );
        return Ok(Action::await_change());
    }
    let started = Instant::now();
    let result = run(&cluster, &context).await;
    context
        .metrics
        .reconciled(started.elapsed(), result.is_ok(), (context.now)());
    let look_again_in = result?;
    context.backoff.succeeded(&ObjectRef::from_obj(&*cluster));
    Ok(Action::requeue(look_again_in))
}

/// The steps. Says when to look again.
async fn run<N: NodeClient>(
    cluster: &KVCluster,
    context: &Context<N>,
) -> Result<Duration, ReconcileError> {
    let mut world = dereference(cluster, context).await?;
    let mut round = Round::default();
    let valid = match validate(cluster, &context.defaults) {
        // Garbage collection comes first: see `ownership`.
        Ok(valid) if !world.left_over.is_empty() => Some(valid),
        Ok(valid) => {
            let founded = world.ring.placement().is_some();
            let applied = apply(&valid, &mut world, context).await;
            round.errors.extend(applied.errors);
            round.key_lost = founded && applied.key_made;
            round.membership = Some(drive_membership(&valid, &mut world, context).await);
            Some(valid)
        }
        Err(invalid) => {
            round.invalid = Some(invalid.to_string());
            None
        }
    };
    let facts = gather_facts(cluster, valid.as_ref(), &world, &round);
    update_status(cluster, &world, &facts, context).await?;
    match facts.retrying.clone() {
        Some(message) => Err(ReconcileError::Retrying(message)),
        None if facts.is_moving() => Ok(MOVING_INTERVAL),
        None if facts.steady() => Ok(STEADY_INTERVAL),
        None => Ok(POLL_INTERVAL),
    }
}

/// When a failed run is tried again.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that kube's Controller asks for"
)]
pub(crate) fn on_error<N: NodeClient>(
    cluster: Arc<KVCluster>,
    error: &ReconcileError,
    context: Arc<Context<N>>,
) -> Action {
    let reference = ObjectRef::from_obj(&*cluster);
    context.watching.interrupted(&reference);
    let delay = context.backoff.failed(&reference);
    tracing::warn!(
        cluster = cluster.name_any(),
        namespace = cluster.namespace(),
        %error,
        retry_in_seconds = delay.as_secs(),
        "reconcile failed"
    );
    Action::requeue(delay)
}

#[cfg(test)]
mod tests;
