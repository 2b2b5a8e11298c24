//! The cluster's secret for contexts, from its file.

use annulus_causality::ContextKey;

use super::{Config, ConfigError};

const KEY_BYTES: usize = 32;

impl Config {
    /// Reads `context_key_file`.
    pub(crate) fn read_context_key(&self) -> Result<ContextKey, ConfigError> {
        let content =
            std::fs::read(&self.context_key_file).map_err(|source| ConfigError::Read {
                path: self.context_key_file.clone(),
                source,
            })?;
        let key = parse_key(&content).ok_or_else(|| {
            ConfigError::field(
                "context_key_file",
                "must hold 32 raw bytes or 64 hexadecimal digits; \
                 make one with: head -c 32 /dev/urandom",
            )
        })?;
        Ok(ContextKey::new(key))
    }
}

/// 32 bytes are a raw key whatever they look like; all else is hexadecimal text.
fn parse_key(content: &[u8]) -> Option<[u8; KEY_BYTES]> {
    if let Ok(raw) = content.try_into() {
        return Some(raw);
    }
    let text = content.trim_ascii();
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (byte, digits) in key.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = [digits[0], digits[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_raw_or_hexadecimal() {
        let raw: [u8; KEY_BYTES] = std::array::from_fn(|n| u8::try_from(n * 8).unwrap());
        let hex = raw
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert_eq!(parse_key(&raw), Some(raw));
        assert_eq!(parse_key(format!("{hex}\n").as_bytes()), Some(raw));
        for bad in ["", "abc", &"g".repeat(64), &hex[..62], &format!("{hex}00")] {
            assert_eq!(parse_key(bad.as_bytes()), None, "{bad}");
        }
    }
}
