//! The `annulus-operator` program.

use std::fs;

use annulus_operator::{Args, Command, crd, generated_files, run};
use anyhow::{Context, anyhow};
use clap::Parser;

fn main() -> anyhow::Result<()> {
    // First of all: two providers in the tree would make rustls panic at the first connection.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("a TLS provider is installed already"))?;
    match Args::parse().command {
        Command::Crd => {
            for (_, yaml) in crd::all() {
                println!("---\n{yaml}");
            }
            Ok(())
        }
        Command::Generate { into } => {
            for (path, text) in generated_files() {
                let path = into.join(path);
                fs::create_dir_all(path.parent().context("a file has a folder")?)?;
                fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            }
            Ok(())
        }
        Command::Run(args) => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(run(args))
        }
    }
}
