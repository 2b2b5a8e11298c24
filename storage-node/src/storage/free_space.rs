//! How full the disk is, and what has to end for it.
//!
//! A full disk stops the log, and with it the node. So growth ends while there is still room for
//! what makes room: deletes, compactions, reads (`docs/protocol/durability.md`). The steps, by the free share of the disk:
//! a warning; work in the background does not grow the data any more; clients' values are refused; a reserve
//! file is given up, so that deletes and compactions still find room. Each ends by itself when space returns.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use super::reserve::Reserve;

/// How old an answer may be: a disk does not fill from there in that time.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How much room there is; less of it is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Enough.
    Plenty,
    /// Somebody should make or add some.
    Low,
    /// Work in the background may not grow the data.
    NoBackground,
    /// No values are taken.
    NoValues,
}

impl Room {
    /// Its name in status and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plenty => "plenty",
            Self::Low => "low",
            Self::NoBackground => "no_background",
            Self::NoValues => "no_values",
        }
    }
}

/// The steps: free space in percent of the disk, below which each begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FreeSpaceSteps {
    /// A warning. Default 20.
    pub warn_percent: u64,
    /// Work in the background does not grow the data. Default 10.
    pub background_percent: u64,
    /// No values are taken; deletes are. Default 5.
    pub values_percent: u64,
    /// The reserve file is given up; it is made again above `warn_percent`. Default 3.
    pub reserve_percent: u64,
    /// Size of the reserve file in bytes; a hundredth of the disk at most. Default 1 GiB.
    pub reserve_bytes: u64,
}

impl Default for FreeSpaceSteps {
    fn default() -> Self {
        Self {
            warn_percent: 20,
            background_percent: 10,
            values_percent: 5,
            reserve_percent: 3,
            reserve_bytes: 1 << 30,
        }
    }
}

impl FreeSpaceSteps {
    /// Whether each step comes before the next.
    pub fn are_in_order(&self) -> bool {
        let steps = [
            100,
            self.warn_percent,
            self.background_percent,
            self.values_percent,
            self.reserve_percent,
        ];
        steps.windows(2).all(|pair| pair[0] > pair[1]) && self.reserve_percent > 0
    }

    /// What a disk with so much free space allows.
    pub fn room(&self, free_percent: u64) -> Room {
        if free_percent >= self.warn_percent {
            Room::Plenty
        } else if free_percent >= self.background_percent {
            Room::Low
        } else if free_percent >= self.values_percent {
            Room::NoBackground
        } else {
            Room::NoValues
        }
    }
}

type Probe = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// Knows how full a disk is. Asks the kernel once a second at most.
pub struct FreeSpace {
    steps: FreeSpaceSteps,
    /// Free space in percent; `None`: can't be told.
    probe: Probe,
    reserve: Option<Reserve>,
    last: Mutex<Option<(Instant, Room)>>,
}

impl fmt::Debug for FreeSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreeSpace")
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl FreeSpace {
    /// Of the disk that holds the directory `path`, with a reserve file there. Gives the reserve up at once where
    /// there is no space left to open a database.
    pub fn of(path: &Path, steps: FreeSpaceSteps) -> Self {
        let reserve = Reserve::in_directory(path, steps.reserve_bytes);
        let path = path.to_owned();
        let probe = move || {
            let found = statvfs(&path).ok()?;
            (found.blocks_available() * 100).checked_div(found.blocks())
        };
        let space = Self {
            reserve: Some(reserve),
            ..Self::probed_with(steps, probe)
        };
        space.keep_reserve();
        space
    }

    /// As `probe` says, in percent.
    pub fn probed(probe: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self::probed_with(FreeSpaceSteps::default(), probe)
    }

    fn probed_with(
        steps: FreeSpaceSteps,
        probe: impl Fn() -> Option<u64> + Send + Sync + 'static,
    ) -> Self {
        Self {
            steps,
            probe: Box::new(probe),
            reserve: None,
            last: Mutex::default(),
        }
    }

    /// How much room there is. A disk that can't be asked is taken for roomy: its writes will tell.
    pub fn room(&self, now: Instant) -> Room {
        let mut last = self.last.lock();
        if let Some((asked, room)) = *last
            && now.saturating_duration_since(asked) < ASK_EVERY
        {
            return room;
        }
        let room = self.keep_reserve();
        let before = last.map_or(Room::Plenty, |(_, room)| room);
        if room > before {
            tracing::warn!(room = room.as_str(), "the disk is filling up");
        } else if room < before {
            tracing::info!(room = room.as_str(), "the disk has more room again");
        }
        *last = Some((now, room));
        room
    }

    /// Gives the reserve up, or makes it again, as the free space asks for. How much room there is.
    fn keep_reserve(&self) -> Room {
        let Some(percent) = (self.probe)() else {
            return Room::Plenty;
        };
        if let Some(reserve) = &self.reserve {
            if percent < self.steps.reserve_percent {
                reserve.give_up();
            } else if percent >= self.steps.warn_percent {
                reserve.make();
            }
        }
        self.steps.room(percent)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn each_step_begins_below_its_limit() {
        let steps = FreeSpaceSteps::default();
        assert!(steps.are_in_order());
        for (percent, room) in [
            (100, Room::Plenty),
            (20, Room::Plenty),
            (19, Room::Low),
            (10, Room::Low),
            (9, Room::NoBackground),
            (5, Room::NoBackground),
            (4, Room::NoValues),
            (0, Room::NoValues),
        ] {
            assert_eq!(steps.room(percent), room, "{percent} %");
        }
        let wrong = FreeSpaceSteps {
            background_percent: 20,
            ..steps
        };
        assert!(!wrong.are_in_order());
    }

    #[test]
    fn values_end_below_the_limit_and_begin_again_above_it() {
        let percent = Arc::new(AtomicU64::new(5));
        let probe = percent.clone();
        let space = FreeSpace::probed(move || Some(probe.load(Ordering::SeqCst)));
        let mut now = Instant::now();
        assert_eq!(space.room(now), Room::NoBackground);
        percent.store(4, Ordering::SeqCst);
        assert_eq!(
            space.room(now),
            Room::NoBackground,
            "the answer is not a second old"
        );
        now += ASK_EVERY;
        assert_eq!(space.room(now), Room::NoValues);
        percent.store(50, Ordering::SeqCst);
        now += ASK_EVERY;
        assert_eq!(space.room(now), Room::Plenty);
    }

    #[test]
    fn the_reserve_is_given_up_on_a_full_disk_and_made_again_on_a_roomy_one() {
        let directory = tempfile::tempdir().unwrap();
        let percent = Arc::new(AtomicU64::new(50));
        let probe = percent.clone();
        let reserve = Reserve::in_directory(directory.path(), 10_000);
        let space = FreeSpace {
            reserve: Some(reserve),
            ..FreeSpace::probed(move || Some(probe.load(Ordering::SeqCst)))
        };
        let mut now = Instant::now();
        let mut held_at = |free| {
            percent.store(free, Ordering::SeqCst);
            now += ASK_EVERY;
            space.room(now);
            Reserve::in_directory(directory.path(), 10_000).is_made()
        };
        assert!(held_at(50));
        assert!(held_at(3), "there is still some room");
        assert!(!held_at(2));
        assert!(!held_at(19), "not made again where it would fill the disk");
        assert!(held_at(20));
    }

    #[test]
    fn a_real_disk_can_be_asked() {
        let directory = tempfile::tempdir().unwrap();
        let space = FreeSpace::of(directory.path(), FreeSpaceSteps::default());
        assert!((space.probe)().is_some_and(|percent| percent <= 100));
    }
}
