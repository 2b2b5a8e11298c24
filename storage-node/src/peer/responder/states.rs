//! Gives states of a copy, page by page: to an owner that has lost its own, or, in a move's session, to one that
//! joins.

use annulus_proto::model::{ErrorCode, RequestError};
use annulus_proto::peer::v1::{ScanStates, reply};
use annulus_ring::{MoveId, PartitionId, Placement, Stage};
use tokio::time::Instant;

use super::super::wire;
use super::{RETRY_AFTER, Responder, in_time};
use crate::mistake::{self, Mistake};
use crate::moves::Direction;
use crate::overload::Throttle as _;
use crate::replica::StatesPage;

/// The most that one page takes, whatever the caller asks for, unless a single state is larger.
const MAX_PAGE_BYTES: usize = 4 << 20;

impl Responder {
    pub(super) async fn scan_states(
        &self,
        scan: ScanStates,
        (session, placement): (Option<MoveId>, &Placement),
        deadline: Instant,
    ) -> Result<reply::Body, RequestError> {
        let partition = wire::read_partition(scan.partition)?;
        let after = Some(scan.after).filter(|after| !after.is_empty());
        let bytes = usize::try_from(scan.limit_bytes).unwrap_or(usize::MAX);
        let bytes = bytes.min(MAX_PAGE_BYTES);
        let page = if session.is_some() {
            self.check_source(placement, partition)?;
            self.paced_states(partition, (after, bytes), deadline)
                .await?
        } else {
            let states = self.0.replica.states(partition, after, bytes);
            in_time(deadline, states).await??
        };
        Ok(reply::Body::ScanStates(wire::states(page)))
    }

    /// Whatever is not in this copy by then was sent to the joining owner as well.
    fn check_source(
        &self,
        placement: &Placement,
        partition: PartitionId,
    ) -> Result<(), RequestError> {
        let it = placement.move_of(partition);
        let acked = self.0.placement.acked();
        let is_settled = it.is_some_and(|it| it.stage >= Stage::Stream && acked >= it.since);
        if is_settled || mistake::is_made(Mistake::SnapshotBeforeBarrier) {
            return Ok(());
        }
        let message = "older writes of the partition are not settled on this node yet";
        Err(RequestError::rejected(ErrorCode::Unavailable, message))
    }

    async fn paced_states(
        &self,
        partition: PartitionId,
        (after, bytes): (Option<bytes::Bytes>, usize),
        deadline: Instant,
    ) -> Result<StatesPage, RequestError> {
        let pace = &self.0.move_pace;
        let Some(_given) = pace.give() else {
            let message = "as many pages as may be are being given at the moment";
            return Err(RequestError::overloaded(message, RETRY_AFTER));
        };
        let most = pace.page_bytes(bytes as u64);
        let bytes = bytes.min(usize::try_from(most).unwrap_or(usize::MAX));
        let states = self.0.replica.states(partition, after, bytes);
        let page = in_time(deadline, states).await??;
        in_time(deadline, pace.towards(Direction::Out).spend(page.bytes())).await?;
        Ok(page)
    }
}
