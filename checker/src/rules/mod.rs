//! The rules, one in a file. Each judges a whole history.

use crate::history::History;
use crate::key_history::{KeyHistory, keys};
use crate::violation::Violation;

pub mod c10_minimal_moves;
pub mod c1_no_lost_update;
pub mod c2_no_resurrection;
pub mod c3_no_phantom;
pub mod c4_causality;
pub mod c5_freshness;
pub mod c6_convergence;
pub mod c7_last_writer_wins;
pub mod c9_epochs;

/// What a rule over single keys is.
type KeyCheck = fn(&KeyHistory<'_>) -> Vec<Violation>;

/// What a rule over all of a history is.
type Check = fn(&History) -> Vec<Violation>;

const OF_KEYS: [KeyCheck; 5] = [
    c1_no_lost_update::check_key,
    c2_no_resurrection::check_key,
    c4_causality::check_key,
    c5_freshness::check_key,
    c7_last_writer_wins::check_key,
];

const OF_ALL: [Check; 4] = [
    c3_no_phantom::check,
    c6_convergence::check,
    c9_epochs::check,
    c10_minimal_moves::check,
];

/// All rules' findings, by rule. Linear in the history as long as nothing is broken: rules look closer only
/// at what an index does not clear.
pub fn check_all(history: &History) -> Vec<Violation> {
    let keys = keys(history);
    let of_keys = OF_KEYS.iter().flat_map(|check| keys.iter().flat_map(check));
    let of_all = OF_ALL.iter().flat_map(|check| check(history));
    let mut found: Vec<_> = of_keys.chain(of_all).collect();
    found.sort_by_key(|violation| violation.rule);
    found
}
