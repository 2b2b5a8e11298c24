//! The encoding of a key's state: one form, exact, safe on any input, and unchanged for ever in format 1.

mod histories;

use annulus_causality::{
    CodecError, ConflictPolicy, Content, HlcStamp, KeyState, NewWrite, RequestId, VersionVector,
    VnodeClock, VnodeId,
};
use bytes::Bytes;
use histories::{config, history, states_of};
use proptest::prelude::*;
use proptest::sample::Index;

const FORMAT_1: &str = include_str!("fixtures/key_state_v1.hex");
const FORMAT_1_DIGEST: u64 = 338_554_709_288_876_354;

/// A state with everything in it: two vnodes, a replaced write, a value, a tombstone, expiry, requests.
fn everything() -> KeyState {
    let mut vnodes = [0x9f3c_0000_0000_00a7, 0x1111_2222_3333_4444].map(|id| {
        let mut clock = VnodeClock::create(VnodeId(id));
        let lease = clock.needs_lease().expect("a start needs a lease");
        clock.lease_granted(&lease);
        clock
    });
    let mut state = KeyState::new();
    for (vnode, sequence, value) in [
        (0, 1, Some("replaced")),
        (0, 300, Some("value")),
        (1, 301, None),
    ] {
        let context = if sequence == 300 {
            state.context()
        } else {
            VersionVector::new()
        };
        let write = NewWrite {
            content: value.map_or(Content::Tombstone, |value| Content::Value(value.into())),
            stamp: HlcStamp::at_ms(1_700_000_000_000 + sequence),
            expires_at_ms: (sequence == 300).then_some(1_700_000_060_000),
            request_id: Some(RequestId {
                client: 5,
                sequence,
            }),
        };
        let local = (!state.clock().is_empty()).then_some(&state);
        let minted = vnodes[vnode].mint(local, &context, write, ConflictPolicy::Siblings);
        state = minted.expect("within all limits").state;
    }
    state
}

fn from_hex(hex: &str) -> Bytes {
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    hex.trim().as_bytes().chunks(2).map(byte).collect()
}

#[test]
fn format_1_does_not_change() {
    let state = everything();
    assert_eq!(state.encode(), from_hex(FORMAT_1));
    assert_eq!(KeyState::decode(&from_hex(FORMAT_1)), Ok(state));
}

#[test]
fn digest_does_not_change_and_ignores_values_and_expiry() {
    let state = everything();
    assert_eq!(state.digest(), FORMAT_1_DIGEST);
    let mut bytes = state.encode().to_vec();
    let at = bytes
        .windows(5)
        .position(|window| window == b"value")
        .expect("the value is in there");
    bytes[at..at + 5].copy_from_slice(b"other");
    let other = KeyState::decode(&bytes.into()).expect("only the value changed");
    assert_ne!(other, state);
    assert_eq!(other.digest(), state.digest());
}

#[test]
fn newer_format_is_told_from_damage() {
    assert_eq!(
        KeyState::decode(&Bytes::from_static(&[2, 0, 0, 0])),
        Err(CodecError::UnknownFormat { found: 2 })
    );
    assert_eq!(KeyState::decode(&Bytes::new()), Err(CodecError::Truncated));
}

#[test]
fn announced_sizes_beyond_the_input_are_refused_without_allocating() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for before in [&[1][..], &[1, 0], &[1, 0, 0]] {
        let bytes: Bytes = before.iter().chain(&huge).copied().collect();
        assert_eq!(KeyState::decode(&bytes), Err(CodecError::Truncated));
    }
}

fn some_state() -> impl Strategy<Value = KeyState> {
    (history(), any::<Index>()).prop_map(|(history, pick)| {
        pick.get(&states_of(&history, ConflictPolicy::Siblings))
            .clone()
    })
}

proptest! {
    #![proptest_config(config(1_000))]

    #[test]
    fn states_survive_their_encoding(state in some_state()) {
        prop_assert_eq!(KeyState::decode(&state.encode()), Ok(state));
    }

    #[test]
    fn cut_input_is_an_error(state in some_state(), pick in any::<Index>()) {
        let bytes = state.encode();
        prop_assert!(KeyState::decode(&bytes.slice(..pick.index(bytes.len()))).is_err());
    }

    #[test]
    fn accepted_bytes_are_the_one_encoding(state in some_state(), changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..4)) {
        let mut bytes = state.encode().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(decoded) = KeyState::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(format) = bytes.first_mut() {
            *format = 1;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(decoded) = KeyState::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }
}
