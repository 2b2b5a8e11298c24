//! The `annulus-operator` program.

use annulus_operator::{Args, Command, crd, run};
use anyhow::anyhow;
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
        Command::Run(args) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(run(args))
        }
    }
}
