//! A broken promise: which, and how.

use std::fmt;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    /// The rule's name: `I…` of the invariants here, `C…` of the checker.
    pub(crate) rule: String,
    /// The key that it is about, as `keyspace/key`.
    pub(crate) key: Option<String>,
    pub(crate) what: String,
}

impl Broken {
    pub(crate) fn new(rule: &str, what: impl Into<String>) -> Self {
        Self {
            rule: rule.to_owned(),
            key: None,
            what: what.into(),
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}
