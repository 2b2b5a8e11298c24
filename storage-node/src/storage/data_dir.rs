//! The data directory: its lock, its format version, and the node's identity.
//!
//! A node is its disk: the identity is made with the directory and never changes; a wiped
//! directory is a new node. Contents: `lock`, `identity.json`, `rocksdb/`, and what other modules
//! keep as small files of their own.
//!
//! Invariants: one process at a time holds a directory; an identity is never made up for a
//! directory that already holds data.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use annulus_ring::NodeId;
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use super::atomic_file;
use crate::entropy::Randomness;

/// The layout that this program reads and writes.
const FORMAT_VERSION: u32 = 1;

/// Why a data directory can't be used. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The file system refused.
    #[error("{what} {}: {error}", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// Another process holds it.
    #[error("data directory {} is in use by another process; stop that one first", .0.display())]
    InUse(PathBuf),
    /// There is data, but nobody knows whose.
    #[error(
        "data directory {} holds data but no {}; restore that file, or empty the directory to \
         start as a new node", .0.display(), Identity::FILE
    )]
    NoIdentity(PathBuf),
    /// The identity can't be read.
    #[error("{} is damaged: {reason}; empty the directory to start as a new node", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("data directory {} has format {found}, this program reads {FORMAT_VERSION}", path.display())]
    Format {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The data belongs to another cluster.
    #[error("data directory {} belongs to cluster {held}, not to {offered}", path.display())]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Whose data it holds.
        held: Uuid,
        /// Whose it was to become.
        offered: Uuid,
    },
}

/// `identity.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    format_version: u32,
    node_id: NodeId,
    /// Known once the first placement has come.
    cluster_id: Option<Uuid>,
}

impl Identity {
    const FILE: &str = "identity.json";
}

/// An open data directory. Its lock is held until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: parking_lot::Mutex<Identity>,
    _lock: File,
}

impl DataDir {
    /// Opens a directory, or makes it a new node's.
    pub fn open(path: &Path, randomness: &dyn Randomness) -> Result<Self, DataDirError> {
        fs::create_dir_all(path).map_err(io_error("create data directory", path))?;
        let lock = lock(path)?;
        let identity = match read_identity(path)? {
            Some(identity) => identity,
            None => create_identity(path, randomness)?,
        };
        Ok(Self {
            path: path.to_owned(),
            identity: identity.into(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database is.
    pub fn database(&self) -> PathBuf {
        database_of(&self.path)
    }

    /// The node that this directory is.
    pub fn node_id(&self) -> NodeId {
        self.identity.lock().node_id
    }

    /// The cluster that its data belongs to, once known.
    pub fn cluster_id(&self) -> Option<Uuid> {
        self.identity.lock().cluster_id
    }

    /// Binds the data to a cluster, for ever. On disk when this returns. Blocks.
    pub fn join_cluster(&self, cluster_id: Uuid) -> Result<(), DataDirError> {
        let mut identity = self.identity.lock();
        match identity.cluster_id {
            Some(held) if held == cluster_id => Ok(()),
            Some(held) => Err(DataDirError::OtherCluster {
                path: self.path.clone(),
                held,
                offered: cluster_id,
            }),
            None => {
                let joined = Identity {
                    cluster_id: Some(cluster_id),
                    ..identity.clone()
                };
                write_identity(&self.path, &joined)?;
                *identity = joined;
                Ok(())
            }
        }
    }
}

fn database_of(path: &Path) -> PathBuf {
    path.join("rocksdb")
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let file = path.join("lock");
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&file);
    let opened = opened.map_err(io_error("open", &file))?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &file)(error)),
    }
}

fn read_identity(path: &Path) -> Result<Option<Identity>, DataDirError> {
    let file = path.join(Identity::FILE);
    let Some(text) = atomic_file::read(&file).map_err(io_error("read", &file))? else {
        return Ok(None);
    };
    let identity: Identity =
        serde_json::from_slice(&text).map_err(|error| DataDirError::Damaged {
            path: file,
            reason: error.to_string(),
        })?;
    if identity.format_version != FORMAT_VERSION {
        let found = identity.format_version;
        return Err(DataDirError::Format {
            path: path.to_owned(),
            found,
        });
    }
    Ok(Some(identity))
}

fn create_identity(path: &Path, randomness: &dyn Randomness) -> Result<Identity, DataDirError> {
    if database_of(path).exists() {
        return Err(DataDirError::NoIdentity(path.to_owned()));
    }
    let bytes = (u128::from(randomness.u64()) << 64) | u128::from(randomness.u64());
    let node_id = NodeId(Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid());
    let identity = Identity {
        format_version: FORMAT_VERSION,
        node_id,
        cluster_id: None,
    };
    write_identity(path, &identity)?;
    Ok(identity)
}

fn write_identity(path: &Path, identity: &Identity) -> Result<(), DataDirError> {
    let file = path.join(Identity::FILE);
    let text = serde_json::to_vec_pretty(identity).expect("plain fields become JSON");
    atomic_file::replace(&file, &text).map_err(io_error("write", &file))
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |error| DataDirError::Io { what, path, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemRandomness;

    fn open(path: &Path) -> Result<DataDir, DataDirError> {
        DataDir::open(path, &SystemRandomness)
    }

    #[test]
    fn a_directory_is_the_same_node_for_ever_and_another_is_another() {
        let [one, two] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        let id = open(one.path()).unwrap().node_id();
        assert_eq!(open(one.path()).unwrap().node_id(), id);
        assert_ne!(open(two.path()).unwrap().node_id(), id);
        assert_eq!(id.0.get_version_num(), 4);
    }

    #[test]
    fn two_users_never_share_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let first = open(directory.path()).unwrap();
        assert!(matches!(
            open(directory.path()),
            Err(DataDirError::InUse(_))
        ));
        drop(first);
        assert!(open(directory.path()).is_ok());
    }

    #[test]
    fn data_stays_with_its_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let [ours, other] = [1, 2].map(Uuid::from_u128);
        let data_dir = open(directory.path()).unwrap();
        assert_eq!(data_dir.cluster_id(), None);
        data_dir.join_cluster(ours).unwrap();
        data_dir.join_cluster(ours).unwrap();
        drop(data_dir);
        let data_dir = open(directory.path()).unwrap();
        assert_eq!(data_dir.cluster_id(), Some(ours));
        assert!(matches!(
            data_dir.join_cluster(other),
            Err(DataDirError::OtherCluster { .. })
        ));
    }

    #[test]
    fn data_without_an_identity_gets_no_new_one() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("rocksdb")).unwrap();
        assert!(matches!(
            open(directory.path()),
            Err(DataDirError::NoIdentity(_))
        ));
    }

    #[test]
    fn damaged_and_newer_directories_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        drop(open(directory.path()).unwrap());
        let file = directory.path().join(Identity::FILE);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(
            &file,
            text.replace("\"format_version\": 1", "\"format_version\": 2"),
        )
        .unwrap();
        assert!(matches!(
            open(directory.path()),
            Err(DataDirError::Format { found: 2, .. })
        ));
        fs::write(&file, &text[..text.len() / 2]).unwrap();
        assert!(matches!(
            open(directory.path()),
            Err(DataDirError::Damaged { .. })
        ));
    }
}
