//! Wall clocks that are off: a small library, preloaded into each node, adds an offset that changes while it runs.
//!
//! The machine's clock is not touched. Monotonic time is the kernel's. (libfaketime can't be used: with the
//! node's allocator it never gets as far as `main`.)

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::command::run;

const SOURCE: &str = include_str!("wall_clock.c");

/// The library, built for this run.
#[derive(Debug, Clone)]
pub(crate) struct WallClocks {
    library: PathBuf,
}

impl WallClocks {
    /// Builds the library in `dir`.
    pub(crate) fn build(dir: &Path) -> Result<Self> {
        let (source, library) = (dir.join("wall_clock.c"), dir.join("wall_clock.so"));
        std::fs::write(&source, SOURCE).context("write the clock's source")?;
        let [from, to] = [&source, &library].map(|path| path.display().to_string());
        run(
            "cc",
            &[
                "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", &to, &from,
            ],
        )?;
        Ok(Self { library })
    }

    /// What a node's environment needs, with its clock's offset in `file`.
    pub(crate) fn environment(&self, file: &Path) -> [(&'static str, PathBuf); 2] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("ANNULUS_FAULTS_CLOCK", file.to_owned()),
        ]
    }
}

/// Sets a node's clock so many milliseconds off.
pub(crate) fn set_offset(file: &Path, ms: i64) -> Result<()> {
    let open = || {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(file)?;
        file.write_all_at(&ms.to_ne_bytes(), 0)
    };
    open().with_context(|| format!("set the clock in {}", file.display()))
}
