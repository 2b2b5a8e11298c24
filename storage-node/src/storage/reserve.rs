//! A file that does nothing but take up space, to be given up when the disk is full: then deletes and compactions,
//! which make room, still find some.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::posix_fallocate;
use nix::sys::statvfs::statvfs;

const FILE: &str = "reserve";

/// The reserve is no more than one part in so many of the disk.
const DISK_PARTS: u64 = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// A reserve of so many bytes; of less on a small disk. Not made yet.
    pub(super) fn in_directory(directory: &Path, bytes: u64) -> Self {
        let most = statvfs(directory).map_or(bytes, |disk| {
            disk.blocks().saturating_mul(disk.fragment_size()) / DISK_PARTS
        });
        Self {
            path: directory.join(FILE),
            bytes: bytes.min(most),
        }
    }

    pub(super) fn is_made(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| file.len() == self.bytes)
    }

    /// Takes up the space, unless that is done. A failure is only logged: the reserve helps, nothing rests on it.
    pub(super) fn make(&self) {
        if self.bytes == 0 || self.is_made() {
            return;
        }
        if let Err(error) = self.allocate() {
            tracing::warn!(path = %self.path.display(), %error, "no reserve file");
            self.give_up();
        }
    }

    fn allocate(&self) -> io::Result<()> {
        let file = File::create(&self.path)?;
        let bytes = i64::try_from(self.bytes).map_err(io::Error::other)?;
        posix_fallocate(&file, 0, bytes)?;
        Ok(())
    }

    /// Frees the space, if it is taken.
    pub(super) fn give_up(&self) {
        match fs::remove_file(&self.path) {
            Ok(()) => tracing::warn!(bytes = self.bytes, "the disk is full: reserve given up"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "the reserve can't be given up"),
        }
    }
}
