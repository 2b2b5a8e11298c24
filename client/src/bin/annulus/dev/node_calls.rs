//! What `annulus dev` asks of its nodes, by their admin port.

use std::time::Duration;

use annulus_proto::admin::v1::{GetPlacementRequest, InstallPlacementRequest, NodePhase};
use annulus_ring::{NodeId, Placement};
use anyhow::Context;
use tokio::time::timeout;

use super::founding::Report;
use crate::admin;

/// The longest time for one node's answer, and for installing a placement.
const REPORT_TIMEOUT: Duration = Duration::from_millis(500);
const INSTALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How a node is; `None` while it does not answer.
pub(super) async fn report(address: &str) -> Option<Report> {
    let status = timeout(REPORT_TIMEOUT, admin::status(address))
        .await
        .ok()?
        .ok()?;
    Some(Report {
        id: status.node_id.parse::<NodeId>().ok()?,
        epoch: status.epoch,
        serving: status.phase() == NodePhase::Serving,
    })
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
