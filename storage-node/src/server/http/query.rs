//! The query parameters that every request takes.

use std::time::Duration;

use annulus_proto::model::{Consistency, FieldRefused};
use axum::extract::Query;
use http::Uri;
use serde::Deserialize;

use crate::server::contexts::JsonContext;

/// The parameters, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameters {
    /// `r`.
    pub(super) read: Option<Consistency>,
    /// `w`.
    pub(super) write: Option<Consistency>,
    /// `timeout`.
    pub(super) timeout: Option<Duration>,
    /// `sloppy`: other nodes may stand in for owners that are away.
    pub(super) sloppy: bool,
    /// `min_context`: a context as JSON.
    pub(super) min_context: Option<JsonContext>,
}

#[derive(Debug, Deserialize)]
struct Raw {
    #[serde(default)]
    r: String,
    #[serde(default)]
    w: String,
    timeout: Option<String>,
    #[serde(default)]
    sloppy: String,
    min_context: Option<String>,
}

impl Parameters {
    /// Reads the query of a request. Parameters that are not known are passed over, as they may
    /// be meant for a proxy.
    pub(super) fn parse(uri: &Uri) -> Result<Self, FieldRefused> {
        let Query(raw) = Query::<Raw>::try_from_uri(uri)
            .map_err(|error| FieldRefused::invalid("query", error.body_text()))?;
        Ok(Self {
            read: Consistency::from_wire("r", &raw.r)?,
            write: Consistency::from_wire("w", &raw.w)?,
            sloppy: parse_flag("sloppy", &raw.sloppy)?,
            timeout: raw.timeout.as_deref().map(parse_timeout).transpose()?,
            min_context: raw.min_context.as_deref().map(parse_context).transpose()?,
        })
    }
}

fn parse_timeout(text: &str) -> Result<Duration, FieldRefused> {
    match humantime::parse_duration(text) {
        Ok(timeout) if !timeout.is_zero() => Ok(timeout),
        _ => Err(FieldRefused::invalid(
            "timeout",
            "must be a time such as 500ms or 2s",
        )),
    }
}

fn parse_flag(name: &'static str, text: &str) -> Result<bool, FieldRefused> {
    match text {
        "" | "false" => Ok(false),
        "true" => Ok(true),
        _ => Err(FieldRefused::invalid(name, "must be true or false")),
    }
}

fn parse_context(text: &str) -> Result<JsonContext, FieldRefused> {
    serde_json::from_str(text)
        .map_err(|error| FieldRefused::invalid("min_context", format!("is no context: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Parameters, FieldRefused> {
        Parameters::parse(&format!("/kv/x?{query}").parse().unwrap())
    }

    #[test]
    fn all_parameters_are_read() {
        let parameters = parse(
            "r=one&w=2&timeout=500ms&sloppy=true&min_context=%7B%22vector_clock%22%3A%7B%7D%7D",
        );
        let parameters = parameters.unwrap();
        assert_eq!(parameters.read, Some(Consistency::One));
        assert_eq!(parameters.write, Some("2".parse().unwrap()));
        assert_eq!(parameters.timeout, Some(Duration::from_millis(500)));
        assert!(parameters.sloppy && parameters.min_context.is_some());
        assert_eq!(parse("").unwrap().read, None);
    }

    #[test]
    fn bad_parameters_are_refused_by_name() {
        for (query, field) in [
            ("r=most", "r"),
            ("w=0", "w"),
            ("w=-1", "w"),
            ("timeout=fast", "timeout"),
            ("timeout=0s", "timeout"),
            ("timeout=-1s", "timeout"),
            ("sloppy=maybe", "sloppy"),
            ("min_context=x", "min_context"),
            ("r=1&r=2", "query"),
        ] {
            assert_eq!(parse(query).unwrap_err().field, field, "{query}");
        }
    }
}
