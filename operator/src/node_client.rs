//! The operator's view of a node: its admin gRPC.
//!
//! [`NodeClient`] is what the reconcile loop needs; [`GrpcNodeClient`] speaks to real nodes.
//! Every call has a deadline, and each opens its own connection: a node is asked a few times a
//! minute, and a pod's address may belong to another pod by then.

use std::future::Future;
use std::time::Duration;

use annulus_proto::admin::v1::admin_client::AdminClient;
use annulus_proto::admin::v1::{
    GetPlacementRequest, GetStatusRequest, GetStatusResponse, InstallPlacementRequest,
    NodePhase as WirePhase,
};
use annulus_ring::{NodeId, Placement, RingEpoch};
use thiserror::Error;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::crd::NodePhase;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest placement (1024 nodes, 16,384 partitions) takes less than 1 MiB.
const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// Why a call to a node failed.
#[derive(Debug, Error)]
pub(crate) enum NodeError {
    /// The address is none.
    #[error("{0:?} is no address")]
    Address(String),
    /// The node did not answer in time, or not at all; what was asked may have happened.
    #[error("the node does not answer: {0}")]
    Unreachable(String),
    /// The node refused; nothing happened.
    #[error("the node refused: {0}")]
    Refused(String),
    /// The answer makes no sense.
    #[error("the node's answer cannot be understood: {0}")]
    Answer(String),
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeReport {
    /// Identity of its disk.
    pub(crate) id: NodeId,
    /// Its name.
    pub(crate) name: String,
    /// The placement that it holds, if it has one.
    pub(crate) holds: Option<HeldPlacement>,
    /// What it is doing.
    pub(crate) phase: NodePhase,
    /// Partitions that it holds a copy of.
    pub(crate) vnodes: u32,
    /// Bytes of data.
    pub(crate) data_bytes: u64,
    /// Free bytes of its disk.
    pub(crate) disk_free_bytes: u64,
    /// Comparisons with other owners that it has not completed in time.
    pub(crate) comparisons_overdue: u32,
    /// How often its data directory was opened.
    pub(crate) generation: u64,
    /// Version of its program.
    pub(crate) version: String,
}

/// Which placement a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeldPlacement {
    /// The ring's identity.
    pub(crate) cluster_id: Uuid,
    /// Its version.
    pub(crate) epoch: RingEpoch,
    /// Its checksum.
    pub(crate) fingerprint: u64,
}

/// Speaks to nodes; `address` is the `host:port` of the admin service.
pub(crate) trait NodeClient: Send + Sync + 'static {
    /// Who the node is and how it is.
    fn status(&self, address: &str) -> impl Future<Output = Result<NodeReport, NodeError>> + Send;
    /// The placement that the node holds.
    fn placement(&self, address: &str)
    -> impl Future<Output = Result<Placement, NodeError>> + Send;
    /// Hands a placement over; it is on the node's disk when this returns. Idempotent.
    fn install(
        &self,
        address: &str,
        placement: &Placement,
    ) -> impl Future<Output = Result<(), NodeError>> + Send;
}

/// Speaks gRPC.
#[derive(Clone, Debug, Default)]
pub(crate) struct GrpcNodeClient;

impl GrpcNodeClient {
    async fn connect(address: &str) -> Result<AdminClient<Channel>, NodeError> {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| NodeError::Address(address.to_owned()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .connect()
            .await
            .map_err(|error| NodeError::Unreachable(format!("connect to {address}: {error}")))?;
        Ok(AdminClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES))
    }
}

impl NodeClient for GrpcNodeClient {
    async fn status(&self, address: &str) -> Result<NodeReport, NodeError> {
        let mut client = Self::connect(address).await?;
        let answer = client
            .get_status(GetStatusRequest {})
            .await
            .map_err(refusal)?;
        report(answer.into_inner())
    }

    async fn placement(&self, address: &str) -> Result<Placement, NodeError> {
        let mut client = Self::connect(address).await?;
        let answer = client
            .get_placement(GetPlacementRequest {})
            .await
            .map_err(refusal)?;
        let document = answer
            .into_inner()
            .placement
            .ok_or_else(|| NodeError::Answer("the placement is missing".to_owned()))?;
        Placement::try_from(document).map_err(|error| NodeError::Answer(error.to_string()))
    }

    async fn install(&self, address: &str, placement: &Placement) -> Result<(), NodeError> {
        let mut client = Self::connect(address).await?;
        let request = InstallPlacementRequest {
            placement: Some(placement.into()),
        };
        client.install_placement(request).await.map_err(refusal)?;
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn refusal(status: Status) -> NodeError {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::FailedPrecondition | Code::InvalidArgument | Code::NotFound => {
            NodeError::Refused(text)
        }
        _ => NodeError::Unreachable(text),
    }
}

/// Reads a report, refusing one that contradicts itself.
fn report(answer: GetStatusResponse) -> Result<NodeReport, NodeError> {
    let id = answer
        .node_id
        .parse()
        .map_err(|_| NodeError::Answer(format!("node_id {:?} is no UUID", answer.node_id)))?;
    let holds = match answer.epoch {
        0 => None,
        epoch => Some(HeldPlacement {
            cluster_id: answer.cluster_id.parse().map_err(|_| {
                NodeError::Answer(format!("cluster_id {:?} is no UUID", answer.cluster_id))
            })?,
            epoch: RingEpoch(epoch),
            fingerprint: answer.fingerprint,
        }),
    };
    let phase = phase(answer.phase());
    Ok(NodeReport {
        id,
        name: answer.name,
        holds,
        phase,
        vnodes: answer.vnodes,
        data_bytes: answer.data_bytes,
        disk_free_bytes: answer.disk_free_bytes,
        comparisons_overdue: answer.comparisons_overdue,
        generation: answer.generation,
        version: answer.version,
    })
}

fn phase(phase: WirePhase) -> NodePhase {
    match phase {
        WirePhase::Unspecified | WirePhase::Starting => NodePhase::Starting,
        WirePhase::WaitingForPlacement => NodePhase::WaitingForPlacement,
        WirePhase::Serving => NodePhase::Serving,
        WirePhase::Draining => NodePhase::Draining,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_before_the_first_placement_holds_none() {
        let answer = GetStatusResponse {
            node_id: Uuid::from_u128(7).to_string(),
            phase: WirePhase::WaitingForPlacement.into(),
            ..GetStatusResponse::default()
        };
        let report = report(answer).unwrap();
        assert_eq!(report.holds, None);
        assert_eq!(report.phase, NodePhase::WaitingForPlacement);
    }

    #[test]
    fn a_report_that_contradicts_itself_is_refused() {
        let id = Uuid::from_u128(7).to_string();
        for (node_id, cluster_id) in [("seven", ""), (id.as_str(), ""), (id.as_str(), "c")] {
            let answer = GetStatusResponse {
                node_id: node_id.to_owned(),
                cluster_id: cluster_id.to_owned(),
                epoch: 1,
                ..GetStatusResponse::default()
            };
            assert!(matches!(report(answer), Err(NodeError::Answer(_))));
        }
    }
}
