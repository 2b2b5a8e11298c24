//! The order in which nodes are tried for one request. Pure.

use std::sync::Arc;

/// Nodes that one request may go to.
pub(crate) const MAX_CANDIDATES: usize = 8;

/// A node's client gRPC address, `host:port`. Cheap to clone.
pub(crate) type Address = Arc<str>;

/// What is known when a request sets out.
pub(crate) struct Candidates<'a> {
    /// The key's owners in preference order; empty when the placement is not known or not used.
    pub(crate) owners: &'a [Address],
    /// Nodes that coordinate as well: the given endpoints, and others of the placement.
    pub(crate) others: &'a [Address],
}

/// Owners first, then others, each at most once; nodes to avoid come last, for they may be back.
/// `turn` spreads requests: reads begin at any owner; writes begin at the first owner, so that one
/// node mints a key's dots, and only their fallbacks are spread.
pub(crate) fn order(
    candidates: &Candidates<'_>,
    is_write: bool,
    turn: usize,
    avoid: impl Fn(&Address) -> bool,
) -> Vec<Address> {
    let owners_turn = if is_write { 0 } else { turn };
    let all = rotated(candidates.owners, owners_turn).chain(rotated(candidates.others, turn));
    let mut order: Vec<Address> = Vec::with_capacity(MAX_CANDIDATES);
    let mut avoided: Vec<Address> = Vec::new();
    for address in all {
        if order.len() == MAX_CANDIDATES {
            break; // the cost of a request doesn't grow with the number of nodes
        }
        if order.contains(address) || avoided.contains(address) {
            continue;
        }
        let list = if avoid(address) {
            &mut avoided
        } else {
            &mut order
        };
        if list.len() < MAX_CANDIDATES {
            list.push(address.clone());
        }
    }
    order.extend(avoided);
    order.truncate(MAX_CANDIDATES);
    order
}

fn rotated<T>(items: &[T], turn: usize) -> impl Iterator<Item = &T> {
    let (head, tail) = items.split_at(turn.checked_rem(items.len()).unwrap_or(0));
    tail.iter().chain(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(names: &[&str]) -> Vec<Address> {
        names.iter().map(|name| Address::from(*name)).collect()
    }

    fn order_of(is_write: bool, turn: usize, avoid: &[&str]) -> Vec<String> {
        let (owners, others) = (addresses(&["a", "b", "c"]), addresses(&["c", "d"]));
        let candidates = Candidates {
            owners: &owners,
            others: &others,
        };
        let avoid = |address: &Address| avoid.contains(&&**address);
        order(&candidates, is_write, turn, avoid)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn writes_begin_at_the_first_owner_whatever_the_turn() {
        for turn in 0..5 {
            assert_eq!(order_of(true, turn, &[])[..3], ["a", "b", "c"]);
        }
    }

    #[test]
    fn reads_take_turns_over_the_owners() {
        assert_eq!(order_of(false, 1, &[]), ["b", "c", "a", "d"]);
        assert_eq!(order_of(false, 2, &[]), ["c", "a", "b", "d"]);
    }

    #[test]
    fn a_node_to_avoid_comes_last_but_is_not_lost() {
        assert_eq!(order_of(true, 0, &["a"]), ["b", "c", "d", "a"]);
    }

    proptest! {
        #[test]
        fn every_candidate_is_tried_once_within_the_bound(
            owners in proptest::collection::vec("[a-e]", 0..6),
            others in proptest::collection::vec("[a-z]", 0..40),
            turn in 0usize..1000,
            is_write: bool,
        ) {
            let strings = |list: &[String]| list.iter().map(|s| Address::from(s.as_str())).collect::<Vec<_>>();
            let (owners, others) = (strings(&owners), strings(&others));
            let order = order(&Candidates { owners: &owners, others: &others }, is_write, turn, |_| false);
            let distinct: std::collections::BTreeSet<_> = owners.iter().chain(&others).collect();
            prop_assert_eq!(order.len(), distinct.len().min(MAX_CANDIDATES));
            prop_assert_eq!(order.iter().collect::<std::collections::BTreeSet<_>>().len(), order.len());
            if let (true, Some(first)) = (is_write, owners.first()) {
                prop_assert_eq!(&order[0], first);
            }
        }
    }
}
