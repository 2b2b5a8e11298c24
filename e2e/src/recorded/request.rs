//! One request over HTTP, and its answer in the checker's words.

use std::time::Duration;

use annulus_causality::{Actor, VersionVector};
use annulus_checker::{
    Consistency, Deleted, Found, KeyName, Kind, Outcome, Policy, Shown, ValueId, Written,
    minted_dot,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::{kvcluster::Endpoint, workload::Refusal};

/// The server's own limit ends a request before this does.
const TIMEOUT: &str = "5s";
pub(super) const PATIENCE: Duration = Duration::from_secs(7);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Get,
    Put(ValueId),
    Delete,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) key: KeyName,
    pub(super) what: What,
    /// As an answer gave it.
    pub(super) context: Option<Value>,
    /// Reads from all owners instead of a quorum.
    pub(super) from_all: bool,
}

/// What it came to.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) outcome: Outcome,
    pub(super) context: Option<Value>,
    pub(super) refusal: Option<Refusal>,
}

impl Request {
    pub(super) fn is_lww(&self) -> bool {
        self.key.keyspace == "data"
    }

    pub(super) fn policy(&self) -> Policy {
        if self.is_lww() {
            Policy::Lww
        } else {
            Policy::Siblings
        }
    }

    pub(super) fn consistency(&self) -> Consistency {
        let r = if self.from_all { 3 } else { 2 };
        Consistency {
            r,
            ..Consistency::QUORUM
        }
    }

    /// In the checker's words.
    pub(super) fn kind(&self) -> Kind {
        let context = self.clock();
        match &self.what {
            What::Get => Kind::Get { min_context: None },
            What::Put(value) => Kind::Put {
                value: value.clone(),
                context,
                ttl_us: None,
            },
            What::Delete => Kind::Delete { context },
        }
    }

    fn clock(&self) -> Option<VersionVector> {
        let clock = self.context.as_ref().and_then(clock);
        clock.filter(|clock| !clock.is_empty())
    }

    /// Asks a node.
    pub(super) async fn ask(&self, http: &Client, node: &Endpoint) -> Reply {
        let answered = match self.request(http, node).send().await {
            Ok(answered) => answered,
            Err(error) => return unanswered(node, &error),
        };
        let status = answered.status();
        match self.read(answered).await {
            Ok((outcome, context)) => Reply {
                outcome,
                context,
                refusal: None,
            },
            Err(body) => refused(node, status, &body),
        }
    }

    fn request(&self, http: &Client, node: &Endpoint) -> RequestBuilder {
        let path = if self.is_lww() { "v1/data" } else { "kv" };
        let url = format!("{}/{path}/{}?timeout={TIMEOUT}", node.url, self.key.key);
        match &self.what {
            What::Get if self.from_all => http.get(format!("{url}&r=all")),
            What::Get => http.get(url),
            What::Put(value) if self.is_lww() => http.put(url).json(&json!({"value": value})),
            What::Put(value) => {
                let value = STANDARD.encode(&value.0);
                let body = json!({"value": value, "context": self.context});
                http.put(url).json(&body)
            }
            What::Delete => http.delete(url).json(&json!({"context": self.context})),
        }
    }

    /// A success, or the body of a failure.
    async fn read(&self, answered: Response) -> Result<(Outcome, Option<Value>), Value> {
        let status = answered.status();
        let body: Value = answered.json().await.unwrap_or_default();
        let context = Some(body["context"].clone()).filter(Value::is_object);
        let known = context.as_ref().and_then(clock);
        let sent = self.clock();
        let outcome = match (&self.what, status) {
            (What::Get, StatusCode::NOT_FOUND) => Outcome::Found(Found {
                context: known,
                ..Found::default()
            }),
            (What::Get, StatusCode::OK) => Outcome::Found(Found {
                values: self.shown(&body),
                context: known,
                version: body["version"].as_u64(),
            }),
            (What::Put(_), StatusCode::OK | StatusCode::CREATED) => match known {
                Some(clock) => Outcome::Written(Written::new(sent.as_ref(), clock, None)),
                None => Outcome::Written(Written {
                    version: body["version"].as_u64(),
                    ..Written::default()
                }),
            },
            (What::Delete, StatusCode::OK | StatusCode::NOT_FOUND) => {
                let existed = status == StatusCode::OK;
                match known {
                    Some(clock) => Outcome::Deleted(Deleted::new(sent.as_ref(), clock, existed)),
                    None => Outcome::Deleted(Deleted {
                        existed: Some(existed),
                        ..Deleted::default()
                    }),
                }
            }
            _ => return Err(body),
        };
        Ok((outcome, context))
    }

    fn shown(&self, body: &Value) -> Vec<Shown> {
        if self.is_lww() {
            let value = body["value"].as_str().unwrap_or_default();
            return vec![Shown {
                value: ValueId::from(value),
                dot: None,
            }];
        }
        let siblings = body["values"].as_array().into_iter().flatten();
        let sibling = |it: &Value| {
            let text = it["value"].as_str().unwrap_or_default();
            let bytes = STANDARD.decode(text);
            Shown {
                value: ValueId::of(bytes.as_deref().unwrap_or(text.as_bytes())),
                dot: clock(&it["context"]).and_then(|own| minted_dot(None, &own)),
            }
        };
        siblings.map(sibling).collect()
    }
}

fn clock(context: &Value) -> Option<VersionVector> {
    let entries = context["vector_clock"].as_object()?.iter();
    entries
        .map(|(actor, counter)| Some((actor.parse::<Actor>().ok()?, counter.as_u64()?)))
        .collect()
}

fn refused(node: &Endpoint, status: StatusCode, body: &Value) -> Reply {
    let error = &body["error"];
    let refusal = Refusal {
        code: error["code"].as_str().unwrap_or("none").to_owned(),
        retryable: error["retryable"] == true,
        message: format!("{} answered {status}: {body}", node.pod),
    };
    failed(error["outcome"] == "rejected", refusal)
}

fn unanswered(node: &Endpoint, error: &reqwest::Error) -> Reply {
    let refusal = Refusal {
        code: super::CONNECTION.to_owned(),
        retryable: true,
        message: format!("{}: {error}", node.pod),
    };
    failed(error.is_connect(), refusal)
}

fn failed(is_rejected: bool, refusal: Refusal) -> Reply {
    Reply {
        outcome: if is_rejected {
            Outcome::Rejected
        } else {
            Outcome::Unknown
        },
        context: None,
        refusal: Some(refusal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_read_and_one_that_is_none_is_not() {
        let actor = Actor::new(
            annulus_causality::VnodeId(7),
            annulus_causality::KeyEpoch(2),
        );
        let json = json!({"vector_clock": {actor.to_string(): 3}, "tag": "00"});
        assert_eq!(clock(&json), Some([(actor, 3)].into_iter().collect()));
        assert_eq!(clock(&Value::Null), None);
        assert_eq!(clock(&json!({"vector_clock": {"?": 1}})), None);
    }
}
