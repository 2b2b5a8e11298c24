//! Positions on the ring.
//!
//! A token is xxh3-64 of (keyspace, key) under the cluster's secret seed, so that nobody can
//! choose keys that all land in one partition. The encoding and the hash are part of the
//! stored format: changing either moves every key.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// Inputs up to this many bytes are hashed from a stack buffer in one go.
const ONE_SHOT_BYTES: usize = 128;

/// Bytes of the length that precedes the keyspace.
const PREFIX_BYTES: usize = size_of::<u64>();

/// The cluster's hash key: chosen at random when the cluster is founded, never changed.
///
/// In JSON a string of 16 hexadecimal digits, for JSON numbers lose bits above 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HashSeed(#[serde(with = "crate::fingerprint::hex64")] pub u64);

/// A position on the ring: the hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl Token {
    /// The position of `key` in `keyspace`, without heap allocation.
    ///
    /// Hashes `len(keyspace) as u64 little-endian ++ keyspace ++ key`; the length keeps
    /// ("a", "bc") and ("ab", "c") apart.
    pub fn of(seed: HashSeed, keyspace: &str, key: &[u8]) -> Self {
        let prefix = (keyspace.len() as u64).to_le_bytes();
        let length = PREFIX_BYTES + keyspace.len() + key.len();
        if length <= ONE_SHOT_BYTES {
            let mut buffer = [0u8; ONE_SHOT_BYTES];
            let key_start = PREFIX_BYTES + keyspace.len();
            buffer[..PREFIX_BYTES].copy_from_slice(&prefix);
            buffer[PREFIX_BYTES..key_start].copy_from_slice(keyspace.as_bytes());
            buffer[key_start..length].copy_from_slice(key);
            return Self(xxh3_64_with_seed(&buffer[..length], seed.0));
        }
        let mut hasher = Xxh3::with_seed(seed.0);
        hasher.update(&prefix);
        hasher.update(keyspace.as_bytes());
        hasher.update(key);
        Self(hasher.digest())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: HashSeed = HashSeed(42);

    #[test]
    fn the_keyspace_ends_where_its_length_says() {
        assert_ne!(Token::of(SEED, "a", b"bc"), Token::of(SEED, "ab", b"c"));
        assert_ne!(Token::of(SEED, "", b"a"), Token::of(SEED, "a", b""));
    }

    #[test]
    fn both_ways_of_hashing_agree_with_the_documented_encoding() {
        for size in [0, 1, 100, 116, 117, 118, 500, 1024, 5000] {
            let key: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let mut encoded = 3u64.to_le_bytes().to_vec();
            encoded.extend_from_slice(b"abc");
            encoded.extend_from_slice(&key);
            let expected = Token(xxh3_64_with_seed(&encoded, SEED.0));
            assert_eq!(Token::of(SEED, "abc", &key), expected, "{size} bytes");
        }
    }

    /// Stored data depends on these values: they may never change.
    #[test]
    fn tokens_are_a_stable_format() {
        assert_eq!(
            Token::of(SEED, "default", b"user:1").to_string(),
            "b7ffdb8f862e387a"
        );
        assert_ne!(
            Token::of(HashSeed(43), "k", b"a"),
            Token::of(SEED, "k", b"a")
        );
    }

    #[test]
    fn a_seed_keeps_its_64_bits_in_json() {
        let text = serde_json::to_string(&HashSeed(u64::MAX - 1)).unwrap();
        assert_eq!(text, "\"fffffffffffffffe\"");
        assert_eq!(
            serde_json::from_str::<HashSeed>(&text).unwrap(),
            HashSeed(u64::MAX - 1)
        );
        assert!(serde_json::from_str::<HashSeed>("\"+1\"").is_err());
    }
}
