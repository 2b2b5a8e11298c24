//! Sessions: read your writes and monotonic reads at any R and W, by carrying each key's context.

use std::collections::HashMap;
use std::sync::Arc;

use annulus_proto::model::{Key, KeyspaceName};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::answer::{Reading, Removal, Writing};
use crate::client::Client;
use crate::context::Context;
use crate::error::ClientError;
use crate::options::{DeleteOptions, GetOptions, PutOptions};

/// Keys whose contexts a session remembers; beyond it the half unused for longest is forgotten,
/// and the promises about those keys begin anew.
pub const SESSION_MAX_KEYS: usize = 10_000;

/// Remembers what was seen of each key: a read sees at least that, and a write replaces exactly
/// that. Cheap to clone; clones are the same session.
#[derive(Clone)]
pub struct Session {
    client: Client,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    contexts: HashMap<(KeyspaceName, Key), (Context, u64)>,
    clock: u64,
}

impl Session {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            seen: Arc::default(),
        }
    }

    /// Reads; an explicit `min_context` takes the place of the remembered one.
    pub async fn get(&self, key: &Key, options: &GetOptions) -> Result<Reading, ClientError> {
        let mut options = options.clone();
        if options.min_context.is_none() {
            options.min_context = self.recall(&options.keyspace, key);
        }
        let reading = self.client.get(key, &options).await?;
        self.remember(&options.keyspace, key, reading.context.as_ref());
        Ok(reading)
    }

    /// Writes over what the session has seen; an explicit context takes the place of the
    /// remembered one.
    pub async fn put(
        &self,
        key: &Key,
        value: impl Into<Bytes>,
        options: &PutOptions,
    ) -> Result<Writing, ClientError> {
        let mut options = options.clone();
        if options.context.is_none() {
            options.context = self.recall(&options.keyspace, key);
        }
        let writing = self.client.put(key, value, &options).await?;
        self.remember(&options.keyspace, key, writing.context.as_ref());
        Ok(writing)
    }

    /// Deletes what the session has seen; an explicit context takes the place of the remembered one.
    pub async fn delete(&self, key: &Key, options: &DeleteOptions) -> Result<Removal, ClientError> {
        let mut options = options.clone();
        if options.context.is_none() {
            options.context = self.recall(&options.keyspace, key);
        }
        let removal = self.client.delete(key, &options).await?;
        self.remember(&options.keyspace, key, removal.context.as_ref());
        Ok(removal)
    }

    fn recall(&self, keyspace: &KeyspaceName, key: &Key) -> Option<Context> {
        self.seen.lock().recall(&(keyspace.clone(), key.clone()))
    }

    fn remember(&self, keyspace: &KeyspaceName, key: &Key, context: Option<&Context>) {
        if let Some(context) = context {
            self.seen
                .lock()
                .remember((keyspace.clone(), key.clone()), context.clone());
        }
    }
}

impl Seen {
    fn recall(&mut self, key: &(KeyspaceName, Key)) -> Option<Context> {
        self.clock += 1;
        let (context, used) = self.contexts.get_mut(key)?;
        *used = self.clock;
        Some(context.clone())
    }

    fn remember(&mut self, key: (KeyspaceName, Key), context: Context) {
        self.clock += 1;
        if self.contexts.len() >= SESSION_MAX_KEYS && !self.contexts.contains_key(&key) {
            self.forget_the_older_half();
        }
        self.contexts.insert(key, (context, self.clock));
    }

    /// Half at a time, so that a session over many keys doesn't search for the oldest at every write.
    fn forget_the_older_half(&mut self) {
        let mut uses: Vec<u64> = self.contexts.values().map(|(_, used)| *used).collect();
        let (_, median, _) = uses.select_nth_unstable(SESSION_MAX_KEYS / 2);
        let median = *median;
        self.contexts.retain(|_, (_, used)| *used > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> (KeyspaceName, Key) {
        (KeyspaceName::kv(), Key::new(number.to_string()).unwrap())
    }

    fn context(number: usize) -> Context {
        Context::from_wire(number.to_string().into()).unwrap()
    }

    #[test]
    fn the_latest_context_of_a_key_is_recalled() {
        let mut seen = Seen::default();
        seen.remember(key(1), context(1));
        seen.remember(key(1), context(2));
        assert_eq!(seen.recall(&key(1)), Some(context(2)));
        assert_eq!(seen.recall(&key(2)), None);
    }

    #[test]
    fn keyspaces_do_not_share_contexts() {
        let mut seen = Seen::default();
        seen.remember(key(1), context(1));
        assert_eq!(seen.recall(&(KeyspaceName::data(), key(1).1)), None);
    }

    #[test]
    fn a_session_over_many_keys_forgets_those_unused_for_longest() {
        let mut seen = Seen::default();
        for number in 0..SESSION_MAX_KEYS {
            seen.remember(key(number), context(number));
        }
        seen.recall(&key(0));
        seen.remember(key(SESSION_MAX_KEYS), context(0));
        assert!(seen.contexts.len() <= SESSION_MAX_KEYS);
        assert_eq!(seen.recall(&key(0)), Some(context(0)));
        assert_eq!(seen.recall(&key(1)), None);
    }
}
