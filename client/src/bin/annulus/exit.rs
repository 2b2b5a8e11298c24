//! Exit codes, and what is said to people when a command fails.

use std::process::ExitCode;

use annulus_client::{ClientError, ErrorCode, Outcome};

/// How the command ended. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed for any other reason.
    Failed = 1,
    /// The command line is wrong. Also what `clap` ends with.
    Usage = 2,
    /// There is no such key or node.
    NotFound = 3,
    /// Too few replicas took part, or not in time.
    NoQuorum = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command line that is wrong in a way that only shows while it runs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Says why the command failed, and what to do, on stderr.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    eprintln!("error: {error:#}");
    let Some(client) = error.downcast_ref::<ClientError>() else {
        return if error.is::<UsageError>() {
            Exit::Usage
        } else {
            Exit::Failed
        };
    };
    if let Some(hint) = hint(client) {
        eprintln!("hint: {hint}");
    }
    code(client)
}

fn code(error: &ClientError) -> Exit {
    match error.code {
        ErrorCode::QuorumUnavailable | ErrorCode::Timeout => Exit::NoQuorum,
        ErrorCode::NotFound => Exit::NotFound,
        _ => Exit::Failed,
    }
}

fn hint(error: &ClientError) -> Option<&'static str> {
    if !error.reached && error.attempts > 0 {
        return Some(
            "start a local ring with `annulus dev`, or forward a cluster's port with \
             `kubectl port-forward service/CLUSTER 9600`, or name a node with \
             --endpoint HOST:PORT (or ANNULUS_ENDPOINT); without one, 127.0.0.1:9600 and then \
             127.0.0.1:9700 is tried",
        );
    }
    match (error.code, error.outcome) {
        (ErrorCode::Conflict, _) => {
            Some("read the key, merge its siblings, and write back with --context")
        }
        (ErrorCode::QuorumUnavailable | ErrorCode::Timeout, Outcome::Unknown) => Some(
            "the request may or may not take effect; `annulus status` shows which nodes are missing",
        ),
        (ErrorCode::QuorumUnavailable | ErrorCode::Timeout, Outcome::Rejected) => {
            Some("nothing happened; `annulus status` shows which nodes are missing")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unreachable_endpoint_fails_with_advice() {
        use annulus_client::{Client, ClientOptions};
        // Port 1 of loopback: nobody listens there.
        let result = Client::connect(["127.0.0.1:1"], ClientOptions::default()).await;
        let error = result.err().expect("nobody listens on port 1");
        assert_eq!(code(&error), Exit::Failed);
        assert!(hint(&error).expect("advice").contains("annulus dev"));
    }

    #[test]
    fn usage_errors_end_as_clap_s_do() {
        let error = anyhow::Error::new(UsageError("wrong".into()));
        assert_eq!(report(&error), Exit::Usage);
    }
}
