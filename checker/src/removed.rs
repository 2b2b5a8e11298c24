//! An index of what acknowledged writes have replaced, which clears most of what is read at once.
//!
//! It errs on one side only: what [`Removed::may_hold`] denies, no write [must have
//! replaced](crate::replacement::must_cover).

use annulus_causality::{Dot, VersionVector};

use crate::as_of::last_before;
use crate::key_history::KeyHistory;
use crate::operation::{Consistency, Operation};
use crate::replacement::certainly_wrote;

/// See the module.
#[derive(Debug)]
pub(crate) struct Removed {
    classes: Vec<Class>,
}

/// The removers that ran with the same numbers, by the time of their acknowledgement.
#[derive(Debug)]
struct Class {
    consistency: Consistency,
    /// The join of all contexts until then.
    covered: Vec<(u64, VersionVector)>,
    /// Deletes without context: when the last of them until then began.
    looked: Vec<(u64, u64)>,
}

impl Removed {
    pub(crate) fn of(key: &KeyHistory<'_>) -> Self {
        let mut removers: Vec<(u64, &Operation)> = key
            .writes
            .iter()
            .filter(|write| certainly_wrote(write))
            .filter_map(|write| Some((write.acknowledged_at_us()?, *write)))
            .collect();
        removers.sort_by_key(|&(at, _)| at);
        let mut removed = Self {
            classes: Vec::new(),
        };
        for (at, remover) in removers {
            removed.class(remover.consistency).add(at, remover);
        }
        removed
    }

    fn class(&mut self, consistency: Consistency) -> &mut Class {
        let known = self
            .classes
            .iter()
            .position(|class| class.consistency == consistency);
        let at = known.unwrap_or_else(|| {
            self.classes.push(Class {
                consistency,
                covered: Vec::new(),
                looked: Vec::new(),
            });
            self.classes.len() - 1
        });
        &mut self.classes[at]
    }

    /// Whether a write that was acknowledged before that time may have replaced the put's event. `read_by`: only
    /// those that a read with these numbers meets.
    pub(crate) fn may_hold(
        &self,
        dot: Dot,
        put: Option<&Operation>,
        before_us: u64,
        read_by: Option<Consistency>,
    ) -> bool {
        let met = |class: &&Class| read_by.is_none_or(|read| read.reads_every(class.consistency));
        self.classes
            .iter()
            .filter(met)
            .any(|class| class.may_hold(dot, put, before_us))
    }
}

impl Class {
    fn add(&mut self, at: u64, remover: &Operation) {
        if let Some(context) = remover.sent_context() {
            let mut joined = self
                .covered
                .last()
                .map_or_else(VersionVector::new, |(_, joined)| joined.clone());
            joined.join(context);
            self.covered.push((at, joined));
        } else if remover.value().is_none() {
            let latest = self.looked.last().map_or(0, |&(_, began)| began);
            self.looked.push((at, latest.max(remover.invoked_at_us())));
        }
    }

    fn may_hold(&self, dot: Dot, put: Option<&Operation>, before_us: u64) -> bool {
        let covered = last_before(&self.covered, before_us);
        let looked = last_before(&self.looked, before_us);
        let seen = |looked: &u64| {
            put.is_some_and(|put| {
                let attempts = put.attempts.iter();
                let mut named = attempts.filter(|attempt| attempt.outcome.dot() == Some(dot));
                self.consistency.reads_every(put.consistency)
                    && named.any(|attempt| attempt.completed_at_us.is_some_and(|end| end < *looked))
            })
        };
        covered.is_some_and(|covered| covered.covers(dot)) || looked.is_some_and(seen)
    }
}
