//! What must be refused, at both edges: each with its documented error, and nothing written.

use std::net::SocketAddr;

use annulus_node::config::EngineKind;
use annulus_proto::kv::v1 as pb;
use annulus_proto::kv::v1::key_value_client::KeyValueClient;
use annulus_proto::model::{ErrorCode, Outcome};
use annulus_proto::read_status;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tonic::body::Body;

use crate::cluster::Cluster;

const MEBIBYTE: usize = 1 << 20;

fn kv(length: usize) -> String {
    json!({"value": STANDARD.encode(vec![b'x'; length])}).to_string()
}

fn data(length: usize) -> String {
    json!({"value": "x".repeat(length)}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table, one row per mistake")]
async fn bad_writes_over_http_are_refused_and_write_nothing() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    let long_key = "a".repeat(257);
    let forged = json!({"value": "eA==", "context": {
        "vector_clock": {"00000000000000ff.1": 5}, "tag": "00000000000000000000000000000000"}});
    let untagged = json!({"value": "eA==", "context": {"vector_clock": {"00000000000000ff.1": 5}}});
    let other = ring.put_kv(0, "/kv/other", "x", &json!(null)).await;
    let borrowed = json!({"value": "eA==", "context": other.context()});
    let good = kv(1);
    for (path, body, status, code) in [
        (
            &*format!("/kv/{long_key}"),
            good.clone(),
            400,
            "invalid_argument",
        ),
        (
            &format!("/v1/data/{long_key}"),
            data(1),
            400,
            "invalid_argument",
        ),
        ("/kv/", good.clone(), 400, "invalid_argument"),
        ("/v1/data/", data(1), 400, "invalid_argument"),
        ("/kv/a/b", good.clone(), 400, "invalid_argument"),
        ("/kv/%ff", good.clone(), 400, "invalid_argument"),
        ("/kv/x", kv(MEBIBYTE + 1), 413, "too_large"),
        ("/kv/x", kv(2 * MEBIBYTE), 413, "too_large"),
        ("/kv/x", kv(10 * MEBIBYTE), 413, "too_large"),
        ("/v1/data/x", data(MEBIBYTE + 1), 413, "too_large"),
        ("/v1/data/x", data(10 * MEBIBYTE), 413, "too_large"),
        ("/kv/x", String::new(), 400, "invalid_argument"),
        ("/kv/x", "{\"value\":".into(), 400, "invalid_argument"),
        ("/kv/x", "[]".into(), 400, "invalid_argument"),
        ("/kv/x", "{}".into(), 400, "invalid_argument"),
        (
            "/kv/x",
            json!({"value": 1}).to_string(),
            400,
            "invalid_argument",
        ),
        (
            "/kv/x",
            json!({"value": "not base64!"}).to_string(),
            400,
            "invalid_argument",
        ),
        (
            "/kv/x",
            json!({"value": "eA="}).to_string(),
            400,
            "invalid_argument",
        ),
        ("/v1/data/x", "{\"value\":".into(), 400, "invalid_argument"),
        ("/v1/data/x", "{}".into(), 400, "invalid_argument"),
        ("/kv/x", forged.to_string(), 400, "invalid_argument"),
        ("/kv/x", untagged.to_string(), 400, "invalid_argument"),
        ("/kv/x", borrowed.to_string(), 400, "invalid_argument"),
        (
            "/kv/x",
            json!({"value": "eA==", "context": {}}).to_string(),
            400,
            "invalid_argument",
        ),
        (
            "/kv/x",
            json!({"value": "eA==", "ttl": -1}).to_string(),
            400,
            "invalid_argument",
        ),
        (
            "/kv/x",
            json!({"value": "eA==", "ttl": 0}).to_string(),
            400,
            "invalid_argument",
        ),
        (
            "/kv/x",
            json!({"value": "eA==", "ttl": 1e18}).to_string(),
            400,
            "invalid_argument",
        ),
        (
            "/kv/x",
            json!({"value": "eA==", "ttl": u64::MAX}).to_string(),
            400,
            "invalid_argument",
        ),
        (
            "/v1/data/x",
            json!({"value": 1, "ttl": 1.5}).to_string(),
            400,
            "invalid_argument",
        ),
        (
            "/v1/data/x",
            json!({"value": 1, "ttl": "60"}).to_string(),
            400,
            "invalid_argument",
        ),
        ("/kv/x?w=0", good.clone(), 400, "invalid_argument"),
        ("/kv/x?w=4", good.clone(), 400, "invalid_argument"),
        ("/kv/x?w=most", good.clone(), 400, "invalid_argument"),
        ("/kv/x?timeout=soon", good.clone(), 400, "invalid_argument"),
        (
            "/v1/keyspaces/unknown/kv/x",
            good.clone(),
            400,
            "invalid_argument",
        ),
        (
            "/v1/keyspaces/Kv/kv/x",
            good.clone(),
            400,
            "invalid_argument",
        ),
        ("/kv/x?timeout=1us", good.clone(), 504, "timeout"),
    ] {
        let answer = ring.send(0, "PUT", path, body.clone()).await;
        let sent = &body[..body.len().min(80)];
        assert_eq!(
            (answer.status, answer.code()),
            (status, code),
            "{path} {sent} {answer:?}"
        );
        let error = &answer.body["error"];
        assert_eq!(error["outcome"], "rejected", "{path} {sent}");
        assert_eq!(error["retryable"], code == "timeout", "{path} {sent}");
        assert!(!error["message"].as_str().unwrap().is_empty());
        assert_eq!(answer.headers["x-annulus-coordinator"], "node-0");
        assert_eq!(answer.headers["x-annulus-epoch"], "1");
    }
    for path in ["/kv/x", "/v1/data/x", "/kv/a%2Fb"] {
        let absent = ring.get(1, path).await;
        assert_eq!(
            (absent.status, absent.context().is_null()),
            (404, true),
            "{absent:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_values_and_keys_are_taken() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    let key = "a".repeat(256);
    assert_eq!(
        ring.send(0, "PUT", &format!("/kv/{key}"), kv(MEBIBYTE))
            .await
            .status,
        201
    );
    assert_eq!(
        ring.send(0, "PUT", &format!("/v1/data/{key}"), data(MEBIBYTE))
            .await
            .status,
        200
    );
    assert_eq!(
        ring.get(1, &format!("/kv/{key}")).await.values()[0].len(),
        MEBIBYTE
    );
    let value = ring.get(2, &format!("/v1/data/{key}")).await.body["value"].clone();
    assert_eq!(value.as_str().unwrap().len(), MEBIBYTE);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_reads_and_deletes_over_http_are_refused() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    assert_eq!(
        ring.put_kv(0, "/kv/x", "kept", &json!(null)).await.status,
        201
    );
    let forged = json!({"context": {"vector_clock": {"00000000000000ff.1": 5}}}).to_string();
    for (method, path, body, status) in [
        ("GET", "/kv/x?r=0", "", 400),
        ("GET", "/kv/x?r=4", "", 400),
        ("GET", "/kv/x?min_context=x", "", 400),
        ("GET", "/v1/keyspaces/unknown/data/x", "", 400),
        ("DELETE", "/kv/x", "{", 400),
        ("DELETE", "/kv/x", &forged, 400),
        ("DELETE", "/v1/keyspaces/kv/data/x", "", 400),
        ("POST", "/kv/x", "", 405),
        ("PATCH", "/v1/data/x", "", 405),
        ("GET", "/nothing", "", 404),
    ] {
        let answer = ring.send(2, method, path, body.to_owned()).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        assert_eq!(answer.body["error"]["outcome"], "rejected");
        assert_eq!(answer.headers.contains_key("allow"), status == 405);
    }
    assert_eq!(ring.get(1, "/kv/x").await.values(), ["kept"]);
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table, one row per mistake")]
async fn bad_writes_over_grpc_are_refused_and_write_nothing() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    let mut client = ring.grpc(0).await;
    let good = pb::PutRequest {
        key: "x".into(),
        value: "v".into(),
        ..Default::default()
    };
    let other = pb::PutRequest {
        key: "other".into(),
        ..good.clone()
    };
    let other = client.put(other).await.unwrap().into_inner().context;
    let too_large = vec![b'x'; MEBIBYTE + 1].into();
    let invalid = ErrorCode::InvalidArgument;
    for (name, bad, code) in [
        (
            "key",
            pb::PutRequest {
                key: "".into(),
                ..good.clone()
            },
            invalid,
        ),
        (
            "key",
            pb::PutRequest {
                key: "ü".repeat(257).into(),
                ..good.clone()
            },
            invalid,
        ),
        (
            "key",
            pb::PutRequest {
                key: vec![0xff; 257].into(),
                ..good.clone()
            },
            invalid,
        ),
        (
            "value",
            pb::PutRequest {
                value: too_large,
                ..good.clone()
            },
            ErrorCode::TooLarge,
        ),
        (
            "keyspace",
            pb::PutRequest {
                keyspace: "unknown".into(),
                ..good.clone()
            },
            invalid,
        ),
        (
            "keyspace",
            pb::PutRequest {
                keyspace: "A".into(),
                ..good.clone()
            },
            invalid,
        ),
        (
            "context",
            pb::PutRequest {
                context: "x".into(),
                ..good.clone()
            },
            invalid,
        ),
        (
            "context",
            pb::PutRequest {
                context: other,
                ..good.clone()
            },
            invalid,
        ),
        (
            "ttl",
            pb::PutRequest {
                ttl: Some(0),
                ..good.clone()
            },
            invalid,
        ),
        (
            "ttl",
            pb::PutRequest {
                ttl: Some(-1),
                ..good.clone()
            },
            invalid,
        ),
        (
            "ttl",
            pb::PutRequest {
                ttl: Some(i64::MAX),
                ..good.clone()
            },
            invalid,
        ),
        (
            "w",
            pb::PutRequest {
                write_consistency: "4".into(),
                ..good.clone()
            },
            invalid,
        ),
        (
            "w",
            pb::PutRequest {
                write_consistency: "most".into(),
                ..good.clone()
            },
            invalid,
        ),
        (
            "request_id",
            pb::PutRequest {
                request_id: Some(pb::RequestId::default()),
                ..good
            },
            invalid,
        ),
    ] {
        let error = read_status(&client.put(bad).await.unwrap_err());
        assert_eq!(
            (error.code, error.outcome),
            (code, Outcome::Rejected),
            "{name}: {error:?}"
        );
        assert!(error.message.starts_with(name), "{name}: {error:?}");
    }
    let enormous = pb::PutRequest {
        key: "x".into(),
        value: vec![0; 5 * MEBIBYTE].into(),
        ..Default::default()
    };
    assert_eq!(
        client.put(enormous).await.unwrap_err().code(),
        tonic::Code::OutOfRange
    );
    let read = pb::GetRequest {
        key: "x".into(),
        ..Default::default()
    };
    let absent = read_status(&client.get(read).await.unwrap_err());
    assert_eq!((absent.code, absent.context), (ErrorCode::NotFound, None));
}

/// A client that leaves deadlines to the server; tonic's own would answer in its place.
fn without_own_deadlines(address: SocketAddr) -> KeyValueClient<Client<HttpConnector, Body>> {
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let origin = format!("http://{address}").parse().unwrap();
    KeyValueClient::with_origin(client, origin)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_deadline_passed_says_so() {
    let ring = Cluster::start(3, EngineKind::Memory).await;
    let mut client = without_own_deadlines(ring.addresses(1).grpc);
    let put = pb::PutRequest {
        key: "x".into(),
        value: "v".into(),
        ..Default::default()
    };
    for (header, code) in [
        ("1u", ErrorCode::Timeout),
        ("1x", ErrorCode::InvalidArgument),
    ] {
        let mut call = tonic::Request::new(put.clone());
        call.metadata_mut()
            .insert("grpc-timeout", header.parse().unwrap());
        let error = read_status(&client.put(call).await.unwrap_err());
        assert_eq!(
            (error.code, error.outcome),
            (code, Outcome::Rejected),
            "{header}: {error:?}"
        );
    }
    assert_eq!(ring.get(0, "/kv/x").await.status, 404);
    let mut call = tonic::Request::new(put);
    call.metadata_mut()
        .insert("grpc-timeout", "20S".parse().unwrap());
    client.put(call).await.unwrap();
}

/// A millisecond is enough for some writes and not for others. Whichever it was, the answer is true:
/// what was acknowledged can be read, what was rejected never happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_of_a_millisecond_is_kept_or_told_apart() {
    const WRITES: usize = 200;
    let ring = Cluster::start(3, EngineKind::Rocksdb).await;
    let mut client = without_own_deadlines(ring.addresses(1).grpc);
    let (mut acknowledged, mut rejected, mut unknown) = (Vec::new(), Vec::new(), 0);
    for at in 0..WRITES {
        let key = format!("soon-{at}");
        let mut call = tonic::Request::new(pb::PutRequest {
            key: key.clone().into(),
            value: "v".into(),
            ..Default::default()
        });
        call.metadata_mut()
            .insert("grpc-timeout", "1m".parse().unwrap());
        match client.put(call).await {
            Ok(_) => acknowledged.push(key),
            Err(refused) => {
                let error = read_status(&refused);
                assert_eq!(error.code, ErrorCode::Timeout, "{key}: {error:?}");
                match error.outcome {
                    Outcome::Rejected => rejected.push(key),
                    Outcome::Unknown => unknown += 1,
                }
            }
        }
    }
    println!(
        "{} acknowledged, {} rejected, {unknown} unknown",
        acknowledged.len(),
        rejected.len()
    );
    for (keys, status) in [(&acknowledged, 200), (&rejected, 404)] {
        for key in keys {
            let read = ring.get(0, &format!("/kv/{key}")).await;
            assert_eq!(read.status, status, "{key}: {read:?}");
        }
    }
}
