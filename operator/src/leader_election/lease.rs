//! What a replica does about the Lease it sees. Pure.
//!
//! Clocks of other machines are not trusted: a lease has expired when its *content* has not
//! changed for its duration on this replica's own clock.

use std::time::Duration;

/// How long a lease is good without being renewed.
pub(super) const LEASE_DURATION: Duration = Duration::from_secs(15);
/// A leader that could not renew for this long stops working.
pub(super) const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often a leader renews and a follower looks.
pub(super) const RETRY_PERIOD: Duration = Duration::from_secs(2);

/// The lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeenLease {
    /// Who holds it; empty when it was given up.
    pub(super) holder: String,
    /// When it was last renewed, by the holder's clock: compared, never interpreted.
    pub(super) renewed: String,
    /// How long it is good.
    pub(super) duration: Duration,
}

/// What was seen, and since when it has been like that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observation<T> {
    /// The lease.
    pub(super) lease: SeenLease,
    /// When its present content was first seen, by this replica's clock.
    pub(super) since: T,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is ours: renew it.
    Renew,
    /// Nobody holds it, or nobody renews it: take it.
    Take,
    /// Somebody holds it.
    Wait,
}

/// Decides what the replica `id` does. `unchanged` is how long the lease has looked the same.
pub(super) fn evaluate(lease: Option<&SeenLease>, id: &str, unchanged: Duration) -> Verdict {
    match lease {
        None => Verdict::Take,
        Some(lease) if lease.holder == id => Verdict::Renew,
        Some(lease) if lease.holder.is_empty() => Verdict::Take,
        Some(lease) if unchanged >= lease.duration => Verdict::Take,
        Some(_) => Verdict::Wait,
    }
}

/// Notes what was read at `now`; the same content keeps its age.
pub(super) fn observe<T: Copy>(
    last: Option<Observation<T>>,
    lease: Option<SeenLease>,
    now: T,
) -> Option<Observation<T>> {
    let lease = lease?;
    match last {
        Some(last) if last.lease == lease => Some(last),
        _ => Some(Observation { lease, since: now }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, renewed: &str) -> SeenLease {
        SeenLease {
            holder: holder.to_owned(),
            renewed: renewed.to_owned(),
            duration: LEASE_DURATION,
        }
    }

    #[test]
    fn a_missing_or_abandoned_lease_is_taken_at_once() {
        assert_eq!(evaluate(None, "a", Duration::ZERO), Verdict::Take);
        assert_eq!(
            evaluate(Some(&lease("", "1")), "a", Duration::ZERO),
            Verdict::Take
        );
    }

    #[test]
    fn ones_own_lease_is_renewed_however_old() {
        let own = lease("a", "1");
        assert_eq!(
            evaluate(Some(&own), "a", Duration::from_hours(1)),
            Verdict::Renew
        );
    }

    #[test]
    fn anothers_lease_is_taken_only_when_it_has_not_changed_for_its_duration() {
        let other = lease("b", "1");
        let almost = LEASE_DURATION
            .checked_sub(Duration::from_millis(1))
            .unwrap();
        assert_eq!(evaluate(Some(&other), "a", almost), Verdict::Wait);
        assert_eq!(evaluate(Some(&other), "a", LEASE_DURATION), Verdict::Take);
    }

    #[test]
    fn a_renewal_restarts_the_wait_even_with_a_clock_far_off() {
        let first = observe(None, Some(lease("b", "1990")), 1_u64);
        let same = observe(first.clone(), Some(lease("b", "1990")), 5);
        assert_eq!(same.as_ref().unwrap().since, 1);
        let renewed = observe(same, Some(lease("b", "1991")), 9);
        assert_eq!(renewed.unwrap().since, 9);
        assert_eq!(observe(first, None, 10), None);
    }

    #[test]
    fn a_leader_stops_before_its_lease_can_be_taken() {
        assert!(RENEW_DEADLINE + RETRY_PERIOD < LEASE_DURATION);
    }
}
