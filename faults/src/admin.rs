//! What is asked of nodes by their admin port: how they are, and to take a placement.

use std::time::Duration;

use annulus_proto::admin::v1::admin_client::AdminClient;
use annulus_proto::admin::v1::{
    GetStatusRequest, GetStatusResponse, InstallPlacementRequest, NodePhase,
};
use annulus_ring::Placement;
use anyhow::{Context as _, Result};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

const STATUS_WITHIN: Duration = Duration::from_secs(1);
const INSTALL_WITHIN: Duration = Duration::from_secs(10);

/// How a node is; `None` while it does not answer.
pub(crate) async fn status(address: &str) -> Option<GetStatusResponse> {
    let mut client = client(address).ok()?;
    let asked = client.get_status(GetStatusRequest {});
    Some(timeout(STATUS_WITHIN, asked).await.ok()?.ok()?.into_inner())
}

/// Whether a node serves.
pub(crate) async fn serves(address: &str) -> bool {
    let status = status(address).await;
    status.is_some_and(|status| status.phase() == NodePhase::Serving)
}

/// Hands a placement to a node; it is on its disk when this returns.
pub(crate) async fn install(address: &str, placement: &Placement) -> Result<()> {
    let request = InstallPlacementRequest {
        placement: Some(placement.into()),
    };
    let mut client = client(address)?;
    let asked = client.install_placement(request);
    timeout(INSTALL_WITHIN, asked)
        .await
        .context("no answer in time")?
        .with_context(|| format!("install the placement at {address}"))?;
    Ok(())
}

fn client(address: &str) -> Result<AdminClient<Channel>> {
    let endpoint =
        Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(STATUS_WITHIN);
    Ok(AdminClient::new(endpoint.connect_lazy()))
}
