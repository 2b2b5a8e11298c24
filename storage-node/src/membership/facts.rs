//! What a node says of itself.

use annulus_ring::RingEpoch;

use crate::storage::free_space::Room;

/// How a node's disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum DiskState {
    /// Data may grow.
    #[default]
    Ok,
    /// Little is free (`storage.free_space`): it takes no vnodes on, and its data grows by clients' writes only.
    Low,
    /// So full that data may not grow: it refuses puts, and takes reads and deletes.
    Full,
    /// Part of its data is damaged or lost, and not served until it is rebuilt.
    Damaged,
}

impl DiskState {
    /// Of a disk with so much room. `unsound`: some vnode lacks data. What clients' writes meet at all vnodes
    /// goes before what they meet at some.
    pub(crate) fn of(room: Room, unsound: bool) -> Self {
        match room {
            Room::NoValues => Self::Full,
            _ if unsound => Self::Damaged,
            Room::Low | Room::NoBackground => Self::Low,
            Room::Plenty => Self::Ok,
        }
    }
}

/// What a node last said of itself, as far as it has come here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NodeFacts {
    /// How often its data was opened: its restart count.
    pub(crate) generation: u64,
    /// Clients' requests that it worked on at that moment.
    pub(crate) requests_in_flight: u32,
    /// Its disk.
    pub(crate) disk: DiskState,
    /// Bytes of hints that it keeps for other nodes.
    pub(crate) hint_backlog_bytes: u64,
    /// The placement that it holds; 0: none.
    pub(crate) epoch: RingEpoch,
    /// That placement's fingerprint.
    pub(crate) fingerprint: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_goes_before_damage_and_damage_before_a_disk_with_little_room() {
        assert_eq!(DiskState::of(Room::Plenty, false), DiskState::Ok);
        assert_eq!(DiskState::of(Room::Low, false), DiskState::Low);
        assert_eq!(DiskState::of(Room::NoBackground, false), DiskState::Low);
        assert_eq!(DiskState::of(Room::NoValues, false), DiskState::Full);
        assert_eq!(DiskState::of(Room::Plenty, true), DiskState::Damaged);
        assert_eq!(DiskState::of(Room::NoBackground, true), DiskState::Damaged);
        assert_eq!(DiskState::of(Room::NoValues, true), DiskState::Full);
    }
}
