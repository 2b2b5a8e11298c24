//! Types of single fields: durations as people write them, consistency levels, context keys.

use std::fmt;
use std::time::Duration;

use annulus_proto::model::Consistency;
use serde::de::{self, Deserializer, Visitor};

/// Reads `500ms`, `2s`, `1m 30s`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = <String as serde::Deserialize>::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        de::Error::custom(format!("{text:?} is no duration such as 500ms: {error}"))
    })
}

/// Reads a level's name or a number.
pub(super) fn consistency<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Consistency, D::Error> {
    deserializer.deserialize_any(Level)
}

/// As [`consistency`], for a field that may be left out.
pub(super) fn optional_consistency<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Consistency>, D::Error> {
    consistency(deserializer).map(Some)
}

struct Level;

impl Visitor<'_> for Level {
    type Value = Consistency;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one, quorum, all, local_quorum or a number from 1")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Consistency, E> {
        text.parse().map_err(de::Error::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Consistency, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Consistency, E> {
        self.visit_str(&number.to_string())
    }
}
