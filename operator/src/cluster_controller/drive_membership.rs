//! Carries out what `membership` decides: the thin driver of that state machine.
//!
//! After each step that succeeded it asks again, so that a founding goes from the record to the
//! last node in one run. A node that cannot be reached is not an error: the next run asks it. At
//! most one epoch a run: what the next one is decided by must be asked for after it was handed over.

use std::collections::BTreeSet;

use annulus_ring::{MoveLimits, Placement};
use futures::StreamExt;
use futures::stream;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use uuid::Builder;

use crate::cluster_controller::apply::{delete, described};
use crate::cluster_controller::build;
use crate::cluster_controller::dereference::{NodeView, RingView, World};
use crate::cluster_controller::validate::ValidCluster;
use crate::cluster_controller::write_error::WriteError;
use crate::context::Context;
use crate::crd::{DesiredNodeState, KVCluster, KVNode, KVRing, RetentionPolicy};
use crate::membership::{Desired, Founder, Observed, ObservedNode, Plan, Seat, Step, found, next};
use crate::names::FIELD_MANAGER;
use crate::node_client::{HeldPlacement, NodeClient};
use crate::status::Reason;

/// Steps in one run: record, hand over, look again.
const MAX_STEPS: usize = 5;
/// Nodes that a placement is handed to at the same time.
const CONCURRENT_HANDOVERS: usize = 16;
/// Nodes that are told their rate at the same time.
const CONCURRENT_RATES: usize = 32;

/// What one round did.
pub(crate) struct MembershipRound {
    /// The last plan; none when the KVRing cannot be read.
    pub(crate) plan: Option<Plan>,
    /// What could not be written.
    pub(crate) errors: Vec<WriteError>,
    /// What is worth an event.
    pub(crate) events: Vec<(Reason, String)>,
}

/// Takes the steps that can be taken now.
pub(crate) async fn drive_membership<N: NodeClient>(
    cluster: &ValidCluster,
    world: &mut World,
    context: &Context<N>,
) -> MembershipRound {
    let mut round = MembershipRound {
        plan: None,
        errors: Vec::new(),
        events: Vec::new(),
    };
    if matches!(world.ring, RingView::Unreadable(_)) {
        return round;
    }
    if let Err(error) = own_ring(cluster, world, context).await {
        round.errors.push(error);
        return round;
    }
    let desired = desired(cluster, world);
    limit_rates(cluster, world, context).await;
    let mut offered = BTreeSet::new();
    let mut recorded = false;
    for _ in 0..MAX_STEPS {
        let seen = observed(cluster, world, context, &offered);
        let plan = next(&seen, &desired);
        let step = plan.step.clone();
        match &step {
            Step::Record(_) if recorded => break,
            Step::Record(_) => {
                recorded = true;
                offered.clear();
            }
            Step::HandOver(nodes) => offered.extend(nodes.iter().cloned()),
            _ => {}
        }
        round.plan = Some(plan);
        let went_on = match take(&step, cluster, &desired, world, context, &mut round).await {
            Ok(went_on) => went_on,
            Err(error) => {
                round.errors.push(error);
                false
            }
        };
        if !went_on {
            break;
        }
    }
    round
}

/// Takes one step. Says whether it changed something, so that the next one can be asked for.
async fn take<N: NodeClient>(
    step: &Step,
    cluster: &ValidCluster,
    desired: &Desired,
    world: &mut World,
    context: &Context<N>,
    round: &mut MembershipRound,
) -> Result<bool, WriteError> {
    match step {
        Step::AwaitNodes(_) | Step::Hold | Step::Blocked(_) => Ok(false),
        Step::RemoveSurplus(nodes) => remove_surplus(nodes, cluster, world, context)
            .await
            .map(|()| false),
        Step::Found(founders) => {
            let placement = first_placement(cluster, founders, desired, context)?;
            let text = format!(
                "{} partitions, {} copies, {} nodes",
                desired.partitions,
                desired.replication_factor,
                founders.len()
            );
            record(placement, cluster, world, context).await?;
            round.events.push((Reason::RingFounded, text));
            Ok(true)
        }
        Step::RecordHeld(holder) => {
            let Some(placement) = read_placement(holder, world, context).await else {
                return Ok(false);
            };
            let text = format!("epoch {}, as {holder} holds it", placement.epoch());
            record(placement, cluster, world, context).await?;
            round.events.push((Reason::RingRebuilt, text));
            Ok(true)
        }
        Step::HandOver(nodes) => {
            hand_over(nodes, world, context).await;
            Ok(true)
        }
        Step::Record(placement) => {
            record(Placement::clone(placement), cluster, world, context).await?;
            Ok(true)
        }
    }
}

fn first_placement<N>(
    cluster: &ValidCluster,
    founders: &[Founder],
    desired: &Desired,
    context: &Context<N>,
) -> Result<Placement, WriteError> {
    let random = (context.random)();
    let (id, seed) = random.split_at(16);
    let id = id.try_into().expect("split at sixteen bytes");
    let cluster_id = Builder::from_random_bytes(id).into_uuid();
    let seed = u64::from_le_bytes(seed[..8].try_into().expect("eight bytes of sixteen"));
    found(founders, desired, cluster_id, seed).map_err(|error| WriteError::Refused {
        object: format!("KVRing {}", cluster.name),
        message: error.to_string(),
    })
}

/// Takes up a record that has no owner: one restored from a backup, or left behind by
/// `kubectl delete --cascade=orphan`.
async fn own_ring<N>(
    cluster: &ValidCluster,
    world: &mut World,
    context: &Context<N>,
) -> Result<(), WriteError> {
    match &world.ring {
        RingView::Recorded {
            owned: false,
            placement,
            ..
        } => record(Placement::clone(placement), cluster, world, context).await,
        _ => Ok(()),
    }
}

/// Records a placement: `create` when there is no record, so that of two operators only one
/// founds; `replace` of exactly the record that was read otherwise.
async fn record<N>(
    placement: Placement,
    cluster: &ValidCluster,
    world: &mut World,
    context: &Context<N>,
) -> Result<(), WriteError> {
    let rings: Api<KVRing> = Api::namespaced(context.client.clone(), &cluster.namespace);
    let mut ring = build::ring(cluster, &placement);
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let written = match &world.ring {
        RingView::Recorded { version, .. } => {
            ring.metadata.resource_version.clone_from(version);
            rings.replace(&cluster.name, &params, &ring).await
        }
        RingView::Absent | RingView::Unreadable(_) => rings.create(&params, &ring).await,
    };
    let written = written.map_err(|error| WriteError::new(described(&ring), &error))?;
    world.ring = RingView::Recorded {
        version: written.resource_version(),
        owned: true,
        placement: Box::new(placement),
    };
    Ok(())
}

async fn read_placement<N: NodeClient>(
    holder: &str,
    world: &World,
    context: &Context<N>,
) -> Option<Placement> {
    let address = world.nodes.get(holder)?.admin_address()?;
    match context.nodes.placement(&address).await {
        Ok(placement) => Some(placement),
        Err(error) => {
            tracing::warn!(node = holder, %error, "cannot read the placement");
            None
        }
    }
}

/// Hands the recorded placement over; notes who holds it now.
async fn hand_over<N: NodeClient>(nodes: &[String], world: &mut World, context: &Context<N>) {
    let Some(placement) = world.ring.placement().cloned() else {
        return;
    };
    let targets = nodes.iter().filter_map(|name| {
        let address = world.nodes.get(name)?.admin_address()?;
        Some((name.clone(), address))
    });
    let targets: Vec<(String, String)> = targets.collect();
    let placement_ref = &placement;
    let taken: Vec<String> = stream::iter(targets)
        .map(|(name, address)| async move {
            match context.nodes.install(&address, placement_ref).await {
                Ok(()) => Some(name),
                Err(error) => {
                    tracing::warn!(node = name, %error, "cannot hand the placement over");
                    None
                }
            }
        })
        .buffer_unordered(CONCURRENT_HANDOVERS)
        .filter_map(|name| async move { name })
        .collect()
        .await;
    let held = HeldPlacement {
        cluster_id: placement.cluster_id(),
        epoch: placement.epoch(),
        fingerprint: placement.fingerprint(),
    };
    for name in &taken {
        if let Some(report) = world
            .nodes
            .get_mut(name)
            .and_then(|view| view.report.as_mut())
        {
            report.holds = Some(held);
        }
    }
}

/// Tells the members that take part in moves how fast they may copy. A node that has started anew
/// since has forgotten it, so it is told each time.
async fn limit_rates<N: NodeClient>(cluster: &ValidCluster, world: &World, context: &Context<N>) {
    let Some(ring) = world
        .ring
        .placement()
        .filter(|ring| !ring.moves().is_empty())
    else {
        return;
    };
    let members = ring.nodes().iter().filter_map(|member| {
        let view = world.nodes.get(&member.name)?;
        let takes_part = view.moves.as_ref().is_some_and(|it| !it.moves.is_empty());
        view.admin_address().filter(|_| takes_part)
    });
    let addresses: Vec<String> = members.collect();
    stream::iter(addresses)
        .for_each_concurrent(CONCURRENT_RATES, |address| async move {
            let told = context
                .nodes
                .set_stream_rate(&address, cluster.bytes_per_second)
                .await;
            if let Err(error) = told {
                tracing::debug!(address, %error, "cannot limit the rate");
            }
        })
        .await;
}

/// Removes nodes that neither the spec nor the ring has. Garbage collection takes their pods; their
/// claims go first, for only the node itself can say that its disk is empty, and only when the
/// user asked for it.
async fn remove_surplus<N>(
    nodes: &[String],
    cluster: &ValidCluster,
    world: &World,
    context: &Context<N>,
) -> Result<(), WriteError> {
    let kvnodes: Api<KVNode> = Api::namespaced(context.client.clone(), &cluster.namespace);
    for name in nodes {
        let Some(view) = world.nodes.get(name) else {
            continue;
        };
        let pool = cluster
            .seat_of(name)
            .and_then(|seat| cluster.pools.get(&seat.pool));
        let wanted = pool.is_some_and(|pool| pool.storage.when_scaled == RetentionPolicy::Delete);
        let empty = is_empty(view, world.ring.placement());
        if let (true, true, Some(claim)) = (wanted, empty, view.claim.as_deref()) {
            delete(
                &Api::namespaced(context.client.clone(), &cluster.namespace),
                claim,
            )
            .await?;
        }
        if let Some(node) = view.node.as_deref() {
            let gone = json!({"spec": {"desiredState": DesiredNodeState::Gone}});
            if node.spec.desired_state != DesiredNodeState::Gone {
                let params = PatchParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                let written = kvnodes.patch(name, &params, &Patch::Merge(gone)).await;
                written.map_err(|error| WriteError::new(described(node), &error))?;
            }
            delete(&kvnodes, node).await?;
        }
    }
    Ok(())
}

/// Whether a disk can go: the node says that nothing is on it, and the ring, if there is one, does
/// not know it. One that never ran may have a claim that was kept from an older cluster, with all
/// its data; one that belongs to another ring is not ours to judge.
fn is_empty(view: &NodeView, ring: Option<&Placement>) -> bool {
    let Some(report) = &view.report else {
        return false;
    };
    match (report.holds, ring) {
        (None, None) => true,
        (None, Some(ring)) => ring.node_by_id(report.id).is_none(),
        (Some(_), None) => false,
        (Some(held), Some(ring)) => {
            held.cluster_id == ring.cluster_id()
                && held.epoch <= ring.epoch()
                && ring.node_by_id(report.id).is_none()
                && report.vnodes == 0
                && report.hints == 0
        }
    }
}

fn desired(cluster: &ValidCluster, world: &World) -> Desired {
    let ring = world.ring.placement();
    // While the number of copies grows, most partitions have fewer than the ring is to have.
    let factor = ring.map_or(cluster.replication_factor, |ring| {
        ring.fewest_owners().min(ring.replication_factor().get())
    });
    Desired {
        cluster: cluster.name.clone(),
        namespace: cluster.namespace.clone(),
        rules: cluster.rules(factor),
        limits: MoveLimits::default(),
        bytes_per_second: cluster.bytes_per_second,
        replace_after: cluster.replace_after,
        approval: cluster.approval,
        nodes: cluster
            .nodes
            .iter()
            .map(|(name, seat)| {
                (
                    name.clone(),
                    Seat {
                        capacity: seat.capacity,
                    },
                )
            })
            .collect(),
        partitions: cluster.partitions,
        replication_factor: cluster.replication_factor,
    }
}

/// The nodes as the state machine sees them. A claim without a KVNode is no node.
fn observed<N>(
    cluster: &ValidCluster,
    world: &World,
    context: &Context<N>,
    offered: &BTreeSet<String>,
) -> Observed {
    let nodes = world.nodes.iter().filter(|(_, view)| view.node.is_some());
    let now = (context.now)();
    let reference = ObjectRef::<KVCluster>::new(&cluster.name).within(&cluster.namespace);
    Observed {
        now,
        watched_since: context.watching.since(&reference, now),
        destroyed: cluster.destroyed.clone(),
        approved: cluster.approved.clone(),
        offered: offered.clone(),
        ring: world.ring.placement().cloned(),
        founded_before: cluster.founded_before,
        nodes: nodes
            .map(|(name, view)| {
                let node = ObservedNode {
                    zone: view.zone.clone(),
                    recorded: view.recorded(),
                    claim_changed: view.claim_changed(),
                    report: view.report.clone(),
                    moves: view.moves.clone(),
                    missing_since: view.missing_since(),
                    drain: view.drains(),
                };
                (name.clone(), node)
            })
            .collect(),
    }
}
