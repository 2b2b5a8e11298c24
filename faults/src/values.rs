//! Values that prove themselves: a name, a length, and filling that follows from both. A value that was changed on
//! its way or on a disk keeps no name that anybody wrote.

use annulus_checker::ValueId;

/// The value of that name, with so many bytes of filling.
pub(crate) fn value(name: &str, filling: usize) -> String {
    let mut text = format!("{name}:{filling}:");
    text.extend(fill(name, filling));
    text
}

/// The name of a value as it was read. One that is not whole is named by all of its bytes.
pub(crate) fn name(bytes: &[u8]) -> ValueId {
    // JSON's quotes, where it was written as JSON.
    let bare = bytes
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    let whole = std::str::from_utf8(bare.unwrap_or(bytes))
        .ok()
        .and_then(name_if_whole);
    whole.unwrap_or_else(|| ValueId::of(bytes))
}

fn name_if_whole(text: &str) -> Option<ValueId> {
    let mut parts = text.splitn(3, ':');
    let (name, length, filling) = (parts.next()?, parts.next()?, parts.next()?);
    let length: usize = length.parse().ok()?;
    let is_whole = filling.len() == length && filling.chars().eq(fill(name, length));
    is_whole.then(|| ValueId::from(name))
}

fn fill(name: &str, length: usize) -> impl Iterator<Item = char> {
    let first: u32 = name.bytes().map(u32::from).sum();
    (first..)
        .take(length)
        .map(|n| char::from(b"abcdefghijklmnopqrstuvwxyz"[(n % 26) as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_value_has_its_name_with_and_without_quotes() {
        for length in [0, 1, 4000] {
            let value = value("c1v2", length);
            assert_eq!(name(value.as_bytes()), ValueId::from("c1v2"));
            assert_eq!(
                name(format!("\"{value}\"").as_bytes()),
                ValueId::from("c1v2")
            );
        }
    }

    #[test]
    fn a_changed_value_has_no_name_that_anybody_wrote() {
        let mut changed = value("c1v2", 100).into_bytes();
        changed[50] ^= 0x40;
        assert_ne!(name(&changed), ValueId::from("c1v2"));
        let short = &value("c1v2", 100).into_bytes()[..90];
        assert_ne!(name(short), ValueId::from("c1v2"));
    }
}
