//! Links between the project's own documents lead somewhere.

use super::{Finding, Source};
use crate::cache::root;

pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !source.has_extension("md") {
        return Vec::new();
    }
    let folder = root().join(source.path.parent().expect("a file has a folder"));
    let mut findings = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        for target in targets(line) {
            let path = target.split('#').next().unwrap_or_default();
            let is_ours = !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:");
            if is_ours && !folder.join(path).exists() {
                findings
                    .push(source.finding(at + 1, format!("the link to `{target}` leads nowhere")));
            }
        }
    }
    findings
}

/// The targets of `[text](target)` in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}
