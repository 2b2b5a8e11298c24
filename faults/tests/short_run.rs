//! Short runs of the program: one with every kind of fault that keeps all promises, one of nodes without disks that must not.
//!
//! Needs the node's program: `cargo test --workspace` builds it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

fn faults(dir: &Path, arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_annulus-faults"));
    let node = program.with_file_name("annulus-node");
    assert!(
        node.is_file(),
        "{} does not exist; build the node first, or test with --workspace",
        node.display()
    );
    Command::new(program)
        .args(arguments)
        .arg("--dir")
        .arg(dir)
        .output()
        .expect("run annulus-faults")
}

fn text(output: &Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    println!("{out}{error}");
    for line in format!("{error}{out}").lines().filter(|line| is_loud(line)) {
        // Not held back by the test's harness: a run that leaves something out never passes in silence.
        writeln!(std::io::stderr(), "{line}").expect("write to stderr");
    }
    format!("{out}{error}")
}

fn is_loud(line: &str) -> bool {
    ["NO NAMESPACES", "LEFT OUT", "CAN'T BE CHANGED"]
        .iter()
        .any(|loud| line.contains(loud))
}

#[test]
fn every_kind_of_fault_breaks_no_promise() {
    let dir = tempfile::tempdir().unwrap();
    let output = faults(
        dir.path(),
        &[
            "--seconds",
            "50",
            "--nodes",
            "4",
            "--seed",
            "3",
            "--rate",
            "100",
        ],
    );
    let said = text(&output);
    let failed = !output.status.success();
    if failed {
        // The history and the logs are worth more than a tidy disk.
        println!("kept: {}", dir.keep().display());
    }
    assert!(!failed);
    assert!(said.contains("verdict: no rule violated"));
}

#[test]
fn nodes_that_forget_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let terms = [
        "--seconds",
        "8",
        "--nodes",
        "3",
        "--engine",
        "memory",
        "--only",
        "kill-all",
    ];
    let output = faults(dir.path(), &terms);
    let said = text(&output);
    assert_eq!(
        output.status.code(),
        Some(1),
        "a run of its own fails with 2"
    );
    assert!(said.contains("C1 no lost update"));
    let history = dir.path().join("seed-1/history.jsonl");
    let again = faults(dir.path(), &["--judge", history.to_str().unwrap()]);
    assert_eq!(
        again.status.code(),
        Some(1),
        "the recording is judged alike later"
    );
}

#[test]
fn a_node_that_was_away_is_brought_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let output = faults(dir.path(), &["--outage", "5", "--nodes", "4"]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("hints were delivered"), "{said}");
    assert!(said.contains(" 0 of "), "{said}");
}
