//! Quantities in a spec, as texts. Pure.

use std::time::Duration;

/// Bytes, such as `50Mi` or `1.5G`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let whole: u64 = whole.parse().ok()?;
    if !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Nine digits of a fraction are more than anybody means.
    let part = &part[..part.len().min(9)];
    let scale = 10_u64.pow(u32::try_from(part.len()).ok()?);
    let part = u128::from(part.parse::<u64>().ok()?) * u128::from(unit) / u128::from(scale);
    whole
        .checked_mul(unit)?
        .checked_add(u64::try_from(part).ok()?)
}

/// A time, such as `90s`, `15m`, `2h` or `1d`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].parse().ok()?;
    number.checked_mul(unit).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_kubernetes_writes_them() {
        assert_eq!(bytes("50Mi"), Some(50 << 20));
        assert_eq!(bytes("1.5G"), Some(1_500_000_000));
        assert_eq!(bytes("0.5Ki"), Some(512));
        assert_eq!(bytes("7"), Some(7));
        for wrong in ["", "Mi", "1.Mi", "-1", "5 M", "5m", "99999999999Ti", "ä"] {
            assert_eq!(bytes(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn times_have_one_unit() {
        assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("15m"), Some(Duration::from_secs(900)));
        assert_eq!(duration("1d"), Some(Duration::from_secs(86_400)));
        for wrong in ["", "m", "15", "1h30m", "-1s", "15ä"] {
            assert_eq!(duration(wrong), None, "{wrong:?}");
        }
    }
}
