//! The `Admin` service.

use annulus_proto::admin::v1 as pb;
use annulus_proto::admin::v1::admin_server::Admin;
use annulus_proto::model::{ErrorCode, FieldRefused, RequestError};
use annulus_proto::write_status;
use annulus_ring::{PartitionId, Placement};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tonic::{Request, Response, Status};

use super::status::StatusSource;
use crate::placement::{InstallError, PlacementRefused};
use crate::replica::{DigestPage, Replica};

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
        let vnodes = self
            .status
            .replica()
            .vnodes()
            .into_iter()
            .map(|vnode| pb::Vnode {
                partition: vnode.partition.0.into(),
                vnode_id: vnode.vnode_id.0,
                min_valid_epoch: vnode.min_valid_epoch,
            });
        Ok(Response::new(pb::ListVnodesResponse {
            vnodes: vnodes.collect(),
        }))
    }

    type ListDigestsStream = BoxStream<'static, Result<pb::ListDigestsResponse, Status>>;

    async fn list_digests(
        &self,
        call: Request<pb::ListDigestsRequest>,
    ) -> Result<Response<Self::ListDigestsStream>, Status> {
        let partition = u16::try_from(call.into_inner().partition)
            .map_err(|_| invalid("partition", "must be below 16384"))?;
        let pages = pages(self.status.replica().clone(), PartitionId(partition));
        Ok(Response::new(pages))
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
