//! One client's session: a request is tried until it is told or given up, and what was told is recorded.

use annulus_node::simulation::Layout;
use annulus_ring::RingEpoch;
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::asking::Asker;
use crate::invariants::Invariants;
use crate::invariants::acknowledged_is_on_disk::{self, Acknowledged};
use crate::recording::{Answer, Asked, Recording, Tried, rejected};

/// A client, whatever carries its requests.
pub(crate) trait Session {
    fn asker(&mut self) -> &mut Asker;

    /// Time since the run began.
    fn now_us(&self) -> u64;

    /// Asks one node once.
    async fn attempt(&mut self, asked: &Asked) -> Answer;

    /// Asks, again and again where a client would.
    async fn try_all(&mut self, asked: &Asked) -> Vec<Tried> {
        let mut tried = Vec::new();
        loop {
            let invoked_at_us = self.now_us();
            let answer = self.attempt(asked).await;
            self.asker().learn(asked, &answer);
            tried.push(Tried {
                invoked_at_us,
                completed_at_us: self.now_us(),
                answer,
            });
            let Some(pause) = self.asker().tries_again(asked, &tried) else {
                return tried;
            };
            sleep(pause).await;
        }
    }
}

/// Leaves an operation with all its attempts in the recording.
pub(crate) fn conclude(
    invariants: &Invariants,
    recording: &Mutex<Recording>,
    asked: &Asked,
    tried: Vec<Tried>,
) {
    if let Some(value) = rejected(asked, &tried) {
        invariants.rejected(value);
    }
    recording.lock().add(asked, tried);
}

/// A write that was acknowledged this moment is on disk, and stays there. While a node lacks data it may be on one
/// disk less: that node's, lost between its own confirmation and the last one. `asked_under`: what its coordinator held
/// when it was asked.
pub(crate) fn look_at_disks(
    (layout, asked_under): (&Layout, RingEpoch),
    invariants: &Invariants,
    acknowledged: &Mutex<Acknowledged>,
    asked: &Asked,
    answer: &Answer,
    lacks_data: bool,
) {
    let Answer::Done(done) = answer else { return };
    if let Some(mut promise) = acknowledged_is_on_disk::promised(asked, done, asked_under) {
        let about = (&asked.keyspace, &asked.key);
        promise.lost = usize::from(lacks_data);
        invariants.report(acknowledged_is_on_disk::check(layout, about, &promise));
        let mut acknowledged = acknowledged.lock();
        acknowledged.add(about, &promise.event, done.sloppy);
    }
}
