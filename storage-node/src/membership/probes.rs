//! The messages that this node waits for answers to, and what a missing answer means: pure.
//!
//! No answer from a node means little: the way may be at fault, or this node. So others are asked to try.
//! One that tried in vain, and says so, is a witness: it shows that this node gets answers in time, and that
//! the fault is not the way between the two. Without a witness nobody is accused.

use super::members::Place;

/// Messages that are waited for at a time; an older one is given up without a verdict. The fanout of a
/// minute, and more.
const MAX_PROBES: usize = 256;

/// Names a message that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProbeId(u64);

#[derive(Debug, Clone)]
struct Probe {
    id: ProbeId,
    target: Place,
    /// Helpers that have not said anything yet.
    asked: usize,
    witnesses: usize,
    silent: usize,
}

/// How an attempt to hear of a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A helper reached it.
    Reached,
    /// Helpers tried in vain; so many others said nothing.
    Witnessed { silent: usize },
    /// Nobody said anything.
    Alone,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Probes {
    waiting: Vec<Probe>,
    next: u64,
}

impl Probes {
    /// A message goes to a node.
    pub(super) fn begin(&mut self, target: Place) -> ProbeId {
        if self.waiting.len() >= MAX_PROBES {
            self.waiting.remove(0);
        }
        self.next += 1;
        let id = ProbeId(self.next);
        self.waiting.push(Probe {
            id,
            target,
            asked: 0,
            witnesses: 0,
            silent: 0,
        });
        id
    }

    /// Nobody is judged by what was under way.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The node answered. Whether anybody waited for it.
    pub(super) fn answered(&mut self, id: ProbeId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|probe| probe.id != id);
        self.waiting.len() < before
    }

    /// The target of a message that is still waited for.
    pub(super) fn target(&self, id: ProbeId) -> Option<Place> {
        self.find(id).map(|at| self.waiting[at].target)
    }

    /// So many helpers are asked to try.
    pub(super) fn ask(&mut self, id: ProbeId, helpers: usize) {
        if let Some(at) = self.find(id) {
            self.waiting[at].asked = helpers;
        }
    }

    /// A helper said whether it reached the target, or (`None`) nothing. The target and the outcome, once
    /// it is certain.
    pub(super) fn helper_said(
        &mut self,
        id: ProbeId,
        reached: Option<bool>,
    ) -> Option<(Place, Outcome)> {
        let at = self.find(id)?;
        let probe = &mut self.waiting[at];
        probe.asked = probe.asked.saturating_sub(1);
        match reached {
            Some(true) => {
                let target = probe.target;
                self.waiting.remove(at);
                return Some((target, Outcome::Reached));
            }
            Some(false) => probe.witnesses += 1,
            None => probe.silent += 1,
        }
        (probe.asked == 0).then(|| {
            let probe = self.waiting.remove(at);
            let outcome = if probe.witnesses > 0 {
                Outcome::Witnessed {
                    silent: probe.silent,
                }
            } else {
                Outcome::Alone
            };
            (probe.target, outcome)
        })
    }

    fn find(&self, id: ProbeId) -> Option<usize> {
        self.waiting.iter().position(|probe| probe.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(helpers: usize) -> (Probes, ProbeId) {
        let mut probes = Probes::default();
        let id = probes.begin(7);
        probes.ask(id, helpers);
        (probes, id)
    }

    #[test]
    fn one_helper_that_reaches_it_is_enough() {
        let (mut probes, id) = asked(3);
        assert_eq!(probes.helper_said(id, Some(false)), None);
        let reached = Some((7, Outcome::Reached));
        assert_eq!(probes.helper_said(id, Some(true)), reached);
        assert_eq!(probes.helper_said(id, Some(false)), None, "decided already");
    }

    #[test]
    fn it_takes_a_witness_to_accuse() {
        let (mut probes, id) = asked(2);
        assert_eq!(probes.helper_said(id, None), None);
        assert_eq!(probes.helper_said(id, None), Some((7, Outcome::Alone)));
        let (mut probes, id) = asked(2);
        assert_eq!(probes.helper_said(id, None), None);
        let witnessed = Outcome::Witnessed { silent: 1 };
        assert_eq!(probes.helper_said(id, Some(false)), Some((7, witnessed)));
    }

    #[test]
    fn what_is_waited_for_is_bounded() {
        let mut probes = Probes::default();
        let first = probes.begin(1);
        for _ in 0..MAX_PROBES {
            probes.begin(2);
        }
        assert_eq!(probes.target(first), None);
        assert!(!probes.answered(first));
    }
}
