//! The end of a node that can't trust its disk any more.
//!
//! After a failed log write or fsync nobody knows what is on disk: the operating system marks the
//! pages clean, and a retry "succeeds" without them. So from the first failure on nothing is
//! acknowledged, and the process must exit and start over.

use std::sync::{Arc, OnceLock};

use crate::storage::EngineError;

use tokio_util::sync::CancellationToken;

/// Says once that all is over, and why. Clones are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Fatal {
    reason: Arc<OnceLock<String>>,
    damage: Arc<OnceLock<()>>,
    raised: CancellationToken,
}

impl Fatal {
    /// Ends all acknowledgements. The first reason counts.
    pub(super) fn raise(&self, reason: &str) {
        if self.reason.set(reason.to_owned()).is_ok() {
            tracing::error!(reason, "storage failed, the node stops");
        }
        self.raised.cancel();
    }

    /// As [`Self::raise`]. An engine that can't write for damage (which a compaction met) will meet it again
    /// after every start: the whole database has to be replaced.
    pub(super) fn raise_for(&self, error: &EngineError) {
        if matches!(error, EngineError::Corruption { .. }) {
            self.damage.get_or_init(|| ());
        }
        self.raise(&error.to_string());
    }

    pub(super) fn is_damage(&self) -> bool {
        self.damage.get().is_some()
    }

    pub(super) fn is_raised(&self) -> bool {
        self.reason.get().is_some()
    }

    /// Resolves with the reason, once there is one.
    pub(super) async fn wait(&self) -> String {
        self.raised.cancelled().await;
        self.reason.get().cloned().unwrap_or_default()
    }
}
