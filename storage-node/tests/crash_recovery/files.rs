//! Finding and damaging a database's files.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// What a machine that lost power now would find: the directory's files as they are.
pub(crate) fn copy(directory: &Path) -> tempfile::TempDir {
    let copied = tempfile::tempdir().unwrap();
    fs::create_dir(copied.path().join("rocksdb")).unwrap();
    for folder in ["", "rocksdb"] {
        for entry in fs::read_dir(directory.join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(
                    entry.path(),
                    copied.path().join(folder).join(entry.file_name()),
                )
                .unwrap();
            }
        }
    }
    copied
}

/// The database's files with that ending, by name.
pub(crate) fn with_extension(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(directory.join("rocksdb")).unwrap();
    let mut found: Vec<_> = listed
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    found
}

/// The log file that was written last.
pub(crate) fn last_log(directory: &Path) -> PathBuf {
    with_extension(directory, "log")
        .pop()
        .expect("there is a log file")
}

pub(crate) fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

pub(crate) fn cut(path: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length(path) - bytes).unwrap();
}

/// Flips one bit of the byte at `offset`.
pub(crate) fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 0x40;
    file.write_all_at(&byte, offset).unwrap();
}
