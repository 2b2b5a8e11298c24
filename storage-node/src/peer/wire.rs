//! The node's own types to and from the messages.

use std::time::Duration;

use annulus_causality::{Actor, CodecError, KeyEpoch, KeyState, VersionVector, VnodeId};
use annulus_proto::model::{ErrorCode, FieldRefused, Key, KeyspaceName, Outcome, RequestError};
use annulus_proto::peer::v1::{
    ClockEntry, DiskReply, KeyRef, PeerError, ScanStatesReply, StoredState,
};
use annulus_ring::PartitionId;
use bytes::Bytes;

use crate::disk_pace::{DiskPace, DiskReport, micros};
use crate::replica::{self, StatesPage};

pub(super) fn key_ref(keyspace: &KeyspaceName, key: &Key) -> KeyRef {
    KeyRef {
        keyspace: keyspace.as_str().to_owned(),
        key: key.to_bytes(),
    }
}

pub(super) fn read_key_ref(key: Option<KeyRef>) -> Result<(KeyspaceName, Key), FieldRefused> {
    let KeyRef { keyspace, key } = key.ok_or_else(|| FieldRefused::invalid("key", "is missing"))?;
    Ok((KeyspaceName::new(&keyspace)?, Key::new(key)?))
}

pub(super) fn disk_report(report: DiskReport) -> DiskReply {
    DiskReply {
        sync_p99_us: micros(report.pace.sync),
        read_p99_us: micros(report.pace.read),
        slow: report.is_slow,
    }
}

pub(super) fn read_disk_report(reply: DiskReply) -> DiskReport {
    let told = |micros| Some(Duration::from_micros(micros)).filter(|told| !told.is_zero());
    let pace = DiskPace {
        sync: told(reply.sync_p99_us),
        read: told(reply.read_p99_us),
    };
    DiskReport {
        pace,
        is_slow: reply.slow,
    }
}

pub(super) fn clock(clock: &VersionVector) -> Vec<ClockEntry> {
    let entry = |(actor, counter): (Actor, u64)| ClockEntry {
        vnode: actor.vnode.0,
        key_epoch: actor.epoch.0,
        counter,
    };
    clock.iter().map(entry).collect()
}

pub(super) fn read_clock(entries: &[ClockEntry]) -> VersionVector {
    let actor = |entry: &ClockEntry| Actor::new(VnodeId(entry.vnode), KeyEpoch(entry.key_epoch));
    entries
        .iter()
        .map(|entry| (actor(entry), entry.counter))
        .collect()
}

pub(super) fn read_partition(number: u32) -> Result<PartitionId, FieldRefused> {
    let number = u16::try_from(number);
    let number = number.map_err(|_| FieldRefused::invalid("partition", "must be below 16384"))?;
    Ok(PartitionId(number))
}

pub(super) fn read_state(bytes: Option<&Bytes>) -> Result<Option<KeyState>, CodecError> {
    bytes.map(KeyState::decode).transpose()
}

/// Over what a page of states says of keys.
fn crc_of(states: &[StoredState]) -> u32 {
    states.iter().fold(0, |crc, stored| {
        let key = stored.key.as_ref();
        let keyspace = key.map_or(&[][..], |key| key.keyspace.as_bytes());
        let key = key.map_or(&[][..], |key| &key.key);
        let parts = [keyspace, key, &stored.state];
        parts.iter().fold(crc, |crc, part| {
            let length = crc32c::crc32c_append(crc, &part.len().to_le_bytes());
            crc32c::crc32c_append(length, part)
        })
    })
}

pub(super) fn states(page: StatesPage) -> ScanStatesReply {
    let states = page.states.into_iter().map(|stored| StoredState {
        key: Some(key_ref(&stored.keyspace, &stored.key)),
        state: stored.state,
    });
    let states: Vec<_> = states.collect();
    ScanStatesReply {
        vnode: page.vnode.0,
        serving: page.serving,
        crc: Some(crc_of(&states)),
        states,
        last: page.last,
        copy_bytes: page.copy_bytes,
    }
}

pub(super) fn read_states(reply: ScanStatesReply) -> Result<StatesPage, FieldRefused> {
    if reply.crc.is_some_and(|crc| crc != crc_of(&reply.states)) {
        return Err(FieldRefused::invalid("crc", "is not that of the states"));
    }
    let states = reply.states.into_iter().map(|stored| {
        let (keyspace, key) = read_key_ref(stored.key)?;
        Ok(replica::StoredState {
            keyspace,
            key,
            state: stored.state,
        })
    });
    Ok(StatesPage {
        vnode: VnodeId(reply.vnode),
        serving: reply.serving,
        states: states.collect::<Result<_, _>>()?,
        last: reply.last,
        copy_bytes: reply.copy_bytes,
    })
}

/// A refusal on its way back.
pub(super) fn peer_error(error: &RequestError) -> PeerError {
    PeerError {
        code: error.code.as_str().to_owned(),
        message: error.message.clone(),
        outcome: error.outcome.as_str().to_owned(),
        newer: None,
        callee_epoch: 0,
        retry_after_ms: error.retry_after.map_or(0, milliseconds),
    }
}

/// A peer's refusal. A code that this program does not know keeps its outcome.
pub(super) fn read_peer_error(error: PeerError) -> RequestError {
    RequestError {
        code: error.code.parse().unwrap_or(ErrorCode::Internal),
        message: error.message,
        outcome: Outcome::from_wire(&error.outcome),
        retry_after: (error.retry_after_ms > 0)
            .then(|| Duration::from_millis(error.retry_after_ms)),
        context: None,
    }
}

/// Rounded up, so that what is left of a deadline is never nothing.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_survives_the_wire() {
        let actor = |vnode, epoch| Actor::new(VnodeId(vnode), KeyEpoch(epoch));
        let original: VersionVector = [(actor(u64::MAX, 3), 7), (actor(1, u32::MAX), u64::MAX)]
            .into_iter()
            .collect();
        assert_eq!(read_clock(&clock(&original)), original);
    }

    #[test]
    fn a_page_that_was_changed_on_its_way_is_no_page() {
        let stored = |key: &'static str, state: &'static [u8]| replica::StoredState {
            keyspace: KeyspaceName::kv(),
            key: Key::new(key.to_owned()).unwrap(),
            state: Bytes::from_static(state),
        };
        let page = StatesPage {
            vnode: VnodeId(7),
            serving: true,
            states: vec![stored("a", b"xyz"), stored("b", b"")],
            last: Some(Bytes::from_static(b"b")),
            copy_bytes: 0,
        };
        assert_eq!(read_states(states(page.clone())), Ok(page.clone()));
        let mut changed = states(page.clone());
        changed.states[0].state = Bytes::from_static(b"xyx");
        assert!(read_states(changed).is_err());
        let mut shifted = states(page);
        (shifted.states[0].state, shifted.states[1].state) =
            (Bytes::from_static(b"xy"), Bytes::from_static(b"z"));
        assert!(read_states(shifted).is_err());
    }

    #[test]
    fn a_refusal_survives_the_wire() {
        let refusals = [
            RequestError::overloaded("full", Duration::from_micros(1500)),
            RequestError::unknown(ErrorCode::Timeout, "late"),
        ];
        for refusal in refusals {
            let read = read_peer_error(peer_error(&refusal));
            let retry_after = refusal.retry_after.map(|_| Duration::from_millis(2));
            assert_eq!(
                read,
                RequestError {
                    retry_after,
                    ..refusal
                }
            );
        }
    }

    #[test]
    fn a_refusal_that_names_no_outcome_promises_nothing() {
        let error = read_peer_error(PeerError {
            code: "new_code".into(),
            ..PeerError::default()
        });
        assert_eq!(error.outcome, Outcome::Unknown);
    }
}
