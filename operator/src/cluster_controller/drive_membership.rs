//! Carries out what `membership` decides: the thin driver of that state machine.
//!
//! After each step that succeeded it asks again, so that a founding goes from the record to the
//! last node in one run. A node that cannot be reached is not an error: the next run asks it.

use annulus_ring::Placement;
use futures::StreamExt;
use futures::stream;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use uuid::Builder;

use crate::cluster_controller::apply::{delete, described};
use crate::cluster_controller::build;
use crate::cluster_controller::dereference::{RingView, World};
use crate::cluster_controller::validate::ValidCluster;
use crate::cluster_controller::write_error::WriteError;
use crate::context::Context;
use crate::crd::{KVNode, KVRing, RetentionPolicy};
use crate::membership::{Desired, Founder, Observed, ObservedNode, Plan, Seat, Step, found, next};
use crate::names::FIELD_MANAGER;
use crate::node_client::{HeldPlacement, NodeClient};
use crate::status::Reason;

/// Steps in one run: record, hand over, look again.
const MAX_STEPS: usize = 4;
/// Nodes that a placement is handed to at the same time.
const CONCURRENT_HANDOVERS: usize = 16;

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
    let desired = desired(cluster);
    for _ in 0..MAX_STEPS {
        let plan = next(&observed(cluster, world), &desired);
        let step = plan.step.clone();
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
        Step::HandOver(nodes) => Ok(hand_over(nodes, world, context).await),
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
    found(
        &cluster.name,
        &cluster.namespace,
        founders,
        desired,
        cluster_id,
        seed,
    )
    .map_err(|error| WriteError::Refused {
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

/// Hands the recorded placement over; notes who holds it now. Says whether anybody took it.
async fn hand_over<N: NodeClient>(
    nodes: &[String],
    world: &mut World,
    context: &Context<N>,
) -> bool {
    let Some(placement) = world.ring.placement().cloned() else {
        return false;
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
    !taken.is_empty()
}

/// Removes nodes that never belonged to a ring. Garbage collection takes their pods; their
/// claims go only when the user asked for it and the node itself says that its disk is empty: one
/// that never ran may have a claim that was kept from an older cluster, with all its data.
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
        if let Some(node) = view.node.as_deref() {
            delete(&kvnodes, node).await?;
        }
        let pool = cluster
            .seat_of(name)
            .and_then(|seat| cluster.pools.get(&seat.pool));
        let wanted = pool.is_some_and(|pool| pool.storage.when_scaled == RetentionPolicy::Delete);
        let empty = view.report.as_ref().is_some_and(|it| it.holds.is_none());
        if let (true, true, Some(claim)) = (wanted, empty, view.claim.as_deref()) {
            delete(
                &Api::namespaced(context.client.clone(), &cluster.namespace),
                claim,
            )
            .await?;
        }
    }
    Ok(())
}

fn desired(cluster: &ValidCluster) -> Desired {
    Desired {
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
fn observed(cluster: &ValidCluster, world: &World) -> Observed {
    let nodes = world.nodes.iter().filter(|(_, view)| view.node.is_some());
    Observed {
        ring: world.ring.placement().cloned(),
        founded_before: cluster.founded_before,
        nodes: nodes
            .map(|(name, view)| {
                let node = ObservedNode {
                    zone: view.zone.clone(),
                    seen_before: view.seen_before(),
                    report: view.report.clone(),
                };
                (name.clone(), node)
            })
            .collect(),
    }
}
