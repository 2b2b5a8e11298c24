//! The read-only gate: what has to hold before a change is taken. CI runs the same.

use std::process::Command;

use anyhow::Result;

use crate::cache::root;
use crate::steps::{Steps, cargo};
use crate::{generated, lab, tidy, tools};

/// Every check, in the order of what fails fastest.
pub(crate) fn run() -> Result<()> {
    let mut steps = Steps::new("verify");
    steps.run("tidy", tidy::run)?;
    steps.command("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    steps.command(
        "lints",
        &mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    steps.command(
        "documentation",
        cargo(&[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--locked",
        ])
        .env(
            "RUSTDOCFLAGS",
            "-D warnings -A rustdoc::private-intra-doc-links",
        ),
    )?;
    steps.run("generated files", generated::check)?;
    steps.run("licences and imports", || {
        let deny = tools::cargo_deny()?;
        crate::steps::execute(Command::new(deny).args([
            "--locked",
            "--all-features",
            "check",
            "bans",
            "licenses",
            "sources",
        ]))
    })?;
    steps.run("protobuf", || {
        let buf = tools::buf()?;
        crate::steps::execute(
            Command::new(buf)
                .arg("lint")
                .current_dir(root().join("proto")),
        )
    })?;
    steps.run("charts", lab::check_charts)?;
    steps.finish();
    Ok(())
}
