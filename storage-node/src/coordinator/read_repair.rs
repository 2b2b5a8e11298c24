//! Which copies a read mends, and whether the reader waits for it: pure.
//!
//! Blocking is what makes quorum reads monotonic: a state that a failed write left on a minority,
//! once shown, is on a write quorum before the answer leaves (as Cassandra's `BLOCKING`).

/// What a read found among the owners that it contacted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread {
    /// Owners that answered.
    pub(crate) contacted: usize,
    /// Those of them that hold the merged state.
    pub(crate) holders: usize,
}

/// What the read does about the copies that lack something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repair {
    /// Nothing: all contacted owners hold the same.
    None,
    /// Mends them after the answer.
    Background,
    /// Mends them and answers once this many more hold the merged state.
    Blocking {
        /// Acks to wait for.
        acks: usize,
    },
}

/// Decides. `read` is the number of owners that the reader asked for, `quorum` more than half of
/// them all, `write` the keyspace's default write quorum.
pub(crate) fn decide(spread: Spread, read: usize, quorum: usize, write: usize) -> Repair {
    let wanted = write.min(spread.contacted);
    if spread.holders == spread.contacted {
        Repair::None
    } else if read < quorum || spread.holders >= wanted {
        Repair::Background
    } else {
        Repair::Blocking {
            acks: wanted - spread.holders,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        // contacted, holders, read, quorum, write → repair
        let rows = [
            (2, 2, 2, 2, 2, Repair::None),
            (2, 1, 2, 2, 2, Repair::Blocking { acks: 1 }),
            (2, 0, 2, 2, 2, Repair::Blocking { acks: 2 }),
            (3, 2, 3, 2, 2, Repair::Background),
            (3, 1, 3, 2, 2, Repair::Blocking { acks: 1 }),
            (2, 1, 1, 2, 2, Repair::Background),
            (2, 1, 2, 2, 1, Repair::Background),
            (2, 1, 2, 2, 3, Repair::Blocking { acks: 1 }),
            (3, 0, 3, 3, 5, Repair::Blocking { acks: 3 }),
        ];
        for (contacted, holders, read, quorum, write, expected) in rows {
            let spread = Spread { contacted, holders };
            assert_eq!(
                decide(spread, read, quorum, write),
                expected,
                "{spread:?} w={write}"
            );
        }
    }
}
