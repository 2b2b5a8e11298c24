//! What a test takes from outside the simulation: numbers from the environment, and real time.

use std::time::Instant;

/// A number from the environment.
pub(crate) fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long the simulation itself takes"
)]
pub(crate) fn stopwatch() -> Instant {
    Instant::now()
}
