//! What `annulus dev` asks of its nodes, by their admin port.

use std::collections::BTreeSet;
use std::time::Duration;

use annulus_proto::admin::v1::{
    GetMovesRequest, GetMovesResponse, GetPlacementRequest, InstallPlacementRequest, Liveness,
    NodePhase,
};
use annulus_ring::{MoveReport, NodeId, Placement, RingEpoch};
use anyhow::Context;
use tokio::time::timeout;

use super::founding::Report;
use crate::admin;

/// The longest time for one node's answer, and for installing a placement.
const REPORT_TIMEOUT: Duration = Duration::from_millis(500);
const INSTALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How a node is, and its moves, if that is asked; `None` while it does not answer.
pub(super) async fn report(address: &str, of_moves: bool) -> Option<Report> {
    let status = timeout(REPORT_TIMEOUT, admin::status(address))
        .await
        .ok()?
        .ok()?;
    let seen = status.peers.iter().filter(|peer| {
        let alive = matches!(peer.liveness(), Liveness::Unspecified | Liveness::Alive);
        peer.connected && alive
    });
    let sees: BTreeSet<NodeId> = seen.filter_map(|peer| peer.node_id.parse().ok()).collect();
    let moves = if of_moves { moves(address).await } else { None };
    let moves = moves.unwrap_or_default();
    Some(Report {
        id: status.node_id.parse::<NodeId>().ok()?,
        epoch: status.epoch,
        serving: status.phase() == NodePhase::Serving,
        sees,
        acked: RingEpoch(moves.acked_epoch),
        // One that can't be read counts as not begun.
        moves: moves.moves.iter().flat_map(MoveReport::try_from).collect(),
    })
}

async fn moves(address: &str) -> Option<GetMovesResponse> {
    let mut client = admin::client(address).ok()?;
    let asked = client.get_moves(GetMovesRequest {});
    let answer = timeout(REPORT_TIMEOUT, asked).await.ok()?.ok()?;
    Some(answer.into_inner())
}

/// The placement that a node holds.
pub(super) async fn fetch_placement(address: &str) -> Option<Placement> {
    let mut client = admin::client(address).ok()?;
    let asked = client.get_placement(GetPlacementRequest {});
    let response = timeout(INSTALL_TIMEOUT, asked).await.ok()?.ok()?;
    response.into_inner().placement?.try_into().ok()
}

/// Hands a placement to a node.
pub(super) async fn install(
    address: &str,
    placement: annulus_proto::ring::v1::Placement,
) -> anyhow::Result<()> {
    let request = InstallPlacementRequest {
        placement: Some(placement),
    };
    let mut client = admin::client(address)?;
    timeout(INSTALL_TIMEOUT, client.install_placement(request))
        .await
        .context("no answer in time")?
        .map_err(|status| anyhow::anyhow!("{}", status.message()))?;
    Ok(())
}
