//! What happens to disks: full ones, damaged ones, replaced ones.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A changed byte in each so many of a table: none of the blocks there stays whole.
const DAMAGE_EVERY: u64 = 1_000;

/// So many percent of a table are damaged, from its beginning: what it holds, not where to find it. So the node
/// opens it, and has to notice when it reads.
const DAMAGED_PERCENT: u64 = 60;

/// Files of a replaced disk that come back: who the node is, and where it belongs. Its copies are gone.
const RESTORED: [&str; 2] = ["identity.json", "placement.json"];

const BALLAST: &str = "ballast";

const CHUNK: usize = 64 << 10;

/// Fills the file system of `data` until so many percent are left.
pub(crate) fn fill(data: &Path, left_percent: u64) -> Result<()> {
    let mut ballast = File::create(data.join(BALLAST)).context("make the ballast")?;
    let zeros = vec![0; CHUNK];
    loop {
        let stat = nix::sys::statvfs::statvfs(data).context("ask how full the disk is")?;
        let left = stat.blocks_available() * 1000 / stat.blocks().max(1);
        if left <= left_percent * 10 && left_percent > 0 {
            return Ok(());
        }
        match ballast.write_all(&zeros) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error).context("write the ballast"),
        }
    }
}

/// Makes room again.
pub(crate) fn empty(data: &Path) -> Result<()> {
    fs::remove_file(data.join(BALLAST)).context("remove the ballast")
}

/// Changes bytes of all tables; how many tables there were.
pub(crate) fn damage_tables(data: &Path) -> Result<usize> {
    let mut damaged = 0;
    for table in files(data, "sst")? {
        // Gone means compacted away meanwhile.
        damaged += usize::from(damage_table(&table).unwrap_or(0) > 0);
    }
    Ok(damaged)
}

fn damage_table(path: &Path) -> std::io::Result<usize> {
    let end = fs::metadata(path)?.len() * DAMAGED_PERCENT / 100;
    flip(path, (DAMAGE_EVERY / 2, end), DAMAGE_EVERY)
}

/// Changes one byte of the log, in its first half: not where a crash may have torn it. None if there is no log
/// worth that name.
pub(crate) fn damage_log(data: &Path) -> Result<Option<PathBuf>> {
    const WORTH: u64 = 4_096;
    let mut logs = files(data, "log")?;
    logs.retain(|log| fs::metadata(log).is_ok_and(|log| log.len() >= WORTH));
    let Some(log) = logs.pop() else {
        return Ok(None);
    };
    let length = fs::metadata(&log).context("measure the log")?.len();
    flip(&log, (length / 3, length), length).context("damage the log")?;
    Ok(Some(log))
}

/// Flips a bit at `first` and each `step` bytes from there on, before `end`; how many.
fn flip(path: &Path, (first, end): (u64, u64), step: u64) -> std::io::Result<usize> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut flipped = 0;
    let mut at = first;
    while at < end {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at)?;
        byte[0] ^= 0x40;
        file.write_all_at(&byte, at)?;
        flipped += 1;
        at += step;
    }
    Ok(flipped)
}

/// The database's files with that ending, by name.
fn files(data: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let database = data.join("rocksdb");
    let listed = fs::read_dir(&database).with_context(|| format!("list {}", database.display()))?;
    let mut found = Vec::new();
    for entry in listed {
        let path = entry.context("list the database")?.path();
        if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Leaves of the disk what names the node, and nothing of its copies.
pub(crate) fn replace(data: &Path) -> Result<()> {
    for entry in fs::read_dir(data).context("list the data directory")? {
        let entry = entry.context("list the data directory")?;
        if RESTORED.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let path = entry.path();
        let removed = if entry.file_type().context("look at a file")?.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_disk_keeps_who_the_node_is_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("rocksdb")).unwrap();
        for name in [
            "identity.json",
            "placement.json",
            "high-water",
            "rocksdb/1.sst",
        ] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        replace(dir.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, RESTORED);
    }

    #[test]
    fn damage_changes_many_bytes_of_a_table_and_one_byte_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("rocksdb")).unwrap();
        for name in ["1.sst", "2.log"] {
            fs::write(dir.path().join("rocksdb").join(name), vec![7; 10_000]).unwrap();
        }
        let changed = |name: &str| {
            let bytes = fs::read(dir.path().join("rocksdb").join(name)).unwrap();
            bytes.iter().filter(|byte| **byte != 7).count()
        };
        assert_eq!(damage_tables(dir.path()).unwrap(), 1);
        assert_eq!((changed("1.sst"), changed("2.log")), (6, 0));
        assert!(damage_log(dir.path()).unwrap().is_some());
        assert_eq!(changed("2.log"), 1);
    }

    #[test]
    fn a_log_of_nothing_is_not_damaged() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("rocksdb")).unwrap();
        fs::write(dir.path().join("rocksdb/2.log"), "x").unwrap();
        assert_eq!(damage_log(dir.path()).unwrap(), None);
    }
}
