//! Three nodes become five and then four under load that is recorded, and the operator dies again
//! and again: nothing that was acknowledged is lost, no read is stale, and clients notice next to
//! nothing.

use std::time::Duration;

use annulus_e2e::{
    conditions::eventually,
    kvcluster::{FOUNDING, KvCluster},
    namespace::with_namespace,
    operator::{kill_within, seed},
    recorded::{Load, Told},
    ring::Owners,
    scaling::{SCALING, in_one_zone, is_moving, is_settled, limit_rate, scale},
    workload::{Workload, read_back},
};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use rand::{SeedableRng, rngs::StdRng};

const REQUESTS_PER_SECOND: u64 = 120;
/// So long nothing moves, to compare with.
const AT_REST: Duration = Duration::from_secs(15);
/// Before data moves faster than it could be measured beside.
const KEYS: usize = 3_000;
const KEYS_PER_SECOND: u32 = 600;
const SLOWLY: &str = "20Ki";
const KILLS: u32 = 2;
const LONGEST_LIFE: Duration = Duration::from_secs(4);
/// Of all attempts, in parts of a thousand.
const MOST_REFUSALS: usize = 1;
const COPIES: usize = 3;
/// The 99th percentile while vnodes move, as a multiple of that at rest.
const MOST_SLOWER: u32 = 2;
/// Below this nobody looks at ratios: on a busy machine alone they are chance.
const FAST_ENOUGH: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster with Annulus installed: e2e/README.md"]
async fn no_write_is_lost_while_nodes_join_and_leave() -> Result<()> {
    let seed = seed()?;
    let mut random = StdRng::seed_from_u64(seed);
    with_namespace("scales-under-load", |namespace| async move {
        let cluster = KvCluster::create(&namespace, &in_one_zone("orders")).await?;
        limit_rate(&cluster, SLOWLY).await?;
        cluster.await_ready(FOUNDING).await?;
        let written = Workload::new(&cluster).await?;
        let written = written.write(KEYS, KEYS_PER_SECOND).await?.acknowledged;
        let load = Load::start(&cluster, REQUESTS_PER_SECOND, seed).await?;
        load.go_on(AT_REST).await;
        let of_three = Owners::read(&cluster).await?;

        let asked = load.elapsed();
        scale(&cluster, 5).await?;
        is_moving(&cluster, "ScaleOut").await?;
        let moving = load.elapsed();
        for _ in 0..KILLS {
            kill_within(&namespace.client, LONGEST_LIFE, &mut random).await?;
        }
        let of_five = is_settled(&cluster, 5).await?;
        let moved = load.elapsed();
        has_its_share(
            &of_three,
            &of_five,
            &["orders-default-3", "orders-default-4"],
        )?;

        scale(&cluster, 4).await?;
        is_moving(&cluster, "ScaleIn").await?;
        kill_within(&namespace.client, LONGEST_LIFE, &mut random).await?;
        let of_four = is_settled(&cluster, 4).await?;
        let left = of_five.gained(&of_four).len();
        assert_eq!(
            left,
            of_five.vnodes()["orders-default-4"],
            "nothing else moves"
        );
        let pods: Api<Pod> = namespace.api();
        eventually("the leaver's pod is gone", SCALING, || async {
            let leaver = pods.get_opt("orders-default-4").await?;
            ensure!(leaver.is_none(), "it is there");
            Ok(())
        })
        .await?;

        let told = load.stop().await?;
        is_noticed_little(&told, [asked, moving, moved])?;
        told.judge()?;
        read_back(&cluster.all_endpoints(4).await?, &written).await
    })
    .await
}

/// Each member holds the same, and nothing went to any but the new ones.
fn has_its_share(before: &Owners, after: &Owners, new: &[&str]) -> Result<()> {
    let vnodes = after.vnodes();
    let share = (after.of.len() * COPIES) as f64 / after.members.len() as f64;
    eprintln!("vnodes {vnodes:?}, an even share is {share:.1}");
    for (name, count) in &vnodes {
        ensure!(
            (*count as f64 - share).abs() < 1.0 + f64::EPSILON,
            "{name} has {count}"
        );
    }
    let gained = before.gained(after);
    let astray = gained.iter().filter(|(_, owner)| !new.contains(owner));
    assert_eq!(astray.count(), 0, "{gained:?}");
    let expected: usize = new.iter().map(|name| vnodes[name]).sum();
    assert_eq!(gained.len(), expected);
    Ok(())
}

fn is_noticed_little(told: &Told, [asked, moving, moved]: [Duration; 3]) -> Result<()> {
    ensure!(told.not_retryable.is_empty(), "{:?}", told.not_retryable);
    let refused: usize = told.refusals.values().sum();
    eprintln!(
        "{refused} of {} attempts refused: {:?}",
        told.attempts, told.refusals
    );
    ensure!(
        refused * 1_000 <= told.attempts * MOST_REFUSALS,
        "{refused} of {} attempts: {:?}",
        told.attempts,
        told.refusals
    );
    let warm = AT_REST / 3;
    let before = told.percentile(99, warm, asked);
    let starting = told.percentile(99, asked, moving);
    let during = told.percentile(99, moving, moved);
    let took = moved.checked_sub(moving).context("time goes on")?;
    eprintln!(
        "p99 {before:.1?} at rest, {starting:.1?} while pods start, {during:.1?} in {took:.0?} of moves: {:.2} times",
        during.as_secs_f64() / before.as_secs_f64()
    );
    ensure!(
        during <= (before * MOST_SLOWER).max(FAST_ENOUGH),
        "that is too slow"
    );
    Ok(())
}
