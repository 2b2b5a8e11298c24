//! What a client asked for, and what it was told: the record of one operation.
//!
//! One logical request is one operation, however often it was tried: the retries under a request id are its
//! [`Attempt`]s. Times are microseconds of one clock for the whole recording, the recorder's: an attempt begins
//! before anything is sent and ends after its answer was taken.
//!
//! What isn't known is left out (`None`), never guessed: rules judge only what is certain.

use std::fmt;

use annulus_causality::{ConflictPolicy, Dot, RequestId, VersionVector};
use serde::{Deserialize, Serialize};

use crate::causality_text;

/// Number of an operation in its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub u64);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A written value. Each put of a history writes a value of its own, so that a value names its put.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueId(pub String);

impl ValueId {
    /// The name of a value by its bytes: the text itself, or hexadecimal after `0x` where it is no UTF-8.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self(text.to_owned()),
            Err(_) => Self(bytes.iter().fold("0x".to_owned(), |mut hex, byte| {
                use fmt::Write as _;
                let _ = write!(hex, "{byte:02x}"); // writing to a String can't fail
                hex
            })),
        }
    }
}

impl From<&str> for ValueId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for ValueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A keyspace and a key in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyName {
    /// The keyspace.
    pub keyspace: String,
    /// The key.
    pub key: String,
}

impl KeyName {
    /// The key of that name in that keyspace.
    pub fn new(keyspace: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            keyspace: keyspace.into(),
            key: key.into(),
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.keyspace, self.key)
    }
}

/// What becomes of concurrent writes in the key's keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Readers see all of them.
    Siblings,
    /// The one with the largest stamp wins.
    Lww,
}

impl From<ConflictPolicy> for Policy {
    fn from(policy: ConflictPolicy) -> Self {
        match policy {
            ConflictPolicy::Siblings => Self::Siblings,
            ConflictPolicy::Lww => Self::Lww,
        }
    }
}

/// The numbers that the operation ran with, resolved (no `quorum`, but 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Consistency {
    /// N: owners of the key.
    pub n: u8,
    /// R: answers that a read waits for; also the read inside of a delete without context.
    pub r: u8,
    /// W: acknowledgements that a write waits for; of a get: the keyspace's, for which its repair waits. 0: of a
    /// write that other nodes keep for owners that were away (sloppy): no read is bound to see it, and it may not be
    /// lost all the same.
    pub w: u8,
}

impl Consistency {
    /// N = 3, R = W = 2.
    pub const QUORUM: Self = Self { n: 3, r: 2, w: 2 };

    /// Whether a read with this R meets every write with that W.
    pub fn reads_every(self, write: Self) -> bool {
        u16::from(self.r) + u16::from(write.w) > u16::from(self.n.max(write.n))
    }
}

/// The client's name for a logical write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestName {
    /// The client's random id.
    pub client: u64,
    /// Its count.
    pub sequence: u64,
}

impl From<RequestId> for RequestName {
    fn from(id: RequestId) -> Self {
        Self {
            client: id.client,
            sequence: id.sequence,
        }
    }
}

/// One operation with all its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Its number; no two operations of a history share one.
    pub id: OperationId,
    /// Who asked.
    pub client: u64,
    /// The sequence of operations that it belongs to: each begins after the one before it ended.
    pub session: u64,
    /// Keyspace and key.
    pub key: KeyName,
    /// The keyspace's conflict policy.
    pub policy: Policy,
    /// What was asked for.
    pub kind: Kind,
    /// With which numbers.
    pub consistency: Consistency,
    /// The client's name of the write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestName>,
    /// At least one, by time; more if the client retried.
    pub attempts: Vec<Attempt>,
}

/// What an operation asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// Writes a value.
    Put {
        /// The value.
        value: ValueId,
        /// What the client has seen; none (or an empty clock) for a blind write.
        #[serde(
            default,
            with = "causality_text::clock::option",
            skip_serializing_if = "Option::is_none"
        )]
        context: Option<VersionVector>,
        /// Time to live in microseconds, the keyspace's default included; none: for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_us: Option<u64>,
    },
    /// Deletes what the context covers.
    Delete {
        /// What the client has seen; none (or an empty clock): what a read at R sees.
        #[serde(
            default,
            with = "causality_text::clock::option",
            skip_serializing_if = "Option::is_none"
        )]
        context: Option<VersionVector>,
    },
    /// Reads.
    Get {
        /// What the answer must have seen.
        #[serde(
            default,
            with = "causality_text::clock::option",
            skip_serializing_if = "Option::is_none"
        )]
        min_context: Option<VersionVector>,
    },
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// When it began, in microseconds of the recorder's clock.
    pub invoked_at_us: u64,
    /// When its answer was taken; none if there was none, or the recording ended first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at_us: Option<u64>,
    /// What it came to.
    pub outcome: Outcome,
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// A put was acknowledged.
    Written(Written),
    /// A delete was acknowledged.
    Deleted(Deleted),
    /// A get was answered; with no values where the key is absent.
    Found(Found),
    /// Nothing happened, ever.
    Rejected,
    /// It may have happened, or may yet, or never will. Also: no answer.
    Unknown,
}

/// The answer to a put.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// The returned context.
    #[serde(
        default,
        with = "causality_text::clock::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub context: Option<VersionVector>,
    /// The write's dot; see [`minted_dot`].
    #[serde(
        default,
        with = "causality_text::dot::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub dot: Option<Dot>,
    /// The version, in keyspaces where the last writer wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// The answer to a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deleted {
    /// Whether there was anything to delete, if the answer says so. If not, nothing was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existed: Option<bool>,
    /// The returned context.
    #[serde(
        default,
        with = "causality_text::clock::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub context: Option<VersionVector>,
    /// The tombstone's dot; see [`minted_dot`].
    #[serde(
        default,
        with = "causality_text::dot::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub dot: Option<Dot>,
}

/// The answer to a get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// What was shown, in the answer's order.
    #[serde(default)]
    pub values: Vec<Shown>,
    /// The returned context.
    #[serde(
        default,
        with = "causality_text::clock::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub context: Option<VersionVector>,
    /// The version, in keyspaces where the last writer wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// One value of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// The value.
    pub value: ValueId,
    /// Its dot: the one entry of the sibling's own context.
    #[serde(
        default,
        with = "causality_text::dot::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub dot: Option<Dot>,
}

/// The dot of a write whose answer's context is what was sent and the dot: the one entry that is higher.
/// `None` if not exactly one is (a retry that was answered from memory under a context that knew it).
/// With nothing sent: the dot of a single sibling's context.
pub fn minted_dot(sent: Option<&VersionVector>, returned: &VersionVector) -> Option<Dot> {
    let sent_of = |actor| sent.map_or(0, |sent| sent.get(actor));
    let mut higher = returned
        .iter()
        .filter(|&(actor, counter)| counter > sent_of(actor));
    match (higher.next(), higher.next()) {
        (Some((actor, counter)), None) => Some(actor.dot(counter)),
        _ => None,
    }
}

impl Written {
    /// The answer to a put with the context `sent`.
    pub fn new(sent: Option<&VersionVector>, context: VersionVector, version: Option<u64>) -> Self {
        Self {
            dot: minted_dot(sent, &context),
            context: Some(context),
            version,
        }
    }
}

impl Deleted {
    /// The answer to a delete with the context `sent`. One that found nothing has no dot.
    pub fn new(sent: Option<&VersionVector>, context: VersionVector, existed: bool) -> Self {
        let dot = minted_dot(sent, &context).filter(|_| existed);
        Self {
            existed: Some(existed),
            dot,
            context: Some(context),
        }
    }
}

impl Found {
    /// The answer to a get: each value with its own context, and the context of all.
    pub fn new<'v>(
        values: impl IntoIterator<Item = (&'v [u8], VersionVector)>,
        context: VersionVector,
        version: Option<u64>,
    ) -> Self {
        let values = values.into_iter().map(|(value, own)| Shown {
            value: ValueId::of(value),
            dot: minted_dot(None, &own),
        });
        Self {
            values: values.collect(),
            context: Some(context),
            version,
        }
    }
}

/// What all attempts of an operation come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Some attempt was answered.
    Ok,
    /// All attempts were rejected.
    Rejected,
    /// None was answered, and at least one may have happened.
    Unknown,
}

impl Outcome {
    /// The dot that an acknowledgement names. A delete that found nothing has none.
    pub fn dot(&self) -> Option<Dot> {
        match self {
            Self::Written(written) => written.dot,
            Self::Deleted(deleted) => deleted.dot.filter(|_| deleted.existed != Some(false)),
            Self::Found(_) | Self::Rejected | Self::Unknown => None,
        }
    }
}

impl Attempt {
    /// Whether it was answered with success.
    pub fn is_ok(&self) -> bool {
        !matches!(self.outcome, Outcome::Rejected | Outcome::Unknown)
    }
}

impl Operation {
    /// When the first attempt began.
    pub fn invoked_at_us(&self) -> u64 {
        self.attempts
            .iter()
            .map(|attempt| attempt.invoked_at_us)
            .min()
            .unwrap_or_default()
    }

    /// When the last attempt began.
    pub fn last_invoked_at_us(&self) -> u64 {
        self.attempts
            .iter()
            .map(|attempt| attempt.invoked_at_us)
            .max()
            .unwrap_or_default()
    }

    /// When the first success was known; none if there was none.
    pub fn acknowledged_at_us(&self) -> Option<u64> {
        let answered = self.attempts.iter().filter(|attempt| attempt.is_ok());
        answered.filter_map(|attempt| attempt.completed_at_us).min()
    }

    /// What the attempts come to.
    pub fn verdict(&self) -> Verdict {
        let may_be = |outcome: &Outcome| *outcome != Outcome::Rejected;
        if self.attempts.iter().any(Attempt::is_ok) {
            Verdict::Ok
        } else if self.attempts.iter().any(|a| may_be(&a.outcome)) {
            Verdict::Unknown
        } else {
            Verdict::Rejected
        }
    }

    /// The value of a put.
    pub fn value(&self) -> Option<&ValueId> {
        match &self.kind {
            Kind::Put { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The context that a write was sent with; none for a blind one.
    pub fn sent_context(&self) -> Option<&VersionVector> {
        match &self.kind {
            Kind::Put { context, .. } | Kind::Delete { context } => {
                context.as_ref().filter(|context| !context.is_empty())
            }
            Kind::Get { .. } => None,
        }
    }

    /// Whether it is a put or a delete.
    pub fn is_write(&self) -> bool {
        !matches!(self.kind, Kind::Get { .. })
    }

    /// The dots that acknowledgements named.
    pub fn acknowledged_dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.attempts
            .iter()
            .filter_map(|attempt| attempt.outcome.dot())
    }

    /// The version that acknowledgements named; the lowest, should retries have got several.
    pub fn version(&self) -> Option<u64> {
        let named = self.attempts.iter().filter_map(|a| match &a.outcome {
            Outcome::Written(written) => written.version,
            _ => None,
        });
        named.min()
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id, key, client, ..
        } = self;
        write!(f, "{id} client {client}: ")?;
        match &self.kind {
            Kind::Put { value, .. } => write!(f, "put {key} = {value}")?,
            Kind::Delete { .. } => write!(f, "delete {key}")?,
            Kind::Get { .. } => write!(f, "get {key}")?,
        }
        if let Some(context) = self.sent_context() {
            write!(f, " over {}", ClockText(context))?;
        }
        for attempt in &self.attempts {
            write!(f, " [{}..", attempt.invoked_at_us)?;
            if let Some(completed) = attempt.completed_at_us {
                write!(f, "{completed}")?;
            }
            write!(f, "us] {}", attempt.outcome)?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = match self {
            Self::Rejected => return f.write_str("rejected"),
            Self::Unknown => return f.write_str("unknown"),
            Self::Written(Written { context, dot, .. })
            | Self::Deleted(Deleted { context, dot, .. }) => {
                f.write_str("ok")?;
                if let Some(dot) = dot {
                    write!(f, " dot {dot}")?;
                }
                context
            }
            Self::Found(Found {
                values, context, ..
            }) => {
                f.write_str("found {")?;
                for (at, shown) in values.iter().enumerate() {
                    write!(f, "{}{}", if at > 0 { ", " } else { "" }, shown.value)?;
                    if let Some(dot) = shown.dot {
                        write!(f, " ({dot})")?;
                    }
                }
                f.write_str("}")?;
                context
            }
        };
        match context {
            Some(context) => write!(f, " context {}", ClockText(context)),
            None => Ok(()),
        }
    }
}

/// A clock for people.
pub(crate) struct ClockText<'a>(pub(crate) &'a VersionVector);

impl fmt::Display for ClockText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (actor, counter)) in self.0.iter().enumerate() {
            write!(f, "{}{actor}:{counter}", if at > 0 { ", " } else { "" })?;
        }
        f.write_str("}")
    }
}
