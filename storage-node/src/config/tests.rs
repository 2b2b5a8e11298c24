use std::time::Duration;

use annulus_proto::model::{Consistency, KeyspaceName};

use super::{Config, EngineKind};
use crate::keyspace::{ConflictPolicy, Durability};

const LEAST: &str = "{name: a, data_dir: /d, context_key_file: /k}";

fn refusal(yaml: &str) -> String {
    let config = Config::parse(yaml);
    config
        .and_then(|config| config.validate())
        .unwrap_err()
        .to_string()
}

#[test]
fn all_but_three_fields_have_defaults() {
    let config = Config::parse(LEAST).unwrap();
    config.validate().unwrap();
    assert_eq!(config.listen.admin.port(), 9603);
    assert_eq!(
        config.limits.default_request_timeout,
        Duration::from_secs(2)
    );
    assert_eq!(config.storage.engine, EngineKind::Rocksdb);
}

#[test]
fn every_section_is_read() {
    let config = Config::parse(
        r#"
name: a
data_dir: /d
context_key_file: /k
listen: {grpc: "127.0.0.1:0", http: "[::1]:1"}
consistency: {read: 1, write: ALL}
limits: {max_connections: 5, default_request_timeout: 500ms}
storage: {engine: memory, compaction: universal, blob_min_bytes: 4096}
hints: {window: 1h, ttl: 2h, max_bytes: 1000, replay_jitter: 0s}
anti_entropy: {interval: 5m, bytes_per_second: 1000000}
keyspaces:
  data: {read: one}
  sessions: {conflict: lww, write: 2, default_ttl: 60, durability: async, max_value_bytes: 100, allow_sloppy: true}
log: {level: debug, format: json}
drain_timeout: 1s
"#,
    )
    .unwrap();
    config.validate().unwrap();
    let keyspaces = config.build_keyspaces().unwrap();
    let sessions = keyspaces
        .get(&KeyspaceName::new("sessions").unwrap())
        .unwrap();
    assert_eq!(sessions.conflict, ConflictPolicy::Lww);
    assert_eq!(sessions.read, "1".parse::<Consistency>().unwrap());
    assert_eq!(sessions.write, "2".parse::<Consistency>().unwrap());
    assert_eq!(sessions.durability, Durability::Async);
    assert!(sessions.allow_sloppy);
    assert_eq!(config.hints.max_bytes_on(5_000), 500);
    assert_eq!(config.hints.max_bytes_on(1 << 40), 1000);
    assert_eq!(sessions.default_ttl.unwrap().seconds(), 60);
    let kv = keyspaces.get(&KeyspaceName::kv()).unwrap();
    assert_eq!(kv.conflict, ConflictPolicy::Siblings);
    assert_eq!(kv.write, Consistency::All);
    assert!(!kv.allow_sloppy);
    let data = keyspaces.get(&KeyspaceName::data()).unwrap();
    assert_eq!(
        (data.conflict, data.read),
        (ConflictPolicy::Lww, Consistency::One)
    );
}

#[test]
fn a_bad_field_is_named() {
    for (yaml, named) in [
        ("{}", "name"),
        ("{name: a b, data_dir: /d, context_key_file: /k}", "name"),
        ("{name: a, context_key_file: /k}", "data_dir"),
        ("{name: a, data_dir: /d}", "context_key_file"),
        ("{nam: a}", "nam"),
        ("{limits: {max_connection: 1}}", "max_connection"),
        ("{consistency: {read: most}}", "most"),
        ("{drain_timeout: fast}", "fast"),
    ] {
        assert!(refusal(yaml).contains(named), "{yaml}: {}", refusal(yaml));
    }
    for (field, named) in [
        ("limits: {max_connections: 0}", "limits.max_connections"),
        (
            "limits: {max_request_timeout: 31s}",
            "limits.max_request_timeout",
        ),
        (
            "limits: {default_request_timeout: 31s}",
            "limits.default_request_timeout",
        ),
        ("storage: {memtable_bytes: 1}", "storage.memtable_bytes"),
        ("hints: {ttl: 24h}", "hints.ttl"),
        ("hints: {ttl: 23h 50m}", "hints.ttl"),
        ("hints: {ttl: 0s}", "hints.ttl"),
        ("hints: {max_disk_percent: 101}", "hints.max_disk_percent"),
        ("hints: {max_waiting: 0}", "hints.max_waiting"),
        ("hints: {probe_interval: 0s}", "hints.probe_interval"),
        (
            "hints: {receive_bytes_per_second: 0}",
            "hints.receive_bytes_per_second",
        ),
        ("gossip: {fanout: 0}", "gossip.fanout"),
        ("gossip: {probe_timeout: 2s}", "gossip.probe_timeout"),
        ("gossip: {down_after: 1s}", "gossip.down_after"),
        ("anti_entropy: {interval: 1ms}", "anti_entropy.interval"),
        ("anti_entropy: {bound: 1m}", "anti_entropy.bound"),
        (
            "anti_entropy: {leaves_per_round: 0}",
            "anti_entropy.leaves_per_round",
        ),
        ("reaping: {age: 3h}", "reaping.age"),
        ("reaping: {max_clock_skew: 21h}", "reaping.age"),
        ("reaping: {age: 3h 10m}", "reaping.age"),
        ("reaping: {interval: 0s}", "reaping.interval"),
        ("moves: {streams: 0}", "moves"),
        ("moves: {page_bytes: 0}", "moves.page_bytes"),
        ("reaping: {keys_per_second: 0}", "reaping.keys_per_second"),
        (
            "storage: {free_space: {values_percent: 10}}",
            "storage.free_space",
        ),
        ("storage: {rebuild: {retry: 0s}}", "storage.rebuild"),
        ("storage: {slow_disk: {every: 0s}}", "storage.slow_disk"),
        ("keyspaces: {A: {}}", "keyspaces.A"),
        (
            "keyspaces: {a: {default_ttl: -1}}",
            "keyspaces.a.default_ttl",
        ),
        (
            "keyspaces: {a: {max_value_bytes: 0}}",
            "keyspaces.a.max_value_bytes",
        ),
        (
            "keyspaces: {data: {conflict: siblings}}",
            "keyspaces.data.conflict",
        ),
    ] {
        let yaml = format!("{{name: a, data_dir: /d, context_key_file: /k, {field}}}");
        assert!(refusal(&yaml).contains(named), "{yaml}: {}", refusal(&yaml));
    }
}

#[test]
fn a_short_reap_age_needs_short_lives_of_everything_else() {
    let yaml = format!(
        "{{{}, reaping: {{age: 3s, max_clock_skew: 500ms}}, hints: {{ttl: 1s}}, \
         limits: {{max_request_timeout: 1s, default_request_timeout: 1s}}}}",
        LEAST.trim_matches(['{', '}'])
    );
    let config = Config::parse(&yaml).unwrap();
    config.validate().unwrap();
    assert_eq!(config.reaping.rule().age, Duration::from_secs(3));
    let settle = config.reaping.pace(&config.limits).settle;
    assert_eq!(
        settle,
        Duration::from_secs(11),
        "hints are under way for 10 s"
    );
}
