//! One `annulus dev` a directory. The lock is the kernel's, on an open file: it ends with the
//! process, however that ends, so there are no stale locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, bail};

/// Held while the ring runs.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or says who holds it.
    pub(crate) fn take(path: &Path) -> anyhow::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder); // only for the message
                bail!(
                    "{} is in use by another `annulus dev` (process {}); stop it, \
                     or give another --data-dir",
                    path.parent().unwrap_or(path).display(),
                    holder.trim()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_ring_in_the_same_directory_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::take(&path).unwrap();
        let message = Lock::take(&path).unwrap_err().to_string();
        assert!(
            message.contains(&std::process::id().to_string()),
            "{message}"
        );
        drop(held);
        Lock::take(&path).unwrap();
    }

    #[test]
    fn what_a_dead_process_left_behind_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(&path, "4194304\n").unwrap();
        Lock::take(&path).unwrap();
    }
}
