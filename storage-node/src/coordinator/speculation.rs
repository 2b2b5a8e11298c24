//! How many extra replica reads may be spent on slow replicas: pure.
//!
//! A read that waits longer than is usual asks one more owner (Dean & Barroso, "The Tail at
//! Scale", 2013). The budget keeps that from doubling the load just when the nodes are slow: each
//! read earns [`EARNED_PER_READ`] of an extra one.

/// Extra reads earned by each read: 5 %.
const EARNED_PER_READ: f64 = 0.05;

/// Extra reads that can be saved up.
const SAVED_AT_MOST: f64 = 20.0;

/// The budget.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SpeculationBudget {
    saved: f64,
}

impl SpeculationBudget {
    /// A full one.
    pub(crate) fn new() -> Self {
        Self {
            saved: SAVED_AT_MOST,
        }
    }

    /// A read begins.
    pub(crate) fn earn(&mut self) {
        self.saved = (self.saved + EARNED_PER_READ).min(SAVED_AT_MOST);
    }

    /// Takes one extra read, if there is one.
    pub(crate) fn spend(&mut self) -> bool {
        let affordable = self.saved >= 1.0;
        if affordable {
            self.saved -= 1.0;
        }
        affordable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_read_in_twenty_is_extra() {
        let mut budget = SpeculationBudget::new();
        while budget.spend() {}
        let mut extra = 0;
        for _ in 0..10_000 {
            budget.earn();
            extra += u32::from(budget.spend());
        }
        assert!((498..=500).contains(&extra), "{extra}");
    }
}
