//! Values as people write them on the command line, and read them in its answers.

use std::time::Duration;

use annulus_client::{Context, FieldRefused, Key, TimeToLive};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A key.
pub(crate) fn key(text: &str) -> Result<Key, FieldRefused> {
    Key::new(text.to_owned())
}

/// A time such as `500ms` or `2s`, longer than nothing.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than nothing".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write it as 500ms, 2s or 1m")),
    }
}

/// A time to live such as `60s` or `2h`; a bare number is seconds.
pub(crate) fn ttl(text: &str) -> Result<TimeToLive, String> {
    let seconds = if let Ok(seconds) = text.parse::<i64>() {
        seconds
    } else {
        let duration = duration(text)?;
        if duration.subsec_nanos() != 0 {
            return Err("must be whole seconds".into());
        }
        i64::try_from(duration.as_secs()).map_err(|_| "is too long".to_owned())?
    };
    TimeToLive::from_seconds(seconds).map_err(|refused| refused.reason)
}

/// A context, as `get -o json` prints it.
pub(crate) fn context(text: &str) -> Result<Context, String> {
    let bytes = BASE64.decode(text).map_err(|_| {
        "is no context; take it from `annulus get -o json` or from the answer of a write".to_owned()
    })?;
    Context::from_wire(bytes.into()).ok_or_else(|| "is empty".to_owned())
}

/// A context, as `--context` takes it.
pub(crate) fn show_context(context: &Context) -> String {
    BASE64.encode(context.as_bytes())
}

/// Bytes as base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

/// A size such as `1KiB`, `64k`, `1MiB` or a bare number of bytes. Powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor: usize = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        _ => return Err("is no size; write it as 100, 1KiB or 1MiB".into()),
    };
    let number: usize = number
        .parse()
        .map_err(|_| "is no size; write it as 1KiB".to_owned())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "is too large".to_owned())
}

/// A number of bytes for people: three digits and a binary unit.
pub(crate) fn show_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10) as usize;
    let amount = bytes as f64 / (1u64 << (10 * power)) as f64;
    let digits = usize::from(amount < 10.0);
    format!("{amount:.digits$} {}", UNITS[power - 1])
}

/// A share for people.
pub(crate) fn show_percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        assert_eq!(bytes("1KiB"), Ok(1024));
        assert_eq!(bytes("64k"), Ok(65_536));
        assert_eq!(bytes("100"), Ok(100));
        for bad in [
            "",
            "KiB",
            "1.5k",
            "9x",
            "-1",
            "99999999999999999999k",
            "18446744073709551615k",
        ] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_with_a_fitting_unit() {
        assert_eq!(show_bytes(0), "0 B");
        assert_eq!(show_bytes(1536), "1.5 KiB");
        assert_eq!(show_bytes(10 << 30), "10 GiB");
        assert_eq!(show_bytes(u64::MAX), "16 EiB");
    }

    #[test]
    fn a_time_to_live_is_whole_seconds_within_ten_years() {
        assert_eq!(ttl("60s").unwrap().seconds(), 60);
        assert_eq!(ttl("90").unwrap().seconds(), 90);
        for bad in ["0", "0s", "-1", "500ms", "11y", "soon"] {
            assert!(ttl(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_context_is_read_as_it_is_shown() {
        let shown = context("AAEC").unwrap();
        assert_eq!(show_context(&shown), "AAEC");
        assert!(context("no context!").is_err());
        assert!(context("").is_err());
    }
}
