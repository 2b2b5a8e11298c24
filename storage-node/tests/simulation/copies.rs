//! What a key's owners hold in the end: whether it is the same, and its place in the recording.

use annulus_causality::KeyState;
use annulus_checker::{FinalState, HeldState, Record, copies};
use annulus_proto::model::{Key, KeyspaceName};
use annulus_ring::NodeId;
use parking_lot::Mutex;

use crate::broken::Broken;
use crate::recording::{Recording, name_of, policy_of};

/// A node and what it holds of a key; an error if it can't say.
pub(crate) type Copy = (NodeId, Result<Option<KeyState>, String>);

/// What differs, if anything does.
pub(crate) fn difference(space: &KeyspaceName, key: &Key, copies: &[Copy]) -> Option<String> {
    let states = copies.iter().map(|(_, copy)| copy.as_ref());
    let same = match states.collect::<Result<Vec<_>, _>>() {
        Ok(states) => copies::are_same(states.into_iter().map(Option::as_ref)),
        Err(_) => false,
    };
    (!same).then(|| format!("{space}/{key}: {copies:?}"))
}

/// Leaves what the owners hold in the recording.
pub(crate) fn record(
    recording: &Mutex<Recording>,
    at_us: u64,
    (space, key): (&KeyspaceName, &Key),
    copies: Vec<Copy>,
) -> Result<(), Broken> {
    for (node, state) in copies {
        let state = state.map_err(|error| Broken::new("L1 the cluster heals", error))?;
        let state = FinalState {
            node,
            key: name_of(space, key),
            policy: policy_of(space),
            at_us,
            state: state.as_ref().map(HeldState::from),
        };
        let record = Record::FinalState(state);
        recording.lock().records.push(record);
    }
    Ok(())
}
