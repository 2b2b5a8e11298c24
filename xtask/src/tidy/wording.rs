//! The tree speaks of itself alone, finished, and with the field's words for things.

use super::{Finding, Source};

/// Names of rooms in which everything ends up.
const EMPTY_NAMES: [&str; 5] = ["util", "utils", "common", "helpers", "misc"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = marks(source);
    let stem = source
        .path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default();
    if EMPTY_NAMES.contains(&stem) {
        findings.push(source.finding(
            1,
            format!("`{stem}` says nothing: name the file after what it holds"),
        ));
    }
    findings
}

fn marks(source: &Source) -> Vec<Finding> {
    if source
        .path
        .file_name()
        .is_some_and(|name| name == "wording.rs")
    {
        return Vec::new();
    }
    let unfinished = ["TODO", "FIXME", "XXX:", "unimplemented!(", "todo!("];
    let of_one_machine = ["/root/", "/home/"];
    let mut findings = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        if let Some(mark) = unfinished.iter().find(|mark| line.contains(**mark)) {
            findings.push(source.finding(at + 1, format!("`{mark}`: finish it, or leave it out")));
        }
        if let Some(path) = of_one_machine.iter().find(|path| line.contains(**path)) {
            findings.push(source.finding(at + 1, format!("`{path}…` exists on one machine only")));
        }
    }
    findings
}
