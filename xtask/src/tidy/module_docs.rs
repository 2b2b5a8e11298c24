//! Every Rust module opens by saying what it owns, and stays a small room.

use std::path::Path;

use super::{Finding, Source};

/// Longer than this, a file knows too much.
const MAX_LINES: usize = 600;
/// Rows of a table of cases may go on for longer.
const MAX_LINES_OF_TESTS: usize = 800;

pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !source.has_extension("rs") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if !source.text.starts_with("//!") && !is_test_module(source) {
        findings.push(source.finding(
            1,
            "open the module with `//!`: what it owns, and what it leaves to others",
        ));
    }
    let lines = source.text.lines().count();
    let limit = if is_test_module(source) {
        MAX_LINES_OF_TESTS
    } else {
        MAX_LINES
    };
    if lines > limit {
        findings.push(source.finding(
            limit,
            format!("{lines} lines, more than {limit}: split it by meaning"),
        ));
    }
    findings
}

/// The tests of the module beside them, which says what it owns.
fn is_test_module(source: &Source) -> bool {
    let folder = source.path.parent();
    let stem = source
        .path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    let is_part =
        |folder: &Path| folder.ends_with("tests") && folder.iter().any(|part| part == "src");
    stem == "tests" || stem.ends_with("_test") || folder.is_some_and(is_part)
}
