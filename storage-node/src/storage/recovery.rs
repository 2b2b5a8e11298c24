//! How the last run ended, and how often the data was opened.
//!
//! A record in [`Space::Meta`] says so. It is set to "open" on disk before anything else happens,
//! and to "clean" in one batch with whatever the node has to say at its end, when all else is on
//! disk. So a run that did not get that far is seen by the next one.

use bytes::Bytes;

use super::engine::{Batch, Engine, EngineError, Persistence, Space};

const KEY: &[u8] = b"run";
/// Its presence says that an earlier database of this node is gone.
const LOST_KEY: &[u8] = b"data-lost";
const FORMAT: u8 = 1;
const OPEN: u8 = 0;
const CLEAN: u8 = 1;

/// What the data says about earlier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// How often the data was opened, this time included: the restart count.
    pub generation: u64,
    /// Whether the last run, if any, ended after everything was on disk.
    pub clean: bool,
    /// Whether an earlier database of the same node is gone: what this one lacks is not absent.
    pub data_lost: bool,
}

/// Reads how the last run ended and records that a new one has begun; on disk when this returns.
///
/// `had_data`: the node had a database before. If this one is empty, that one is gone: remembered as long as
/// this one lives.
pub fn begin(engine: &dyn Engine, had_data: bool) -> Result<Recovered, EngineError> {
    let last = match engine.get(Space::Meta, KEY)? {
        None => Recovered {
            generation: 0,
            clean: true,
            data_lost: had_data,
        },
        Some(record) => decode(&record).ok_or_else(|| EngineError::Corruption {
            operation: "read the record of the last run",
            detail: format!("{record:02x?} is no such record"),
        })?,
    };
    let generation = last.generation.saturating_add(1);
    let data_lost = last.data_lost || engine.get(Space::Meta, LOST_KEY)?.is_some();
    let mut batch = Batch::new();
    batch.put(Space::Meta, KEY, encode(generation, OPEN));
    if data_lost {
        batch.put(Space::Meta, LOST_KEY, Bytes::new());
    }
    engine.write(&batch, Persistence::Synced)?;
    Ok(Recovered {
        generation,
        clean: last.clean,
        data_lost,
    })
}

/// Records a clean end, together with `last_words`. Nothing may be written afterwards.
pub fn end(engine: &dyn Engine, generation: u64, mut last_words: Batch) -> Result<(), EngineError> {
    last_words.put(Space::Meta, KEY, encode(generation, CLEAN));
    engine.write(&last_words, Persistence::Synced)
}

fn encode(generation: u64, end: u8) -> Bytes {
    let mut record = vec![FORMAT, end];
    record.extend_from_slice(&generation.to_le_bytes());
    record.into()
}

fn decode(record: &[u8]) -> Option<Recovered> {
    let ([FORMAT, end @ (OPEN | CLEAN)], generation) = record.split_first_chunk()? else {
        return None;
    };
    let generation = u64::from_le_bytes(generation.try_into().ok()?);
    Some(Recovered {
        generation,
        clean: *end == CLEAN,
        data_lost: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::MemoryEngine;

    #[test]
    fn only_a_run_that_said_so_ended_clean() {
        let engine = MemoryEngine::new();
        assert_eq!(
            begin(&engine, false),
            Ok(Recovered {
                generation: 1,
                clean: true,
                data_lost: false
            }),
            "nothing was lost"
        );
        assert_eq!(
            begin(&engine, false),
            Ok(Recovered {
                generation: 2,
                clean: false,
                data_lost: false
            })
        );
        let mut words = Batch::new();
        words.put(Space::Meta, &b"word"[..], &b"x"[..]);
        end(&engine, 2, words).unwrap();
        assert!(engine.get(Space::Meta, b"word").unwrap().is_some());
        assert_eq!(
            begin(&engine, false),
            Ok(Recovered {
                generation: 3,
                clean: true,
                data_lost: false
            })
        );
        assert_eq!(
            begin(&engine, false),
            Ok(Recovered {
                generation: 4,
                clean: false,
                data_lost: false
            })
        );
    }

    #[test]
    fn an_empty_database_of_a_node_that_had_data_says_so_for_ever() {
        let engine = MemoryEngine::new();
        assert!(begin(&engine, true).unwrap().data_lost);
        assert!(
            begin(&engine, true).unwrap().data_lost,
            "not made whole by a restart"
        );
        let engine = MemoryEngine::new();
        assert!(!begin(&engine, false).unwrap().data_lost);
        assert!(
            !begin(&engine, true).unwrap().data_lost,
            "it is the one that it had"
        );
    }

    #[test]
    fn a_damaged_record_is_damage() {
        let engine = MemoryEngine::new();
        let mut batch = Batch::new();
        batch.put(Space::Meta, KEY, &b"\x01\x07aaaaaaaa"[..]);
        engine.write(&batch, Persistence::Synced).unwrap();
        assert!(matches!(
            begin(&engine, false),
            Err(EngineError::Corruption { .. })
        ));
    }
}
