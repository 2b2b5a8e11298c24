//! Headers of every answer to a client: which node coordinated it, and under which placement.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::HeaderName;
use http::header::HeaderValue;

use crate::coordinator::Coordinator;

const COORDINATOR: HeaderName = HeaderName::from_static("x-annulus-coordinator");
const EPOCH: HeaderName = HeaderName::from_static("x-annulus-epoch");
const SLOPPY: HeaderName = HeaderName::from_static("x-annulus-sloppy");

struct Source {
    name: HeaderValue,
    coordinator: Coordinator,
}

/// Adds the headers to every answer of the router. Over gRPC they are metadata.
pub(crate) fn add(router: Router, name: &str, coordinator: Coordinator) -> Router {
    let name = HeaderValue::from_str(name).expect("a node's name was validated as plain ASCII");
    let source = Arc::new(Source { name, coordinator });
    router.layer(from_fn_with_state(source, mark))
}

/// Tells the client of a write that other nodes keep it for owners that are away.
pub(crate) fn mark_sloppy(mut response: Response, sloppy: bool) -> Response {
    if sloppy {
        let yes = HeaderValue::from_static("true");
        response.headers_mut().insert(SLOPPY, yes);
    }
    response
}

async fn mark(State(source): State<Arc<Source>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let epoch = source
        .coordinator
        .placement()
        .map_or(0, |placement| placement.epoch().0);
    let headers = response.headers_mut();
    headers.insert(COORDINATOR, source.name.clone());
    headers.insert(EPOCH, HeaderValue::from(epoch));
    response
}
