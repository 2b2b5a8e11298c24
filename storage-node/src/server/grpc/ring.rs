//! The `Ring` service.

use annulus_proto::kv::v1 as pb;
use annulus_proto::kv::v1::ring_server::Ring;
use annulus_proto::model::{ErrorCode, RequestError};
use annulus_proto::write_status;
use tonic::{Request, Response, Status};

use crate::coordinator::Coordinator;

/// Hands out the placement. Cheap to clone.
#[derive(Clone)]
pub(super) struct RingService {
    coordinator: Coordinator,
}

impl RingService {
    pub(super) fn new(coordinator: Coordinator) -> Self {
        Self { coordinator }
    }
}

#[tonic::async_trait]
impl Ring for RingService {
    async fn get_ring(
        &self,
        call: Request<pb::GetRingRequest>,
    ) -> Result<Response<pb::GetRingResponse>, Status> {
        let placement = self.coordinator.placement().ok_or_else(|| {
            let reason = "this node was not told its placement yet; try again later";
            write_status(&RequestError::rejected(ErrorCode::Unavailable, reason))
        })?;
        let epoch = placement.epoch().0;
        let is_current = call.into_inner().known_epoch == epoch;
        let placement = (!is_current).then(|| (&*placement).into());
        Ok(Response::new(pb::GetRingResponse { epoch, placement }))
    }
}
