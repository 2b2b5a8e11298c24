//! What the node is doing: what readiness, health and the status tell.

use annulus_proto::admin::v1::NodePhase;
use tokio::sync::watch;

/// What the node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Open, but not told its placement yet.
    WaitingForPlacement,
    /// Serving requests.
    Serving,
    /// Finishing what it has before it stops.
    Draining,
}

impl Phase {
    /// As on the wire.
    pub(crate) fn to_wire(self) -> NodePhase {
        match self {
            Self::WaitingForPlacement => NodePhase::WaitingForPlacement,
            Self::Serving => NodePhase::Serving,
            Self::Draining => NodePhase::Draining,
        }
    }

    /// For people.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::WaitingForPlacement => "waiting_for_placement",
            Self::Serving => "serving",
            Self::Draining => "draining",
        }
    }
}

/// The phase, changed by the composition root alone. It never leaves `Draining`.
#[derive(Debug)]
pub(crate) struct PhaseSetter(watch::Sender<Phase>);

impl PhaseSetter {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Phase::WaitingForPlacement))
    }

    /// The phase, now and from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.0.subscribe()
    }

    /// Goes on to `next`.
    pub(crate) fn set(&self, next: Phase) {
        self.0.send_if_modified(|phase| {
            let changes = *phase != Phase::Draining && *phase != next;
            if changes {
                *phase = next;
            }
            changes
        });
    }
}
