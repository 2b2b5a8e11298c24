//! What is written down twice is the same in both places.

use super::{Finding, Source};

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let rocksdb_in = |path: &str| {
        let source = sources
            .iter()
            .find(|source| source.path.as_os_str() == path)?;
        let line = source
            .text
            .lines()
            .find(|line| line.starts_with("rocksdb = "))?;
        Some((source, line))
    };
    let (Some((_, workspace)), Some((archive, line))) = (
        rocksdb_in("Cargo.toml"),
        rocksdb_in("xtask/rocksdb-archive/Cargo.toml"),
    ) else {
        return Vec::new();
    };
    if workspace == line {
        return Vec::new();
    }
    vec![archive.finding(
        1,
        format!("links `{line}`, but the workspace links `{workspace}`"),
    )]
}
