//! What a client gives back with a write: the clock of what it saw, with a tag against forgery.
//!
//! A clock with events that never happened would make replicas drop, for ever, writes that are still to come. So
//! only clocks that a node gave out for the same keyspace and key are taken back. The tag is BLAKE3 in keyed mode
//! under a secret of the cluster, over keyspace, key and clock, cut to 128 bits. An empty clock says nothing and
//! needs no tag: a blind write.
//!
//! Two forms: opaque bytes ([`Context::encode`]) and the parts of the readable JSON form ([`Context::to_parts`]),
//! whose text the node writes.

use thiserror::Error;

use crate::codec::CodecError;
use crate::dot::{Actor, Counter};
use crate::version_vector::VersionVector;
use crate::wire::{Reader, put_clock, put_len};

/// Most actors that a client's context may name. A clock has one per owner, and one more per owner for each
/// unclean start after which it wrote the key.
pub const MAX_CONTEXT_ACTORS: usize = 1_024;

/// Length of a tag in bytes.
pub const TAG_BYTES: usize = 16;

const FORMAT: u8 = 1;
/// Longest varint, twice, and the vnode.
const ENTRY_BYTES_MAX: usize = 8 + 5 + 10;
const CONTEXT_BYTES_MAX: usize = 1 + TAG_BYTES + 2 + MAX_CONTEXT_ACTORS * ENTRY_BYTES_MAX;

/// The cluster's secret for tags; the same on all nodes.
#[derive(Clone)]
pub struct ContextKey([u8; 32]);

impl ContextKey {
    /// A key of 32 secret random bytes.
    pub const fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }
}

impl std::fmt::Debug for ContextKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContextKey(..)")
    }
}

/// Why a client's context was not taken. The request is invalid; nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ContextError {
    /// No node gave this clock out for this keyspace and key.
    #[error(
        "context was not given out by this cluster for this keyspace and key; use the one that a read returned"
    )]
    Forged,
    /// Too many actors.
    #[error("context names more than {MAX_CONTEXT_ACTORS} actors")]
    TooLarge,
    /// The bytes are no context.
    #[error("malformed context: {0}")]
    Malformed(#[from] CodecError),
}

/// A clock with its tag. Until [`Context::verify`] it is only a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    clock: VersionVector,
    tag: [u8; TAG_BYTES],
}

impl Context {
    /// The context of a clock for the reader of a key.
    pub fn issue(secret: &ContextKey, keyspace: &str, key: &[u8], clock: VersionVector) -> Self {
        let tag = tag_of(secret, keyspace, key, &clock);
        Self { clock, tag }
    }

    /// The clock, if it was issued under this secret for this key.
    pub fn verify(
        self,
        secret: &ContextKey,
        keyspace: &str,
        key: &[u8],
    ) -> Result<VersionVector, ContextError> {
        if self.clock.is_empty() {
            return Ok(self.clock);
        }
        if self.clock.len() > MAX_CONTEXT_ACTORS {
            return Err(ContextError::TooLarge);
        }
        let expected = tag_of(secret, keyspace, key, &self.clock);
        if equal_in_constant_time(&expected, &self.tag) {
            Ok(self.clock)
        } else {
            Err(ContextError::Forged)
        }
    }

    /// The claimed clock.
    pub fn clock(&self) -> &VersionVector {
        &self.clock
    }

    /// Clock and tag, for the readable form.
    pub fn to_parts(&self) -> (&VersionVector, [u8; TAG_BYTES]) {
        (&self.clock, self.tag)
    }

    /// A context from the readable form. A missing tag is any tag: only an empty clock passes without.
    pub fn from_parts(
        entries: impl IntoIterator<Item = (Actor, Counter)>,
        tag: Option<[u8; TAG_BYTES]>,
    ) -> Result<Self, ContextError> {
        let entries: Vec<_> = entries.into_iter().take(MAX_CONTEXT_ACTORS + 1).collect();
        if entries.len() > MAX_CONTEXT_ACTORS {
            return Err(ContextError::TooLarge);
        }
        Ok(Self {
            clock: entries.into_iter().collect(),
            tag: tag.unwrap_or_default(),
        })
    }

    /// The opaque form: format version, tag, clock. Empty for an empty clock.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.clock.is_empty() {
            out.push(FORMAT);
            out.extend_from_slice(&self.tag);
            put_clock(&mut out, &self.clock);
        }
        out
    }

    /// Reads the opaque form; no bytes are an empty clock.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContextError> {
        if bytes.is_empty() {
            return Self::from_parts([], None);
        }
        if bytes.len() > CONTEXT_BYTES_MAX {
            return Err(ContextError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        reader.format(FORMAT)?;
        let tag = reader.array()?;
        let clock = reader.clock()?;
        reader.end()?;
        if clock.len() > MAX_CONTEXT_ACTORS {
            return Err(ContextError::TooLarge);
        }
        Ok(Self { clock, tag })
    }
}

/// Every field is preceded by its length, so no two inputs run together to the same bytes.
fn tag_of(
    secret: &ContextKey,
    keyspace: &str,
    key: &[u8],
    clock: &VersionVector,
) -> [u8; TAG_BYTES] {
    let mut input = vec![FORMAT];
    for field in [keyspace.as_bytes(), key] {
        put_len(&mut input, field.len());
        input.extend_from_slice(field);
    }
    put_clock(&mut input, clock);
    let hash = blake3::keyed_hash(&secret.0, &input);
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&hash.as_bytes()[..TAG_BYTES]);
    tag
}

fn equal_in_constant_time(a: &[u8; TAG_BYTES], b: &[u8; TAG_BYTES]) -> bool {
    std::hint::black_box(
        a.iter()
            .zip(b)
            .fold(0, |differing, (a, b)| differing | (a ^ b)),
    ) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot::{KeyEpoch, VnodeId};
    use proptest::prelude::*;

    const SECRET: ContextKey = ContextKey::new([7; 32]);

    fn clock() -> VersionVector {
        (1..=3)
            .map(|vnode| (Actor::new(VnodeId(vnode), KeyEpoch(2)), vnode))
            .collect()
    }

    #[test]
    fn issued_context_is_taken_back_in_both_forms() {
        let issued = Context::issue(&SECRET, "kv", b"cart", clock());
        let (entries, tag) = issued.to_parts();
        let readable = Context::from_parts(entries.iter(), Some(tag)).unwrap();
        let opaque = Context::decode(&issued.encode()).unwrap();
        for context in [readable, opaque] {
            assert_eq!(context.verify(&SECRET, "kv", b"cart"), Ok(clock()));
        }
    }

    #[test]
    fn context_of_another_key_keyspace_or_cluster_is_forged() {
        let issued = Context::issue(&SECRET, "kv", b"cart", clock());
        let other = ContextKey::new([8; 32]);
        for (secret, keyspace, key) in [
            (&SECRET, "kv", &b"carts"[..]),
            (&SECRET, "kvc", b"art"),
            (&other, "kv", b"cart"),
        ] {
            assert_eq!(
                issued.clone().verify(secret, keyspace, key),
                Err(ContextError::Forged)
            );
        }
    }

    #[test]
    fn invented_clock_is_forged_with_or_without_a_tag() {
        let mut entries = clock();
        let (_, tag) = Context::issue(&SECRET, "kv", b"cart", entries.clone()).to_parts();
        entries.insert(Actor::new(VnodeId(1), KeyEpoch(2)).dot(1_000));
        for tag in [Some(tag), None] {
            let context = Context::from_parts(entries.iter(), tag).unwrap();
            assert_eq!(
                context.verify(&SECRET, "kv", b"cart"),
                Err(ContextError::Forged)
            );
        }
    }

    #[test]
    fn empty_clock_needs_no_tag() {
        for context in [Context::from_parts([], None), Context::decode(&[])] {
            assert_eq!(
                context.unwrap().verify(&SECRET, "kv", b"cart"),
                Ok(VersionVector::new())
            );
        }
    }

    #[test]
    fn too_many_actors_are_refused_before_any_hashing() {
        let actors =
            |n: u64| (0..n).map(|vnode| (Actor::new(VnodeId(vnode), KeyEpoch(u32::MAX)), u64::MAX));
        let most = MAX_CONTEXT_ACTORS as u64;
        let at_the_limit = Context::issue(&SECRET, "kv", b"cart", actors(most).collect());
        let taken = Context::decode(&at_the_limit.encode()).unwrap();
        assert!(taken.verify(&SECRET, "kv", b"cart").is_ok());
        let beyond = Context::issue(&SECRET, "kv", b"cart", actors(most + 1).collect());
        assert_eq!(
            Context::decode(&beyond.encode()),
            Err(ContextError::TooLarge)
        );
        assert_eq!(
            Context::from_parts(actors(most + 1), None),
            Err(ContextError::TooLarge)
        );
    }

    #[test]
    fn format_1_does_not_change() {
        let bytes = Context::issue(&SECRET, "kv", b"cart", clock()).encode();
        let hex: String = bytes
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let tag = "d8b973dc015138f6c4f98da8150bf597";
        let clock = "03\
            0100000000000000\
            0201\
            0200000000000000\
            0202\
            0300000000000000\
            0203";
        assert_eq!(hex, format!("01{tag}{clock}"));
    }

    proptest! {
        #[test]
        fn decoding_anything_is_an_error_or_a_context(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(context) = Context::decode(&bytes) {
                prop_assert_eq!(context.encode(), bytes);
            }
        }

        #[test]
        fn any_changed_bit_is_noticed(bit in 0..400_usize) {
            let mut bytes = Context::issue(&SECRET, "kv", b"cart", clock()).encode();
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let verified = Context::decode(&bytes).and_then(|context| context.verify(&SECRET, "kv", b"cart"));
            prop_assert!(verified.is_err());
        }
    }
}
