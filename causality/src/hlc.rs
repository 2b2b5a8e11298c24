//! Hybrid logical clock (Kulkarni et al., 2014): stamps near wall time that respect causality.
//!
//! A stamp is 48 bits of milliseconds since 1970 and 16 bits of logical counter. Two writes may carry equal
//! stamps only if their dots differ, so `(stamp, dot)` is a total order without ties.
//!
//! Invariant: ticks of one clock strictly grow, whatever wall time does. A stamp from elsewhere that is more than
//! [`MAX_SKEW_MS`] ahead of wall time is refused: accepted, it would win over every later write for as long as it
//! is ahead.

use std::fmt;

use thiserror::Error;

/// How far, in milliseconds, a foreign stamp may run ahead of this node's wall clock.
pub const MAX_SKEW_MS: u64 = 500;

const LOGICAL_BITS: u32 = 16;
const WALL_MS_MAX: u64 = u64::MAX >> LOGICAL_BITS;

/// A stamp; ordered by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HlcStamp(pub u64);

impl HlcStamp {
    /// The first stamp of a millisecond (since 1970; from year 10889 on, the last millisecond that fits).
    pub const fn at_ms(ms: u64) -> Self {
        let ms = if ms > WALL_MS_MAX { WALL_MS_MAX } else { ms };
        Self(ms << LOGICAL_BITS)
    }

    /// Milliseconds since 1970.
    pub const fn ms(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// Counter within the millisecond.
    pub const fn logical(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The next stamp; a full logical counter carries into the milliseconds.
    const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for HlcStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.ms(), self.logical())
    }
}

/// Why a stamp was not accepted. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HlcError {
    /// Some node's clock is wrong, this one's or the one's that made the stamp. Retry after the clocks agree.
    #[error(
        "stamp is {ahead_ms} ms ahead of the wall clock, more than {MAX_SKEW_MS} ms; check clock synchronisation"
    )]
    TooFarAhead {
        /// Distance to this node's wall time.
        ahead_ms: u64,
    },
}

/// One node's clock. The wall time, in milliseconds since 1970, comes with each call.
#[derive(Clone, Debug, Default)]
pub struct HlcClock {
    last: HlcStamp,
}

impl HlcClock {
    /// A clock that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The latest stamp given out or observed.
    pub fn last(&self) -> HlcStamp {
        self.last
    }

    /// A stamp larger than all before it, than `above`, and not before wall time.
    ///
    /// For a write, `above` is [`crate::KeyState::max_stamp`] of what it replaces: this is how invariant I5 (a
    /// write's stamp is larger than the stamp of anything its context covers) comes about.
    pub fn tick(&mut self, now_ms: u64, above: Option<HlcStamp>) -> Result<HlcStamp, HlcError> {
        if let Some(above) = above {
            self.observe(above, now_ms)?;
        }
        self.last = self.last.next().max(HlcStamp::at_ms(now_ms));
        Ok(self.last)
    }

    /// Learns a stamp made elsewhere, so that later ticks are above it.
    ///
    /// A stamp that this clock is already past is always fine, even when wall time was set back.
    pub fn observe(&mut self, remote: HlcStamp, now_ms: u64) -> Result<(), HlcError> {
        if remote <= self.last {
            return Ok(());
        }
        let ahead_ms = remote.ms().saturating_sub(now_ms);
        if ahead_ms > MAX_SKEW_MS {
            return Err(HlcError::TooFarAhead { ahead_ms });
        }
        self.last = remote;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_grow_when_wall_time_stands_still_or_goes_back() {
        let mut clock = HlcClock::new();
        let stamps: Vec<_> = [100, 100, 100, 40, 101]
            .map(|now| clock.tick(now, None).unwrap())
            .to_vec();
        assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
        assert_eq!(stamps[4], HlcStamp::at_ms(101));
    }

    #[test]
    fn full_logical_counter_carries_into_the_milliseconds() {
        let mut clock = HlcClock::new();
        clock.observe(HlcStamp((7 << 16) | 0xffff), 7).unwrap();
        let stamp = clock.tick(7, None).unwrap();
        assert_eq!((stamp.ms(), stamp.logical()), (8, 0));
    }

    #[test]
    fn tick_is_above_what_it_replaces() {
        let mut clock = HlcClock::new();
        let above = HlcStamp::at_ms(1_300);
        assert!(clock.tick(1_000, Some(above)).unwrap() > above);
    }

    #[test]
    fn stamp_beyond_the_skew_is_refused_and_leaves_no_trace() {
        let mut clock = HlcClock::new();
        clock.tick(1_000, None).unwrap();
        let poison = HlcStamp::at_ms(1_000 + MAX_SKEW_MS + 1);
        let refused = HlcError::TooFarAhead {
            ahead_ms: MAX_SKEW_MS + 1,
        };
        assert_eq!(clock.observe(poison, 1_000), Err(refused));
        assert_eq!(clock.tick(1_000, Some(poison)), Err(refused));
        assert!(clock.tick(1_001, None).unwrap() < poison);
        assert_eq!(
            clock.observe(HlcStamp::at_ms(1_001 + MAX_SKEW_MS), 1_001),
            Ok(())
        );
    }

    #[test]
    fn own_stamps_stay_usable_after_wall_time_is_set_back() {
        let mut clock = HlcClock::new();
        let before = clock.tick(1_000_000, None).unwrap();
        assert!(clock.tick(10, Some(before)).unwrap() > before);
    }
}
