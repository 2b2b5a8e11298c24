//! Where things are: the tree, and what is kept outside it between runs.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The project's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the project")
}

/// What is built once and kept: `$ANNULUS_CACHE`, by default `~/.cache/annulus`.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(path) = env::var_os("ANNULUS_CACHE") {
        return Ok(path.into());
    }
    let home = env::var_os("HOME")
        .context("neither ANNULUS_CACHE nor HOME is set: no place for caches")?;
    Ok(Path::new(&home).join(".cache/annulus"))
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
