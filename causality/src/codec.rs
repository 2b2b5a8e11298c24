//! The bytes of a key's state, on disk and between nodes.
//!
//! Format 1, all counts, lengths and numbers LEB128 varints unless said otherwise:
//! ```text
//! state   = 0x01, clock, count, sibling*, count, recent*
//! clock   = count, (vnode u64 LE, epoch, counter)*          ascending by actor
//! sibling = flags u8, event, stamp u64 LE,                  ascending by dot
//!           [expires_at_ms], [request], [length, value]
//! recent  = event, stamp u64 LE, request                    newest first
//! event   = position of the actor in the clock, counter     always covered by the clock
//! request = client u64 LE, sequence
//! flags     1 tombstone (no value), 2 has expires_at_ms, 4 has request
//! ```
//! A state has exactly one encoding, and only that is accepted: equal bytes are equal states. Reading checks
//! every invariant of [`KeyState`], never panics, and allocates in proportion to the input.

use bytes::Bytes;
use thiserror::Error;

use crate::dot::Dot;
use crate::hlc::HlcStamp;
use crate::key_state::{KeyState, Siblings};
use crate::recent_requests::{RECENT_REQUESTS_MAX, RecentRequest, RecentRequests};
use crate::sibling::{Content, RequestId, Sibling};
use crate::version_vector::VersionVector;
use crate::wire::{Reader, put_clock, put_len, put_varint};

const FORMAT: u8 = 1;

const TOMBSTONE: u8 = 1;
const EXPIRES: u8 = 2;
const REQUEST: u8 = 4;

/// Shortest sibling: flags, event of two bytes, stamp.
const SIBLING_BYTES_MIN: usize = 11;
/// Shortest remembered request: event of two bytes, stamp, client, sequence.
const RECENT_BYTES_MIN: usize = 19;

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// Written by a newer release, or not ours at all.
    #[error("unknown format version {found}")]
    UnknownFormat {
        /// The leading byte.
        found: u8,
    },
    /// The input ends early.
    #[error("input ends early")]
    Truncated,
    /// The input breaks an invariant.
    #[error("malformed input: {what}")]
    Invalid {
        /// Which one.
        what: &'static str,
    },
}

impl KeyState {
    /// The state as bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len_hint());
        out.push(FORMAT);
        put_clock(&mut out, &self.clock);
        put_len(&mut out, self.siblings.len());
        for sibling in &self.siblings {
            put_sibling(&mut out, &self.clock, sibling);
        }
        put_len(&mut out, self.recent.as_slice().len());
        for recent in self.recent.as_slice() {
            put_event(&mut out, &self.clock, recent.dot);
            out.extend_from_slice(&recent.stamp.0.to_le_bytes());
            put_request(&mut out, recent.id);
        }
        out.into()
    }

    /// Reads what [`Self::encode`] wrote. Values stay slices of `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        reader.format(FORMAT)?;
        let clock = reader.clock()?;
        let mut siblings = Siblings::new();
        for _ in 0..reader.count(SIBLING_BYTES_MIN)? {
            let sibling = read_sibling(&mut reader, &clock, bytes)?;
            if siblings
                .last()
                .is_some_and(|last: &Sibling| last.dot >= sibling.dot)
            {
                return Err(CodecError::Invalid {
                    what: "siblings are not sorted",
                });
            }
            siblings.push(sibling);
        }
        let mut recent = RecentRequests::default();
        for _ in 0..reader.count(RECENT_BYTES_MIN)? {
            let dot = read_event(&mut reader, &clock)?;
            let stamp = HlcStamp(reader.u64()?);
            let id = read_request(&mut reader)?;
            if !recent.push_descending(RecentRequest { stamp, id, dot }) {
                return Err(CodecError::Invalid {
                    what: "recent requests are too many, unsorted or too old",
                });
            }
        }
        reader.end()?;
        Ok(Self {
            clock,
            siblings,
            recent,
        })
    }

    fn encoded_len_hint(&self) -> usize {
        let requests = self.recent.as_slice().len().min(RECENT_REQUESTS_MAX);
        16 + self.clock.len() * 14 + self.siblings.len() * 48 + self.value_bytes() + requests * 24
    }
}

fn put_sibling(out: &mut Vec<u8>, clock: &VersionVector, sibling: &Sibling) {
    let flag = |on: bool, flag: u8| if on { flag } else { 0 };
    out.push(
        flag(sibling.content == Content::Tombstone, TOMBSTONE)
            | flag(sibling.expires_at_ms.is_some(), EXPIRES)
            | flag(sibling.request_id.is_some(), REQUEST),
    );
    put_event(out, clock, sibling.dot);
    out.extend_from_slice(&sibling.stamp.0.to_le_bytes());
    if let Some(at) = sibling.expires_at_ms {
        put_varint(out, at);
    }
    if let Some(id) = sibling.request_id {
        put_request(out, id);
    }
    if let Content::Value(value) = &sibling.content {
        put_len(out, value.len());
        out.extend_from_slice(value);
    }
}

fn read_sibling(
    reader: &mut Reader<'_>,
    clock: &VersionVector,
    whole: &Bytes,
) -> Result<Sibling, CodecError> {
    let flags = reader.byte()?;
    if flags & !(TOMBSTONE | EXPIRES | REQUEST) != 0 {
        return Err(CodecError::Invalid {
            what: "unknown sibling flag",
        });
    }
    let has = |flag| flags & flag != 0;
    Ok(Sibling {
        dot: read_event(reader, clock)?,
        stamp: HlcStamp(reader.u64()?),
        expires_at_ms: has(EXPIRES).then(|| reader.varint()).transpose()?,
        request_id: has(REQUEST).then(|| read_request(reader)).transpose()?,
        content: if has(TOMBSTONE) {
            Content::Tombstone
        } else {
            Content::Value(reader.shared(whole)?)
        },
    })
}

fn put_event(out: &mut Vec<u8>, clock: &VersionVector, dot: Dot) {
    let position = clock
        .position(dot.actor)
        .expect("a state's clock covers all its dots");
    put_len(out, position);
    put_varint(out, dot.counter);
}

fn read_event(reader: &mut Reader<'_>, clock: &VersionVector) -> Result<Dot, CodecError> {
    let position = reader.varint()?;
    let counter = reader.varint()?;
    let entry = usize::try_from(position)
        .ok()
        .and_then(|at| clock.iter().nth(at));
    match entry {
        Some((actor, known)) if (1..=known).contains(&counter) => Ok(actor.dot(counter)),
        _ => Err(CodecError::Invalid {
            what: "event is not covered by the clock",
        }),
    }
}

fn put_request(out: &mut Vec<u8>, id: RequestId) {
    out.extend_from_slice(&id.client.to_le_bytes());
    put_varint(out, id.sequence);
}

fn read_request(reader: &mut Reader<'_>) -> Result<RequestId, CodecError> {
    Ok(RequestId {
        client: reader.u64()?,
        sequence: reader.varint()?,
    })
}
