//! A broken promise: which, and how.

use std::fmt;

use annulus_proto::model::{Key, KeyspaceName};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    /// The rule's name: `I…` of the invariants here, `C…` of the checker.
    pub(crate) rule: String,
    /// The key that it is about, as `keyspace/key`.
    pub(crate) key: Option<String>,
    pub(crate) what: String,
}

/// Where the keyspace's name begins in a stored key: after partition and token.
const NAME_AT: usize = 10;

impl Broken {
    pub(crate) fn new(rule: &str, what: impl Into<String>) -> Self {
        Self {
            rule: rule.to_owned(),
            key: None,
            what: what.into(),
        }
    }

    /// It is about that key.
    pub(crate) fn of_key(self, keyspace: &KeyspaceName, key: &Key) -> Self {
        let key = Some(format!("{keyspace}/{key}"));
        Self { key, ..self }
    }

    /// It is about the key that is stored so.
    pub(crate) fn about(self, stored_key: &[u8]) -> Self {
        let split = stored_key.get(NAME_AT..).and_then(|rest| {
            let (length, rest) = rest.split_first()?;
            rest.split_at_checked(usize::from(*length))
        });
        let key = split.map(|(space, key)| {
            let (space, key) = (String::from_utf8_lossy(space), String::from_utf8_lossy(key));
            format!("{space}/{key}")
        });
        Self { key, ..self }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}
