//! Mistakes that a simulation makes on purpose, to show that it would find them.
//!
//! Invariant: without the feature `simulation`, which nothing but this crate's own tests turns on,
//! [`is_made`] is the constant `false` and the compiler removes what depends on it. With it, a
//! mistake is made only on a thread that asked for it.

/// One mistake. Each stands at one place in the code, where [`is_made`] names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "simulation"),
    expect(unreachable_pub, dead_code, reason = "simulations alone make mistakes")
)]
pub enum Mistake {
    /// A write is acknowledged when it is applied, before the log is on disk.
    AcknowledgeBeforeSync,
    /// A coordinator answers once one owner fewer than asked for holds the write.
    OneAckTooFew,
    /// A node mints for keys that it does not own.
    MintOnNonOwner,
    /// Rule V3 is left out: no fresh epoch when the key is absent.
    NoFreshEpochWhenAbsent,
    /// Rule V4 is left out: no event when a vnode learns that it has forgotten.
    NoEventAfterAmnesia,
    /// Rule V5 is left out: epochs go on after an unclean start.
    NoDistrustAfterUncleanStart,
    /// Read repair writes what it found as a new write.
    RepairMints,
    /// The epoch is checked before a request is applied, not after.
    FenceOnlyBefore,
    /// A write that too few owners hold is called rejected.
    RejectedThoughApplied,
    /// A write's answer covers all that its owner knows, shown to the client or not.
    ContextCoversUnseen,
    /// A read takes the first owner's state, whatever the others' digests say.
    DigestsIgnored,
    /// A damaged record passes for an absent key.
    DamageReadsAsAbsent,
    /// After a failed log write the node goes on.
    FailedSyncIgnored,
    /// A retry is minted again.
    RetryMintsAgain,
    /// One counter for all keys of a vnode.
    OneCounterForVnode,
    /// What comes by a merge lives for ever.
    MergeForgetsExpiry,
    /// Hints are delivered and taken however old they are.
    HintsNeverExpire,
    /// A delivered hint is minted as a new write.
    ReplayMints,
    /// A hint is removed when it was sent, before its receiver has it on disk.
    HintRemovedBeforeSync,
    /// A sloppy write for which there is no room is acknowledged, and not kept.
    SloppyHintDropped,
    /// What waited until after its deadline is merged all the same.
    LateMergesApplied,
    /// Owners that gossip calls down don't count for quorums any more.
    GossipEvicts,
    /// A node that nobody answers accuses those that it asked, without a witness.
    SlowObserverAccuses,
    /// The hash of a key in the hash tree covers values, expiry and remembered requests.
    TreeHashesValues,
    /// The hash tree is changed after the data, in a batch of its own.
    TreeInItsOwnBatch,
    /// Anti-entropy moves keys without looking a second time.
    RepairUnconfirmed,
    /// Anti-entropy writes what it was sent as a new write.
    ExchangeMints,
    /// A tombstone is removed when it is old, whatever the other owners hold.
    ReapByAgeAlone,
    /// What is removed is not compared with what all owners confirmed.
    RemoveWhatChanged,
    /// A key whose values have all expired is removed at once, with its clock.
    ExpiryRemovesRecord,
    /// A vnode that is being rebuilt answers reads with what it has so far.
    RebuildingAnswersAbsent,
    /// A rebuilt vnode serves once a single other owner was read.
    RebuildFromOne,
    /// A vnode that gave up its data goes on under its old id.
    RebuiltUnderOldId,
    /// During a move a write is acknowledged by the old owners alone.
    NoJointQuorum,
    /// A source of a move gives what it has before older writes are settled.
    SnapshotBeforeBarrier,
    /// Who leaves a partition says that the new owners lack nothing, and has not looked.
    NoDrain,
    /// Who leaves a partition deletes its copy as soon as others are asked for it.
    CleanupBeforeCommit,
    /// A lost copy is made anew from one of the others, whichever that is.
    ReplacedFromOne,
    /// The operator takes what it has recorded for acknowledged by everybody: a mistake of the model of it.
    NoBarrier,
}

/// Whether this mistake is being made here.
#[cfg(not(feature = "simulation"))]
pub(crate) const fn is_made(_: Mistake) -> bool {
    false
}

#[cfg(feature = "simulation")]
pub use seeded::{Seeded, make};
#[cfg(feature = "simulation")]
pub(crate) use seeded::{is_made, rule_left_out};

#[cfg(feature = "simulation")]
mod seeded {
    use std::cell::Cell;

    use annulus_causality::Rule;

    use super::Mistake;

    thread_local! {
        static MADE: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// A mistake is made on this thread until this is dropped.
    #[derive(Debug)]
    pub struct Seeded(());

    impl Drop for Seeded {
        fn drop(&mut self) {
            MADE.set(None);
        }
    }

    /// Makes a mistake, or none, on this thread.
    #[must_use]
    pub fn make(mistake: Option<Mistake>) -> Seeded {
        MADE.set(mistake);
        Seeded(())
    }

    pub(crate) fn is_made(mistake: Mistake) -> bool {
        MADE.get() == Some(mistake)
    }

    pub(crate) fn rule_left_out() -> Option<Rule> {
        match MADE.get()? {
            Mistake::NoFreshEpochWhenAbsent => Some(Rule::FreshEpochWhenAbsent),
            Mistake::NoEventAfterAmnesia => Some(Rule::EventAfterAmnesia),
            Mistake::NoDistrustAfterUncleanStart => Some(Rule::DistrustAfterUncleanStart),
            Mistake::OneCounterForVnode => Some(Rule::KeyEpochs),
            _ => None,
        }
    }
}
