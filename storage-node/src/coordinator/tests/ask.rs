//! What tests ask of a node, and how they see what it finds.

use std::time::Duration;

use annulus_causality::{RequestId, VersionVector};
use annulus_proto::model::{Consistency, Key, KeyspaceName};
use bytes::Bytes;

use crate::clock::{Clock as _, SystemClock};
use crate::coordinator::{Found, Put};

/// The parameters of a request, at their defaults but for what a test is about.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) keyspace: KeyspaceName,
    pub(crate) key: Key,
    pub(crate) read: Option<Consistency>,
    pub(crate) write: Option<Consistency>,
    pub(crate) context: Option<VersionVector>,
    pub(crate) request_id: Option<RequestId>,
    pub(crate) sloppy: bool,
    pub(crate) timeout: Duration,
}

impl Ask {
    pub(crate) fn key(key: &str) -> Self {
        Self {
            keyspace: KeyspaceName::kv(),
            key: Key::new(key.to_owned()).unwrap(),
            read: None,
            write: None,
            context: None,
            request_id: None,
            sloppy: false,
            timeout: Duration::from_secs(5),
        }
    }

    pub(crate) fn lww(self) -> Self {
        Self {
            keyspace: KeyspaceName::data(),
            ..self
        }
    }

    pub(crate) fn r(self, level: &str) -> Self {
        Self {
            read: Some(level.parse().unwrap()),
            ..self
        }
    }

    pub(crate) fn w(self, level: &str) -> Self {
        Self {
            write: Some(level.parse().unwrap()),
            ..self
        }
    }

    pub(crate) fn context(self, context: &VersionVector) -> Self {
        Self {
            context: Some(context.clone()),
            ..self
        }
    }

    pub(crate) fn id(self, sequence: u64) -> Self {
        Self {
            request_id: Some(RequestId {
                client: 99,
                sequence,
            }),
            ..self
        }
    }

    pub(crate) fn sloppy(self) -> Self {
        Self {
            sloppy: true,
            ..self
        }
    }

    pub(crate) fn within_ms(self, ms: u64) -> Self {
        Self {
            timeout: Duration::from_millis(ms),
            ..self
        }
    }
}

pub(crate) fn put_of(ask: &Ask, value: &str) -> Put {
    Put {
        keyspace: ask.keyspace.clone(),
        key: ask.key.clone(),
        value: Bytes::from(value.to_owned()),
        context: ask.context.clone().unwrap_or_default(),
        ttl: None,
        write: ask.write,
        request_id: ask.request_id,
        sloppy: ask.sloppy,
        deadline: SystemClock.now() + ask.timeout,
    }
}

/// The values that are live, as text.
pub(crate) fn shown(found: &Found) -> Vec<String> {
    let value = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let live = found.state.live(found.now_ms);
    live.filter_map(|sibling| sibling.value(found.now_ms))
        .map(value)
        .collect()
}
