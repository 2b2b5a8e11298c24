use annulus_causality::VnodeId;
use annulus_ring::NodeId;
use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::{Origin, Page, Rebuilding, owners_needed};

fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

fn page(vnode: u64, serving: bool, last: Option<&'static [u8]>) -> Page {
    let keys = u64::from(last.is_some());
    Page {
        vnode: VnodeId(vnode),
        serving,
        last: last.map(Bytes::from_static),
        keys,
        bytes: 10 * keys,
    }
}

fn begun(origin: Origin) -> Rebuilding {
    Rebuilding::begin(origin, 1)
}

#[test]
fn it_takes_as_many_others_as_a_majority_can_not_avoid() {
    for (others, needed) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3), (6, 4)] {
        assert_eq!(owners_needed(others), needed, "{others} others");
    }
}

#[test]
fn an_owner_counts_once_it_was_read_to_its_end() {
    let others = [node(1), node(2)];
    let mut lost = begun(Origin::Lost);
    assert!(lost.take(node(1), &page(7, true, Some(b"a"))));
    assert_eq!(lost.position(node(1)).as_deref(), Some(&b"a"[..]));
    assert!(!lost.is_read(node(1)));
    assert!(lost.take(node(1), &page(7, true, None)));
    assert!(
        lost.is_read(node(1)) && !lost.is_complete(&others),
        "one of two"
    );
    assert!(lost.take(node(2), &page(8, true, None)));
    assert!(lost.is_complete(&others));
    assert!(!lost.is_complete(&[node(1), node(3)]), "the owners changed");
    assert_eq!(
        (lost.sources[&node(1)].keys, lost.sources[&node(1)].bytes),
        (1, 10)
    );
}

#[test]
fn an_owner_that_lost_its_data_in_between_is_read_from_the_start() {
    let mut lost = begun(Origin::Lost);
    assert!(lost.take(node(1), &page(7, true, Some(b"a"))));
    assert!(!lost.take(node(1), &page(9, true, None)), "another vnode");
    assert_eq!(lost.position(node(1)), None);
    assert!(!lost.is_read(node(1)));
}

#[test]
fn new_owners_prove_nothing_to_one_that_lost_data() {
    let others = [node(1), node(2)];
    for origin in [Origin::Lost, Origin::Damaged] {
        let mut lost = begun(origin);
        assert!(!lost.take(node(1), &page(7, false, None)));
        assert!(lost.take(node(2), &page(8, true, None)));
        assert!(!lost.is_complete(&others));
    }
}

#[test]
fn a_ring_of_new_nodes_begins_to_serve_and_a_lone_lost_copy_never() {
    let others = [node(1), node(2)];
    let mut new = begun(Origin::New);
    assert!(new.take(node(1), &page(7, false, None)));
    assert!(!new.is_complete(&others));
    assert!(new.take(node(2), &page(8, true, None)));
    assert!(new.is_complete(&others));
    assert!(begun(Origin::New).is_complete(&[]));
    assert!(!begun(Origin::Lost).is_complete(&[]));
}

proptest! {
    /// Whatever owners answer and in whichever order: a vnode that lost its data serves only after so many
    /// others were read that any majority of the owners, it included, meets one of them or itself.
    #[test]
    fn every_majority_of_the_others_and_itself_is_covered(
        others in 1_usize..7,
        pages in prop::collection::vec((0_u128..7, 1_u64..3, any::<bool>(), any::<bool>()), 0..40),
    ) {
        let owners: Vec<_> = (0..others as u128).map(node).collect();
        let mut lost = begun(Origin::Damaged);
        for (owner, vnode, serving, ends) in pages {
            let last = if ends { None } else { Some(&b"k"[..]) };
            lost.take(node(owner), &page(vnode, serving, last));
        }
        let read = owners.iter().filter(|owner| lost.is_read(**owner)).count();
        let all = others + 1;
        let majority = all / 2 + 1;
        // The acknowledged writes that counted this vnode are on majority - 1 of the others at least.
        let avoidable = others - (majority - 1);
        prop_assert_eq!(lost.is_complete(&owners), read > avoidable);
    }

    #[test]
    fn progress_survives_its_encoding(last in prop::option::of(prop::collection::vec(any::<u8>(), 0..9))) {
        let mut lost = begun(Origin::Lost);
        let taken = Page { last: last.map(Bytes::from), ..page(u64::MAX, true, None) };
        lost.take(node(3), &taken);
        let text = serde_json::to_vec(&lost).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Rebuilding>(&text).unwrap(), lost);
    }
}
