//! A database that can't be used any more is set aside, and an empty one takes its place, to be filled from the
//! other owners.
//!
//! It is lost when it does not open for damage, when its log ends before what was known to be on disk
//! ([`super::high_water`]), or when the engine met damage that stopped its writes: a compaction would meet it
//! again after every start, so the node leaves a note before it exits.
//!
//! Invariants: nothing is set aside in a directory that is not a node's of a cluster, and nothing because the disk
//! is full or fails to answer; one database is kept aside, the last, and not for ever; the note is there before anything is
//! moved, and goes last, so that a crash in between is made good by the next start.
//!
//! Leaves to others: whether other nodes hold copies (the caller), remembering that data was lost
//! ([`super::recovery`]).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::atomic_file;
use super::data_dir::DataDir;
use super::engine::EngineError;
use super::high_water::HighWaterError;
use super::rocks_options::RocksOptions;
use super::store::{Store, StoreError};

/// Its presence says that the database is to be set aside at the next start.
const NOTE: &str = "database-is-damaged";

/// What the name of a database that was set aside begins with; its date follows.
const ASIDE_PREFIX: &str = "rocksdb.damaged-";

/// Leaves the note that the database has to be replaced, with the reason in it. On disk when this returns.
pub fn note(data_dir: &DataDir, reason: &str) -> io::Result<()> {
    atomic_file::replace(&note_of(data_dir), reason.as_bytes())
}

/// As [`Store::open`]; replaces a database that is lost. Call it only for a node whose partitions have other
/// owners. `now_ms`: wall time, for the name of what is set aside.
pub fn open_or_replace(
    data_dir: &DataDir,
    options: &RocksOptions,
    now_ms: u64,
) -> Result<Store, StoreError> {
    if data_dir.cluster_id().is_none() {
        return Store::open(data_dir, options);
    }
    let noted = atomic_file::read(&note_of(data_dir)).map_err(|error| aside_error(&error))?;
    let reason = match noted {
        Some(reason) => String::from_utf8_lossy(&reason).into_owned(),
        None => match Store::open(data_dir, options) {
            Err(error) if is_lost(&error) => error.to_string(),
            opened => return opened,
        },
    };
    note(data_dir, &reason)
        .and_then(|()| set_aside(data_dir, now_ms))
        .map_err(|error| aside_error(&error))?;
    tracing::error!(
        reason,
        "the database is set aside, an empty one is filled from the other owners"
    );
    Store::open(data_dir, options)
}

/// Whether the database itself is the reason, and will be at the next start.
fn is_lost(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Engine(EngineError::Corruption { .. })
            | StoreError::HighWater(HighWaterError::DataLost { .. })
    )
}

/// Once the note is there. Each step may have been made by a start that then crashed.
fn set_aside(data_dir: &DataDir, now_ms: u64) -> io::Result<()> {
    let (directory, database) = (data_dir.path(), data_dir.database());
    remove_if_there(fs::remove_file(Store::high_water_mark(data_dir)))?;
    if database.exists() {
        for earlier in set_aside_before(directory)? {
            fs::remove_dir_all(earlier)?;
        }
        let date = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(now_ms));
        let name = format!("{ASIDE_PREFIX}{date}").replace(':', "");
        fs::rename(database, directory.join(name))?;
        atomic_file::sync_directory(directory)?;
    }
    remove_if_there(fs::remove_file(note_of(data_dir)))?;
    atomic_file::sync_directory(directory)
}

/// The databases that were set aside.
pub fn set_aside_before(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(ASIDE_PREFIX)
        {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Removes what was set aside that long ago or longer; how many those were. What bears no date stays.
pub fn remove_older(directory: &Path, now_ms: u64, keep: Duration) -> io::Result<usize> {
    let now = UNIX_EPOCH + Duration::from_millis(now_ms);
    let mut removed = 0;
    for aside in set_aside_before(directory)? {
        let age = set_aside_at(&aside).and_then(|at| now.duration_since(at).ok());
        if age.is_some_and(|age| age >= keep) {
            fs::remove_dir_all(&aside)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// The date in the name, whose time of day has no colons.
fn set_aside_at(aside: &Path) -> Option<SystemTime> {
    let date = aside.file_name()?.to_str()?.strip_prefix(ASIDE_PREFIX)?;
    let (hour, minute, rest) = (date.get(..13)?, date.get(13..15)?, date.get(15..)?);
    humantime::parse_rfc3339(&format!("{hour}:{minute}:{rest}")).ok()
}

fn note_of(data_dir: &DataDir) -> PathBuf {
    data_dir.path().join(NOTE)
}

fn remove_if_there(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn aside_error(error: &io::Error) -> StoreError {
    StoreError::Engine(EngineError::Io {
        operation: "set a damaged database aside",
        detail: error.to_string(),
    })
}
