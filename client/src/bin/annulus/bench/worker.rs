//! One worker of a closed loop: sends a request, waits for the answer, sends the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annulus_client::{Client, ClientError, GetOptions, PutOptions};
use bytes::Bytes;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngCore};
use tokio_util::sync::CancellationToken;

use super::keys::{Keys, own_key};
use super::{Bench, Mix};
use crate::clock;

/// Latencies are kept in microseconds, up to this one, with three digits.
const LONGEST_MICROS: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// Values are cut out of random bytes at up to so many places.
const VALUE_PLACES: usize = 4096;

/// What all workers share.
pub(crate) struct Job {
    client: Client,
    pub(crate) keys: Keys,
    mix: Mix,
    value_size: usize,
    /// Random, so that nothing on the way can compress it.
    values: Bytes,
    read: GetOptions,
    write: PutOptions,
    /// Requests that may still be sent.
    allowed: AtomicU64,
}

/// What workers did of one kind of request.
pub(crate) struct Latencies {
    pub(crate) micros: Histogram<u64>,
    /// Failures by code.
    pub(crate) errors: BTreeMap<&'static str, u64>,
}

/// What workers did.
pub(crate) struct Tally {
    pub(crate) gets: Latencies,
    pub(crate) puts: Latencies,
}

impl Job {
    pub(crate) fn new(command: &Bench, client: Client, keys: Keys) -> Self {
        let mut values = vec![0; command.value_size + VALUE_PLACES];
        clock::random().fill_bytes(&mut values);
        Self {
            client,
            keys,
            mix: command.mix,
            value_size: command.value_size,
            values: values.into(),
            read: GetOptions {
                consistency: command.read_consistency,
                ..GetOptions::of(command.keyspace.clone())
            },
            write: PutOptions {
                consistency: command.write_consistency,
                ..PutOptions::of(command.keyspace.clone())
            },
            allowed: AtomicU64::new(u64::MAX),
        }
    }

    /// Sets how many requests the next run may send.
    pub(crate) fn allow(&self, operations: Option<u64>) {
        self.allowed
            .store(operations.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Writes one key over what was last seen of it; `place` chooses the value.
    pub(crate) async fn put(&self, number: u32, place: usize) -> Result<(), ClientError> {
        let at = place % VALUE_PLACES;
        let value = self.values.slice(at..at + self.value_size);
        let mut options = self.write.clone();
        options.context = self.keys.context(number);
        let writing = self
            .client
            .put(&self.keys.key(number), value, &options)
            .await?;
        self.keys.set_context(number, writing.context);
        Ok(())
    }

    async fn get(&self, number: u32) -> Result<(), ClientError> {
        self.client
            .get(&self.keys.key(number), &self.read)
            .await
            .map(drop)
    }

    fn take_one(&self) -> bool {
        let take = |left: u64| left.checked_sub(1);
        self.allowed
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

impl Latencies {
    fn new() -> Self {
        let micros = Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS)
            .expect("the bounds are in order and the digits in range");
        Self {
            micros,
            errors: BTreeMap::new(),
        }
    }

    fn record(&mut self, result: Result<(), ClientError>, took: Duration) {
        match result {
            Ok(()) => {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.micros.saturating_record(micros.max(1));
            }
            Err(error) => *self.errors.entry(error.code.as_str()).or_default() += 1,
        }
    }

    fn add(&mut self, other: &Self) {
        self.micros
            .add(&other.micros)
            .expect("all have the same bounds");
        for (code, count) in &other.errors {
            *self.errors.entry(code).or_default() += count;
        }
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            gets: Latencies::new(),
            puts: Latencies::new(),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.gets.add(&other.gets);
        self.puts.add(&other.puts);
    }
}

/// One worker.
pub(crate) struct Worker {
    pub(crate) job: Arc<Job>,
    /// Worker `number` of `workers`.
    pub(crate) number: u32,
    pub(crate) workers: u32,
    pub(crate) random: StdRng,
    /// Shared with other workers: histograms are large.
    pub(crate) tally: Arc<Mutex<Tally>>,
}

impl Worker {
    /// Works until it is stopped or all requests are sent. The last request is finished.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let keys = self.job.keys.len();
        while !stop.is_cancelled() && self.job.take_one() {
            let is_get = match self.job.mix {
                Mix::Get => true,
                Mix::Put => false,
                Mix::Mixed => self.random.random(),
            };
            let began = clock::now();
            if is_get {
                let result = self.job.get(self.random.random_range(0..keys)).await;
                self.tally.lock().gets.record(result, began.elapsed());
            } else {
                let key = own_key(keys, self.number, self.workers, &mut self.random);
                let place = self.random.random_range(0..VALUE_PLACES);
                let result = self.job.put(key, place).await;
                self.tally.lock().puts.record(result, began.elapsed());
            }
        }
    }
}
