//! The composition root: what is built in which order, and how it stops.

use std::io;
use std::sync::Arc;

use anyhow::Context as _;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::args::RunArgs;
use crate::cluster_controller::NodeDefaults;
use crate::context::{Backoff, Context, Watching};
use crate::leader_election::Elector;
use crate::metrics::Metrics;
use crate::node_client::GrpcNodeClient;
use crate::watches::{Cache, run_controller};
use crate::{clock, entropy, http, telemetry};

/// Runs the operator until SIGTERM or SIGINT, or until it loses its lease (an error: the
/// process ends, and Kubernetes starts it anew as a follower).
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    telemetry::start(&args.log_level, args.log_format).context("read --log-level")?;
    let client = Client::try_default().await.context("find the API server")?;
    let metrics = Arc::new(Metrics::new());
    let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
    stop_on_signals(&shutdown, &tasks)?;
    let serving = http::serve(args.listen, metrics.clone(), shutdown.clone());
    let server = tasks.spawn(stop_all_at_failure(serving, shutdown.clone()));
    // Not a race: the server ends first at a stop, but the lease is given up by the work's end.
    let worked = lead(&args, client, &metrics, &shutdown).await;
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    let served = server.await.context("serve HTTP")?.context("serve HTTP");
    worked.and(served)
}

/// An operator that cannot be probed must not work.
async fn stop_all_at_failure(
    serving: impl Future<Output = io::Result<()>>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let served = serving.await;
    if served.is_err() {
        shutdown.cancel();
    }
    served
}

/// Waits to lead, then works.
async fn lead(
    args: &RunArgs,
    client: Client,
    metrics: &Arc<Metrics>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let identity = args.identity.clone().unwrap_or_else(|| {
        let id = uuid::Builder::from_random_bytes(first_half(entropy::random())).into_uuid();
        format!("annulus-operator-{id}")
    });
    if !args.leader_election {
        metrics.leads(true);
        work(args, client, metrics, identity, shutdown).await;
        return Ok(());
    }
    let (namespace, name) = (&args.lease_namespace, &args.lease_name);
    let mut elector = Elector::new(client.clone(), namespace, name, &identity, clock::now);
    tracing::info!(identity, namespace, name, "waiting for the lease");
    if !elector.win(shutdown).await {
        return Ok(());
    }
    tracing::info!(identity, "leading");
    metrics.leads(true);
    // The lease outlives the work: given up only when no run is left that could write.
    let given_up = CancellationToken::new();
    let working = async {
        work(args, client, metrics, identity, shutdown).await;
        given_up.cancel();
    };
    tokio::pin!(working);
    let keeping = elector.keep(&given_up);
    tokio::pin!(keeping);
    tokio::select! {
        () = &mut working => keeping.await.context("give up the lease"),
        lost = &mut keeping => lost.context("keep the lease"),
    }
}

/// Runs the reconcile loops.
async fn work(
    args: &RunArgs,
    client: Client,
    metrics: &Arc<Metrics>,
    identity: String,
    shutdown: &CancellationToken,
) {
    let scopes: Vec<Option<String>> = if args.watch_namespaces.is_empty() {
        vec![None]
    } else {
        args.watch_namespaces.iter().cloned().map(Some).collect()
    };
    let controllers = scopes.into_iter().map(|namespace| {
        let (cache, writers) = Cache::new();
        let reporter = Reporter {
            controller: "annulus-operator".into(),
            instance: Some(identity.clone()),
        };
        let context = Context {
            client: client.clone(),
            cache,
            nodes: GrpcNodeClient,
            recorder: Recorder::new(client.clone(), reporter),
            defaults: NodeDefaults {
                image: args.node_image.clone(),
                pull_policy: args.node_image_pull_policy,
            },
            metrics: metrics.clone(),
            backoff: Backoff::default(),
            watching: Watching::default(),
            now: clock::now,
            random: entropy::random,
        };
        run_controller(
            client.clone(),
            namespace,
            writers,
            Arc::new(context),
            shutdown.clone(),
        )
    });
    futures::future::join_all(controllers).await;
}

fn stop_on_signals(shutdown: &CancellationToken, tasks: &TaskTracker) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            () = shutdown.cancelled() => {}
        }
        shutdown.cancel();
    });
    Ok(())
}

fn first_half(bytes: [u8; 32]) -> [u8; 16] {
    bytes[..16].try_into().expect("sixteen bytes of thirty-two")
}
