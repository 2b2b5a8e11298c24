//! Merges what several owners know of a key: pure.

use annulus_causality::{ConflictPolicy, KeyState};

/// The least state that knows all that the owners know; `None` when none has a record of the key.
pub(crate) fn merge_replies<'a>(
    states: impl IntoIterator<Item = Option<&'a KeyState>>,
    policy: ConflictPolicy,
) -> Option<KeyState> {
    let mut known = states.into_iter().flatten();
    let mut merged = known.next()?.clone();
    for state in known {
        merged.sync(state);
    }
    if policy == ConflictPolicy::Lww {
        merged.reduce_lww();
    }
    Some(merged)
}

/// Whether a copy already holds all of `merged`, so that repair would teach it nothing.
pub(crate) fn holds(copy: Option<&KeyState>, merged: Option<&KeyState>) -> bool {
    match (copy, merged) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(copy), Some(merged)) => merged.dominated_by(copy),
    }
}
