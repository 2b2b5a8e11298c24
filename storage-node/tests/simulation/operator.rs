//! A model of the operator: it reads what is recorded, asks the nodes, decides by the ring's own rules, records the next
//! epoch and hands it over; and may end between any two of these steps. It remembers nothing from one round to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annulus_node::simulation::{Chance, Mistake, SimNode};
use annulus_ring::{
    Advance, Batch, Desired, Evidence, MoveLimits, Node, NodeId, NodeReport, NodeState, Placement,
    PlanError, Rules, Standing, advance, next_batch,
};
use tokio::time::{sleep, timeout};

use crate::broken::Broken;
use crate::faults::learn_vnodes;
use crate::plan::Plan;
use crate::workload::Arena;

/// Silence after which a node is given up.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long a node may take to install a placement.
const INSTALLING: Duration = Duration::from_secs(2);

/// Few at once, so that changes of mind meet moves that have not begun.
const LIMITS: MoveLimits = MoveLimits {
    per_node: 4,
    overall: 6,
};

/// How often it ends at each point where it may, in a thousand times.
const ENDS_PER_MILLE: u64 = 25;

/// Simulated time within which all moves must end once nothing fails any more.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// What is known of the members.
struct Known {
    /// What those say that answer.
    reports: BTreeMap<NodeId, NodeReport>,
    /// For how long the others have been silent.
    silent: BTreeMap<NodeId, Duration>,
}

/// One process of it.
pub(crate) struct Operator {
    number: u64,
    arena: Arc<Arena>,
    chance: Chance,
    rules: Rules,
    gives_up: bool,
    mistake: Option<Mistake>,
    /// Nothing fails any more, itself included.
    calm: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

/// The operators of one storm.
pub(crate) struct Operators {
    calm: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Operators {
    /// Starts them, and those who change their minds.
    pub(crate) fn start(plan: &Plan, arena: &Arc<Arena>, storm: u64) -> Self {
        let (calm, stop) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let operator = |number: u64| Operator {
            number,
            arena: arena.clone(),
            chance: Chance::new(plan.seed, &format!("operator {number} of storm {storm}")),
            rules: plan.rules(),
            gives_up: plan.loses_disks(),
            mistake: plan.mistake,
            calm: calm.clone(),
            stop: stop.clone(),
        };
        let numbers = 1..=plan.operators;
        let mut tasks: Vec<_> = numbers
            .map(|number| tokio::spawn(operator(number).run()))
            .collect();
        if plan.operators > 0 {
            let chance = Chance::new(plan.seed, &format!("minds in storm {storm}"));
            tasks.push(tokio::spawn(change_minds(arena.clone(), chance, storm)));
        }
        Self { calm, stop, tasks }
    }

    /// Everything that is wanted comes about, now that nothing fails any more.
    pub(crate) async fn finish(self, arena: &Arena) -> Result<(), Broken> {
        self.calm.store(true, Ordering::Relaxed);
        let began = tokio::time::Instant::now();
        let mut settled = Ok(());
        while !self.tasks.is_empty() {
            settled = is_settled(arena);
            if settled.is_ok() || began.elapsed() > SETTLED_WITHIN {
                break;
            }
            arena.invariants.check()?;
            sleep(Duration::from_millis(300)).await;
        }
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("it does not panic");
        }
        settled.map_err(|what| Broken::new("L3 moves end", what))
    }
}

/// Somebody changes the spec from time to time, as long as the storm goes on.
async fn change_minds(arena: Arc<Arena>, chance: Chance, storm: u64) {
    sleep(Duration::from_millis(chance.within(300..2_500))).await;
    let mut first = storm == 0;
    while arena.is_stormy() {
        let wish = {
            let mut wishes = arena.wishes.lock();
            if std::mem::take(&mut first) {
                Some(wishes.begin(&chance))
            } else {
                wishes.change(&chance, &arena.api.recorded())
            }
        };
        if let Some(wish) = wish {
            arena.cluster.trace().note(format_args!("== {wish}"));
        }
        let longest = [3_000, 12_000, 30_000][chance.index(3)];
        let until =
            tokio::time::Instant::now() + Duration::from_millis(chance.within(500..longest));
        while arena.is_stormy() && tokio::time::Instant::now() < until {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Whether the ring is as it is wanted, and everybody knows; if not, what is missing.
fn is_settled(arena: &Arena) -> Result<(), String> {
    let ring = arena.api.recorded();
    if let Some(it) = ring.moves().first() {
        let members = arena.cluster.members();
        let obstacles: Vec<_> = members.iter().flat_map(|node| node.obstacles()).collect();
        return Err(format!("{} {} is not over; {obstacles:?}", it.id, it.stage));
    }
    let wishes = arena.wishes.lock();
    let nodes = wishes.members();
    let none = BTreeSet::new();
    let desired = Desired {
        nodes: &nodes,
        replication_factor: wishes.factor(),
        gone: wishes.destroyed(),
        away: &none,
    };
    match next_batch(&ring, &desired, LIMITS) {
        Ok(batch) if batch == Batch::default() => {}
        other => return Err(format!("left to do: {other:?}")),
    }
    for node in arena.cluster.nodes() {
        let held = node.held_placement().map(|held| held.epoch());
        let is_member = ring.index_of(node.id()).is_some();
        if is_member && held != Some(ring.epoch()) {
            return Err(format!(
                "{} holds {held:?} of {}",
                node.name(),
                ring.epoch()
            ));
        }
        // One that was given up, and is no member any more, is for people to remove.
        if !is_member && arena.api.was_given_up(node.id()) {
            continue;
        }
        let own = ring.index_of(node.id());
        let surplus = node
            .vnodes()
            .into_iter()
            .find(|vnode| !own.is_some_and(|own| ring.is_owner(vnode.partition, own)));
        if let Some(vnode) = surplus {
            return Err(format!("{} keeps {}", node.name(), vnode.partition));
        }
        if node.released() > 0 {
            return Err(format!("{} has copies that it does not hold", node.name()));
        }
    }
    Ok(())
}

impl Operator {
    async fn run(self) {
        while !self.stop.load(Ordering::Relaxed) {
            let longest = if self.is_calm() { 400 } else { 1_500 };
            sleep(Duration::from_millis(self.chance.within(100..longest))).await;
            if self.round().await.is_none() && !self.is_calm() {
                // Another one is elected, or it starts anew.
                sleep(Duration::from_millis(self.chance.within(0..4_000))).await;
            }
        }
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    fn note(&self, what: &str) {
        let trace = self.arena.cluster.trace();
        trace.note(format_args!("== operator {} {what}", self.number));
    }

    /// It may end here.
    fn goes_on(&self) -> Option<()> {
        let ends = !self.is_calm() && self.chance.hits(ENDS_PER_MILLE);
        if ends {
            self.note("ends");
        }
        (!ends).then_some(())
    }

    /// Time passes, and others may be faster.
    async fn dawdle(&self) {
        if !self.is_calm() && self.chance.hits(200) {
            sleep(Duration::from_millis(self.chance.within(1..3_000))).await;
        }
    }

    /// One look and what follows from it; `None`: it ended on the way.
    async fn round(&self) -> Option<()> {
        let api = &self.arena.api;
        let epoch_of = |held: &Option<Arc<Placement>>| {
            held.as_ref().map(|held| held.epoch()).unwrap_or_default()
        };
        if api.restore(epoch_of(&self.newest_in_reach())) {
            self.dawdle().await;
        }
        let newest = self.newest_in_reach();
        let Some((ring, read)) = api.read(epoch_of(&newest)) else {
            return Some(());
        };
        if let Some(held) = newest.filter(|held| held.epoch() > ring.epoch()) {
            // Whatever is decided by an old record would be wrong.
            self.note(&format!("finds epoch {} on a node", held.epoch()));
            // Lost, it is found again.
            let _ = api.write(read, Placement::clone(&held));
            return Some(());
        }
        self.hand_over(&ring).await?;
        let known = self.look(&ring);
        self.dawdle().await;
        self.goes_on()?;
        let Some(next) = self.decide(&ring, known) else {
            return Some(());
        };
        let epoch = next.epoch();
        match api.write(read, next.clone()) {
            Ok(()) => self.note(&format!("records epoch {epoch}: {}", in_words(&next))),
            Err(refused) => {
                self.note(&format!("does not record epoch {epoch}: {refused:?}"));
                return Some(());
            }
        }
        self.goes_on()?;
        self.hand_over(&next).await
    }

    /// What it can reach of a node.
    fn answers(&self, node: &SimNode) -> bool {
        node.is_up() && !self.arena.api.is_cut_off(node.id())
    }

    fn newest_in_reach(&self) -> Option<Arc<Placement>> {
        let nodes = self.arena.cluster.nodes().iter();
        let held = nodes
            .filter(|node| self.answers(node))
            .filter_map(|node| node.held_placement());
        held.max_by_key(|held| held.epoch())
    }

    /// Gives a placement to every member in reach that holds an older one.
    async fn hand_over(&self, ring: &Placement) -> Option<()> {
        for member in ring.nodes() {
            let node = self.arena.cluster.node(member.id);
            if !self.answers(node) || node.kept_epoch() >= ring.epoch() {
                continue;
            }
            self.goes_on()?;
            // One that does not answer in time is visited again.
            let _ = timeout(INSTALLING, node.install(ring.clone())).await;
            learn_vnodes(&self.arena, node);
        }
        Some(())
    }

    /// Asks everybody.
    fn look(&self, ring: &Placement) -> Known {
        let mut known = Known {
            reports: BTreeMap::new(),
            silent: BTreeMap::new(),
        };
        for member in ring.nodes() {
            let node = self.arena.cluster.node(member.id);
            learn_vnodes(&self.arena, node);
            let report = node.moves_report().filter(|_| self.answers(node));
            let silent = self.arena.api.note_answer(member.id, report.is_some());
            match report {
                Some(report) => known.reports.insert(member.id, report).map(drop),
                None => known.silent.insert(member.id, silent).map(drop),
            };
        }
        known
    }

    /// The next epoch, if anything is to change.
    fn decide(&self, ring: &Placement, known: Known) -> Option<Placement> {
        let wishes = self.arena.wishes.lock().clone();
        let away: BTreeSet<NodeId> = known.silent.keys().copied().collect();
        let nodes = self.members(ring, wishes.members());
        let desired = Desired {
            nodes: &nodes,
            replication_factor: wishes.factor(),
            gone: wishes.destroyed(),
            away: &away,
        };
        // As long as those that join are not known to all, those that leave may be needed, and those that are gone; and
        // there can't be more copies.
        let (stay, none) = (with_leavers(ring, &nodes), BTreeSet::new());
        let later = Desired {
            nodes: &stay,
            replication_factor: ring.replication_factor().min(desired.replication_factor),
            gone: &none,
            ..desired
        };
        let planned = match next_batch(ring, &desired, LIMITS) {
            Err(PlanError::TooFewNodes { .. }) => next_batch(ring, &later, LIMITS),
            planned => planned,
        };
        let batch = match planned {
            Ok(batch) => batch,
            Err(PlanError::TooFewNodes { .. }) => Batch::default(),
            Err(error) => panic!("{error}"),
        };
        let mut evidence = self.evidence(known, wishes.destroyed());
        if self.mistake == Some(Mistake::NoBarrier) {
            let reports = evidence.0.values_mut();
            reports.for_each(|report| report.acked = ring.epoch());
        }
        let cancelled = &batch.cancel | &wishes.cancelled(ring);
        let Advance { changes, .. } = advance(ring, &evidence, self.rules, &cancelled);
        let changes = [changes, batch.changes].concat();
        if changes.is_empty() {
            return None;
        }
        let next = ring.apply(&changes);
        Some(next.unwrap_or_else(|error| panic!("{error}: {changes:?}")))
    }

    /// A new member is one without vnodes until all that answer know it.
    fn members(&self, ring: &Placement, wanted: Vec<Node>) -> Vec<Node> {
        let knows = |node: &SimNode, id: NodeId| {
            let held = node.held_placement();
            held.is_some_and(|held| held.index_of(id).is_some())
        };
        let is_known = |id: NodeId| {
            let members = ring.nodes().iter();
            let mut members = members.map(|member| self.arena.cluster.node(member.id));
            ring.index_of(id).is_some()
                && members.all(|node| !self.answers(node) || knows(node, id))
                && knows(self.arena.cluster.node(id), id)
        };
        let on_the_way = wanted.into_iter().filter_map(|mut node| {
            let is_member = ring.index_of(node.id).is_some();
            if !is_member && !self.answers(self.arena.cluster.node(node.id)) {
                return None;
            }
            let has_vnodes = ring
                .index_of(node.id)
                .is_some_and(|index| !ring.is_unused(index));
            let member = ring.node_by_id(node.id);
            let is_new = member.is_none_or(|member| member.state == NodeState::Draining);
            if is_new && !has_vnodes && !is_known(node.id) {
                node.state = NodeState::Draining;
            }
            Some(node)
        });
        on_the_way.collect()
    }

    /// At most one node is given up at a time, and none while another one lacks data.
    fn evidence(&self, known: Known, destroyed: &BTreeSet<NodeId>) -> Evidence {
        let alive = |silent: &NodeId| !destroyed.contains(silent);
        let is_alone = known.silent.keys().filter(|node| alive(node)).count() == 1;
        let may_give_up = self.gives_up
            && is_alone
            && destroyed
                .iter()
                .all(|gone| !known.silent.contains_key(gone))
            && !self.arena.one_is_lost.load(Ordering::Relaxed);
        let mut evidence = Evidence(known.reports);
        for (node, silent) in known.silent {
            let standing = if destroyed.contains(&node) {
                Standing::Destroyed
            } else if may_give_up && silent > PATIENCE {
                self.arena.invariants.given_up(node);
                Standing::GivenUp
            } else {
                Standing::Silent
            };
            let report = NodeReport {
                standing,
                ..NodeReport::default()
            };
            evidence.0.insert(node, report);
        }
        evidence
    }
}

/// The members to be, and all that are members now: those that take vnodes go on doing so.
fn with_leavers(ring: &Placement, wanted: &[Node]) -> Vec<Node> {
    let takes = |node: &Node| node.state == NodeState::Active;
    let members = wanted.iter().map(|node| {
        let held = ring.node_by_id(node.id).filter(|held| takes(held));
        let state = held.map_or(node.state, |held| held.state);
        Node {
            state,
            ..node.clone()
        }
    });
    let is_wanted = |node: &Node| wanted.iter().any(|one| one.id == node.id);
    let leavers = ring.nodes().iter().filter(|node| !is_wanted(node));
    let leavers = leavers.map(|node| Node {
        state: NodeState::Active,
        ..node.clone()
    });
    members.chain(leavers).collect()
}

/// The moves of a placement.
fn in_words(placement: &Placement) -> String {
    let moves = placement.moves().iter().map(|it| {
        let name = |node: Option<annulus_ring::NodeIndex>| {
            node.map_or("-", |node| &placement.node(node).name)
        };
        let lost = if it.lost { " lost" } else { "" };
        format!(
            "{} {} {}>{}{lost}",
            it.id,
            it.stage,
            name(it.remove),
            name(it.add)
        )
    });
    let moves: Vec<_> = moves.collect();
    moves.join(", ")
}
