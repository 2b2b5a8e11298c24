//! Time to live.

use super::FieldRefused;

/// The longest time to live: ten years of 365 days.
pub const MAX_TTL_SECONDS: u64 = 315_360_000;

/// How long a write lives: 1 to [`MAX_TTL_SECONDS`] seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeToLive(u64);

impl TimeToLive {
    /// Checks the range.
    pub fn from_seconds(seconds: i64) -> Result<Self, FieldRefused> {
        match u64::try_from(seconds) {
            Ok(seconds @ 1..=MAX_TTL_SECONDS) => Ok(Self(seconds)),
            _ => Err(FieldRefused::invalid(
                "ttl",
                format!("is {seconds} seconds; give 1 to {MAX_TTL_SECONDS} (ten years)"),
            )),
        }
    }

    /// Seconds.
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// Milliseconds.
    pub fn milliseconds(self) -> u64 {
        self.0 * 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_times_are_refused_by_name() {
        for bad in [0, -1, i64::MIN, i64::MAX, 315_360_001] {
            assert_eq!(TimeToLive::from_seconds(bad).unwrap_err().field, "ttl");
        }
        assert_eq!(TimeToLive::from_seconds(60).unwrap().milliseconds(), 60_000);
    }
}
