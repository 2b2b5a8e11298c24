//! The keys of a benchmark, and what is known of each. A key is written by one worker at a time.

use annulus_client::{Context, Key};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;

/// Keys `bench-<prefix>-<number>`.
pub(crate) struct Keys {
    prefix: u32,
    /// What the last write of each key returned.
    contexts: Vec<Mutex<Option<Context>>>,
}

impl Keys {
    /// So many keys under a prefix that no earlier benchmark had.
    pub(crate) fn new(count: u32, mut random: StdRng) -> Self {
        let contexts = (0..count).map(|_| Mutex::new(None)).collect();
        Self {
            prefix: random.random(),
            contexts,
        }
    }

    /// How many.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.contexts.len()).expect("made from a u32")
    }

    /// A key's name.
    pub(crate) fn key(&self, number: u32) -> Key {
        Key::new(format!("bench-{:08x}-{number}", self.prefix)).expect("a short key")
    }

    /// What was last seen of it.
    pub(crate) fn context(&self, number: u32) -> Option<Context> {
        self.contexts[number as usize].lock().clone()
    }

    /// It was written.
    pub(crate) fn set_context(&self, number: u32, context: Option<Context>) {
        *self.contexts[number as usize].lock() = context;
    }
}

/// A key out of those that worker `worker` of `workers` may write: every `workers`-th one.
/// There are at least as many keys as workers.
pub(crate) fn own_key(keys: u32, worker: u32, workers: u32, random: &mut StdRng) -> u32 {
    let own = (keys - worker).div_ceil(workers);
    worker + random.random_range(0..own) * workers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    proptest! {
        #[test]
        fn no_two_workers_write_the_same_key(workers in 1u32..50, more in 0u32..100, seed: u64) {
            let keys = workers + more;
            let mut random = StdRng::seed_from_u64(seed);
            for worker in 0..workers {
                let key = own_key(keys, worker, workers, &mut random);
                prop_assert!(key < keys);
                prop_assert_eq!(key % workers, worker);
            }
        }
    }
}
