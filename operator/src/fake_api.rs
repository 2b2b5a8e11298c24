//! An API server in memory, for tests: objects, names, conflicts, and writes that can be made
//! to fail from the n-th on, as if the operator had been killed there.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tower::service_fn;

/// The server; clones share its objects.
#[derive(Clone, Default)]
pub(crate) struct FakeApi(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Objects by (plural, name); there is one namespace.
    objects: BTreeMap<(String, String), Value>,
    /// Writes that changed something, as "METHOD plural/name".
    log: Vec<String>,
    /// Writes that still succeed.
    budget: Option<usize>,
    /// Creations of this kind are forbidden.
    forbidden: Option<String>,
    version: u64,
}

type Answer = (StatusCode, Value);

impl FakeApi {
    /// A client of this server.
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let (status, value) = api.answer(&parts.method, parts.uri.path(), body);
                let response = Response::builder().status(status);
                Ok::<_, kube::Error>(
                    response
                        .body(Body::from(value.to_string().into_bytes()))
                        .unwrap(),
                )
            }
        });
        Client::new(service, "shop")
    }

    /// Puts an object there as it is.
    pub(crate) fn put(&self, plural: &str, mut object: Value) {
        let mut state = self.0.lock();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        state.stamp(&mut object);
        state.objects.insert((plural.to_owned(), name), object);
    }

    /// Takes an object away; whether it was there.
    pub(crate) fn remove(&self, plural: &str, name: &str) -> bool {
        self.0
            .lock()
            .objects
            .remove(&(plural.to_owned(), name.to_owned()))
            .is_some()
    }

    /// One object.
    pub(crate) fn get(&self, plural: &str, name: &str) -> Option<Value> {
        self.0
            .lock()
            .objects
            .get(&(plural.to_owned(), name.to_owned()))
            .cloned()
    }

    /// All objects of a kind.
    pub(crate) fn all<K: DeserializeOwned>(&self, plural: &str) -> Vec<K> {
        let state = self.0.lock();
        let objects = state.objects.iter().filter(|((kind, _), _)| kind == plural);
        objects
            .map(|(_, object)| serde_json::from_value(object.clone()).unwrap())
            .collect()
    }

    /// Lets only so many more writes succeed.
    pub(crate) fn limit_writes(&self, budget: Option<usize>) {
        self.0.lock().budget = budget;
    }

    /// Forbids creations of a kind.
    pub(crate) fn forbid(&self, plural: &str) {
        self.0.lock().forbidden = Some(plural.to_owned());
    }

    /// Writes that changed something since the last call.
    pub(crate) fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().log)
    }

    fn answer(&self, method: &Method, path: &str, body: Value) -> Answer {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let skip = if parts[0] == "api" { 2 } else { 3 };
        let mut rest = &parts[skip..];
        if rest[0] == "namespaces" {
            rest = &rest[2..];
        }
        let (plural, name, status) = match rest {
            [plural] => (
                *plural,
                body["metadata"]["name"].as_str().unwrap_or(""),
                false,
            ),
            [plural, name] => (*plural, *name, false),
            [plural, name, _] => (*plural, *name, true),
            _ => return failure(StatusCode::BAD_REQUEST, "BadRequest"),
        };
        let (plural, name) = (plural.to_owned(), name.to_owned());
        self.0.lock().serve(method, (plural, name), status, body)
    }
}

impl State {
    fn serve(
        &mut self,
        method: &Method,
        key: (String, String),
        status: bool,
        body: Value,
    ) -> Answer {
        let found = self.objects.get(&key).cloned();
        if *method == Method::GET {
            return found.map_or_else(
                || failure(StatusCode::NOT_FOUND, "NotFound"),
                |object| (StatusCode::OK, object),
            );
        }
        if key.0 == "events" {
            return (StatusCode::CREATED, body);
        }
        if self.budget == Some(0) {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
        }
        let new = match (method.as_str(), found) {
            ("POST", Some(_)) => return failure(StatusCode::CONFLICT, "AlreadyExists"),
            ("DELETE" | "PUT", None) => return failure(StatusCode::NOT_FOUND, "NotFound"),
            ("POST" | "PATCH", None) if self.forbidden.as_ref() == Some(&key.0) => {
                return failure(StatusCode::FORBIDDEN, "Forbidden");
            }
            ("PATCH", Some(old)) if !status && contains(&old, &body) => {
                return (StatusCode::OK, old);
            }
            ("PUT", Some(old)) => {
                if old["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] {
                    return failure(StatusCode::CONFLICT, "Conflict");
                }
                Some(body)
            }
            ("DELETE", Some(_)) => None,
            // An applied status is the whole of it: what is left out is taken away.
            ("PATCH", Some(mut old)) if status => {
                old["status"] = body["status"].clone();
                Some(old)
            }
            ("PATCH", Some(mut old)) => {
                merge(&mut old, body);
                Some(old)
            }
            ("PATCH", None) if status => return failure(StatusCode::NOT_FOUND, "NotFound"),
            (_, _) => Some(body),
        };
        self.budget = self.budget.map(|budget| budget - 1);
        self.log.push(format!("{method} {}/{}", key.0, key.1));
        let Some(mut object) = new else {
            self.objects.remove(&key);
            return (
                StatusCode::OK,
                json!({"kind": "Status", "status": "Success"}),
            );
        };
        self.stamp(&mut object);
        self.objects.insert(key, object.clone());
        (StatusCode::OK, object)
    }

    fn stamp(&mut self, object: &mut Value) {
        self.version += 1;
        let meta = &mut object["metadata"];
        if meta["uid"].is_null() {
            meta["uid"] = json!(format!("uid-{}", self.version));
        }
        meta["namespace"] = json!("shop");
        meta["resourceVersion"] = json!(self.version.to_string());
    }
}

fn failure(code: StatusCode, reason: &str) -> Answer {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code.as_u16(), "reason": reason, "message": reason,
    });
    (code, body)
}

fn merge(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                merge(old.entry(key).or_insert(Value::Null), value);
            }
        }
        (old, new) => *old = new,
    }
}

fn contains(old: &Value, new: &Value) -> bool {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => new
            .iter()
            .all(|(key, value)| old.get(key).is_some_and(|old| contains(old, value))),
        (old, new) => old == new,
    }
}
