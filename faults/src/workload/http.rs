//! Requests over HTTP: `/kv/` with contexts, `/v1/data/` without.

use std::fmt::Write as _;
use std::time::Duration;

use annulus_causality::context::TAG_BYTES;
use annulus_causality::{Actor, Context};
use annulus_checker::{Outcome, Shown, minted_dot};
use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Map, Value, json};

use super::Answer;
use super::ask::{Ask, Via, What};
use super::grpc::{deleted, found, written};
use crate::values;

/// A node that is late has so much time to say so.
const PATIENCE: Duration = Duration::from_millis(300);

/// A client of one node.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    http: reqwest::Client,
    address: String,
}

impl HttpClient {
    /// Connects with the first request.
    pub(crate) fn new(address: &str) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_millis(500))
            .build()
            .context("build an HTTP client")?;
        Ok(Self {
            http,
            address: address.to_owned(),
        })
    }

    /// Asks, and takes the answer.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        let answered = match self.request(ask).send().await {
            Ok(answered) => answered,
            Err(error) if error.is_connect() => return Answer::REJECTED, // never sent
            Err(_) => return Answer::UNKNOWN,
        };
        let status = answered.status();
        if status == StatusCode::NO_CONTENT {
            return deleted(ask, None, None);
        }
        match answered.json::<Value>().await {
            Ok(body) => read(ask, status, &body),
            Err(_) => Answer::UNKNOWN,
        }
    }

    fn request(&self, ask: &Ask) -> RequestBuilder {
        let (keyspace, key) = (&ask.key.keyspace, &ask.key.key);
        let form = if ask.via == Via::HttpData {
            "data"
        } else {
            "kv"
        };
        let url = format!(
            "http://{}/v1/keyspaces/{keyspace}/{form}/{key}",
            self.address
        );
        let context = ask.context.as_ref().map(to_json);
        let request = match &ask.what {
            What::Get => {
                let seen = context.map(|context| [("min_context", context.to_string())]);
                self.http
                    .get(url)
                    .query(&seen.iter().flatten().collect::<Vec<_>>())
            }
            What::Put { name, filling } => {
                let value = values::value(name, *filling);
                let body = if ask.via == Via::HttpData {
                    json!({"value": value, "ttl": ask.ttl})
                } else {
                    json!({"value": STANDARD.encode(value), "ttl": ask.ttl, "context": context})
                };
                self.http.put(url).json(&body)
            }
            What::Delete if ask.via == Via::HttpData => self.http.delete(url),
            What::Delete => self.http.delete(url).json(&json!({"context": context})),
        };
        let mut terms = vec![("timeout", format!("{}ms", ask.timeout.as_millis()))];
        for (name, level) in [("r", ask.read), ("w", ask.write)] {
            terms.push((name, level.text().to_owned()));
        }
        terms.retain(|(_, value)| !value.is_empty());
        request.query(&terms).timeout(ask.timeout + PATIENCE)
    }
}

/// The answer in the checker's words. Pure.
fn read(ask: &Ask, status: StatusCode, body: &Value) -> Answer {
    let context = from_json(&body["context"]);
    match (&ask.what, status) {
        (What::Get, StatusCode::NOT_FOUND) => found(Vec::new(), context, None),
        (What::Get, StatusCode::OK) if ask.via == Via::HttpData => {
            let value = Shown {
                value: values::name(body["value"].as_str().unwrap_or_default().as_bytes()),
                dot: None,
            };
            found(vec![value], None, body["version"].as_u64())
        }
        (What::Get, StatusCode::OK) => {
            let values = body["values"].as_array().into_iter().flatten().map(sibling);
            found(values.collect(), context, None)
        }
        (What::Put { .. }, StatusCode::OK | StatusCode::CREATED) => {
            written(ask, context, body["version"].as_u64())
        }
        (What::Delete, StatusCode::OK) => deleted(ask, context, Some(true)),
        (What::Delete, StatusCode::NOT_FOUND) => deleted(ask, context, Some(false)),
        _ => Answer {
            outcome: if body["error"]["outcome"] == "rejected" {
                Outcome::Rejected
            } else {
                Outcome::Unknown
            },
            context: None,
        },
    }
}

fn sibling(value: &Value) -> Shown {
    let text = value["value"].as_str().unwrap_or_default();
    let bytes = STANDARD
        .decode(text)
        .unwrap_or_else(|_| text.as_bytes().to_vec());
    Shown {
        value: values::name(&bytes),
        dot: from_json(&value["context"]).and_then(|own| minted_dot(None, own.clock())),
    }
}

fn to_json(context: &Context) -> Value {
    let (clock, tag) = context.to_parts();
    let clock: Map<String, Value> = clock
        .iter()
        .map(|(actor, counter)| (actor.to_string(), counter.into()))
        .collect();
    json!({"vector_clock": clock, "tag": hex(tag)})
}

fn from_json(json: &Value) -> Option<Context> {
    let entries = json["vector_clock"].as_object()?.iter();
    let entries: Option<Vec<_>> = entries
        .map(|(actor, counter)| Some((actor.parse::<Actor>().ok()?, counter.as_u64()?)))
        .collect();
    let tag = match json["tag"].as_str() {
        Some(text) => Some(unhex(text)?),
        None => None,
    };
    Context::from_parts(entries?, tag).ok()
}

fn hex(tag: [u8; TAG_BYTES]) -> String {
    tag.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // writing to a String can't fail
        text
    })
}

fn unhex(text: &str) -> Option<[u8; TAG_BYTES]> {
    let mut tag = [0; TAG_BYTES];
    if text.len() != 2 * TAG_BYTES || !text.is_ascii() {
        return None;
    }
    for (at, byte) in tag.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(tag)
}

#[cfg(test)]
mod tests {
    use annulus_causality::{ContextKey, KeyEpoch, VnodeId};

    use super::*;

    #[test]
    fn contexts_go_from_json_to_json() {
        let actor = Actor::new(VnodeId(1), KeyEpoch(1));
        let clock = [(actor, 3)].into_iter().collect();
        let issued = Context::issue(&ContextKey::new([7; 32]), "kv", b"x", clock);
        assert_eq!(from_json(&to_json(&issued)), Some(issued));
        assert_eq!(from_json(&Value::Null), None);
        assert_eq!(from_json(&json!({"vector_clock": {"?": 1}})), None);
    }
}
