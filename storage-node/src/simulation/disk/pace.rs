//! How long a simulated disk takes, and what it is writing when it stops.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::sleep;

use super::{SimDisk, SimEngine, SyncTakes};
use crate::storage::pace::Pace;
use crate::storage::{Batch, Persistence};

/// The pace of the disk's present run.
struct DiskPace {
    disk: SimDisk,
    run: u64,
}

impl SimEngine {
    pub(crate) fn pace(&self) -> Arc<dyn Pace> {
        Arc::new(DiskPace {
            disk: self.disk.clone(),
            run: self.run,
        })
    }
}

impl DiskPace {
    fn takes(&self, milliseconds: u64) -> BoxFuture<'static, ()> {
        let disk = self.disk.clone();
        Box::pin(async move {
            sleep(Duration::from_millis(milliseconds)).await;
            disk.0.stalled.wait_for(|stalled| !stalled).await;
        })
    }
}

impl Pace for DiskPace {
    fn before_write(&self, batch: &Batch, persistence: Persistence) -> BoxFuture<'static, ()> {
        let takes = {
            let mut medium = self.disk.0.medium.lock();
            if medium.run == self.run {
                medium.being_written.push(batch.clone());
            }
            medium.sync_takes
        };
        let chance = &self.disk.0.chance;
        self.takes(match (persistence, takes) {
            (Persistence::Buffered, _) => 0,
            (Persistence::Synced, SyncTakes::Usual) => chance.within(1..4),
            (Persistence::Synced, SyncTakes::UpTo(most)) => chance.within(1..most.max(2)),
        })
    }

    fn before_read(&self) -> BoxFuture<'static, ()> {
        let milliseconds = self.disk.0.chance.within(0..3);
        self.takes(milliseconds)
    }
}
