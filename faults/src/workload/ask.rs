//! One request, drawn from the seed. Pure.
//!
//! A few keys are hot for half a minute, then others are: many clients meet on them, and no key's history grows so
//! long that judging it takes for ever. The rest are many and cold.

use std::time::Duration;

use annulus_causality::{Context, VersionVector};
use annulus_checker::{Consistency, KeyName, Kind, Policy, RequestName, ValueId};

use crate::chance::Chance;
use crate::founding::COPIES;
use crate::site::{SHORT_LIVED, SHORT_LIVED_TTL};

const COLD_KEYS: u64 = 150;
const HOT_KEYS: u64 = 4;
const HOT_FOR: Duration = Duration::from_secs(20);

/// The longest that a request may take.
pub(crate) const LONGEST_REQUEST: Duration = Duration::from_secs(2);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Get,
    Put { name: String, filling: usize },
    Delete,
}

/// Over which interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Grpc,
    /// `/v1/keyspaces/{keyspace}/kv/{key}`
    HttpKv,
    /// `/v1/data/{key}`: no contexts.
    HttpData,
}

/// How many replicas take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// As the keyspace says: a quorum.
    Usual,
    One,
    Quorum,
    All,
}

impl Level {
    /// As it is sent; empty for the usual one.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Usual => "",
            Self::One => "one",
            Self::Quorum => "quorum",
            Self::All => "all",
        }
    }

    fn number(self) -> u8 {
        match self {
            Self::Usual | Self::Quorum => COPIES / 2 + 1,
            Self::One => 1,
            Self::All => COPIES,
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) key: KeyName,
    pub(crate) what: What,
    pub(crate) via: Via,
    /// What the client has seen: a write replaces it, a read must have seen it too.
    pub(crate) context: Option<Context>,
    pub(crate) read: Level,
    pub(crate) write: Level,
    /// Seconds.
    pub(crate) ttl: Option<i64>,
    pub(crate) request: Option<RequestName>,
    pub(crate) timeout: Duration,
}

impl Ask {
    /// Over gRPC, of as many replicas as usual, and no retry.
    pub(crate) fn plain(key: KeyName, what: What) -> Self {
        Self {
            key,
            what,
            via: Via::Grpc,
            context: None,
            read: Level::Usual,
            write: Level::Usual,
            ttl: None,
            request: None,
            timeout: LONGEST_REQUEST,
        }
    }

    pub(crate) fn policy(&self) -> Policy {
        policy_of(&self.key)
    }

    /// The clock that is sent.
    pub(crate) fn clock(&self) -> Option<&VersionVector> {
        let clock = self.context.as_ref().map(Context::clock);
        clock.filter(|clock| !clock.is_empty())
    }

    /// In the checker's words.
    pub(crate) fn kind(&self) -> Kind {
        let context = self.clock().cloned();
        match &self.what {
            What::Get => Kind::Get {
                min_context: context,
            },
            What::Put { name, .. } => Kind::Put {
                value: ValueId(name.clone()),
                context,
                ttl_us: self.lives_for().map(|ttl| ttl.unsigned_abs() * 1_000_000),
            },
            What::Delete => Kind::Delete { context },
        }
    }

    fn lives_for(&self) -> Option<i64> {
        let usual = (self.key.keyspace == SHORT_LIVED).then_some(SHORT_LIVED_TTL);
        self.ttl.or(usual)
    }

    pub(crate) fn consistency(&self) -> Consistency {
        Consistency {
            n: COPIES,
            r: self.read.number(),
            w: self.write.number(),
        }
    }

    pub(crate) fn may_be_retried(&self) -> bool {
        // Without a request id a retry would be another write.
        self.request.is_some() || self.what == What::Get
    }
}

/// The policy of a key's keyspace.
pub(crate) fn policy_of(key: &KeyName) -> Policy {
    if key.keyspace == "data" {
        Policy::Lww
    } else {
        Policy::Siblings
    }
}

/// Draws one client's requests.
#[derive(Debug)]
pub(crate) struct Draw {
    client: u64,
    sequence: u64,
    /// Whether a write may be on one disk alone when it is acknowledged.
    may_write_one: bool,
    chance: Chance,
}

impl Draw {
    pub(crate) fn new(client: u64, seed: u64, may_write_one: bool) -> Self {
        Self {
            client,
            sequence: 0,
            may_write_one,
            chance: Chance::new(seed, &format!("client {client}")),
        }
    }

    pub(crate) fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// The key of the next request.
    pub(crate) fn key(&mut self, elapsed: Duration) -> KeyName {
        let keyspace = match self.chance.within(0..100) {
            0..55 => "kv",
            55..85 => "data",
            _ => SHORT_LIVED,
        };
        if self.chance.hits(400) {
            let era = elapsed.as_secs() / HOT_FOR.as_secs();
            return KeyName::new(
                keyspace,
                format!("hot-{era}-{}", self.chance.within(0..HOT_KEYS)),
            );
        }
        KeyName::new(
            keyspace,
            format!("cold-{}", self.chance.within(0..COLD_KEYS)),
        )
    }

    /// A request for that key by a client that has seen so much of it.
    pub(crate) fn ask(&mut self, key: KeyName, seen: Option<Context>) -> Ask {
        self.sequence += 1;
        let via = match self.chance.within(0..100) {
            0..60 => Via::Grpc,
            60..80 if key.keyspace == "data" => Via::HttpData,
            _ => Via::HttpKv,
        };
        let (what, context) = match self.chance.within(0..100) {
            0..40 if self.chance.hits(500) => (What::Get, seen),
            0..40 => (What::Get, None),
            40..72 => (self.put(), seen),
            72..86 => (self.put(), None),
            86..95 => (What::Delete, seen),
            _ => (What::Delete, None),
        };
        let is_write = what != What::Get;
        let is_put = matches!(what, What::Put { .. });
        let has_request = is_write && via == Via::Grpc && self.chance.hits(900);
        let ttl = is_put && self.chance.hits(80);
        Ask {
            context: context.filter(|_| via != Via::HttpData),
            read: self.level(700, true),
            write: if is_write {
                self.level(800, self.may_write_one)
            } else {
                Level::Usual
            },
            ttl: ttl.then(|| i64::try_from(self.chance.within(1..20)).expect("a few seconds")),
            request: has_request.then_some(RequestName {
                client: self.client + 1,
                sequence: self.sequence,
            }),
            timeout: [
                Duration::from_millis(300),
                Duration::from_millis(800),
                LONGEST_REQUEST,
            ][self.chance.index(3)],
            key,
            what,
            via,
        }
    }

    fn put(&mut self) -> What {
        let filling = match self.chance.within(0..10) {
            0..6 => self.chance.within(0..200),
            6..9 => self.chance.within(200..2_000),
            // Beyond the size from which values have files of their own.
            _ => self.chance.within(2_000..24_000),
        };
        What::Put {
            name: format!("c{}v{}", self.client, self.sequence),
            filling: usize::try_from(filling).expect("a few thousand"),
        }
    }

    fn level(&mut self, usual_of_1000: u64, may_be_one: bool) -> Level {
        if self.chance.hits(usual_of_1000) {
            return Level::Usual;
        }
        match self.chance.index(3) {
            0 if may_be_one => Level::One,
            0 | 1 => Level::Quorum,
            _ => Level::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(may_write_one: bool) -> Vec<Ask> {
        let mut draw = Draw::new(3, 7, may_write_one);
        let asks = (0..5_000).map(|n| {
            let key = draw.key(Duration::from_millis(n * 10));
            draw.ask(key, None)
        });
        asks.collect()
    }

    #[test]
    fn every_kind_of_request_over_every_interface() {
        let asks = draws(false);
        for via in [Via::Grpc, Via::HttpKv, Via::HttpData] {
            for name in ["Get", "Put", "Delete"] {
                let found = asks
                    .iter()
                    .any(|ask| ask.via == via && format!("{:?}", ask.what).starts_with(name));
                assert!(found, "{name} over {via:?}");
            }
        }
    }

    #[test]
    fn data_without_contexts_is_for_the_last_writer_s_keyspace_alone() {
        let data = draws(false)
            .into_iter()
            .filter(|ask| ask.via == Via::HttpData);
        assert!(
            data.into_iter()
                .all(|ask| ask.policy() == Policy::Lww && ask.context.is_none())
        );
    }

    #[test]
    fn where_disks_get_lost_a_write_waits_for_two() {
        let w_one = |asks: Vec<Ask>| {
            asks.iter()
                .filter(|ask| ask.what != What::Get && ask.consistency().w == 1)
                .count()
        };
        assert_eq!(w_one(draws(false)), 0);
        assert!(w_one(draws(true)) > 0);
    }

    #[test]
    fn each_put_has_a_value_of_its_own() {
        let names: Vec<_> = draws(false)
            .into_iter()
            .filter_map(|ask| match ask.what {
                What::Put { name, .. } => Some(name),
                _ => None,
            })
            .collect();
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
