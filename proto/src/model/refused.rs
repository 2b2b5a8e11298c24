//! Why a field was refused at the door.

/// A field of a request that can't be taken: its name as on the wire, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldRefused {
    /// The field's name, as in the `.proto` file and the JSON body.
    pub field: &'static str,
    /// What is wrong and what is allowed.
    pub reason: String,
    /// Whether a size limit was passed (HTTP 413) rather than a rule broken (400).
    pub too_large: bool,
}

impl FieldRefused {
    /// The field breaks a rule.
    pub fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self {
            field,
            reason: reason.into(),
            too_large: false,
        }
    }

    /// The field passes a size limit.
    pub fn too_large(field: &'static str, reason: impl Into<String>) -> Self {
        Self {
            field,
            reason: reason.into(),
            too_large: true,
        }
    }
}
