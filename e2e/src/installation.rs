//! Puts Annulus into a cluster: the two images, then the chart, as its users install it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::cluster::{Lab, run};

/// Where the operator runs.
pub const OPERATOR_NAMESPACE: &str = "annulus-system";
/// Name of the Helm release, and thereby of the operator's Deployment.
pub const RELEASE: &str = "annulus";

/// Loads the images that `e2e/lab/image` has built with this tag and installs the chart with them.
/// Doing it again upgrades, also where the images changed under the same tag.
pub fn install(lab: &Lab, tag: &str) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for part in ["node", "operator"] {
        let archive = archive(part, tag);
        ensure!(
            archive.exists(),
            "{} is missing; build it with e2e/lab/image --tag {tag}",
            archive.display()
        );
        lab.load_image(&archive)?;
    }
    run(lab
        .command("helm")
        .args(["upgrade", "--install", RELEASE])
        .arg(root.join("charts/annulus-operator"))
        .args([
            "--namespace",
            OPERATOR_NAMESPACE,
            "--create-namespace",
            "--wait",
            "--timeout",
            "3m",
        ])
        .args(values(tag))
        .args(["--set-string", &image_annotation(tag)?]))
}

/// Tells Kubernetes that the operator's image is another one although its tag is the same.
fn image_annotation(tag: &str) -> Result<String> {
    let image = archive("operator", tag);
    let bytes = fs::read(&image).with_context(|| format!("read {}", image.display()))?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let checksum = hasher.finish();
    Ok(format!("podAnnotations.image-checksum={checksum:016x}"))
}

/// Cargo's target directory, where `e2e/lab/image` leaves the archives too.
pub(crate) fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    )
}

fn archive(part: &str, tag: &str) -> PathBuf {
    target_directory().join(format!("images/annulus-{part}-{tag}.tar"))
}

fn values(tag: &str) -> Vec<String> {
    [
        "image.repository=localhost/annulus-operator".to_owned(),
        format!("image.tag={tag}"),
        "image.pullPolicy=Never".to_owned(),
        "nodeImage.repository=localhost/annulus-node".to_owned(),
        format!("nodeImage.tag={tag}"),
        "nodeImage.pullPolicy=Never".to_owned(),
    ]
    .into_iter()
    .flat_map(|value| ["--set".to_owned(), value])
    .collect()
}
