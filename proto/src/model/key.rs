//! Keys.

use std::fmt;

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use super::FieldRefused;

/// The longest key: characters where the key is UTF-8, bytes where it is not.
pub const MAX_KEY_CHARACTERS: usize = 256;

/// A key: 1 to [`MAX_KEY_CHARACTERS`] characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// Checks the length.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, FieldRefused> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(FieldRefused::invalid(
                "key",
                "is empty; give 1 to 256 characters",
            ));
        }
        let (length, unit) = match std::str::from_utf8(&bytes) {
            Ok(text) => (text.chars().count(), "characters"),
            Err(_) => (bytes.len(), "bytes"),
        };
        if length > MAX_KEY_CHARACTERS {
            return Err(FieldRefused::invalid(
                "key",
                format!("has {length} {unit}; at most {MAX_KEY_CHARACTERS} are allowed"),
            ));
        }
        Ok(Self(bytes))
    }

    /// The bytes; at most 1,024.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, shared.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As in a URL: what is not a letter or a digit is percent-encoded, except where text stays readable.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC
            .remove(b'-')
            .remove(b'_')
            .remove(b'.')
            .remove(b':')
            .remove(b'/');
        percent_encode(&self.0, SHOWN).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_in_characters_where_the_key_is_text() {
        assert!(Key::new("ü".repeat(256)).is_ok());
        assert!(Key::new("ü".repeat(257)).is_err());
        assert!(Key::new(vec![0xff; 256]).is_ok());
        assert!(Key::new(vec![0xff; 257]).is_err());
    }

    #[test]
    fn an_empty_key_is_refused_by_name() {
        assert_eq!(Key::new("").unwrap_err().field, "key");
    }

    #[test]
    fn nul_and_slash_are_ordinary_characters() {
        assert_eq!(Key::new("a/\0").unwrap().to_string(), "a/%00");
    }
}
