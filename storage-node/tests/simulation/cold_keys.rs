//! Keys that are written, deleted and then left alone for a while, long enough for them to be reaped; and read or
//! written again before, meanwhile and after.

use std::time::Duration;

use annulus_causality::VersionVector;
use annulus_proto::model::{Key, KeyspaceName, TimeToLive};

use crate::asking::{Asker, What};
use crate::recording::Asked;

/// Cold keys of each keyspace.
const KEYS: u64 = 6;

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = (KeyspaceName, Key)> {
    let spaces = [KeyspaceName::kv(), KeyspaceName::data()];
    spaces
        .into_iter()
        .flat_map(|space| (0..KEYS).map(move |number| (space.clone(), key_of(number))))
}

fn key_of(number: u64) -> Key {
    Key::new(format!("cold{number}")).expect("a short key")
}

impl Asker {
    /// The time before the next request for a cold key.
    pub(crate) fn cold_pause(&self) -> Duration {
        Duration::from_millis(self.chance.within(50..1_000))
    }

    /// The next request for a cold key.
    pub(crate) fn next_cold(&mut self) -> Asked {
        let space = if self.chance.hits(650) {
            KeyspaceName::kv()
        } else {
            KeyspaceName::data()
        };
        let key = key_of(self.chance.within(0..KEYS));
        let seen = self.seen(&space, &key);
        let (what, context) = match self.chance.within(0..100) {
            0..20 => (What::Get, seen),
            20..60 => (What::Get, VersionVector::new()),
            60..70 => (self.put(None), seen),
            70..75 => (self.put(None), VersionVector::new()),
            75..82 => {
                let ttl = i64::try_from(self.chance.within(1..3)).expect("seconds");
                let ttl = TimeToLive::from_seconds(ttl).expect("a valid time to live");
                (self.put(Some(ttl)), seen)
            }
            82..92 => (What::Delete, seen),
            _ => (What::Delete, VersionVector::new()),
        };
        self.ask(space, key, what, context)
    }
}
