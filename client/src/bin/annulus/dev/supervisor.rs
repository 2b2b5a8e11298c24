//! What `annulus dev` does about its processes: a state machine of events and actions. Pure; the
//! driver is `dev.rs`.
//!
//! Invariants: `ready` is said once, when all nodes serve; a node that dies stays down unless
//! respawning was asked for; a node that dies before the first `ready` ends everything; after a stop
//! nothing is started any more, and the end comes after the last process or at the limit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::layout::{NodeOrdinal, node_name};

/// A dead node is started again after this time, where that was asked for.
pub(crate) const RESPAWN_AFTER: Duration = Duration::from_secs(1);

/// Nodes that still run so long after the request to stop are killed. Longer than a node's own
/// limit for draining.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Requests to stop that come so soon after the first are the same one: a signal to a whole process
/// group often comes along with one to the process.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A node's process ended.
    Exited { node: NodeOrdinal, how: String },
    /// These nodes serve.
    Seen { serving: BTreeSet<NodeOrdinal> },
    /// These nodes are to run: those of the ring, and those that are to join it.
    Wanted { nodes: BTreeSet<NodeOrdinal> },
    /// Time has passed.
    Tick,
    /// Somebody asks to stop.
    Stop,
    /// The ring can't go on.
    Failed,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a node's process.
    Spawn(NodeOrdinal),
    /// Tell people that all nodes serve.
    SayReady,
    /// Tell people something on stderr.
    Say(String),
    /// Ask a node's process to end.
    Terminate(NodeOrdinal),
    /// End a node's process.
    Kill(NodeOrdinal),
    /// All is over.
    Finish {
        /// Whether everything went as asked.
        clean: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Running,
    Down,
    RespawnAt(Duration),
    /// It is no node of the ring any more, and was asked to end.
    Leaving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not all nodes have served yet.
    Starting,
    /// They have.
    Running,
    /// Waiting for the processes to end.
    Stopping {
        since: Duration,
        clean: bool,
        killed: bool,
    },
    Finished,
}

/// The state. Times are since the start.
#[derive(Debug)]
pub(crate) struct Supervisor {
    nodes: BTreeMap<NodeOrdinal, Node>,
    respawn: bool,
    phase: Phase,
}

impl Supervisor {
    /// All nodes are to be started.
    pub(crate) fn start(nodes: &BTreeSet<NodeOrdinal>, respawn: bool) -> (Self, Vec<Action>) {
        let supervisor = Self {
            nodes: nodes.iter().map(|node| (*node, Node::Running)).collect(),
            respawn,
            phase: Phase::Starting,
        };
        (
            supervisor,
            nodes.iter().copied().map(Action::Spawn).collect(),
        )
    }

    /// All nodes that are to run, or do.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeOrdinal> + '_ {
        self.nodes.keys().copied()
    }

    /// Whether any node has not served yet.
    pub(crate) fn is_starting(&self) -> bool {
        self.phase == Phase::Starting
    }

    /// Whether it was asked to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. } | Phase::Finished)
    }

    /// Whether the node's process should be there.
    pub(crate) fn is_running(&self, node: NodeOrdinal) -> bool {
        self.nodes.get(&node) == Some(&Node::Running)
    }

    /// Takes an event.
    pub(crate) fn on_event(&mut self, now: Duration, event: Event) -> Vec<Action> {
        match event {
            Event::Exited { node, how } => self.on_exit(now, node, &how),
            Event::Seen { serving } => self.on_seen(&serving),
            Event::Wanted { nodes } => self.on_wanted(&nodes),
            Event::Tick => self.on_tick(now),
            Event::Stop => self.stop(now, true),
            Event::Failed if self.is_stopping() => Vec::new(),
            Event::Failed => self.stop(now, false),
        }
    }

    fn on_exit(&mut self, now: Duration, node: NodeOrdinal, how: &str) -> Vec<Action> {
        let name = node_name(node);
        if self.nodes.insert(node, Node::Down) == Some(Node::Leaving) && !self.is_stopping() {
            self.nodes.remove(&node);
            return vec![Action::Say(format!("{name} has left; its directory stays"))];
        }
        let ended = |what: &str| Action::Say(format!("{name} ended ({how}); {what}"));
        match self.phase {
            Phase::Finished => Vec::new(),
            Phase::Stopping { .. } => self.finish_when_all_ended(),
            _ if self.respawn => {
                self.nodes
                    .insert(node, Node::RespawnAt(now + RESPAWN_AFTER));
                vec![ended("it is started again in a second")]
            }
            Phase::Running => vec![ended("it stays down")],
            Phase::Starting => {
                let mut actions = vec![ended("the ring can't start")];
                actions.extend(self.stop(now, false));
                actions
            }
        }
    }

    /// Starts who is new, and ends who has left.
    fn on_wanted(&mut self, wanted: &BTreeSet<NodeOrdinal>) -> Vec<Action> {
        if self.is_stopping() {
            return Vec::new();
        }
        let mut actions = Vec::new();
        for node in wanted {
            if !self.nodes.contains_key(node) {
                self.nodes.insert(*node, Node::Running);
                actions.push(Action::Spawn(*node));
            }
        }
        self.nodes.retain(|node, state| {
            match state {
                _ if wanted.contains(node) => return true,
                Node::Leaving => return true,
                Node::Running => {}
                Node::Down | Node::RespawnAt(_) => return false,
            }
            *state = Node::Leaving;
            actions.push(Action::Terminate(*node));
            true
        });
        actions
    }

    fn on_seen(&mut self, serving: &BTreeSet<NodeOrdinal>) -> Vec<Action> {
        let all = self.nodes.keys().all(|node| serving.contains(node));
        if self.phase == Phase::Starting && all {
            self.phase = Phase::Running;
            return vec![Action::SayReady];
        }
        Vec::new()
    }

    fn on_tick(&mut self, now: Duration) -> Vec<Action> {
        if let Phase::Stopping {
            since,
            killed: false,
            ..
        } = self.phase
            && now >= since + DRAIN_LIMIT
        {
            return self.kill_all();
        }
        let mut actions = Vec::new();
        for (node, state) in &mut self.nodes {
            if matches!(state, Node::RespawnAt(at) if now >= *at) {
                *state = Node::Running;
                actions.push(Action::Spawn(*node));
            }
        }
        actions
    }

    fn stop(&mut self, now: Duration, clean: bool) -> Vec<Action> {
        match self.phase {
            // Asked again: somebody is in a hurry.
            Phase::Stopping {
                since,
                killed: false,
                ..
            } if now >= since + SAME_REQUEST => return self.kill_all(),
            Phase::Stopping { .. } | Phase::Finished => return Vec::new(),
            Phase::Starting | Phase::Running => {}
        }
        self.phase = Phase::Stopping {
            since: now,
            clean,
            killed: false,
        };
        for state in self.nodes.values_mut() {
            *state = match state {
                // Its process is there still.
                Node::Running | Node::Leaving => Node::Running,
                Node::Down | Node::RespawnAt(_) => Node::Down,
            };
        }
        let mut actions: Vec<Action> = self.running().map(Action::Terminate).collect();
        actions.extend(self.finish_when_all_ended());
        actions
    }

    fn kill_all(&mut self) -> Vec<Action> {
        if let Phase::Stopping { clean, killed, .. } = &mut self.phase {
            (*clean, *killed) = (false, true);
        }
        self.running()
            .flat_map(|node| {
                [
                    Action::Say(format!("{} has not drained; killing it", node_name(node))),
                    Action::Kill(node),
                ]
            })
            .collect()
    }

    fn running(&self) -> impl Iterator<Item = NodeOrdinal> {
        let nodes = self.nodes.iter();
        let running = nodes.filter(|(_, state)| **state == Node::Running);
        running.map(|(node, _)| *node)
    }

    fn finish_when_all_ended(&mut self) -> Vec<Action> {
        match self.phase {
            Phase::Stopping { clean, .. } if self.running().next().is_none() => {
                self.phase = Phase::Finished;
                vec![Action::Finish { clean }]
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(10);

    fn serving(count: usize) -> Event {
        Event::Seen {
            serving: (0..3).take(count).collect(),
        }
    }

    fn exited(node: NodeOrdinal) -> Event {
        Event::Exited {
            node,
            how: "signal 9".into(),
        }
    }

    fn started(respawn: bool) -> Supervisor {
        let (mut supervisor, actions) = Supervisor::start(&(0..3).collect(), respawn);
        assert_eq!(actions, [0, 1, 2].map(Action::Spawn));
        assert_eq!(supervisor.on_event(NOW, serving(2)), []);
        assert_eq!(supervisor.on_event(NOW, serving(3)), [Action::SayReady]);
        supervisor
    }

    #[test]
    fn ready_is_said_once() {
        let mut supervisor = started(false);
        assert_eq!(supervisor.on_event(NOW, serving(2)), []);
        assert_eq!(supervisor.on_event(NOW, serving(3)), []);
    }

    #[test]
    fn a_dead_node_stays_down() {
        let mut supervisor = started(false);
        let said = Action::Say("node-2 ended (signal 9); it stays down".into());
        assert_eq!(supervisor.on_event(NOW, exited(1)), [said]);
        assert_eq!(
            supervisor.on_event(NOW + Duration::from_secs(60), Event::Tick),
            []
        );
        assert!(!supervisor.is_running(1));
    }

    #[test]
    fn with_respawn_a_dead_node_comes_back_after_a_second() {
        let mut supervisor = started(true);
        supervisor.on_event(NOW, exited(1));
        assert_eq!(
            supervisor.on_event(NOW + Duration::from_millis(999), Event::Tick),
            []
        );
        let later = NOW + RESPAWN_AFTER;
        assert_eq!(supervisor.on_event(later, Event::Tick), [Action::Spawn(1)]);
        assert_eq!(supervisor.on_event(later, Event::Tick), []);
    }

    #[test]
    fn nodes_join_a_running_ring_and_end_when_they_have_left_it() {
        let mut supervisor = started(true);
        let wanted = |nodes: &[NodeOrdinal]| Event::Wanted {
            nodes: nodes.iter().copied().collect(),
        };
        let joined = supervisor.on_event(NOW, wanted(&[0, 1, 2, 3]));
        assert_eq!(joined, [Action::Spawn(3)]);
        assert_eq!(supervisor.on_event(NOW, wanted(&[0, 1, 2, 3])), []);
        let left = supervisor.on_event(NOW, wanted(&[0, 2, 3]));
        assert_eq!(left, [Action::Terminate(1)]);
        assert_eq!(supervisor.on_event(NOW, wanted(&[0, 2, 3])), []);
        let said = Action::Say("node-2 has left; its directory stays".into());
        assert_eq!(
            supervisor.on_event(NOW, exited(1)),
            [said],
            "it is not started again"
        );
        assert_eq!(supervisor.nodes().collect::<Vec<_>>(), [0, 2, 3]);
        let again = supervisor.on_event(NOW, wanted(&[0, 1, 2, 3]));
        assert_eq!(again, [Action::Spawn(1)]);
        assert_eq!(supervisor.on_event(NOW, Event::Stop).len(), 4);
        assert_eq!(supervisor.on_event(NOW, wanted(&[0])), [], "it stops");
    }

    #[test]
    fn a_node_that_can_t_start_ends_everything_as_failed() {
        let (mut supervisor, _) = Supervisor::start(&(0..3).collect(), false);
        let actions = supervisor.on_event(NOW, exited(0));
        assert_eq!(actions[1..], [Action::Terminate(1), Action::Terminate(2)]);
        assert_eq!(supervisor.on_event(NOW, exited(1)), []);
        assert_eq!(
            supervisor.on_event(NOW, exited(2)),
            [Action::Finish { clean: false }]
        );
    }

    #[test]
    fn a_stop_drains_and_ends_after_the_last_node() {
        let mut supervisor = started(false);
        supervisor.on_event(NOW, exited(2));
        let actions = supervisor.on_event(NOW, Event::Stop);
        assert_eq!(actions, [Action::Terminate(0), Action::Terminate(1)]);
        assert_eq!(supervisor.on_event(NOW, exited(0)), []);
        assert_eq!(
            supervisor.on_event(NOW, exited(1)),
            [Action::Finish { clean: true }]
        );
    }

    #[test]
    fn a_stop_with_all_nodes_down_ends_at_once() {
        let mut supervisor = started(false);
        (0..3).for_each(|node| drop(supervisor.on_event(NOW, exited(node))));
        assert_eq!(
            supervisor.on_event(NOW, Event::Stop),
            [Action::Finish { clean: true }]
        );
    }

    #[test]
    fn a_waiting_respawn_is_given_up_by_a_stop() {
        let mut supervisor = started(true);
        supervisor.on_event(NOW, exited(1));
        supervisor.on_event(NOW, Event::Stop);
        assert_eq!(supervisor.on_event(NOW + RESPAWN_AFTER, Event::Tick), []);
    }

    #[test]
    fn a_node_that_does_not_drain_is_killed_once_at_the_limit() {
        let mut supervisor = started(false);
        supervisor.on_event(NOW, Event::Stop);
        let (limit, just_before) = (NOW + DRAIN_LIMIT, NOW.saturating_add(DRAIN_LIMIT / 2));
        assert_eq!(supervisor.on_event(just_before, Event::Tick), []);
        assert!(
            supervisor
                .on_event(limit, Event::Tick)
                .contains(&Action::Kill(2))
        );
        assert_eq!(supervisor.on_event(limit, Event::Tick), []);
        assert_eq!(supervisor.on_event(limit, Event::Stop), []);
        supervisor.on_event(limit, exited(0));
        supervisor.on_event(limit, exited(1));
        assert_eq!(
            supervisor.on_event(limit, exited(2)),
            [Action::Finish { clean: false }]
        );
    }

    #[test]
    fn a_failure_drains_the_nodes_however_often_it_is_told() {
        let mut supervisor = started(false);
        assert_eq!(supervisor.on_event(NOW, Event::Failed).len(), 3);
        assert_eq!(supervisor.on_event(NOW, Event::Failed), []);
        (0..2).for_each(|node| drop(supervisor.on_event(NOW, exited(node))));
        assert_eq!(
            supervisor.on_event(NOW, exited(2)),
            [Action::Finish { clean: false }]
        );
    }

    #[test]
    fn a_second_stop_does_not_wait() {
        let mut supervisor = started(false);
        supervisor.on_event(NOW, Event::Stop);
        let later = NOW + SAME_REQUEST;
        let actions = supervisor.on_event(later, Event::Stop);
        assert!(actions.contains(&Action::Kill(0)));
    }

    #[test]
    fn a_signal_that_comes_twice_is_one_request() {
        let mut supervisor = started(false);
        supervisor.on_event(NOW, Event::Stop);
        assert_eq!(supervisor.on_event(NOW, Event::Stop), []);
    }
}
