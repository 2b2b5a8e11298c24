//! The log subscriber.

use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, Log, LogFormat};

/// Starts logging to standard error for the whole process. Once is enough: a second call, as when
/// several nodes run in one process, changes nothing.
pub fn start_logging(log: &Log) -> Result<(), ConfigError> {
    let filter: EnvFilter = log
        .level
        .parse()
        .map_err(|error| ConfigError::field("log.level", format!("{:?}: {error}", log.level)))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // An error says that logging was started before.
    let _ = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}
