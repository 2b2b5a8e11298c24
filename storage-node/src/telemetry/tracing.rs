//! The log subscriber.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Log, LogFormat};

/// Starts logging to standard error for the whole process. Once is enough: a second call, as when
/// several nodes run in one process, changes nothing. Colours are for terminals only, and not where
/// `NO_COLOR` is set.
pub fn start_logging(log: &Log) -> Result<(), ConfigError> {
    let filter: EnvFilter = log
        .level
        .parse()
        .map_err(|error| ConfigError::field("log.level", format!("{:?}: {error}", log.level)))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let lines = if std::io::stderr().is_terminal() {
        lines
    } else {
        lines.with_ansi(false)
    };
    // An error says that logging was started before.
    let _ = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}
