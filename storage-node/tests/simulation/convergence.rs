//! After the faults: hints are delivered; copies that lack data are rebuilt; anti-entropy brings the owners' copies together, within three of
//! its intervals (C6), and what hints have lost needs no repair any more; then every key can be read from
//! all its owners.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_node::simulation::Terms;
use annulus_node::storage::Sum;
use annulus_proto::model::{Consistency, Key, KeyspaceName};
use tokio::time::{Instant, sleep};

use crate::broken::Broken;
use crate::copies::{self, Copy};
use crate::workload::Arena;

/// What the last comparison may take, and a removal of a deleted key that was left half done: the owners after the
/// first wait for their turns.
const COMPARISON: Duration = Duration::from_secs(90);

/// Rounds of reads until all must be the same.
const ROUNDS: usize = 40;

/// Simulated seconds after the faults within which all hints must be delivered.
const HINTS_WITHIN_S: u64 = 90;

/// Simulated seconds after that within which all copies must be whole.
const WHOLE_WITHIN_S: u64 = 60;

/// Waits for hints, rebuilding and anti-entropy, then reads, and says what the copies hold then.
pub(crate) async fn drive(
    arena: &Arc<Arena>,
    compared_every: Option<Duration>,
) -> Result<Vec<Copies>, Broken> {
    await_hints(arena).await?;
    await_whole(arena).await?;
    if let Some(interval) = compared_every {
        come_together(arena, 3 * interval + COMPARISON).await?;
    }
    for round in 0..ROUNDS {
        let mut refusals = Vec::new();
        for (at, (space, key)) in arena.all_keys().iter().enumerate() {
            let nodes = arena.cluster.members();
            let node = &nodes[(at + round) % nodes.len()];
            let terms = Terms {
                read: Some(Consistency::All),
                timeout: Duration::from_secs(2),
                ..Terms::default()
            };
            if let Err(error) = node.get(space, key, &terms).await {
                refusals.push(format!("{space}/{key} at {}: {error:?}", node.name()));
            }
        }
        sleep(Duration::from_secs(3)).await;
        let sample = sample(arena).await;
        let different = difference(&sample);
        match different {
            None if refusals.is_empty() => return Ok(sample),
            different if round + 1 == ROUNDS => {
                let what = format!("reads that fail: {refusals:?}; copies: {different:?}");
                return Err(Broken::new("L1 the cluster heals", what));
            }
            _ => {}
        }
    }
    Ok(Vec::new())
}

/// What the owners of a key hold.
pub(crate) struct Copies {
    space: KeyspaceName,
    key: Key,
    at_us: u64,
    held: Vec<Copy>,
}

/// Within a time every hint is delivered, or too old.
async fn await_hints(arena: &Arena) -> Result<(), Broken> {
    let pending = || -> u64 {
        let nodes = arena.cluster.nodes().iter();
        nodes.map(|node| node.hints_pending()).sum()
    };
    for _ in 0..HINTS_WITHIN_S {
        if pending() == 0 {
            return Ok(());
        }
        sleep(Duration::from_secs(1)).await;
    }
    let what = format!("{} hints are left after {HINTS_WITHIN_S} s", pending());
    Err(Broken::new("L2 hints are delivered", what))
}

/// Within a time every copy has been rebuilt that lacks data. Damage has to be met before it is mended: this
/// reads everything.
async fn await_whole(arena: &Arena) -> Result<(), Broken> {
    let mut unsound = None;
    for _ in 0..WHOLE_WITHIN_S {
        let _ = sample(arena).await;
        unsound = arena.cluster.members().iter().find_map(|node| {
            let vnodes = node.vnodes().into_iter();
            let mut unsound = vnodes.filter(|vnode| vnode.is_damaged || !vnode.is_serving);
            Some(format!("{}: {:?}", node.name(), unsound.next()?))
        });
        if unsound.is_none() {
            return Ok(());
        }
        sleep(Duration::from_secs(1)).await;
    }
    let what = unsound.unwrap_or_default();
    Err(Broken::new("L1 the cluster heals", what))
}

async fn come_together(arena: &Arc<Arena>, within: Duration) -> Result<(), Broken> {
    let began = Instant::now();
    loop {
        let different = match difference(&sample(arena).await) {
            None => different_trees(arena).await,
            different => different,
        };
        let different = different.or_else(|| marked(arena));
        let Some(what) = different else {
            return Ok(());
        };
        if began.elapsed() > within {
            return Err(Broken::new("C6 anti-entropy makes copies the same", what));
        }
        sleep(Duration::from_secs(1)).await;
    }
}

/// What hints have lost, and was not compared since.
fn marked(arena: &Arena) -> Option<String> {
    arena.cluster.nodes().iter().find_map(|node| {
        let needed = node.repairs_needed();
        let (partition, target) = needed.first()?;
        let here = node.name();
        Some(format!(
            "{here} has partition {partition} marked for repair at {target}"
        ))
    })
}

/// Owners of a partition whose trees differ.
async fn different_trees(arena: &Arena) -> Option<String> {
    let mut seen: BTreeMap<u16, (String, Sum)> = BTreeMap::new();
    for node in arena.cluster.members() {
        let trees = match node.trees().await {
            Ok(trees) => trees,
            Err(error) => return Some(format!("{}: {error}", node.name())),
        };
        for (partition, sum) in trees {
            let first = seen.entry(partition.0);
            let (name, first) = first.or_insert_with(|| (node.name().to_owned(), sum));
            if *first != sum {
                let here = node.name();
                return Some(format!(
                    "partition {partition}: {name} {first:?}, {here} {sum:?}"
                ));
            }
        }
    }
    None
}

/// Looks at everything once: deleted keys may go at any time, so what is compared is what is recorded.
async fn sample(arena: &Arena) -> Vec<Copies> {
    let mut sample = Vec::new();
    for (space, key) in arena.all_keys() {
        let (owners, _) = arena.cluster.locate(&space, &key);
        let mut copies = Vec::new();
        for owner in owners {
            let copy = owner.copy(&space, &key).await;
            copies.push((owner.id(), copy.map_err(|error| error.to_string())));
        }
        sample.push(Copies {
            space,
            key,
            at_us: arena.now_us(),
            held: copies,
        });
    }
    sample
}

/// What differs, if anything does.
fn difference(sample: &[Copies]) -> Option<String> {
    sample
        .iter()
        .find_map(|of| copies::difference(&of.space, &of.key, &of.held))
}

/// Leaves what the owners hold in the recording.
pub(crate) fn record(arena: &Arena, sample: Vec<Copies>) -> Result<(), Broken> {
    for of in sample {
        copies::record(&arena.recording, of.at_us, (&of.space, &of.key), of.held)?;
    }
    Ok(())
}
