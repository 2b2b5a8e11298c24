//! The operator's view of a node: its admin gRPC.
//!
//! [`NodeClient`] is what the reconcile loop needs; [`GrpcNodeClient`] speaks to real nodes.
//! Every call has a deadline, and each opens its own connection: a node is asked a few times a
//! minute, and a pod's address may belong to another pod by then.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use annulus_proto::admin::v1::admin_client::AdminClient;
use annulus_proto::admin::v1::{
    GetMovesRequest, GetMovesResponse, GetPlacementRequest, GetStatusRequest, GetStatusResponse,
    InstallPlacementRequest, Liveness, MoveReport as WireMove, NodePhase as WirePhase, PeerStatus,
    SetStreamRateRequest,
};
use annulus_ring::{MoveReport, NodeId, Placement, RingEpoch};
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
    /// Other members that it is connected to and believes to be alive.
    pub(crate) sees: BTreeSet<NodeId>,
    /// Writes that it keeps for owners that are away.
    pub(crate) hints: u64,
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

/// What a node has done of the moves that name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MovesReport {
    /// The placement that it has acknowledged.
    pub(crate) acked: RingEpoch,
    /// Its moves.
    pub(crate) moves: Vec<MoveProgress>,
}

/// One move, as a node that it names reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MoveProgress {
    /// What stage changes are decided by.
    pub(crate) report: MoveReport,
    /// Bytes to receive; 0: not known.
    pub(crate) expected_bytes: u64,
    /// Why it does not go on, for people; empty: nothing.
    pub(crate) problem: String,
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
    /// What the node has done of its moves.
    fn moves(&self, address: &str) -> impl Future<Output = Result<MovesReport, NodeError>> + Send;
    /// Limits the bytes that moves send and receive, until the node's next start.
    fn set_stream_rate(
        &self,
        address: &str,
        bytes_per_second: u64,
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

    async fn moves(&self, address: &str) -> Result<MovesReport, NodeError> {
        let mut client = Self::connect(address).await?;
        let answer = client.get_moves(GetMovesRequest {}).await;
        moves(answer.map_err(refusal)?.into_inner())
    }

    async fn set_stream_rate(&self, address: &str, bytes_per_second: u64) -> Result<(), NodeError> {
        let mut client = Self::connect(address).await?;
        let request = SetStreamRateRequest { bytes_per_second };
        client.set_stream_rate(request).await.map_err(refusal)?;
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn refusal(status: Status) -> NodeError {
    let text = format!("{:?}: {}", status.code(), status.message());
    match status.code() {
        Code::FailedPrecondition | Code::InvalidArgument | Code::NotFound | Code::Unimplemented => {
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
        sees: answer.peers.iter().filter_map(seen).collect(),
        hints: answer.hints.iter().map(|kept| kept.hints).sum(),
        comparisons_overdue: answer.comparisons_overdue,
        generation: answer.generation,
        version: answer.version,
    })
}

/// A peer that is connected and believed to be alive.
fn seen(peer: &PeerStatus) -> Option<NodeId> {
    let alive = matches!(peer.liveness(), Liveness::Unspecified | Liveness::Alive);
    let id = peer.node_id.parse().ok()?;
    (peer.connected && alive).then_some(id)
}

/// Reads the reports of moves, refusing those that cannot be read: a stage change decided by half
/// of a report would be wrong.
fn moves(answer: GetMovesResponse) -> Result<MovesReport, NodeError> {
    Ok(MovesReport {
        acked: RingEpoch(answer.acked_epoch),
        moves: answer
            .moves
            .into_iter()
            .map(one_move)
            .collect::<Result<_, _>>()?,
    })
}

fn one_move(wire: WireMove) -> Result<MoveProgress, NodeError> {
    let report = MoveReport::try_from(&wire);
    Ok(MoveProgress {
        report: report.map_err(|error| NodeError::Answer(error.to_string()))?,
        expected_bytes: wire.expected_bytes,
        problem: wire.problem,
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
    fn a_node_sees_who_is_connected_and_not_suspect() {
        let peer = |id: u128, connected, liveness: Liveness| PeerStatus {
            node_id: Uuid::from_u128(id).to_string(),
            connected,
            liveness: liveness.into(),
            ..PeerStatus::default()
        };
        let answer = GetStatusResponse {
            node_id: Uuid::from_u128(7).to_string(),
            peers: vec![
                peer(1, true, Liveness::Alive),
                peer(2, false, Liveness::Alive),
                peer(3, true, Liveness::Suspect),
            ],
            ..GetStatusResponse::default()
        };
        let sees = report(answer).unwrap().sees;
        assert_eq!(sees, BTreeSet::from([NodeId(Uuid::from_u128(1))]));
    }

    #[test]
    fn a_report_of_moves_is_taken_whole_or_not_at_all() {
        let source = Uuid::from_u128(3);
        let wire = |id: &str, from: &str| GetMovesResponse {
            acked_epoch: 9,
            moves: vec![WireMove {
                id: id.to_owned(),
                streamed_from: vec![from.to_owned()],
                ..WireMove::default()
            }],
            ..GetMovesResponse::default()
        };
        let read = moves(wire("e8-p7", &source.to_string())).unwrap();
        assert_eq!(read.acked, RingEpoch(9));
        assert_eq!(read.moves[0].report.streamed.from, [NodeId(source)]);
        for broken in [wire("seven", &source.to_string()), wire("e8-p7", "three")] {
            assert!(matches!(moves(broken), Err(NodeError::Answer(_))));
        }
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
