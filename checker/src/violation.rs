//! What a rule finds.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::operation::{KeyName, Operation, OperationId};

/// A rule of `docs/protocol/checker.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// C1.
    NoLostUpdate,
    /// C2.
    NoResurrection,
    /// C3.
    NoPhantom,
    /// C4.
    Causality,
    /// C5.
    Freshness,
    /// C6.
    Convergence,
    /// C7.
    LastWriterWins,
    /// C9.
    Epochs,
    /// C10.
    MinimalMoves,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLostUpdate => "C1 no lost update",
            Self::NoResurrection => "C2 no resurrection",
            Self::NoPhantom => "C3 no phantom",
            Self::Causality => "C4 causality",
            Self::Freshness => "C5 freshness",
            Self::Convergence => "C6 convergence",
            Self::LastWriterWins => "C7 last writer wins",
            Self::Epochs => "C9 epochs",
            Self::MinimalMoves => "C10 minimal moves",
        })
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// The key, where it is about one.
    pub key: Option<KeyName>,
    /// What happened, in a sentence.
    pub what: String,
    /// The operations involved, the one that was wronged first.
    pub operations: Vec<OperationId>,
}

impl Violation {
    pub(crate) fn of_key<'o>(
        rule: Rule,
        key: &KeyName,
        what: String,
        operations: impl IntoIterator<Item = &'o Operation>,
    ) -> Self {
        Self {
            rule,
            key: Some(key.clone()),
            what,
            operations: operations
                .into_iter()
                .map(|operation| operation.id)
                .collect(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.rule)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.what)
    }
}
