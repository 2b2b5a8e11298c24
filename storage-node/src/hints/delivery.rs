//! Delivers one page of a target's hints. The driver.
//!
//! Where a hint goes is decided by the placement of the moment: to its target while that owns the
//! key, else to all who own it now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_ring::{NodeId, Placement};
use bytes::Bytes;

use super::backlog::DropReason;
use super::credit::Grant;
use super::receiver::{Handover, Taken};
use super::record::{Hint, is_expired};
use super::replayer::Replayer;
use super::store::Stored;
use crate::mistake::{self, Mistake};
use crate::peer::PeerFailure;
use crate::placement::takes_writes;
use crate::storage::key_encoding::DecodedKey;

/// How long one delivery may take; what is applied later than that is refused.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a question for leave may take.
const CREDIT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often leave is asked for before the delivery is put off.
const CREDIT_ATTEMPTS: usize = 30;

/// What came of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// There were no more hints.
    End,
    /// All that could be tried was taken, or given up for good.
    Done,
    /// Some were not taken and stay.
    Left,
    /// The target could not be reached; go on at the same place.
    Unreached,
}

/// What becomes of one hint of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nobody was asked to take it.
    Stays,
    /// All who were asked have taken it.
    Delivered,
    /// Not all have.
    Retry,
    /// It is given up.
    Dropped(DropReason),
}

impl Fate {
    /// With one more answer.
    fn after(self, taken: Taken) -> Self {
        match (self, taken) {
            (Self::Dropped(reason), _) => Self::Dropped(reason),
            (_, Taken::Expired) => Self::Dropped(DropReason::Expired),
            (_, Taken::Refused) => Self::Dropped(DropReason::Refused),
            (Self::Retry, _) | (_, Taken::NotOwner | Taken::Failed) => Self::Retry,
            (Self::Stays | Self::Delivered, Taken::Applied) => Self::Delivered,
        }
    }
}

/// Who is to take what, by the hints' places in the page.
type Routes = BTreeMap<NodeId, Vec<usize>>;

impl Replayer {
    /// Delivers the page after `cursor`, and moves the cursor. `reach`: whether the target is tried; else
    /// only what others own now, or is too old, is dealt with.
    pub(super) async fn deliver_page(
        &self,
        target: NodeId,
        reach: bool,
        cursor: &mut Option<Bytes>,
    ) -> Page {
        let Some(placement) = self.0.parts.placement.current() else {
            return Page::Unreached;
        };
        let page = match self.0.parts.hints.page(target, cursor.as_ref()).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "hints can't be read");
                return Page::Unreached;
            }
        };
        let Some(last) = page.last().map(|last| last.key.clone()) else {
            *cursor = None;
            return Page::End;
        };
        let mut fates = self.judge(&page);
        let routes = routes(&placement, target, reach, &page, &fates);
        let mut unreached = false;
        for (receiver, places) in routes {
            let sent = self.send(&placement, receiver, &page, &places).await;
            if receiver == target {
                unreached = sent.is_err();
                if !unreached {
                    self.0.parts.hints.reached(target);
                }
            }
            let answers = sent.unwrap_or_else(|failure| {
                tracing::debug!(%failure, "hints were not delivered");
                vec![Taken::Failed; places.len()]
            });
            for (place, taken) in places.into_iter().zip(answers) {
                fates[place] = fates[place].after(taken);
            }
        }
        for (stored, fate) in page.iter().zip(&mut fates) {
            // What was promised is never given up: it waits for somebody to look at it.
            if stored.is_sloppy() && matches!(fate, Fate::Dropped(_)) {
                *fate = Fate::Retry;
            }
        }
        let left = fates.contains(&Fate::Retry);
        if !self.settle(target, page, &fates).await || unreached {
            return Page::Unreached;
        }
        *cursor = Some(last);
        if left { Page::Left } else { Page::Done }
    }

    /// What can be told without asking anybody.
    fn judge(&self, page: &[Stored]) -> Vec<Fate> {
        let now_ms = self.0.parts.clock.wall_ms();
        let fate = |stored: &Stored| match &stored.content {
            Err(detail) => {
                tracing::error!(detail, "a hint is damaged");
                Fate::Dropped(DropReason::Damaged)
            }
            Ok((_, hint))
                if !hint.sloppy
                    && is_expired(hint.written, now_ms, self.0.parts.hints.0.limits.ttl) =>
            {
                Fate::Dropped(DropReason::Expired)
            }
            Ok(_) => Fate::Stays,
        };
        page.iter().map(fate).collect()
    }

    /// Hands hints to one node; what it says of each.
    async fn send(
        &self,
        placement: &Arc<Placement>,
        receiver: NodeId,
        page: &[Stored],
        places: &[usize],
    ) -> Result<Vec<Taken>, PeerFailure> {
        let handed_over = places.iter().filter_map(|place| {
            let (key, hint) = page[*place].content.as_ref().ok()?;
            Some(handover(key, hint))
        });
        let handed_over: Vec<_> = handed_over.collect();
        if receiver == self.0.parts.placement.node() {
            let own = placement.index_of(receiver);
            let deadline = self.0.parts.clock.now() + DELIVERY_TIMEOUT;
            return Ok(self
                .0
                .parts
                .hints
                .take((placement, own), handed_over, deadline)
                .await);
        }
        let bytes: usize = handed_over
            .iter()
            .map(|handover| handover.state.len())
            .sum();
        self.await_credit(placement, receiver, bytes as u64).await?;
        let (peers, epoch) = (self.0.parts.peers.clone(), placement.epoch());
        let deadline = self.0.parts.clock.now() + DELIVERY_TIMEOUT;
        let sent = async move {
            let sent = peers.deliver_hints(receiver, epoch, handed_over, deadline);
            sent.await
        };
        if mistake::is_made(Mistake::HintRemovedBeforeSync) {
            // Sent is taken for delivered: what the receiver has not on disk yet may be lost.
            tokio::spawn(sent);
            return Ok(vec![Taken::Applied; places.len()]);
        }
        let answers = sent.await?;
        if answers.len() == places.len() {
            Ok(answers)
        } else {
            let message = format!("{} answers to {} hints", answers.len(), places.len());
            Err(PeerFailure::Lost(message))
        }
    }

    /// Waits for the receiver's leave.
    async fn await_credit(
        &self,
        placement: &Placement,
        receiver: NodeId,
        bytes: u64,
    ) -> Result<(), PeerFailure> {
        for _ in 0..CREDIT_ATTEMPTS {
            let deadline = self.0.parts.clock.now() + CREDIT_TIMEOUT;
            let epoch = placement.epoch();
            let granted = self
                .0
                .parts
                .peers
                .hint_credit(receiver, epoch, bytes, deadline)
                .await?;
            match granted {
                Grant::Send => return Ok(()),
                Grant::Wait(wait) => tokio::time::sleep(wait).await,
            }
        }
        Err(PeerFailure::NotSent(format!(
            "node {receiver} takes no hints now"
        )))
    }

    /// Removes what was delivered or is given up. Whether that was written.
    async fn settle(&self, target: NodeId, page: Vec<Stored>, fates: &[Fate]) -> bool {
        let (mut gone, mut delivered) = (Vec::new(), 0);
        for (stored, fate) in page.into_iter().zip(fates) {
            match fate {
                Fate::Stays | Fate::Retry => continue,
                Fate::Delivered => delivered += 1,
                Fate::Dropped(reason) => {
                    let hints = &self.0.parts.hints;
                    hints.dropped(target, stored.partition, *reason);
                }
            }
            gone.push(stored);
        }
        if gone.is_empty() {
            return true;
        }
        match self.0.parts.hints.remove(target, gone).await {
            Ok(()) => {
                self.0.parts.hints.0.metrics.delivered(delivered);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "delivered hints were not removed");
                false
            }
        }
    }
}

/// Who is to take each hint that nobody has judged yet.
fn routes(
    placement: &Placement,
    target: NodeId,
    reach: bool,
    page: &[Stored],
    fates: &[Fate],
) -> Routes {
    let index = placement.index_of(target);
    let partitions = placement.partitions().get();
    let mut routes = Routes::new();
    for (place, (stored, fate)) in page.iter().zip(fates).enumerate() {
        if *fate != Fate::Stays || u32::from(stored.partition.0) >= partitions {
            continue;
        }
        if index.is_some_and(|index| takes_writes(placement, stored.partition, index)) {
            if reach {
                routes.entry(target).or_default().push(place);
            }
            continue;
        }
        for owner in placement.write_sets(stored.partition).targets() {
            let owner = placement.node(owner).id;
            routes.entry(owner).or_default().push(place);
        }
    }
    routes
}

fn handover(key: &DecodedKey, hint: &Hint) -> Handover {
    Handover {
        keyspace: key.keyspace.clone(),
        key: key.key.clone(),
        state: hint.state.encode(),
        written: hint.written,
        sloppy: hint.sloppy,
    }
}

#[cfg(test)]
mod tests {
    use annulus_proto::model::{Key, KeyspaceName};
    use annulus_ring::{NodeIndex, PartitionId, Token};

    use super::*;
    use crate::hints::record::tests::hint;
    use crate::placement::tests::placement_of;
    use crate::storage::key_encoding;

    fn stored(target: NodeId, partition: u16) -> Stored {
        let (space, key) = (KeyspaceName::kv(), Key::new("k".to_owned()).unwrap());
        let stored = key_encoding::encode(PartitionId(partition), Token(1), &space, &key);
        let key = crate::hints::record::key(target, &stored);
        let hint = hint(1, &[5]);
        Stored {
            record: hint.encode(&key),
            partition: PartitionId(partition),
            content: Ok((key_encoding::decode(&stored).unwrap(), hint)),
            key,
        }
    }

    #[test]
    fn a_hint_goes_to_its_target_or_to_all_who_own_its_key_now() {
        let placement = placement_of(5, 1);
        let ids: Vec<_> = placement.nodes().iter().map(|node| node.id).collect();
        // Partition 0 belongs to the first three nodes, partition 1 to the second to fourth.
        assert_eq!(placement.owners(PartitionId(1))[0], NodeIndex(1));
        let page = [stored(ids[0], 0), stored(ids[0], 1), stored(ids[0], 0)];
        let fates = [Fate::Stays, Fate::Stays, Fate::Dropped(DropReason::Expired)];
        let found = routes(&placement, ids[0], true, &page, &fates);
        let expected: Routes = [
            (ids[0], vec![0]),
            (ids[1], vec![1]),
            (ids[2], vec![1]),
            (ids[3], vec![1]),
        ]
        .into();
        assert_eq!(found, expected);
        let found = routes(&placement, ids[0], false, &page, &fates);
        assert_eq!(found.get(&ids[0]), None, "who is away is not tried");
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn a_hint_for_several_is_delivered_when_all_have_it() {
        use Taken::{Applied, Expired, Failed, NotOwner, Refused};
        let fate = |answers: &[Taken]| {
            answers
                .iter()
                .fold(Fate::Stays, |fate, taken| fate.after(*taken))
        };
        assert_eq!(fate(&[]), Fate::Stays);
        assert_eq!(fate(&[Applied, Applied]), Fate::Delivered);
        assert_eq!(fate(&[Failed, Applied]), Fate::Retry);
        assert_eq!(fate(&[Applied, NotOwner]), Fate::Retry);
        assert_eq!(
            fate(&[Applied, Expired, Applied]),
            Fate::Dropped(DropReason::Expired)
        );
        assert_eq!(fate(&[Refused, Failed]), Fate::Dropped(DropReason::Refused));
    }
}
