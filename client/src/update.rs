//! Read, merge, write back: how a caller resolves siblings and changes a value without losing
//! anybody's write.

use annulus_proto::model::{Consistency, ErrorCode, Key, KeyspaceName, TimeToLive};
use bytes::Bytes;

use crate::answer::{Sibling, Writing};
use crate::client::Client;
use crate::error::ClientError;
use crate::options::{GetOptions, PutOptions};

/// How often an update reads and merges again after a conflict.
pub const UPDATE_MAX_ROUNDS: u32 = 8;

/// Chosen per update.
#[derive(Debug, Clone)]
pub struct UpdateOptions {
    /// Keyspace; `kv` by default.
    pub keyspace: KeyspaceName,
    /// Replicas that must answer the read.
    pub read_consistency: Option<Consistency>,
    /// Replicas that must hold the write.
    pub write_consistency: Option<Consistency>,
    /// How long the new value lives.
    pub ttl: Option<TimeToLive>,
}

impl Default for UpdateOptions {
    fn default() -> Self {
        Self {
            keyspace: KeyspaceName::kv(),
            read_consistency: None,
            write_consistency: None,
            ttl: None,
        }
    }
}

impl Client {
    /// Reads the key, lets `merge` make one value of its siblings (none for an absent key), and
    /// writes that over exactly what was read. A concurrent write stays, as a sibling, for the next
    /// update to merge. A conflict is read and merged again, [`UPDATE_MAX_ROUNDS`] times at most, so
    /// `merge` may be called more than once.
    pub async fn update<M, V>(
        &self,
        key: &Key,
        options: &UpdateOptions,
        mut merge: M,
    ) -> Result<Writing, ClientError>
    where
        M: FnMut(&[Sibling]) -> V,
        V: Into<Bytes>,
    {
        let read = GetOptions {
            consistency: options.read_consistency,
            ..GetOptions::of(options.keyspace.clone())
        };
        let mut rounds = 1;
        loop {
            let reading = self.get(key, &read).await?;
            let merged: Bytes = merge(&reading.values).into();
            let write = PutOptions {
                consistency: options.write_consistency,
                ttl: options.ttl,
                context: reading.context,
                ..PutOptions::of(options.keyspace.clone())
            };
            match self.put(key, merged, &write).await {
                Err(error) if error.code == ErrorCode::Conflict && rounds < UPDATE_MAX_ROUNDS => {
                    rounds += 1;
                }
                result => return result,
            }
        }
    }
}
