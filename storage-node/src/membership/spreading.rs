//! Which rumors the next message carries: pure.
//!
//! Verdicts go before facts, and both are passed on a number of times that grows with the logarithm of the
//! ring, so that everybody has very probably heard. Beside them every message carries a few members in turn,
//! changed or not: whoever missed a rumor hears of it then.
//!
//! Invariant: a message carries [`MAX_RUMORS`] at most, whatever happens in the ring; so the traffic does
//! not grow when nodes fail.

use std::collections::VecDeque;

use super::members::Place;

/// Rumors in one message.
pub(super) const MAX_RUMORS: usize = 32;

/// Members in each message that are told of in turn.
const IN_TURN: usize = 4;

/// A rumor is passed on so many times for each decimal digit of the ring's size.
const SENDS_PER_DIGIT: f64 = 4.0;

/// Why a member is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    /// The verdict on it changed.
    Standing,
    /// It said something new.
    Facts,
}

/// What is still to be passed on.
#[derive(Debug, Clone, Default)]
pub(super) struct Spreading {
    standings: VecDeque<(Place, u32)>,
    facts: VecDeque<(Place, u32)>,
    members: usize,
    turn: usize,
    sends: u32,
}

impl Spreading {
    /// For so many other members, and the turn to begin with.
    pub(super) fn new(members: usize, turn: usize) -> Self {
        Self {
            members,
            turn,
            sends: sends_for(members + 1),
            ..Self::default()
        }
    }

    /// This is to be passed on. What was still to be said of it before is not any more.
    pub(super) fn add(&mut self, place: Place, news: News) {
        let sends = self.sends;
        let queue = match news {
            News::Standing => &mut self.standings,
            News::Facts => &mut self.facts,
        };
        queue.retain(|(waiting, _)| *waiting != place);
        queue.push_front((place, sends));
    }

    /// Fills a message up, told of `first` already.
    pub(super) fn fill(&mut self, message: &mut Vec<Place>) {
        take(&mut self.standings, message);
        take(&mut self.facts, message);
        for _ in 0..IN_TURN.min(self.members) {
            if message.len() >= MAX_RUMORS {
                return;
            }
            self.turn = (self.turn + 1) % self.members;
            if !message.contains(&self.turn) {
                message.push(self.turn);
            }
        }
    }
}

/// What was just said goes to the back: the next message carries what this one had no room for.
fn take(queue: &mut VecDeque<(Place, u32)>, message: &mut Vec<Place>) {
    for _ in 0..queue.len() {
        if message.len() >= MAX_RUMORS {
            return;
        }
        let Some((place, left)) = queue.pop_front() else {
            return;
        };
        if !message.contains(&place) {
            message.push(place);
        }
        if left > 1 {
            queue.push_back((place, left - 1));
        }
    }
}

fn sends_for(nodes: usize) -> u32 {
    let digits = ((nodes + 1) as f64).log10();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 20"
    )]
    let sends = (SENDS_PER_DIGIT * digits).ceil() as u32;
    sends.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(spreading: &mut Spreading) -> Vec<Place> {
        let mut message = Vec::new();
        spreading.fill(&mut message);
        message
    }

    #[test]
    fn news_is_passed_on_a_bounded_number_of_times_and_verdicts_come_first() {
        let mut spreading = Spreading::new(99, 0);
        spreading.add(70, News::Facts);
        spreading.add(80, News::Standing);
        assert_eq!(filled(&mut spreading)[..2], [80, 70]);
        let carried = (0..15)
            .filter(|_| filled(&mut spreading).contains(&80))
            .count();
        assert_eq!(carried, 9 - 1, "4 for each digit of 101, less the first");
    }

    #[test]
    fn a_message_is_bounded_and_all_news_gets_its_turn() {
        let mut spreading = Spreading::new(999, 0);
        for place in 0..100 {
            spreading.add(place, News::Standing);
        }
        let mut told = std::collections::BTreeSet::new();
        for _ in 0..4 {
            let message = filled(&mut spreading);
            assert!(message.len() <= MAX_RUMORS);
            told.extend(message);
        }
        assert!((0..100).all(|place| told.contains(&place)), "{told:?}");
    }

    #[test]
    fn everybody_is_told_of_in_turn() {
        let mut spreading = Spreading::new(10, 3);
        let told: std::collections::BTreeSet<_> =
            (0..3).flat_map(|_| filled(&mut spreading)).collect();
        assert_eq!(told.len(), 10);
    }

    #[test]
    fn one_other_member_is_told_of_once() {
        assert_eq!(filled(&mut Spreading::new(1, 0)), [0]);
        assert!(filled(&mut Spreading::new(0, 0)).is_empty());
    }
}
