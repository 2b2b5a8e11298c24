//! Whose turn a tombstone is: pure.
//!
//! The first live owner in the preference list removes it everywhere, itself last: so what is left half done
//! is left where it is looked for. Something may be left elsewhere (an old copy that came late, a removal that
//! a crash undid); so each next owner takes its turn a while later. Two owners at work on one key at a time
//! do no harm: one of them finds it changed.

use std::time::Duration;

/// Whether an owner takes its turn. `place`: how many live owners come before it; `overdue`: how long the
/// tombstone could have been gone; `patience`: how long each leaves it to those before.
pub(super) fn is_on(place: usize, overdue: Duration, patience: Duration) -> bool {
    let place = u32::try_from(place).unwrap_or(u32::MAX);
    overdue >= patience.saturating_mul(place)
}

/// How many live owners come before `own` in the preference list; `None`: it is no owner.
pub(super) fn place<T: Copy + PartialEq>(
    owners: &[T],
    own: T,
    is_live: impl Fn(T) -> bool,
) -> Option<usize> {
    let at = owners.iter().position(|owner| *owner == own)?;
    Some(owners[..at].iter().filter(|owner| is_live(**owner)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_live_owner_begins() {
        let owners = ['a', 'b', 'c'];
        let all = |_| true;
        assert_eq!(place(&owners, 'a', all), Some(0));
        assert_eq!(place(&owners, 'c', all), Some(2));
        assert_eq!(place(&owners, 'b', |owner| owner != 'a'), Some(0));
        assert_eq!(place(&owners, 'd', all), None);
    }

    #[test]
    fn the_others_wait_one_after_the_other() {
        let second = Duration::from_secs(1);
        assert!(is_on(0, Duration::ZERO, second));
        assert!(!is_on(1, second / 2, second));
        assert!(is_on(1, second, second));
        assert!(!is_on(2, second, second));
        assert!(is_on(2, 2 * second, second));
    }
}
