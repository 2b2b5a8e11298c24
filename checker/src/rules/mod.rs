//! The rules, one in a file. Each judges a whole history.

use crate::history::History;
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

/// What a rule is: a function of the history.
type Check = fn(&History) -> Vec<Violation>;

const ALL: [Check; 9] = [
    c1_no_lost_update::check,
    c2_no_resurrection::check,
    c3_no_phantom::check,
    c4_causality::check,
    c5_freshness::check,
    c6_convergence::check,
    c7_last_writer_wins::check,
    c9_epochs::check,
    c10_minimal_moves::check,
];

/// All rules' findings, by rule.
pub fn check_all(history: &History) -> Vec<Violation> {
    ALL.iter().flat_map(|check| check(history)).collect()
}
