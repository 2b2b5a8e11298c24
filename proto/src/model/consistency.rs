//! How many replicas must take part.

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

use super::FieldRefused;

/// How many of a key's N owners must answer a read or hold a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// One.
    One,
    /// More than half.
    Quorum,
    /// Every one.
    All,
    /// More than half of those in the coordinator's datacenter; with one datacenter, as `Quorum`.
    LocalQuorum,
    /// This many.
    Count(NonZeroU8),
}

impl Consistency {
    /// The number of replicas, for `owners` = N of them. `None` when more are asked for than there are.
    pub fn resolve(self, owners: usize) -> Option<usize> {
        let needed = match self {
            Self::One => 1,
            Self::Quorum | Self::LocalQuorum => owners / 2 + 1,
            Self::All => owners,
            Self::Count(count) => usize::from(count.get()),
        };
        (needed <= owners).then_some(needed)
    }

    /// As on the wire: empty means that the keyspace's default holds.
    pub fn from_wire(field: &'static str, text: &str) -> Result<Option<Self>, FieldRefused> {
        if text.is_empty() {
            return Ok(None);
        }
        text.parse()
            .map(Some)
            .map_err(|reason: ConsistencyUnknown| FieldRefused::invalid(field, reason.to_string()))
    }

    /// The name, one of a small closed set (numbers are `count`), for metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Quorum => "quorum",
            Self::All => "all",
            Self::LocalQuorum => "local_quorum",
            Self::Count(_) => "count",
        }
    }
}

/// A text that names no consistency level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no consistency level; give one, quorum, all, local_quorum or a number from 1")]
pub struct ConsistencyUnknown(String);

impl FromStr for Consistency {
    type Err = ConsistencyUnknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "one" => Ok(Self::One),
            "quorum" => Ok(Self::Quorum),
            "all" => Ok(Self::All),
            "local_quorum" => Ok(Self::LocalQuorum),
            number => number
                .parse()
                .map(Self::Count)
                .map_err(|_| ConsistencyUnknown(text.chars().take(32).collect())),
        }
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            named => f.write_str(named.label()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_resolve_against_the_number_of_owners() {
        assert_eq!(Consistency::Quorum.resolve(3), Some(2));
        assert_eq!(Consistency::Quorum.resolve(4), Some(3));
        assert_eq!(Consistency::All.resolve(3), Some(3));
        assert_eq!("4".parse::<Consistency>().unwrap().resolve(3), None);
        assert!("0".parse::<Consistency>().is_err());
    }

    #[test]
    fn case_does_not_matter() {
        assert_eq!("LOCAL_QUORUM".parse(), Ok(Consistency::LocalQuorum));
    }
}
