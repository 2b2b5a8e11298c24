//! Names of write events: vnode, key epoch, actor, counter, dot.
//!
//! Invariant: a [`Dot`] names at most one written value in the whole life of a cluster. This module only gives
//! the names their shape; [`crate::minting`] keeps the invariant.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use thiserror::Error;

/// Identity of one vnode's data, random, made together with that data (rule V1).
///
/// A wiped, rebuilt or restored vnode gets a new one: an id stands for an unbroken memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VnodeId(pub u64);

impl fmt::Display for VnodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A stretch of one vnode's memory of one key; a vnode that may have forgotten events of a key goes on under a
/// fresh epoch (rules V2 to V5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyEpoch(pub u32);

/// Number of an event among its actor's events on one key; the first is 1.
pub type Counter = u64;

/// Who writes: a vnode during one key epoch. Its counters grow by one and never restart.
///
/// Written as the vnode in 16 hex digits, a dot, and the epoch in decimal: `00000000000000a7.7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor {
    /// The vnode.
    pub vnode: VnodeId,
    /// Its epoch on the key.
    pub epoch: KeyEpoch,
}

impl Actor {
    /// The actor of a vnode in an epoch.
    pub const fn new(vnode: VnodeId, epoch: KeyEpoch) -> Self {
        Self { vnode, epoch }
    }

    /// This actor's event with the given counter.
    pub const fn dot(self, counter: Counter) -> Dot {
        Dot {
            actor: self,
            counter,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.vnode, self.epoch.0)
    }
}

/// Text that is not an actor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseActorError {
    /// There is no dot between vnode and epoch.
    #[error("actor has no '.' between vnode and epoch")]
    Separator,
    /// The vnode is not 1 to 16 hex digits.
    #[error("actor's vnode is not hexadecimal: {0}")]
    Vnode(#[source] ParseIntError),
    /// The epoch is not a decimal number below 2^32.
    #[error("actor's epoch is not a number: {0}")]
    Epoch(#[source] ParseIntError),
    /// It reads as an actor, but is not how that actor is written.
    #[error("actor is not written in its one form, 16 lowercase hex digits and a plain decimal")]
    NotCanonical,
}

impl FromStr for Actor {
    type Err = ParseActorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (vnode, epoch) = text.split_once('.').ok_or(ParseActorError::Separator)?;
        let vnode = u64::from_str_radix(vnode, 16).map_err(ParseActorError::Vnode)?;
        let epoch = epoch.parse().map_err(ParseActorError::Epoch)?;
        let actor = Self::new(VnodeId(vnode), KeyEpoch(epoch));
        // One text for one actor: map keys must not name the same actor twice.
        if actor.to_string() == text {
            Ok(actor)
        } else {
            Err(ParseActorError::NotCanonical)
        }
    }
}

/// One write event: the `counter`-th of its actor on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Who wrote.
    pub actor: Actor,
    /// Which of the actor's events; at least 1.
    pub counter: Counter,
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.actor, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actor_is_written_and_read_in_one_form() {
        let actor = Actor::new(VnodeId(0x9f3c_0000_0000_00a7), KeyEpoch(7));
        assert_eq!(actor.to_string(), "9f3c0000000000a7.7");
        assert_eq!("9f3c0000000000a7.7".parse(), Ok(actor));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            ".",
            "a7",
            "a7.7",
            "9F3C0000000000A7.7",
            "9f3c0000000000a7.07",
            "+9f3c000000000a7.7",
        ] {
            assert!(text.parse::<Actor>().is_err(), "{text}");
        }
        assert!("9f3c0000000000a7.4294967296".parse::<Actor>().is_err());
    }
}
