//! The `Admin` service.

use annulus_proto::admin::v1 as pb;
use annulus_proto::admin::v1::admin_server::Admin;
use annulus_proto::model::{ErrorCode, FieldRefused, RequestError};
use annulus_proto::ring::v1::MoveStage;
use annulus_proto::write_status;
use annulus_ring::{NodeId, PartitionId, Placement};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tonic::{Request, Response, Status};

use super::status::StatusSource;
use crate::antientropy::{ComparisonStatus, Reason};
use crate::clock::milliseconds;
use crate::moves::MoveReport;
use crate::placement::{InstallError, PlacementRefused};
use crate::replica::{DigestPage, Rebuilding, Replica, ReplicaError};
use crate::storage::Sum;

/// Looks after this node.
#[derive(Debug, Clone)]
pub(super) struct AdminService {
    status: StatusSource,
}

impl AdminService {
    pub(super) fn new(status: StatusSource) -> Self {
        Self { status }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn get_status(
        &self,
        _: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        Ok(Response::new(self.status.gather()))
    }

    async fn get_placement(
        &self,
        _: Request<pb::GetPlacementRequest>,
    ) -> Result<Response<pb::GetPlacementResponse>, Status> {
        let held = self.status.placement().current().ok_or_else(|| {
            let reason = "this node was not told its placement yet";
            write_status(&RequestError::rejected(ErrorCode::NotFound, reason))
        })?;
        Ok(Response::new(pb::GetPlacementResponse {
            placement: Some((&*held).into()),
        }))
    }

    async fn install_placement(
        &self,
        call: Request<pb::InstallPlacementRequest>,
    ) -> Result<Response<pb::InstallPlacementResponse>, Status> {
        let offered = call.into_inner().placement;
        let offered = offered.ok_or_else(|| invalid("placement", "is missing"))?;
        let offered = Placement::try_from(offered)
            .map_err(|refused| invalid("placement", &refused.to_string()))?;
        // Its own task: a caller that goes away must not leave a placement half installed.
        let store = self.status.placement().clone();
        let installed = tokio::spawn(async move { store.install(offered).await }).await;
        let installed =
            installed.map_err(|_| Status::internal("installing the placement failed"))?;
        let installed = installed.map_err(|error| write_install_error(&error))?;
        Ok(Response::new(pb::InstallPlacementResponse {
            epoch: installed.epoch.0,
        }))
    }

    async fn list_vnodes(
        &self,
        _: Request<pb::ListVnodesRequest>,
    ) -> Result<Response<pb::ListVnodesResponse>, Status> {
        let comparisons = self.status.anti_entropy().statuses();
        let mut vnodes = Vec::new();
        for vnode in self.status.replica().vnodes() {
            let tree = self.status.replica().tree_root(vnode.partition).await;
            let tree = match tree {
                Ok(tree) => tree,
                // It lacks its data: there is nothing to compare.
                Err(ReplicaError::Rebuilding { .. } | ReplicaError::Corrupt { .. }) => {
                    Sum::default()
                }
                // Given up since it was listed.
                Err(_) => continue,
            };
            let own = comparisons
                .iter()
                .filter(|comparison| comparison.partition == vnode.partition);
            vnodes.push(pb::Vnode {
                partition: vnode.partition.0.into(),
                vnode_id: vnode.vnode_id.0,
                min_valid_epoch: vnode.min_valid_epoch,
                tree_hash: tree.hash,
                tree_keys: tree.keys,
                comparisons: own.map(write_comparison).collect(),
                serving: vnode.is_serving,
                damaged: vnode.is_damaged,
                rebuilding: vnode.rebuilding.as_ref().map(write_rebuilding),
            });
        }
        Ok(Response::new(pb::ListVnodesResponse { vnodes }))
    }

    type ListDigestsStream = BoxStream<'static, Result<pb::ListDigestsResponse, Status>>;

    async fn list_digests(
        &self,
        call: Request<pb::ListDigestsRequest>,
    ) -> Result<Response<Self::ListDigestsStream>, Status> {
        let partition = read_partition(call.into_inner().partition)?;
        let pages = pages(self.status.replica().clone(), partition);
        Ok(Response::new(pages))
    }

    async fn request_comparison(
        &self,
        call: Request<pb::RequestComparisonRequest>,
    ) -> Result<Response<pb::RequestComparisonResponse>, Status> {
        let pb::RequestComparisonRequest { partition, node_id } = call.into_inner();
        let partition = read_partition(partition)?;
        let peer = node_id.parse();
        let peer = peer.map_err(|_| invalid("node_id", "must be a UUID in text form"))?;
        if self
            .status
            .anti_entropy()
            .request(partition, peer, Reason::Asked)
        {
            return Ok(Response::new(pb::RequestComparisonResponse {}));
        }
        let reason = "this node and that one are not both owners of the partition";
        let refused = RequestError::rejected(ErrorCode::NotFound, reason);
        Err(write_status(&refused))
    }

    async fn get_moves(
        &self,
        _: Request<pb::GetMovesRequest>,
    ) -> Result<Response<pb::GetMovesResponse>, Status> {
        let (moves, placement) = (self.status.moves(), self.status.placement());
        // Asked for first: what is acknowledged only grows.
        let acked_epoch = placement.acked().0;
        Ok(Response::new(pb::GetMovesResponse {
            epoch: placement.epoch().0,
            acked_epoch,
            bytes_per_second: moves.pace().bytes_per_second(),
            moves: moves.report().iter().map(write_move).collect(),
        }))
    }

    async fn set_stream_rate(
        &self,
        call: Request<pb::SetStreamRateRequest>,
    ) -> Result<Response<pb::SetStreamRateResponse>, Status> {
        let bytes_per_second = call.into_inner().bytes_per_second;
        if bytes_per_second == 0 {
            return Err(invalid("bytes_per_second", "must be 1 or more"));
        }
        let moves = self.status.moves();
        if moves.pace().bytes_per_second() != bytes_per_second {
            moves.pace().set(bytes_per_second);
            tracing::info!(bytes_per_second, "the rate of moves was changed");
        }
        Ok(Response::new(pb::SetStreamRateResponse {}))
    }
}

fn write_move(report: &MoveReport) -> pb::MoveReport {
    let ids = |nodes: &[NodeId]| nodes.iter().map(NodeId::to_string).collect();
    pb::MoveReport {
        id: report.id.to_string(),
        stage: MoveStage::from(report.stage).into(),
        ready: report.ready,
        streamed_bytes: report.streamed.bytes,
        streamed_keys: report.streamed.keys,
        streamed_from: ids(&report.streamed.from),
        expected_bytes: report.expected_bytes,
        verified: ids(&report.verified),
        drained: ids(&report.drained),
        cleaned: report.cleaned,
        problem: report.obstacle.clone().unwrap_or_default(),
    }
}

fn write_rebuilding(rebuilding: &Rebuilding) -> pb::Rebuilding {
    let sources = || rebuilding.sources.values();
    let read = sources().filter(|source| source.done).count();
    pb::Rebuilding {
        origin: rebuilding.origin.as_str().to_owned(),
        since_ms: rebuilding.since_ms,
        owners_read: u32::try_from(read).unwrap_or(u32::MAX),
        keys: sources().map(|source| source.keys).sum(),
        bytes: sources().map(|source| source.bytes).sum(),
    }
}

/// A page is read when the one before it was sent.
fn pages(
    replica: Replica,
    partition: PartitionId,
) -> BoxStream<'static, Result<pb::ListDigestsResponse, Status>> {
    stream::try_unfold(Some(None::<Bytes>), move |position| {
        let replica = replica.clone();
        async move {
            let Some(after) = position else {
                return Ok(None);
            };
            let page = replica.digests(partition, after).await;
            let page = page.map_err(|error| write_status(&error.into()))?;
            let next = page.next.clone().map(Some);
            Ok(Some((write_page(page), next)))
        }
    })
    .boxed()
}

fn write_page(page: DigestPage) -> pb::ListDigestsResponse {
    let digests = page.digests.into_iter().map(|entry| pb::KeyDigest {
        keyspace: entry.keyspace.as_str().to_owned(),
        key: entry.key.to_bytes(),
        digest: entry.digest,
    });
    pb::ListDigestsResponse {
        digests: digests.collect(),
    }
}

fn read_partition(number: u32) -> Result<PartitionId, Status> {
    let number = u16::try_from(number);
    let number = number.map_err(|_| invalid("partition", "must be below 16384"))?;
    Ok(PartitionId(number))
}

fn write_comparison(status: &ComparisonStatus) -> pb::Comparison {
    pb::Comparison {
        node_id: status.peer.to_string(),
        compared_ms_ago: status.compared_ago.map(milliseconds),
        lag_ms: milliseconds(status.lag),
    }
}

fn invalid(field: &'static str, reason: &str) -> Status {
    write_status(&FieldRefused::invalid(field, reason).into())
}

/// What the node holds may be newer or at odds: `FAILED_PRECONDITION`. What can never be installed
/// here is an invalid argument.
fn write_install_error(error: &InstallError) -> Status {
    let code = match error {
        InstallError::Refused(
            PlacementRefused::Older { .. } | PlacementRefused::SameEpochOtherContent { .. },
        ) => ErrorCode::StaleEpoch,
        InstallError::Refused(_) => ErrorCode::InvalidArgument,
        InstallError::File(_) | InstallError::DataDir(_) | InstallError::Vnodes { .. } => {
            tracing::error!(%error, "install a placement");
            ErrorCode::Unavailable
        }
    };
    write_status(&RequestError::rejected(code, error.to_string()))
}
