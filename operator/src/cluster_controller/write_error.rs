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
            kube::Error::Api(status)
                if matches!(status.code, 400 | 403 | 405 | 422) && !namespace_ends(error) =>
            {
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

/// Whether nothing can be created any more because the namespace is being deleted: no matter for
/// anybody, for the cluster is being deleted with it.
pub(crate) fn namespace_ends(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating")
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn forbidden(cause: &str) -> kube::Error {
        let status: Status = serde_json::from_value(json!({
            "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no",
            "details": {"causes": [{"reason": cause, "message": "", "field": ""}]}
        }))
        .unwrap();
        kube::Error::Api(Box::new(status))
    }

    #[test]
    fn a_namespace_that_ends_asks_nobody_to_do_something() {
        let sorted = |cause| WriteError::new("Pod p".into(), &forbidden(cause));
        assert!(matches!(
            sorted("NamespaceTerminating"),
            WriteError::Unknown { .. }
        ));
        assert!(matches!(sorted("Quota"), WriteError::Refused { .. }));
    }
}
