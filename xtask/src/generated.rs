//! Files that are written by programs and kept in the tree, so that a review sees them change:
//! the CRDs, the chart's copies of them, and the tables in the docs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{root, target};
use crate::steps::{cargo, execute, output};

/// A generated file: path from the root, and its text.
type File = (PathBuf, String);

/// Writes what differs.
pub(crate) fn write() -> Result<()> {
    for (path, text) in differing()? {
        let full = root().join(&path);
        fs::create_dir_all(full.parent().context("a file has a folder")?)?;
        fs::write(&full, text).with_context(|| format!("write {}", full.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Fails when any file differs.
pub(crate) fn check() -> Result<()> {
    let differing = differing()?;
    if differing.is_empty() {
        return Ok(());
    }
    for (path, _) in &differing {
        eprintln!("{} is not what the code generates", path.display());
    }
    bail!("run `make fix` and commit the result")
}

fn differing() -> Result<Vec<File>> {
    let generated = generate()?;
    Ok(generated
        .into_iter()
        .filter(|(path, text)| fs::read_to_string(root().join(path)).ok().as_ref() != Some(text))
        .collect())
}

fn generate() -> Result<Vec<File>> {
    execute(&mut cargo(&["build", "--workspace", "--locked", "--bins"]))?;
    let folder = tempfile_folder()?;
    let operator = target().join("debug/annulus-operator");
    output(
        Command::new(operator)
            .args(["generate", "--into"])
            .arg(&folder),
    )?;
    let mut files = Vec::new();
    collect(&folder, &folder, &mut files)?;
    fs::remove_dir_all(&folder)?;
    Ok(files)
}

fn tempfile_folder() -> Result<PathBuf> {
    let folder = target().join("generated");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn collect(base: &PathBuf, folder: &PathBuf, files: &mut Vec<File>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(base, &path, files)?;
        } else {
            let name = path.strip_prefix(base)?.to_owned();
            files.push((name, fs::read_to_string(&path)?));
        }
    }
    Ok(())
}
