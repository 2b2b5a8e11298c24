//! Remembers how far the log was on disk, in a file of its own, so that the next start notices
//! when acknowledged writes are gone.
//!
//! RocksDB can't tell a torn tail (a crash in the middle of a write that nobody was promised) from
//! a tail that was on disk and got lost or damaged since: it opens either way. The mark tells
//! them apart, for all but the last [`INTERVAL`] before a crash.
//!
//! Invariant: the mark is never ahead of what was on disk when it was written.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::atomic_file;

/// How long a mark may lag behind.
pub const INTERVAL: Duration = Duration::from_millis(100);

/// Sequence, then its CRC32C; written with one small `pwrite` inside one sector.
const RECORD_BYTES: usize = 12;

/// Why the data can't be trusted or the mark not be kept.
#[derive(Debug, thiserror::Error)]
pub enum HighWaterError {
    /// Acknowledged writes are gone.
    #[error(
        "acknowledged writes are lost: the log was on disk up to change {marked}, but the \
         database ends at {found}; empty the data directory to start as a new node, and let the \
         others restore its copies"
    )]
    DataLost {
        /// What was on disk.
        marked: u64,
        /// What is there now.
        found: u64,
    },
    /// The file system refused.
    #[error("keep the high-water mark in {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        error: std::io::Error,
    },
}

/// Writes the mark from a thread of its own. Stops when dropped, after a last mark.
#[derive(Debug)]
pub struct HighWater {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    reached: u64,
    stopped: bool,
}

impl HighWater {
    /// Compares the mark in `path` with where the database ends, and goes on from there.
    pub fn open(path: &Path, found: u64) -> Result<Self, HighWaterError> {
        let io = |error| HighWaterError::Io {
            path: path.to_owned(),
            error,
        };
        let marked = atomic_file::read(path)
            .map_err(io)?
            .and_then(|record| decode(&record));
        if let Some(marked) = marked.filter(|&marked| marked > found) {
            return Err(HighWaterError::DataLost { marked, found });
        }
        // Made whole first, so that later marks are overwritten in place.
        atomic_file::replace(path, &encode(found)).map_err(io)?;
        let file = OpenOptions::new().write(true).open(path).map_err(io)?;
        let shared = Arc::new(Shared::default());
        shared.state.lock().reached = found;
        let keep = {
            let shared = shared.clone();
            move || keep_mark(&shared, &file, found)
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the mark is written beside the log's thread; simulations have no mark"
        )]
        let thread = std::thread::Builder::new()
            .name("high-water".into())
            .spawn(keep)
            .map_err(io)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Everything up to `sequence` is on disk.
    pub fn reached(&self, sequence: u64) {
        let mut state = self.shared.state.lock();
        if sequence > state.reached {
            state.reached = sequence;
            drop(state);
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for HighWater {
    fn drop(&mut self) {
        self.shared.state.lock().stopped = true;
        self.shared.changed.notify_one();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the high-water thread has panicked");
        }
    }
}

fn keep_mark(shared: &Shared, file: &File, mut written: u64) {
    loop {
        let (reached, stopped) = wait_for_news(shared, written);
        if reached > written {
            let marked = file
                .write_all_at(&encode(reached), 0)
                .and_then(|()| file.sync_data());
            match marked {
                Ok(()) => written = reached,
                // An old mark is safe, only less sharp; the log's own failure stops the node.
                Err(error) => {
                    tracing::error!(%error, "write the high-water mark");
                    return;
                }
            }
        }
        if stopped {
            return;
        }
    }
}

/// Waits until there is more to mark, then for the rest of the interval.
fn wait_for_news(shared: &Shared, written: u64) -> (u64, bool) {
    let mut state = shared.state.lock();
    while state.reached <= written && !state.stopped {
        shared.changed.wait(&mut state);
    }
    if !state.stopped {
        shared
            .changed
            .wait_while_for(&mut state, |state| !state.stopped, INTERVAL);
    }
    (state.reached, state.stopped)
}

fn encode(sequence: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&sequence.to_le_bytes());
    let crc = crc32c::crc32c(&record[..8]);
    record[8..].copy_from_slice(&crc.to_le_bytes());
    record
}

/// `None` for a torn mark: then nothing is known, as without one.
fn decode(record: &[u8]) -> Option<u64> {
    let (sequence, crc) = record.split_first_chunk::<8>()?;
    let intact = crc == crc32c::crc32c(sequence).to_le_bytes();
    intact.then(|| u64::from_le_bytes(*sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_ends_before_the_mark_has_lost_writes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        let mark = HighWater::open(&path, 5).unwrap();
        mark.reached(9);
        mark.reached(7);
        drop(mark);
        let lost = HighWater::open(&path, 8).unwrap_err();
        assert!(matches!(
            lost,
            HighWaterError::DataLost {
                marked: 9,
                found: 8
            }
        ));
        drop(HighWater::open(&path, 9).unwrap());
        drop(HighWater::open(&path, 12).unwrap());
    }

    #[test]
    fn a_torn_mark_tells_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mark");
        std::fs::write(&path, [9; RECORD_BYTES]).unwrap();
        drop(HighWater::open(&path, 1).unwrap());
        std::fs::write(&path, [9; 3]).unwrap();
        drop(HighWater::open(&path, 1).unwrap());
    }
}
