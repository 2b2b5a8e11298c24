//! What is asked of a replica about records beside the data.

use annulus_ring::PartitionId;
use tokio::sync::oneshot;

use super::Replica;
use crate::replica::ReplicaError;
use crate::replica::aside::{Aside, AsideRecords};
use crate::replica::committer::Operation;
use crate::storage::{EngineError, Entry, KeyRange, ScanLimit, Space};

impl Replica {
    /// Does work on records beside the data, in the partition's turn; returns its result once what it
    /// changed is on disk. `grows`: not on a disk that is nearly full.
    ///
    /// Dropping the future before the work's turn takes it back; later it is done.
    pub(crate) async fn write_aside<T: Send + 'static>(
        &self,
        partition: PartitionId,
        (bytes, grows): (usize, bool),
        work: impl FnOnce(&mut AsideRecords<'_>) -> Result<T, ReplicaError> + Send + 'static,
    ) -> Result<T, ReplicaError> {
        let (result, found) = oneshot::channel();
        let work = Box::new(move |records: &mut AsideRecords<'_>| {
            let _ = result.send(work(records)?); // whoever has stopped waiting is not told
            Ok(())
        });
        let aside = Aside { bytes, grows, work };
        let (reply, durable) = oneshot::channel();
        let queued = self
            .shared
            .enqueue(partition, Operation::Aside { aside, reply });
        let stopped = ReplicaError::Stopped { applied: true };
        let written = async {
            queued?;
            durable.await.unwrap_or(Err(stopped.clone()))?;
            found.await.map_err(|_| stopped)
        };
        let written = written.await;
        self.shared.metrics.count("aside", &written);
        written
    }

    /// Records of a space beside the data, in the order of their keys.
    pub(crate) async fn scan_aside(
        &self,
        space: Space,
        range: KeyRange,
        limit: ScanLimit,
    ) -> Result<Vec<Entry>, ReplicaError> {
        let engine = self.shared.engine.clone();
        let found = self.on_disk(move || engine.scan(space, &range, limit));
        Ok(found.await??)
    }

    /// As [`Self::scan_aside`], at the start, when blocking is allowed.
    pub(crate) fn scan_at_start(
        &self,
        space: Space,
        range: &KeyRange,
        limit: ScanLimit,
    ) -> Result<Vec<Entry>, EngineError> {
        self.shared.engine.scan(space, range, limit)
    }
}
