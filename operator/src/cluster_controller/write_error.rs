//! Failed writes: which of them a person must look at.

use thiserror::Error;

/// Why an object could not be written. `Refused`: nothing happened. `Unknown`: it may have,
/// and the next run will see.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
    /// The API server says no, and will say no again.
    #[error("{object}: {message}")]
    Refused {
        /// Kind and name.
        object: String,
        /// The API server's words.
        message: String,
    },
    /// It failed for the moment.
    #[error("{object}: {message}")]
    Unknown {
        /// Kind and name.
        object: String,
        /// What went wrong.
        message: String,
    },
}

impl WriteError {
    /// Sorts a failed write of `object`.
    pub(crate) fn new(object: String, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if matches!(status.code, 400 | 403 | 405 | 422) => {
                Self::Refused {
                    object,
                    message: status.message.clone(),
                }
            }
            kube::Error::Api(status) => Self::Unknown {
                object,
                message: status.message.clone(),
            },
            other => Self::Unknown {
                object,
                message: other.to_string(),
            },
        }
    }
}
