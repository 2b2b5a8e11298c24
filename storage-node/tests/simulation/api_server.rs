//! A model of the API server: it keeps the placement that was recorded last, and lets only those change it who have read
//! it since. What it forgets when a backup is restored, nodes still hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use annulus_node::simulation::SimCluster;
use annulus_ring::{MoveId, NodeId, Placement, RingEpoch, Rules, Stage};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::broken::Broken;
use crate::invariants::{Invariants, epochs_never_fall, placements_follow};

/// See the module.
pub(crate) struct ApiServer {
    cluster: Arc<SimCluster>,
    invariants: Arc<Invariants>,
    /// The smallest quorum that a promise rests on.
    least: usize,
    state: Mutex<State>,
}

struct State {
    recorded: Arc<Placement>,
    version: Version,
    away_until: Instant,
    /// Epochs that a backup is to lack.
    forgets: u64,
    /// Nodes that did not answer the operator, and since when. It may not remember that itself.
    missing: BTreeMap<NodeId, Instant>,
    /// Nodes that the operator can't reach.
    cut_off: BTreeSet<NodeId>,
    /// Nodes that are gone for good.
    destroyed: BTreeSet<NodeId>,
    /// Nodes of whose copies nothing was expected any more.
    given_up: BTreeSet<NodeId>,
    tally: Tally,
}

/// Whoever writes names the version that it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version(u64);

/// Why nothing was recorded, or why nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Away,
    /// Somebody else was faster.
    Conflict,
}

/// What became of moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) begun: u64,
    /// Of which so many are over, and their new owners stay.
    pub(crate) committed: u64,
    /// Of which so many are over, and their old owners stay.
    pub(crate) called_off: u64,
    /// Writes that lost against another operator's.
    pub(crate) conflicts: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.begun += other.begun;
        self.committed += other.committed;
        self.called_off += other.called_off;
        self.conflicts += other.conflicts;
    }

    fn count(&mut self, before: &Placement, after: &Placement) {
        let ids = |placement: &Placement| -> BTreeSet<MoveId> {
            placement.moves().iter().map(|it| it.id).collect()
        };
        let (old, new) = (ids(before), ids(after));
        self.begun += new.difference(&old).count() as u64;
        for it in before.moves().iter().filter(|it| !new.contains(&it.id)) {
            if it.stage >= Stage::Commit {
                self.committed += 1;
            } else {
                self.called_off += 1;
            }
        }
    }
}

impl ApiServer {
    pub(crate) fn new(cluster: Arc<SimCluster>, invariants: Arc<Invariants>, rules: Rules) -> Self {
        let recorded = cluster.layout().current();
        let state = State {
            recorded,
            version: Version(0),
            away_until: Instant::now(),
            forgets: 0,
            missing: BTreeMap::new(),
            cut_off: BTreeSet::new(),
            destroyed: BTreeSet::new(),
            given_up: BTreeSet::new(),
            tally: Tally::default(),
        };
        Self {
            cluster,
            invariants,
            least: usize::from(rules.read_min.min(rules.write_min)),
            state: Mutex::new(state),
        }
    }

    /// What is recorded; `None`: it does not answer. Nobody goes by a restored record who can't be told better.
    pub(crate) fn read(&self, newest_in_reach: RingEpoch) -> Option<(Arc<Placement>, Version)> {
        let state = self.state.lock();
        let is_there = Instant::now() >= state.away_until;
        let issued = self.cluster.layout().current().epoch();
        let is_fit = state.recorded.epoch() == issued || newest_in_reach == issued;
        (is_there && is_fit).then(|| (state.recorded.clone(), state.version))
    }

    /// What is recorded, for who looks on.
    pub(crate) fn recorded(&self) -> Arc<Placement> {
        self.state.lock().recorded.clone()
    }

    /// Records a placement, if nobody has recorded another one since that version was read.
    pub(crate) fn write(&self, read: Version, next: Placement) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if Instant::now() < state.away_until {
            return Err(Refused::Away);
        }
        if read != state.version {
            state.tally.conflicts += 1;
            return Err(Refused::Conflict);
        }
        let layout = self.cluster.layout();
        if let Some(issued) = layout.issued(next.epoch()) {
            let same = epochs_never_fall::is_as_issued(&next, &issued);
            self.invariants.report(same);
        } else {
            let before = layout.current();
            let steps = (&*before, &next);
            let given_up = |node| self.invariants.was_given_up(node);
            let lost = (&state.destroyed, given_up);
            let follows = placements_follow::check(&self.cluster, steps, lost, self.least);
            self.invariants.report(follows);
            state.tally.count(&before, &next);
            if !layout.issue(next.clone()) {
                let what = format!("{} follows {}", next.epoch(), before.epoch());
                let broken = Broken::new("I16 one placement an epoch", what);
                self.invariants.report(Err(broken));
            }
        }
        let lost = next.moves().iter().filter(|it| it.lost);
        let lost = lost.filter_map(|it| Some(next.node(it.remove?).id));
        state.given_up.extend(lost);
        // One that is a member again ends like any other.
        let stays = |node: &NodeId| {
            let given_up = next.moves().iter().filter(|it| it.lost);
            let mut given_up = given_up.filter_map(|it| Some(next.node(it.remove?).id));
            next.index_of(*node).is_none() || given_up.any(|one| one == *node)
        };
        state.given_up.retain(stays);
        state.version = Version(state.version.0 + 1);
        state.recorded = Arc::new(next);
        Ok(())
    }

    /// Nobody can read or write for so long.
    pub(crate) fn go_away(&self, time: Duration) {
        self.state.lock().away_until = Instant::now() + time;
    }

    /// A backup without the last epochs is restored as soon as a node that can tell the operator so is in reach:
    /// without one there would be two placements of one epoch, and that is for people to prevent.
    pub(crate) fn forget(&self, epochs: u64) {
        self.state.lock().forgets = epochs;
    }

    /// Restores what was asked for, if it may be now; whether it did.
    pub(crate) fn restore(&self, newest_in_reach: RingEpoch) -> bool {
        let mut state = self.state.lock();
        let issued = self.cluster.layout().current();
        let can_tell = newest_in_reach >= issued.epoch() && Instant::now() >= state.away_until;
        if state.forgets == 0 || !can_tell {
            return false;
        }
        let epoch = RingEpoch(issued.epoch().0.saturating_sub(state.forgets).max(1));
        state.forgets = 0;
        state.version = Version(state.version.0 + 1);
        if let Some(old) = self.cluster.layout().issued(epoch) {
            state.recorded = old;
        }
        true
    }

    /// Everything works again.
    pub(crate) fn heal(&self) {
        let mut state = self.state.lock();
        state.away_until = Instant::now();
        state.forgets = 0;
        state.cut_off.clear();
    }

    /// The operator can't reach these nodes.
    pub(crate) fn cut_off(&self, nodes: BTreeSet<NodeId>) {
        self.state.lock().cut_off = nodes;
    }

    /// A node is gone for good.
    pub(crate) fn destroyed(&self, node: NodeId) {
        self.state.lock().destroyed.insert(node);
    }

    pub(crate) fn is_cut_off(&self, node: NodeId) -> bool {
        self.state.lock().cut_off.contains(&node)
    }

    /// Notes whether a node answers; for how long it has not.
    pub(crate) fn note_answer(&self, node: NodeId, answers: bool) -> Duration {
        let mut state = self.state.lock();
        if answers {
            state.missing.remove(&node);
            return Duration::ZERO;
        }
        let since = state.missing.entry(node).or_insert_with(Instant::now);
        since.elapsed()
    }

    /// Whether an owner's copy that is still there is not counted on any more: no other may be lost meanwhile.
    pub(crate) fn has_lost_moves(&self) -> bool {
        self.recorded().moves().iter().any(|it| it.lost)
    }

    pub(crate) fn was_given_up(&self, node: NodeId) -> bool {
        self.state.lock().given_up.contains(&node)
    }

    pub(crate) fn tally(&self) -> Tally {
        self.state.lock().tally
    }
}
