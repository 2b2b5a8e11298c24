//! What the owners of a key hold, side by side.

use annulus_causality::KeyState;

/// Whether all hold the same; `None`: nothing. Copies are the same if no merge would change either.
pub fn are_same<'a>(copies: impl IntoIterator<Item = Option<&'a KeyState>>) -> bool {
    let copies: Vec<_> = copies.into_iter().collect();
    copies.windows(2).all(|pair| match (pair[0], pair[1]) {
        (Some(one), Some(other)) => one.same_as(other),
        (None, None) => true,
        _ => false,
    })
}
