//! `annulus dev` with real nodes, used through the `annulus` command as a person would.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod dev_process;

use std::collections::BTreeMap;
use std::process::Stdio;

use dev_process::{Answer, DevRing, annulus, dev_command, eventually, free_base_port, is_alive};

/// Ids by name, as `annulus status` shows them.
fn identities(ring: &DevRing) -> BTreeMap<String, String> {
    let status = ring.annulus(1, &["status", "-o", "json"]).ok().json();
    let text = |node: &serde_json::Value, field: &str| node[field].as_str().unwrap().to_owned();
    let nodes = status["nodes"].as_array().unwrap();
    nodes
        .iter()
        .map(|node| (text(node, "name"), text(node, "id")))
        .collect()
}

#[test]
fn every_node_serves_every_key() {
    let dir = tempfile::tempdir().unwrap();
    let ring = DevRing::start(dir.path(), 3, &[]);
    for writer in 1..=3 {
        let key = format!("written-by-{writer}");
        ring.annulus(writer, &["put", &key, "hello"]).ok();
        for reader in 1..=3 {
            assert_eq!(ring.annulus(reader, &["get", &key]).ok().stdout, "hello");
        }
        let deleter = writer % 3 + 1;
        ring.annulus(deleter, &["delete", &key]).ok();
        for reader in 1..=3 {
            assert_eq!(ring.annulus(reader, &["get", &key]).code, 3);
        }
    }
    assert_eq!(ring.stop(), 0);
}

#[test]
fn logs_are_files_without_colours() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(DevRing::start(dir.path(), 2, &[]).stop(), 0);
    for node in 1..=2 {
        let log = std::fs::read_to_string(dir.path().join(format!("node-{node}/log"))).unwrap();
        assert!(!log.is_empty());
        assert!(!log.contains('\u{1b}'), "{log}");
    }
}

#[test]
fn concurrent_values_are_siblings_until_they_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let ring = DevRing::start(dir.path(), 3, &[]);
    ring.annulus(1, &["put", "cart", "apples"]).ok();
    ring.annulus(2, &["put", "cart", "pears"]).ok();
    let both = ring.annulus(3, &["get", "cart", "-o", "json"]).ok().json();
    assert_eq!(both["values"].as_array().unwrap().len(), 2, "{both}");
    let context = both["context"].as_str().unwrap();
    ring.annulus(1, &["put", "cart", "apples, pears", "--context", context])
        .ok();
    assert_eq!(
        ring.annulus(2, &["get", "cart"]).ok().stdout,
        "apples, pears"
    );

    let versions: Vec<u64> = (1..=2)
        .map(|node| {
            let put = ["put", "n", "1", "--keyspace", "data", "-o", "json"];
            ring.annulus(node, &put).ok().json()["version"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert!(versions[0] < versions[1], "{versions:?}");

    ring.annulus(1, &["put", "brief", "x", "--ttl", "1s"]).ok();
    eventually("the value expires", || {
        ring.annulus(2, &["get", "brief"]).code == 3
    });
}

#[test]
fn exit_codes_tell_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let ring = DevRing::start(dir.path(), 3, &[]);
    assert_eq!(ring.annulus(1, &["get"]).code, 2);
    assert_eq!(
        ring.annulus(1, &["put", "k", "v", "--ttl", "never"]).code,
        2
    );
    assert_eq!(ring.annulus(1, &["get", "no-such-key"]).code, 3);
    assert_eq!(ring.annulus(1, &["delete", "no-such-key"]).code, 3);
    assert_eq!(ring.annulus(1, &["node", "no-such-node"]).code, 3);
    ring.annulus(1, &["put", "k", "v"]).ok();

    ring.kill_node(2);
    ring.annulus(1, &["get", "k"]).ok();
    ring.annulus(1, &["put", "l", "v"]).ok();
    ring.kill_node(3);
    let refused = ring.annulus(1, &["put", "m", "v", "--timeout", "2s"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!(ring.annulus(1, &["get", "k", "--timeout", "2s"]).code, 4);
    ring.annulus(1, &["get", "k", "--read-consistency", "one"])
        .ok();

    let status = ring.annulus(1, &["status", "-o", "json"]).ok().json();
    assert_eq!(status["ready_nodes"], 1, "{status}");
    assert_eq!(ring.pid(2), None, "a dead node stays down");
}

#[test]
fn status_shows_how_the_others_see_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let ring = DevRing::start(dir.path(), 3, &[]);
    let seen = |node: usize| {
        let status = ring.annulus(1, &["status", "-o", "json"]).ok().json();
        status["nodes"][node]["seen"].clone()
    };
    assert_eq!(seen(1)["alive"], 2);
    ring.kill_node(2);
    eventually("both others see it down", || seen(1)["down"] == 2);
    assert_eq!(seen(1)["by_asked"], "down");
    assert_eq!(seen(2)["alive"], 1, "the dead one was not asked");
    let table = ring.annulus(1, &["status"]).ok().stdout;
    let row = table.lines().find(|line| line.contains("unreachable"));
    assert!(row.is_some_and(|row| row.contains("down")), "{table}");
}

#[test]
fn an_unreachable_endpoint_is_explained() {
    let Answer {
        code,
        stdout,
        stderr,
    } = annulus("127.0.0.1:1", &["get", "k"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("annulus dev"), "{stderr}");
}

#[test]
fn a_restart_keeps_data_and_identities() {
    let dir = tempfile::tempdir().unwrap();
    let ring = DevRing::start(dir.path(), 3, &[]);
    let before = identities(&ring);
    ring.annulus(1, &["put", "k", "v"]).ok();
    let base_port = ring.base_port;
    assert_eq!(ring.stop(), 0);

    let ring = DevRing::start_at(dir.path(), base_port, 3, &[]);
    assert_eq!(identities(&ring), before);
    assert_eq!(ring.annulus(3, &["get", "k"]).ok().stdout, "v");
    ring.kill_everything();

    let elsewhere = DevRing::start(dir.path(), 3, &[]);
    assert_eq!(identities(&elsewhere), before);
    assert_eq!(elsewhere.annulus(2, &["get", "k"]).ok().stdout, "v");
}

#[test]
fn a_directory_belongs_to_one_ring_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let ring = DevRing::start(dir.path(), 3, &[]);
    let second = dev_command(dir.path(), free_base_port(3), 3, &[])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&second.stderr).contains("in use"),
        "{second:?}"
    );
    assert_eq!(ring.stop(), 0);

    let smaller = dev_command(dir.path(), free_base_port(3), 2, &[])
        .output()
        .unwrap();
    assert_eq!(smaller.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&smaller.stderr).contains("a ring of 3 nodes"),
        "{smaller:?}"
    );
}

#[test]
fn nodes_left_over_by_a_killed_supervisor_are_stopped_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let ring = DevRing::start(dir.path(), 3, &[]);
    ring.annulus(1, &["put", "k", "v"]).ok();
    let (_, base_port, old) = ring.kill_supervisor();
    assert_eq!(old.len(), 3);
    assert!(old.iter().all(|pid| is_alive(*pid)), "the nodes run on");

    let ring = DevRing::start_at(dir.path(), base_port, 3, &[]);
    assert!(
        old.iter().all(|pid| !is_alive(*pid)),
        "no old node runs beside the new"
    );
    assert_eq!(ring.annulus(1, &["get", "k"]).ok().stdout, "v");
}

#[test]
fn with_respawn_a_killed_node_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let ring = DevRing::start(dir.path(), 3, &["--respawn"]);
    ring.kill_node(2);
    eventually("the node is back and serves", || {
        let status = ring.annulus(1, &["status", "-o", "json"]).ok().json();
        ring.pid(2).is_some() && status["ready_nodes"] == 3
    });
}

#[test]
fn a_ring_tells_where_keys_live_and_what_a_change_would_move() {
    let dir = tempfile::tempdir().unwrap();
    let ring = DevRing::start(dir.path(), 4, &[]);
    let ring_json = ring.annulus(4, &["ring", "-o", "json"]).ok().json();
    assert_eq!(ring_json["owners"].as_array().unwrap().len(), 256);
    let key = ring
        .annulus(1, &["ring", "--key", "k", "-o", "json"])
        .ok()
        .json();
    assert_eq!(key["owners"].as_array().unwrap().len(), 3);

    let plan = ring
        .annulus(1, &["ring", "plan", "--nodes", "5", "-o", "json"])
        .ok()
        .json();
    let fields: Vec<&String> = plan.as_object().unwrap().keys().collect();
    let known = ["estimate", "moves", "partitions", "replication_factor"];
    assert_eq!(fields, known);
    assert_eq!(
        (&plan["partitions"], &plan["replication_factor"]),
        (&256.into(), &3.into())
    );
    let moves = plan["moves"].as_array().unwrap();
    assert!(
        moves.len().abs_diff(256 * 3 / 5) <= 1,
        "not a fifth of the vnodes: {}",
        moves.len()
    );
    assert!(moves.iter().all(|step| step["to"] == "node-5"), "{plan}");
    let too_few = ring.annulus(1, &["ring", "plan", "--nodes", "2"]);
    assert_eq!(too_few.code, 2, "{too_few:?}");
}

#[test]
fn a_node_that_can_t_start_ends_the_ring_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let output = dev_command_with_program(dir.path(), "/bin/false");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("can't start"),
        "{output:?}"
    );
}

fn dev_command_with_program(dir: &std::path::Path, program: &str) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_annulus"))
        .args(["dev", "--base-port", &free_base_port(3).to_string()])
        .arg("--data-dir")
        .arg(dir)
        .env("ANNULUS_NODE_BIN", program)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}
