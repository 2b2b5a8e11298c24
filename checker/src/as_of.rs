//! What was so before a time, of things that are sorted by the time from which they are.

/// The last before a time.
pub(crate) fn last_before<T>(sorted: &[(u64, T)], before_us: u64) -> Option<&T> {
    let until = sorted.partition_point(|(at, _)| *at < before_us);
    until.checked_sub(1).map(|last| &sorted[last].1)
}
