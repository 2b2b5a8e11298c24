//! Compiles the `.proto` files with a pure Rust compiler, so that no `protoc` is needed, and
//! keeps the descriptor set for server reflection.

use std::path::PathBuf;
use std::{env, error::Error, fs};

use prost::Message;

const FILES: [&str; 4] = [
    "annulus/ring/v1/ring.proto",
    "annulus/kv/v1/kv.proto",
    "annulus/peer/v1/peer.proto",
    "annulus/admin/v1/admin.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=annulus");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
