//! The placement on disk: `placement.json` in the data directory, replaced whole.

use std::io;
use std::path::{Path, PathBuf};

use annulus_ring::{Placement, PlacementDocument, PlacementError};
use serde::{Deserialize, Serialize};

use crate::storage::atomic_file;

const FILE: &str = "placement.json";

/// The form that this program reads and writes.
const FORMAT_VERSION: u32 = 1;

/// Why the persisted placement can't be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlacementFileError {
    /// The file system refused.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// It is no placement file. The operator hands a node its placement again once it is removed.
    #[error("{} is damaged: {reason}; remove it, the node is then told its placement", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("{} has format {found}, this program reads {FORMAT_VERSION}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It contradicts itself.
    #[error("{} holds no valid placement: {error}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: PlacementError,
    },
}

/// Whether the persisted placement gives each partition more than one owner, so that what a node loses can be had
/// from others.
pub(crate) fn has_other_owners(directory: &Path) -> bool {
    let held = read(directory).ok().flatten();
    held.is_some_and(|placement| placement.replication_factor().get() > 1)
}

#[derive(Deserialize)]
struct Header {
    format_version: u32,
}

#[derive(Serialize, Deserialize)]
struct Content {
    format_version: u32,
    placement: PlacementDocument,
}

/// Reads the placement of a data directory; `None` before the first. Blocks.
pub(crate) fn read(directory: &Path) -> Result<Option<Placement>, PlacementFileError> {
    let path = directory.join(FILE);
    let Some(bytes) = atomic_file::read(&path).map_err(io_error("read", &path))? else {
        return Ok(None);
    };
    let damaged = |error: serde_json::Error| PlacementFileError::Damaged {
        path: path.clone(),
        reason: error.to_string(),
    };
    let Header { format_version } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format_version != FORMAT_VERSION {
        return Err(PlacementFileError::Format {
            path,
            found: format_version,
        });
    }
    let content: Content = serde_json::from_slice(&bytes).map_err(damaged)?;
    let placement = Placement::try_from(content.placement);
    placement
        .map(Some)
        .map_err(|error| PlacementFileError::Invalid { path, error })
}

/// Makes a placement the data directory's; on disk when this returns. Blocks.
pub(crate) fn write(directory: &Path, placement: &Placement) -> Result<(), PlacementFileError> {
    let path = directory.join(FILE);
    let content = Content {
        format_version: FORMAT_VERSION,
        placement: placement.into(),
    };
    let bytes = serde_json::to_vec(&content).expect("plain fields become JSON");
    atomic_file::replace(&path, &bytes).map_err(io_error("write", &path))
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PlacementFileError {
    let path = path.to_owned();
    move |error| PlacementFileError::Io { what, path, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::store::tests::placement_of;

    #[test]
    fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).unwrap().is_none());
        for epoch in [4, 5] {
            let placement = placement_of(3, epoch);
            write(directory.path(), &placement).unwrap();
            assert_eq!(read(directory.path()).unwrap(), Some(placement));
        }
    }

    #[test]
    fn damaged_and_newer_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &placement_of(3, 4)).unwrap();
        let path = directory.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        let refusal = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(directory.path()).unwrap_err()
        };
        let half = refusal(&text[..text.len() / 2]);
        assert!(matches!(half, PlacementFileError::Damaged { .. }), "{half}");
        let newer = refusal(r#"{"format_version": 2, "anything": 1}"#);
        assert!(
            matches!(newer, PlacementFileError::Format { found: 2, .. }),
            "{newer}"
        );
        let edited = refusal(&text.replace("node-1", "node-9"));
        assert!(
            matches!(edited, PlacementFileError::Invalid { .. }),
            "{edited}"
        );
    }
}
