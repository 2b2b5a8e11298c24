//! The deadline of a call: the `grpc-timeout` header.

use std::time::Duration;

use annulus_proto::model::FieldRefused;
use tonic::metadata::MetadataMap;

/// How long the caller waits; `None` where it doesn't say. Up to eight digits and a unit
/// (gRPC over HTTP/2, "Timeout").
pub(super) fn timeout(metadata: &MetadataMap) -> Result<Option<Duration>, FieldRefused> {
    let Some(value) = metadata.get("grpc-timeout") else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(parse);
    match parsed {
        Some(timeout) => Ok(Some(timeout)),
        None => Err(FieldRefused::invalid(
            "grpc-timeout",
            "must be up to 8 digits and one of HMSmun",
        )),
    }
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        assert_eq!(parse("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse("1M"), Some(Duration::from_secs(60)));
        assert_eq!(parse("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(parse("500m"), Some(Duration::from_millis(500)));
        assert_eq!(parse("1u"), Some(Duration::from_micros(1)));
        assert_eq!(parse("0n"), Some(Duration::ZERO));
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "S", "1", "-1S", "+1S", "1 S", "123456789S", "1s", "1ü"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
