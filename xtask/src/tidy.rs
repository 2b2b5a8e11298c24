//! The rules about the tree that no other tool knows. Each finding is a line `file:line: what`.

mod markdown_links;
mod module_docs;
mod pinned_versions;
mod waiting;
mod wording;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::cache::root;
use crate::steps::output;

/// One thing to mend.
pub(crate) struct Finding {
    file: PathBuf,
    line: usize,
    what: String,
}

/// A file of the tree with its text.
pub(crate) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn has_extension(&self, extension: &str) -> bool {
        self.path
            .extension()
            .is_some_and(|found| found == extension)
    }

    fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding {
            file: self.path.clone(),
            line,
            what: what.into(),
        }
    }
}

/// Checks every file that git tracks.
pub(crate) fn run() -> Result<()> {
    let sources = tracked()?;
    let mut findings: Vec<Finding> = sources
        .iter()
        .flat_map(|source| {
            let checks = [
                module_docs::check,
                waiting::check,
                wording::check,
                markdown_links::check,
            ];
            checks.into_iter().flat_map(|check| check(source))
        })
        .collect();
    findings.extend(pinned_versions::check(&sources));
    for Finding { file, line, what } in &findings {
        eprintln!("{}:{line}: {what}", file.display());
    }
    if findings.is_empty() {
        println!("{} files are tidy", sources.len());
        return Ok(());
    }
    bail!("{} findings", findings.len())
}

/// Every tracked text file; binary ones are passed over.
fn tracked() -> Result<Vec<Source>> {
    let listing = output(Command::new("git").args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let read = |name: &str| {
        let text = std::fs::read_to_string(root().join(name)).ok()?;
        Some(Source {
            path: Path::new(name).to_owned(),
            text,
        })
    };
    Ok(listing.lines().filter_map(read).collect())
}
