//! Whether the disk is so full that data may not grow any more.
//!
//! A full disk stops the log, and with it the node. So growth ends while there is still room for
//! what makes room: deletes, compactions, reads (`protocol.md` 7.2).

use std::fmt;
use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Free share of the disk, in percent, below which data may not grow.
pub const GROWTH_ENDS_PERCENT: u64 = 5;

/// How old an answer may be: a disk does not fill from there in that time.
const ASK_EVERY: Duration = Duration::from_secs(1);

type Probe = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// Knows how full a disk is. Asks the kernel once a second at most.
pub struct FreeSpace {
    /// Free space in percent; `None`: can't be told.
    probe: Probe,
    last: Mutex<Option<(Instant, bool)>>,
}

impl fmt::Debug for FreeSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreeSpace")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl FreeSpace {
    /// Of the disk that holds `path`.
    pub fn of(path: &Path) -> Self {
        let path = path.to_owned();
        Self::probed(move || {
            let found = statvfs(&path).ok()?;
            (found.blocks_available() * 100).checked_div(found.blocks())
        })
    }

    /// As `probe` says, in percent.
    pub fn probed(probe: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self {
            probe: Box::new(probe),
            last: Mutex::default(),
        }
    }

    /// Whether data may grow. A disk that can't be asked is taken for roomy: its writes will tell.
    pub fn allows_growth(&self, now: Instant) -> bool {
        let mut last = self.last.lock();
        if let Some((asked, allowed)) = *last
            && now.saturating_duration_since(asked) < ASK_EVERY
        {
            return allowed;
        }
        let allowed = (self.probe)().is_none_or(|percent| percent >= GROWTH_ENDS_PERCENT);
        if !allowed && last.is_none_or(|(_, allowed)| allowed) {
            tracing::warn!(
                limit = GROWTH_ENDS_PERCENT,
                "disk is nearly full, refusing new values"
            );
        }
        *last = Some((now, allowed));
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn growth_ends_below_the_limit_and_begins_again_above_it() {
        let percent = Arc::new(AtomicU64::new(GROWTH_ENDS_PERCENT));
        let probe = percent.clone();
        let space = FreeSpace::probed(move || Some(probe.load(Ordering::SeqCst)));
        let mut now = Instant::now();
        assert!(space.allows_growth(now));
        percent.store(GROWTH_ENDS_PERCENT - 1, Ordering::SeqCst);
        assert!(space.allows_growth(now), "the answer is not a second old");
        now += ASK_EVERY;
        assert!(!space.allows_growth(now));
        percent.store(50, Ordering::SeqCst);
        now += ASK_EVERY;
        assert!(space.allows_growth(now));
    }

    #[test]
    fn a_real_disk_can_be_asked() {
        let space = FreeSpace::of(Path::new("/"));
        assert!((space.probe)().is_some_and(|percent| percent <= 100));
    }
}
