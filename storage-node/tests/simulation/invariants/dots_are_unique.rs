//! I1: a dot of a key names at most one value, with one stamp and one time to live, for ever, whatever
//! was lost meanwhile. The bytes of an expired value may be gone: on a disk whose node's clock is ahead, even before
//! another has them.

use std::collections::HashMap;

use annulus_causality::{Content, Dot, HlcStamp, Sibling};
use annulus_node::simulation::Wrote;

use super::new_siblings;
use crate::broken::Broken;

#[derive(Debug, Default)]
pub(super) struct DotsAreUnique(HashMap<Vec<u8>, HashMap<Dot, Named>>);

#[derive(Debug, Clone)]
struct Named {
    content: Content,
    stamp: HlcStamp,
    expires_at_ms: Option<u64>,
}

impl Named {
    fn of(sibling: &Sibling) -> Self {
        Self {
            content: sibling.content.clone(),
            stamp: sibling.stamp,
            expires_at_ms: sibling.expires_at_ms,
        }
    }

    /// Whether it is the same. What was seen without its bytes first names those that are seen later.
    fn is(&mut self, sibling: &Sibling) -> bool {
        let rest = self.stamp == sibling.stamp && self.expires_at_ms == sibling.expires_at_ms;
        let expires = self.expires_at_ms.is_some();
        if expires && self.content == Content::Tombstone {
            self.content = sibling.content.clone();
        }
        let reclaimed = expires && sibling.content == Content::Tombstone;
        rest && (self.content == sibling.content || reclaimed)
    }
}

impl DotsAreUnique {
    pub(super) fn wrote(&mut self, wrote: &Wrote<'_>) -> Result<(), Broken> {
        for sibling in new_siblings(wrote) {
            if !self.0.contains_key(wrote.stored_key) {
                self.0.insert(wrote.stored_key.to_vec(), HashMap::new());
            }
            let named = self.0.get_mut(wrote.stored_key);
            let named = named.expect("it was put there");
            let first = named
                .entry(sibling.dot)
                .or_insert_with(|| Named::of(sibling));
            if !first.is(sibling) {
                let what = format!("dot {} is {first:?} and {sibling:?}", sibling.dot);
                return Err(Broken::new("I1 dots are unique", what).about(wrote.stored_key));
            }
        }
        Ok(())
    }

    /// Whether a write made the event; if not, a vnode that had forgotten (rule V4), and nobody else needs to know it.
    pub(super) fn is_of_a_write(&self, stored_key: &[u8], dot: Dot) -> bool {
        let named = self.0.get(stored_key);
        named.is_some_and(|named| named.contains_key(&dot))
    }
}
