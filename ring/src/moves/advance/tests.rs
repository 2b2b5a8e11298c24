use super::*;
use crate::document::PlacementDocument;
use crate::epoch::RingEpoch;
use crate::moves::{MoveReport, NodeReport, PlannedMove};
use crate::partition::{PartitionId, ReplicationFactor};
use crate::placement::tests::document;

const P: PartitionId = PartitionId(0);
const RULES: Rules = Rules {
    read_min: 2,
    write_min: 2,
};

/// Node numbers: A, B and C own partition 0, D joins.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;
const D: usize = 3;

/// One partition in a move, and what nodes report of it.
struct Story {
    placement: Placement,
    evidence: Evidence,
    cancelled: BTreeSet<MoveId>,
    rules: Rules,
}

impl Story {
    fn new(add: Option<usize>, remove: Option<usize>) -> Self {
        let mut document = document();
        let owners = [0, 1, if remove.is_some() { 2 } else { u16::MAX }];
        document.replication_factor = ReplicationFactor::new(3).unwrap();
        document.owners = owners.repeat(4).into_iter().map(NodeIndex).collect();
        let stable = Placement::try_from(PlacementDocument { ..document }).unwrap();
        let id = |node: usize| stable.nodes()[node].id;
        let planned = PlannedMove {
            partition: P,
            add: add.map(id),
            remove: remove.map(id),
            lost: false,
        };
        let placement = stable.apply(&[Change::Start(planned)]).unwrap();
        let mut story = Self {
            evidence: Evidence::default(),
            cancelled: BTreeSet::new(),
            rules: RULES,
            placement,
        };
        for node in 0..4 {
            let report = NodeReport {
                standing: Standing::Alive,
                acked: RingEpoch(0),
                moves: vec![MoveReport::new(story.id())],
            };
            let id = story.node(node);
            story.evidence.0.insert(id, report);
        }
        story
    }

    /// A swap of A for D that has come as far as this stage, with everything done on the way.
    fn at(stage: Stage) -> Self {
        let mut story = Self::new(Some(D), Some(A));
        while story.stage() != Some(stage) {
            story.do_all();
            assert!(story.goes_on());
        }
        for report in story.evidence.0.values_mut() {
            report.acked = RingEpoch(0);
            report.moves = vec![MoveReport::new(report.moves[0].id)];
        }
        story
    }

    fn id(&self) -> MoveId {
        self.placement.moves()[0].id
    }

    fn node(&self, node: usize) -> NodeId {
        self.placement.nodes()[node].id
    }

    fn stage(&self) -> Option<Stage> {
        self.placement.move_of(P).map(|it| it.stage)
    }

    fn stands(&mut self, node: usize, standing: Standing) {
        let id = self.node(node);
        self.evidence.0.get_mut(&id).unwrap().standing = standing;
    }

    fn ack(&mut self, nodes: &[usize]) {
        for node in nodes {
            let (id, epoch) = (self.node(*node), self.placement.epoch());
            self.evidence.0.get_mut(&id).unwrap().acked = epoch;
        }
    }

    fn report(&mut self, node: usize) -> &mut MoveReport {
        let id = self.node(node);
        &mut self.evidence.0.get_mut(&id).unwrap().moves[0]
    }

    fn nodes(&self, nodes: &[usize]) -> Vec<NodeId> {
        nodes.iter().map(|node| self.node(*node)).collect()
    }

    fn do_all(&mut self) {
        let everybody = self.nodes(&[A, B, C, D]);
        self.ack(&[A, B, C, D]);
        for node in [A, B, C, D] {
            let report = self.report(node);
            report.ready = true;
            report.streamed.from.clone_from(&everybody);
            report.verified.clone_from(&everybody);
            report.drained.clone_from(&everybody);
            report.cleaned = true;
        }
    }

    /// One decision, applied if it is one; else the words of what it waits for.
    fn decide(&mut self) -> Result<(), String> {
        let decided = advance(&self.placement, &self.evidence, self.rules, &self.cancelled);
        if let Some(wait) = decided.waits.first() {
            assert!(decided.changes.is_empty());
            return Err(wait.to_string());
        }
        self.placement = self.placement.apply(&decided.changes).unwrap();
        Ok(())
    }

    fn goes_on(&mut self) -> bool {
        self.decide().is_ok()
    }

    #[track_caller]
    fn waits(&mut self, words: &str) {
        assert_eq!(self.decide().unwrap_err(), words);
    }

    #[track_caller]
    fn enters(&mut self, stage: Stage) {
        let before = self.stage();
        self.decide().unwrap();
        assert_eq!(self.stage(), Some(stage), "from {before:?}");
    }

    #[track_caller]
    fn ends_with(&mut self, owners: &[usize]) {
        self.decide().unwrap();
        assert_eq!(self.stage(), None);
        let held: Vec<usize> = self
            .placement
            .owners(P)
            .iter()
            .map(|it| it.0.into())
            .collect();
        assert_eq!(held, owners);
    }
}

#[test]
fn each_stage_waits_for_what_it_says_and_names_it() {
    let mut it = Story::new(Some(D), Some(A));
    it.waits("e6-p0 PREPARE: node-3 has not made its vnode");
    it.report(D).ready = true;
    it.enters(Stage::Dual);
    it.waits("e6-p0 DUAL: barrier: node-0, node-3 have not acknowledged epoch 7");
    it.ack(&[A, B]);
    it.waits("e6-p0 DUAL: barrier: node-3 has not acknowledged epoch 7");
    it.ack(&[D]);
    it.enters(Stage::Stream);
    it.waits("e6-p0 STREAM: node-3 copies: 1 more of node-0 needed");
    it.report(D).streamed.from = it.nodes(&[B, C]);
    it.waits("e6-p0 STREAM: node-3 copies: 1 more of node-0 needed");
    it.report(D).streamed.from = it.nodes(&[A]);
    it.enters(Stage::Verify);
    it.waits("e6-p0 VERIFY: node-3 compares: 1 more of node-0 needed");
    it.report(D).verified = it.nodes(&[A]);
    it.enters(Stage::ReadNew);
    assert_eq!(it.placement.owners(P), [3, 1, 2].map(NodeIndex));
    it.waits("e6-p0 READ_NEW: barrier: node-0, node-3 have not acknowledged epoch 10");
    it.ack(&[A, D]);
    it.enters(Stage::Commit);
    it.waits("e6-p0 COMMIT: barrier: node-0, node-3 have not acknowledged epoch 11");
    it.ack(&[A, D]);
    it.report(A).drained = it.nodes(&[B, D]);
    it.waits("e6-p0 COMMIT: node-0 drains: node-2 may lack something");
    it.report(A).drained = it.nodes(&[B, C, D]);
    it.enters(Stage::Cleanup);
    it.waits("e6-p0 CLEANUP: node-0 has not deleted its copy");
    it.report(A).cleaned = true;
    it.ends_with(&[D, B, C]);
}

#[test]
fn a_joining_owner_that_dies_before_read_new_is_called_off() {
    for stage in [Stage::Prepare, Stage::Dual, Stage::Stream] {
        let mut it = Story::at(stage);
        it.stands(D, Standing::Silent);
        assert!(!it.goes_on(), "silence is waited for");
        it.stands(D, Standing::GivenUp);
        it.ends_with(&[A, B, C]);
    }
    let mut it = Story::at(Stage::Verify);
    it.stands(D, Standing::GivenUp);
    let behind = "node-0, node-1, node-2, node-3 have not acknowledged epoch 9";
    it.waits(&format!("e6-p0 VERIFY: barrier: {behind}"));
    it.ack(&[A, B, C]);
    it.ends_with(&[A, B, C]);
}

#[test]
fn a_joining_owner_that_dies_in_read_new_leads_back() {
    let mut it = Story::at(Stage::ReadNew);
    it.ack(&[A, B, C]);
    it.stands(D, Standing::GivenUp);
    it.enters(Stage::Verify);
    assert_eq!(it.placement.owners(P), [0, 1, 2].map(NodeIndex));
    // Reads by READ_NEW may still get an answer of D, and one more would be enough.
    it.ack(&[A, B]);
    it.waits("e6-p0 VERIFY: barrier: node-2, node-3 have not acknowledged epoch 11");
    it.stands(D, Standing::Fenced);
    it.ends_with(&[A, B, C]);
}

#[test]
fn a_joining_owner_that_dies_later_is_an_owner_that_died() {
    let mut it = Story::at(Stage::Commit);
    it.stands(D, Standing::GivenUp);
    it.ack(&[A, B, C]);
    it.report(A).drained = it.nodes(&[B, C]);
    it.enters(Stage::Cleanup);
    it.report(A).cleaned = true;
    it.ends_with(&[D, B, C]);
}

#[test]
fn a_leaver_that_dies_early_makes_it_a_replacement() {
    for stage in [Stage::Prepare, Stage::Dual, Stage::Stream, Stage::Verify] {
        let mut it = Story::at(stage);
        it.stands(A, Standing::GivenUp);
        it.decide().unwrap();
        assert!(it.placement.moves()[0].lost);
        assert_eq!(it.stage(), Some(stage));
        it.report(D).ready = true;
        if stage < Stage::Stream {
            while it.stage() != Some(Stage::Dual) {
                it.decide().unwrap();
            }
            it.ack(&[B, D]);
            let words = it.decide().unwrap_err();
            let behind = "barrier: node-0, node-2 have not acknowledged";
            assert!(words.contains(behind), "{words}");
            it.ack(&[C]);
            it.enters(Stage::Stream);
        }
        if stage < Stage::Verify {
            it.report(D).streamed.from = it.nodes(&[A, B]);
            let words = it.decide().unwrap_err();
            assert!(
                words.ends_with("node-3 copies: 1 more of node-2 needed"),
                "{words}"
            );
            it.report(D).streamed.from = it.nodes(&[B, C]);
            it.enters(Stage::Verify);
        }
        it.report(D).verified = it.nodes(&[B, C]);
        it.enters(Stage::ReadNew);
        it.ack(&[B, C, D]);
        it.enters(Stage::Commit);
        it.ack(&[B, C, D]);
        it.enters(Stage::Cleanup);
        it.ends_with(&[D, B, C]);
    }
}

#[test]
fn a_leaver_that_dies_late_is_replaced_by_a_comparison() {
    for stage in [Stage::ReadNew, Stage::Commit] {
        let mut it = Story::at(stage);
        it.stands(A, Standing::Fenced);
        it.decide().unwrap();
        assert!(it.placement.moves()[0].lost);
        while it.stage() != Some(Stage::Cleanup) {
            it.ack(&[B, C, D]);
            it.decide().unwrap();
        }
        it.waits("e6-p0 CLEANUP: node-3 compares: 2 more of node-1, node-2 needed");
        it.report(D).verified = it.nodes(&[B, C]);
        it.ends_with(&[D, B, C]);
    }
    let mut it = Story::at(Stage::Cleanup);
    it.stands(A, Standing::GivenUp);
    it.ends_with(&[D, B, C]);
}

#[test]
fn a_bystander_holds_nobody_up_unless_the_leaver_may_still_run() {
    for stage in [Stage::Dual, Stage::ReadNew, Stage::Commit] {
        let mut it = Story::at(stage);
        it.rules.read_min = 1;
        it.stands(B, Standing::GivenUp);
        it.stands(C, Standing::Silent);
        it.ack(&[A, D]);
        it.report(A).drained = it.nodes(&[C, D]);
        it.decide().unwrap();
        let mut it = Story::at(stage);
        it.stands(A, Standing::GivenUp);
        it.stands(B, Standing::Silent);
        it.decide().unwrap();
        it.ack(&[C, D]);
        let words = it.decide().unwrap_err();
        assert!(
            words.contains("barrier: node-0, node-1 have not acknowledged"),
            "{words}"
        );
        it.ack(&[B]);
        it.decide().unwrap();
    }
}

#[test]
fn a_source_whose_disk_is_lost_is_not_waited_for() {
    let mut it = Story::at(Stage::Stream);
    it.stands(A, Standing::Destroyed);
    it.decide().unwrap();
    it.stands(B, Standing::Fenced);
    it.report(D).streamed.from = it.nodes(&[C]);
    it.waits("e6-p0 STREAM: node-3 copies: 1 more of node-1 needed");
    it.stands(B, Standing::Destroyed);
    it.enters(Stage::Verify);
}

#[test]
fn minds_are_changed_until_commit() {
    for stage in [Stage::Prepare, Stage::Dual, Stage::Stream] {
        let mut it = Story::at(stage);
        it.cancelled.insert(it.id());
        it.ends_with(&[A, B, C]);
    }
    let mut it = Story::at(Stage::ReadNew);
    it.cancelled.insert(it.id());
    it.enters(Stage::Verify);
    it.ack(&[A]);
    it.waits("e6-p0 VERIFY: barrier: node-3 has not acknowledged epoch 11");
    it.ack(&[D]);
    it.ends_with(&[A, B, C]);

    let mut it = Story::at(Stage::Commit);
    it.cancelled.insert(it.id());
    it.do_all();
    it.enters(Stage::Cleanup);
    it.ends_with(&[D, B, C]);
}

#[test]
fn the_last_copy_is_not_deleted_when_every_new_owner_is_lost() {
    let mut it = Story::at(Stage::Commit);
    for node in [B, C, D] {
        it.stands(node, Standing::Destroyed);
    }
    it.enters(Stage::ReadNew);
    it.enters(Stage::Verify);
    it.waits("e6-p0 VERIFY: barrier: node-0 has not acknowledged epoch 13");
    it.ack(&[A]);
    it.ends_with(&[A, B, C]);
}

#[test]
fn adding_and_removing_alone_skip_what_they_do_not_need() {
    let mut it = Story::new(Some(D), None);
    for stage in [
        Stage::Dual,
        Stage::Stream,
        Stage::Verify,
        Stage::ReadNew,
        Stage::Commit,
    ] {
        it.do_all();
        it.enters(stage);
    }
    it.do_all();
    it.ends_with(&[A, B, D]);

    let mut it = Story::new(None, Some(A));
    it.enters(Stage::Dual);
    it.ack(&[A]);
    it.enters(Stage::Verify);
    it.report(B).verified = it.nodes(&[A]);
    it.waits("e6-p0 VERIFY: node-2 compares: 1 more of node-0 needed");
    it.report(C).verified = it.nodes(&[A]);
    it.enters(Stage::ReadNew);
    it.do_all();
    for stage in [Stage::Commit, Stage::Cleanup] {
        it.do_all();
        it.enters(stage);
    }
    it.ends_with(&[B, C]);
}

/// Epochs that other partitions caused do not hold a move up.
#[test]
fn a_move_waits_for_its_own_epoch_only() {
    let mut it = Story::at(Stage::Dual);
    it.ack(&[A, D]);
    let other = PlannedMove {
        partition: PartitionId(1),
        add: Some(it.node(D)),
        remove: Some(it.node(B)),
        lost: false,
    };
    it.placement = it.placement.apply(&[Change::Start(other)]).unwrap();
    let decided = advance(&it.placement, &it.evidence, RULES, &BTreeSet::new());
    let id = it.id();
    let stage = Stage::Stream;
    assert_eq!(decided.changes, [Change::Enter { id, stage }]);
    assert_eq!(
        decided.waits[0].to_string(),
        "e8-p1 PREPARE: node-3 has not made its vnode"
    );
}
