//! Contexts at the edge: sealed when they go out, verified when they come back.
//!
//! Invariant: a clock behind this door was given out by the cluster for that keyspace and key.

use std::collections::BTreeMap;

use annulus_causality::context::TAG_BYTES;
use annulus_causality::{Actor, Context, ContextKey, VersionVector};
use annulus_proto::model::{ErrorCode, FieldRefused, Key, RequestError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::keyspace::Keyspace;

/// A context as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JsonContext {
    /// The clock: counters by actor.
    vector_clock: BTreeMap<String, u64>,
    /// The seal in hexadecimal; an empty clock needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

/// Seals and verifies under the cluster's secret.
#[derive(Debug)]
pub(crate) struct Contexts(ContextKey);

impl Contexts {
    pub(crate) fn new(secret: ContextKey) -> Self {
        Self(secret)
    }

    /// The opaque form. Empty for an empty clock.
    pub(crate) fn opaque(&self, keyspace: &Keyspace, key: &Key, clock: VersionVector) -> Bytes {
        self.issue(keyspace, key, clock).encode().into()
    }

    /// The readable form.
    pub(crate) fn readable(
        &self,
        keyspace: &Keyspace,
        key: &Key,
        clock: VersionVector,
    ) -> JsonContext {
        let context = self.issue(keyspace, key, clock);
        let (clock, tag) = context.to_parts();
        JsonContext {
            vector_clock: clock
                .iter()
                .map(|(actor, n)| (actor.to_string(), n))
                .collect(),
            tag: (!clock.is_empty()).then(|| hex(&tag)),
        }
    }

    /// Takes the opaque form back.
    pub(crate) fn verify_opaque(
        &self,
        keyspace: &Keyspace,
        key: &Key,
        field: &'static str,
        bytes: &[u8],
    ) -> Result<VersionVector, RequestError> {
        let context = Context::decode(bytes).map_err(|error| refused(field, &error))?;
        self.verify(keyspace, key, field, context)
    }

    /// Takes the readable form back.
    pub(crate) fn verify_readable(
        &self,
        keyspace: &Keyspace,
        key: &Key,
        field: &'static str,
        json: JsonContext,
    ) -> Result<VersionVector, RequestError> {
        let mut entries = Vec::with_capacity(json.vector_clock.len());
        for (actor, counter) in json.vector_clock {
            let actor: Actor = actor.parse().map_err(|error| refused(field, &error))?;
            entries.push((actor, counter));
        }
        let tag = match json.tag {
            Some(text) => Some(unhex(&text).ok_or_else(|| {
                refused(
                    field,
                    &format!("tag is not {} hexadecimal digits", 2 * TAG_BYTES),
                )
            })?),
            None => None,
        };
        let context = Context::from_parts(entries, tag).map_err(|error| refused(field, &error))?;
        self.verify(keyspace, key, field, context)
    }

    fn issue(&self, keyspace: &Keyspace, key: &Key, clock: VersionVector) -> Context {
        Context::issue(&self.0, keyspace.name.as_str(), key.as_bytes(), clock)
    }

    fn verify(
        &self,
        keyspace: &Keyspace,
        key: &Key,
        field: &'static str,
        context: Context,
    ) -> Result<VersionVector, RequestError> {
        context
            .verify(&self.0, keyspace.name.as_str(), key.as_bytes())
            .map_err(|error| refused(field, &error))
    }
}

fn refused(field: &'static str, reason: &impl ToString) -> RequestError {
    let refused = FieldRefused::invalid(field, reason.to_string());
    RequestError::rejected(ErrorCode::InvalidArgument, refused.to_string())
}

fn hex(tag: &[u8; TAG_BYTES]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = tag.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

fn unhex(text: &str) -> Option<[u8; TAG_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * TAG_BYTES {
        return None;
    }
    let mut tag = [0; TAG_BYTES];
    for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? << 4 | low?).ok()?;
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use annulus_causality::{KeyEpoch, VnodeId};
    use annulus_proto::model::KeyspaceName;

    use super::*;
    use crate::keyspace::ConflictPolicy;

    fn setting() -> (Contexts, Keyspace, Key, VersionVector) {
        let clock = Actor::new(VnodeId(7), KeyEpoch(2)).dot(3).into();
        (
            Contexts::new(ContextKey::new([1; 32])),
            Keyspace::new(KeyspaceName::kv(), ConflictPolicy::Siblings),
            Key::new("cart").unwrap(),
            clock,
        )
    }

    #[test]
    fn both_forms_come_back_as_the_clock_that_went_out() {
        let (contexts, keyspace, key, clock) = setting();
        let opaque = contexts.opaque(&keyspace, &key, clock.clone());
        let back = contexts.verify_opaque(&keyspace, &key, "context", &opaque);
        assert_eq!(back, Ok(clock.clone()));
        let text = serde_json::to_string(&contexts.readable(&keyspace, &key, clock.clone()));
        let text = text.unwrap();
        assert!(
            text.starts_with(r#"{"vector_clock":{"0000000000000007.2":3},"tag":""#),
            "{text}"
        );
        let json = serde_json::from_str(&text).unwrap();
        assert_eq!(
            contexts.verify_readable(&keyspace, &key, "context", json),
            Ok(clock)
        );
    }

    #[test]
    fn an_empty_clock_needs_no_tag() {
        let (contexts, keyspace, key, _) = setting();
        let json = serde_json::from_str(r#"{"vector_clock": {}}"#).unwrap();
        let clock = contexts
            .verify_readable(&keyspace, &key, "context", json)
            .unwrap();
        assert!(clock.is_empty());
    }

    #[test]
    fn a_clock_that_was_not_given_out_is_refused_by_name() {
        let (contexts, keyspace, key, clock) = setting();
        let other = Key::new("other").unwrap();
        let opaque = contexts.opaque(&keyspace, &other, clock);
        let error = contexts
            .verify_opaque(&keyspace, &key, "context", &opaque)
            .unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        assert!(error.message.starts_with("context: "), "{error}");
        for forged in [
            r#"{"vector_clock": {"0000000000000007.2": 3}}"#,
            r#"{"vector_clock": {"0000000000000007.2": 3}, "tag": "00"}"#,
            r#"{"vector_clock": {"0000000000000007.2": 3}, "tag": "00000000000000000000000000000000"}"#,
            r#"{"vector_clock": {"node-1": 3}, "tag": "00000000000000000000000000000000"}"#,
        ] {
            let json = serde_json::from_str(forged).unwrap();
            let error = contexts
                .verify_readable(&keyspace, &key, "context", json)
                .unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{forged}");
        }
    }
}
