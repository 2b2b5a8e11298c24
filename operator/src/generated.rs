//! The files in the source tree that are written by this program.

use crate::crd;
use crate::status::conditions_page;

/// Where the CRDs are kept: for `kubectl apply`, and in the chart.
const CRD_FOLDERS: [&str; 2] = ["crds", "charts/annulus-operator/files/crds"];

/// All of them, as (path from the tree's root, text).
pub fn generated_files() -> Vec<(String, String)> {
    let mut files = vec![(
        "docs/operations/conditions.md".to_owned(),
        conditions_page(),
    )];
    for folder in CRD_FOLDERS {
        for (name, yaml) in crd::all() {
            files.push((format!("{folder}/{name}"), yaml));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_up_to_date() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        for (path, text) in generated_files() {
            let committed = std::fs::read_to_string(format!("{root}/{path}")).unwrap_or_default();
            assert!(
                committed == text,
                "{path} is old: run `cargo xtask generate`"
            );
        }
    }
}
