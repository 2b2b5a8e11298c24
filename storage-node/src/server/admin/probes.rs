//! `/metrics`, `/livez`, `/readyz`, `/v1/status`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::status::StatusSource;
use crate::server::phase::Phase;
use crate::telemetry::{Metrics, OPENMETRICS};

#[derive(Clone)]
struct Probed {
    status: StatusSource,
    metrics: Metrics,
}

pub(super) fn router(status: StatusSource, metrics: Metrics) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/v1/status", get(tell))
        .with_state(Probed { status, metrics })
}

async fn scrape(State(probed): State<Probed>) -> Response {
    match probed.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "encode the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Ready once it serves; no longer when it drains. Alive is whoever answers: a node whose storage
/// failed has ended.
async fn ready(State(probed): State<Probed>) -> Response {
    match probed.status.phase() {
        Phase::Serving => "ok\n".into_response(),
        phase => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{}\n", phase.as_str()),
        )
            .into_response(),
    }
}

async fn tell(State(probed): State<Probed>) -> Response {
    Json(probed.status.to_json()).into_response()
}
