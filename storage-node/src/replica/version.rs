//! The version that `lww` keyspaces show: an integer that grows with every successful write.
//!
//! It is the winning sibling's hybrid stamp, made to fit a JSON number: 41 bits of milliseconds
//! since 2024 and 12 bits of logical counter, so below 2^53 until 2093. It names the value that is
//! shown, is the same on every replica, and grows exactly as "last" in "last writer wins" is
//! decided. Sums of a clock's counters would not: an owner that missed a write would mint a lower
//! sum than that write had.

use annulus_causality::{HlcStamp, KeyState};

/// 2024-01-01T00:00:00Z in milliseconds since 1970.
const ORIGIN_MS: u64 = 1_704_067_200_000;

const LOGICAL_BITS: u32 = 12;

/// The largest logical counter that a version can tell apart; the replica mints none above.
pub(super) const LOGICAL_MAX: u16 = (1 << LOGICAL_BITS) - 1;

/// The version of a write by its stamp.
pub fn version_at(stamp: HlcStamp) -> u64 {
    let since_origin = stamp.ms().saturating_sub(ORIGIN_MS);
    (since_origin << LOGICAL_BITS) | u64::from(stamp.logical().min(LOGICAL_MAX))
}

/// The version of what a state shows; 0 for a key that nobody has written.
pub fn version_of(state: &KeyState) -> u64 {
    state.max_stamp().map_or(0, version_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR_2092_MS: u64 = ORIGIN_MS + 68 * 365 * 86_400_000;

    #[test]
    fn versions_are_ordered_as_stamps_and_fit_a_json_number() {
        let stamp = |ms, logical| HlcStamp(HlcStamp::at_ms(ms).0 + logical);
        let stamps = [
            stamp(ORIGIN_MS, 1),
            stamp(ORIGIN_MS, u64::from(LOGICAL_MAX)),
            stamp(ORIGIN_MS + 1, 0),
            stamp(YEAR_2092_MS, u64::from(LOGICAL_MAX)),
        ];
        let versions = stamps.map(version_at);
        assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        assert!(versions[3] < 1 << 53);
    }

    #[test]
    fn a_key_that_nobody_wrote_has_version_0() {
        assert_eq!(version_of(&KeyState::new()), 0);
    }
}
