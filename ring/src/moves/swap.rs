//! From one row of owners to another, one owner at a time.

use crate::node::NodeId;

/// One owner joins, one leaves, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Swap {
    pub(crate) add: Option<NodeId>,
    pub(crate) remove: Option<NodeId>,
}

/// The steps from one row to the other. Who joins takes the place of who leaves there, if one
/// does; planned rows are in such an order that zones match (`transfer_plan.rs`).
pub(crate) fn swaps(before: &[NodeId], after: &[NodeId]) -> Vec<Swap> {
    if before == after {
        return Vec::new();
    }
    let mut removes: Vec<NodeId> = before.to_vec();
    removes.retain(|node| !after.contains(node));
    let joins = |(_, node): &(usize, &NodeId)| !before.contains(node);
    let mut swaps = Vec::new();
    let mut without_place = Vec::new();
    for (place, node) in after.iter().enumerate().filter(joins) {
        let there = before.get(place);
        match removes.iter().position(|leaver| Some(leaver) == there) {
            Some(at) => swaps.push(Swap {
                add: Some(*node),
                remove: Some(removes.remove(at)),
            }),
            None => without_place.push(*node),
        }
    }
    let mut removes = removes.into_iter();
    for node in without_place {
        swaps.push(Swap {
            add: Some(node),
            remove: removes.next(),
        });
    }
    let left = removes.map(|leaver| Swap {
        add: None,
        remove: Some(leaver),
    });
    swaps.extend(left);
    swaps
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn ids(numbers: &[u128]) -> Vec<NodeId> {
        numbers
            .iter()
            .map(|it| NodeId(Uuid::from_u128(*it)))
            .collect()
    }

    fn between(before: &[u128], after: &[u128]) -> Vec<(Option<u128>, Option<u128>)> {
        let number = |node: Option<NodeId>| node.map(|node| node.0.as_u128());
        let swaps = swaps(&ids(before), &ids(after));
        swaps
            .iter()
            .map(|it| (number(it.add), number(it.remove)))
            .collect()
    }

    #[test]
    fn who_joins_takes_the_place_of_who_leaves_there() {
        assert_eq!(between(&[1, 2, 3], &[1, 2, 3]), []);
        assert_eq!(between(&[1, 2, 3], &[3, 2, 1]), []);
        assert_eq!(
            between(&[1, 2, 3], &[4, 2, 5]),
            [(Some(4), Some(1)), (Some(5), Some(3))]
        );
        assert_eq!(between(&[1, 2], &[1, 2, 3]), [(Some(3), None)]);
        assert_eq!(between(&[1, 2, 3], &[3, 1]), [(None, Some(2))]);
        assert_eq!(
            between(&[1, 2, 3], &[3, 4]),
            [(Some(4), Some(2)), (None, Some(1))]
        );
    }
}
