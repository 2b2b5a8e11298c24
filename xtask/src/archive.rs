//! The RocksDB archive: 343 C++ files compiled once, optimised, outside the tree, for every
//! profile to link. The makefile points `ROCKSDB_LIB_DIR` at it; without that variable the crate
//! compiles RocksDB by itself, once per profile.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache::{cache, root};
use crate::steps::{cargo, execute};

const LIBRARY: &str = "librocksdb.a";

/// Builds the archive unless the cache has it.
pub(crate) fn build() -> Result<()> {
    let folder = folder()?;
    if folder.join(LIBRARY).exists() {
        return Ok(());
    }
    println!("building RocksDB once (about 14 minutes on two cores)");
    let target = cache()?.join("rocksdb/build");
    let manifest = root().join("xtask/rocksdb-archive/Cargo.toml");
    execute(
        cargo(&["build", "--release", "--locked", "--manifest-path"])
            .arg(&manifest)
            .arg("--target-dir")
            .arg(&target)
            .env_remove("ROCKSDB_LIB_DIR")
            .env_remove("ROCKSDB_STATIC"),
    )?;
    let built = find(&target.join("release/build"))?;
    fs::create_dir_all(&folder)?;
    // Renamed into place, so that an interrupted copy is never taken for the archive.
    let partial = folder.join("partial.a");
    fs::copy(&built, &partial).with_context(|| format!("copy {}", built.display()))?;
    fs::rename(&partial, folder.join(LIBRARY))?;
    fs::remove_dir_all(&target).context("remove the intermediate files")?;
    println!("kept as {}", folder.join(LIBRARY).display());
    Ok(())
}

/// Where the makefile looks too: one folder per version and CPU.
fn folder() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("ROCKSDB_LIB_DIR") {
        return Ok(path.into());
    }
    bail!("ROCKSDB_LIB_DIR is not set: run this through `make`")
}

fn find(build: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(build).with_context(|| format!("read {}", build.display()))? {
        let library = entry?.path().join("out").join(LIBRARY);
        if library.exists() {
            found.push(library);
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        other => bail!(
            "{} copies of {LIBRARY} under {}, expected one",
            other.len(),
            build.display()
        ),
    }
}
