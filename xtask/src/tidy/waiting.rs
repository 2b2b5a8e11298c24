//! Tests wait for conditions; what merely sleeps is slow when it works and wrong when it doesn't.

use super::{Finding, Source};

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let is_test = source.has_extension("rs")
        && source
            .path
            .components()
            .any(|part| part.as_os_str() == "tests");
    if !is_test {
        return Vec::new();
    }
    let sleeps = |line: &str| line.contains("thread::sleep(") || line.contains("time::sleep(");
    source
        .text
        .lines()
        .enumerate()
        .filter(|(_, line)| sleeps(line) && !line.contains("// paced:"))
        .map(|(at, _)| {
            source.finding(
                at + 1,
                "wait for a condition instead (or say why: `// paced: …`)",
            )
        })
        .collect()
}
