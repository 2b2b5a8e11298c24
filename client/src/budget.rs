//! Retry budget: a token bucket that keeps retries a small share of the requests, so that clients
//! don't multiply the load of a cluster that already fails.

/// Retries are at most this share of requests, in percent, once the reserve is spent.
pub(crate) const RETRY_BUDGET_PERCENT: u32 = 10;

/// Retries that may be made at once: the bucket's size, and what a new client begins with.
pub(crate) const RETRY_RESERVE: u32 = 20;

const RETRY_COST: u32 = 100;

/// Pays in [`RETRY_BUDGET_PERCENT`] of a retry with every request, pays out whole retries.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    /// In hundredths of a retry; at most `RETRY_RESERVE * RETRY_COST`.
    tokens: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            tokens: RETRY_RESERVE * RETRY_COST,
        }
    }
}

impl Budget {
    /// A request begins.
    pub(crate) fn pay_in(&mut self) {
        self.tokens = (self.tokens + RETRY_BUDGET_PERCENT).min(RETRY_RESERVE * RETRY_COST);
    }

    /// Takes a retry out, if there is one.
    pub(crate) fn take(&mut self) -> bool {
        let enough = self.tokens >= RETRY_COST;
        if enough {
            self.tokens -= RETRY_COST;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_everything_fails_retries_settle_at_a_tenth_of_the_requests() {
        let mut budget = Budget::default();
        let requests = 10_000;
        let retries = (0..requests)
            .filter(|_| {
                budget.pay_in();
                budget.take()
            })
            .count();
        let tenth = requests / 10;
        assert!(
            (tenth..=tenth + RETRY_RESERVE as usize).contains(&retries),
            "{retries}"
        );
    }

    #[test]
    fn good_times_don_t_save_up_more_than_the_reserve() {
        let mut budget = Budget::default();
        (0..1_000_000).for_each(|_| budget.pay_in());
        assert_eq!(
            (0..1_000).filter(|_| budget.take()).count(),
            RETRY_RESERVE as usize
        );
    }
}
