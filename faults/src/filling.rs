//! Fills a ring with keys before anything is measured.

use std::future::ready;

use annulus_checker::KeyName;
use futures::stream::{self, StreamExt as _};

use crate::ring::Ring;
use crate::workload::ask::{Ask, What};

/// Writes under way at a time.
const AT_ONCE: usize = 64;

/// Writes so many keys, each once; how many writes were acknowledged.
pub(crate) async fn fill(ring: &Ring, keys: u64, value_bytes: usize) -> usize {
    let writes = (0..keys).map(|key| async move {
        let name = format!("first{key}");
        let what = What::Put {
            name,
            filling: value_bytes,
        };
        let node = ring.arena.open_in_turn(key);
        let answer = ring.arena.ask(node, &Ask::plain(name_of(key), what)).await;
        answer.is_ok()
    });
    let written = stream::iter(writes).buffer_unordered(AT_ONCE);
    written.filter(|is_ok| ready(*is_ok)).count().await
}

/// The key of that number.
pub(crate) fn name_of(key: u64) -> KeyName {
    KeyName::new("data", format!("k{key}"))
}
