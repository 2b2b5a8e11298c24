//! What share of its allowance each kind of background work may use now: pure.
//!
//! Clients come first. When their requests take longer than usual, background work gives way, the
//! least urgent first and most: additive increase, multiplicative decrease, once a window. It never
//! stops entirely, or a node under lasting load would never mend.

use super::Class;

/// Of its share, a class keeps so much when clients suffer.
const DECREASE: f64 = 0.6;

/// And wins back so much of the whole when they don't.
const INCREASE: f64 = 0.1;

/// The least share.
const LEAST: f64 = 0.05;

impl Class {
    /// So much slower than usual clients may become before this work gives way.
    fn tolerance(self) -> f64 {
        match self {
            Self::Hints => 1.5,
            Self::Stream => 1.4,
            Self::AntiEntropy => 1.3,
            Self::Scrub => 1.2,
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Shares([f64; Class::ALL.len()]);

impl Shares {
    /// All of it.
    pub(super) fn new() -> Self {
        Self([1.0; Class::ALL.len()])
    }

    /// The share of a class, above 0 and 1 at most.
    pub(super) fn of(&self, class: Class) -> f64 {
        self.0[class as usize]
    }

    /// A window has ended that was so much slower than usual.
    pub(super) fn follow(&mut self, ratio: f64) {
        for class in Class::ALL {
            let share = &mut self.0[class as usize];
            *share = if ratio > class.tolerance() {
                (*share * DECREASE).max(LEAST)
            } else {
                (*share + INCREASE).min(1.0)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_more_urgent_never_has_the_smaller_share(ratios in prop::collection::vec(0.0..10.0_f64, 0..100)) {
            let mut shares = Shares::new();
            for ratio in ratios {
                shares.follow(ratio);
                let of = Class::ALL.map(|class| shares.of(class));
                prop_assert!(of.is_sorted_by(|urgent, less| urgent >= less), "{of:?}");
                prop_assert!(of.iter().all(|share| (LEAST..=1.0).contains(share)));
            }
        }
    }

    #[test]
    fn all_give_way_and_come_back() {
        let mut shares = Shares::new();
        (0..10).for_each(|_| shares.follow(3.0));
        assert!(Class::ALL.iter().all(|class| shares.of(*class) <= LEAST));
        (0..10).for_each(|_| shares.follow(1.0));
        assert!(Class::ALL.iter().all(|class| shares.of(*class) >= 1.0));
    }

    #[test]
    fn scrubs_give_way_before_hints() {
        let mut shares = Shares::new();
        shares.follow(1.25);
        assert!(shares.of(Class::Scrub) < 1.0);
        assert!(shares.of(Class::Hints) >= 1.0);
    }
}
