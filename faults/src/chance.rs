//! Random numbers from a seed. Each part draws from a stream of its own name, so that a change in one part
//! leaves the others' draws as they were.

use std::hash::{DefaultHasher, Hash, Hasher};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// A stream of random numbers.
#[derive(Debug)]
pub struct Chance(StdRng);

impl Chance {
    /// The stream of that name.
    pub fn new(seed: u64, name: &str) -> Self {
        // Its keys are fixed: the same stream in every run.
        let mut hasher = DefaultHasher::new();
        (seed, name).hash(&mut hasher);
        Self(StdRng::seed_from_u64(hasher.finish()))
    }

    /// One of `range`.
    pub fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// One of so many.
    pub fn index(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    /// True in so many of 1000 cases.
    pub fn hits(&mut self, of_1000: u64) -> bool {
        self.0.random_range(0..1000) < of_1000
    }

    /// Brings the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        items.shuffle(&mut self.0);
    }
}
