//! Tools that the checks need and that a machine may lack: built from their registries at a fixed
//! version, kept in the cache under that version.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::cache::cache;
use crate::steps::{cargo, execute};

/// A Go program at a version.
struct GoTool {
    name: &'static str,
    package: &'static str,
    version: &'static str,
}

const BUF: GoTool = GoTool {
    name: "buf",
    package: "github.com/bufbuild/buf/cmd/buf",
    version: "v1.75.0",
};
const CARGO_DENY: &str = "0.20.2";

/// The linter of protobuf files.
pub(crate) fn buf() -> Result<PathBuf> {
    go_tool(&BUF)
}

fn go_tool(tool: &GoTool) -> Result<PathBuf> {
    let folder = cache()?
        .join("tools")
        .join(format!("{}-{}", tool.name, tool.version));
    let program = folder.join(tool.name);
    if !program.exists() {
        println!("building {} {}", tool.name, tool.version);
        let package = format!("{}@{}", tool.package, tool.version);
        execute(
            Command::new("go")
                .args(["install", &package])
                .env("GOBIN", &folder)
                .env("CGO_ENABLED", "0"),
        )?;
    }
    Ok(program)
}

/// The guard of licences, bans and import directions.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    let folder = cache()?
        .join("tools")
        .join(format!("cargo-deny-{CARGO_DENY}"));
    let program = folder.join("bin/cargo-deny");
    if !program.exists() {
        println!("building cargo-deny {CARGO_DENY}");
        execute(
            cargo(&[
                "install",
                "--locked",
                "--debug",
                "--version",
                CARGO_DENY,
                "cargo-deny",
                "--root",
            ])
            .arg(&folder)
            .env_remove("CARGO_TARGET_DIR"),
        )?;
    }
    Ok(program)
}
