//! Who pays for what passes.

/// Waits until so many bytes may pass.
pub(crate) trait Throttle: Sync {
    /// They have passed, or are about to: returns when they are paid for.
    fn spend(&self, bytes: usize) -> impl Future<Output = ()> + Send;
}
