//! `annulus status`: the cluster, its nodes and its ring in one view.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use annulus_proto::admin::v1::{GetStatusResponse, Liveness, NodePhase, ReapingStatus};
use annulus_ring::{Node, NodeState, Placement};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::admin;
use crate::args::Connection;
use crate::exit::Exit;
use crate::moves::{self, Moves};
use crate::output::{self, Format};
use crate::text;

/// How often `--watch` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Clears a terminal and goes to its upper left corner.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Debug, Serialize)]
struct Status {
    cluster_id: String,
    ring: RingStatus,
    nodes: Vec<NodeStatus>,
    ready_nodes: usize,
    /// Changes of the placement that are under way.
    operations: Vec<String>,
    /// The moves of which they consist; null when nothing moves.
    moves: Option<Moves>,
}

/// Shows the cluster, its nodes, its ring, and what moves.
///
/// Asks every node of the placement how it is; a node that can't be reached is shown as such.
///
/// Examples:
///   annulus status
///   annulus status --watch
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct StatusArgs {
    /// Shows it again each second, with a bar for each node that data moves to, until interrupted.
    /// Where no terminal shows it, only what moves, when that changes.
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, Serialize)]
struct RingStatus {
    epoch: u64,
    partitions: u32,
    replication_factor: u8,
    fingerprint: String,
}

/// One node: as the placement has it and, if it answered, as it sees itself.
#[derive(Debug, Serialize)]
pub(crate) struct NodeStatus {
    name: String,
    id: String,
    zone: String,
    capacity: u32,
    state: &'static str,
    endpoint: String,
    /// `unreachable` when it did not answer.
    phase: String,
    /// What the other nodes believe of it.
    seen: Seen,
    /// The fields of its own report; null when it did not answer.
    report: Option<Report>,
    /// Why there is no report, or why it is not as it should be.
    problem: Option<String>,
}

/// How the others see a node: what gossip makes them believe, and whether they agree.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Seen {
    alive: usize,
    suspect: usize,
    down: usize,
    /// What the asked node (`--endpoint`) believes; null when it is this one, or is not known by address.
    by_asked: Option<&'static str>,
    /// Those that do not believe it to be alive.
    doubters: Vec<Doubter>,
}

#[derive(Debug, Serialize)]
struct Doubter {
    name: String,
    liveness: &'static str,
    /// Who accuses it, as the doubter heard.
    accusers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    epoch: u64,
    version: String,
    vnodes: u32,
    vnodes_unsound: u32,
    disk_room: String,
    disk_slow: bool,
    keys: u64,
    data_bytes: u64,
    disk_free_bytes: u64,
    disk_total_bytes: u64,
    generation: u64,
    uptime_seconds: f64,
    peers_connected: usize,
    peers: usize,
    /// Writes that it keeps for owners that are away.
    hints: u64,
    hint_bytes: u64,
    /// Partitions at other nodes that lack writes which nobody keeps.
    repairs_needed: u32,
    /// The longest time that a partition was not compared with another owner; those that the node begins.
    comparison_lag_seconds: f64,
    /// How long that may be; 0 from a node that does not say.
    comparison_bound_seconds: f64,
    /// Comparisons over the bound.
    comparisons_overdue: u32,
    reaping: Reaping,
}

/// Deleted keys that the node is to have forgotten.
#[derive(Debug, Serialize)]
struct Reaping {
    tombstones: u64,
    tombstone_bytes: u64,
    blocked: Vec<Block>,
}

/// What holds some of them up.
#[derive(Debug, Serialize)]
struct Block {
    reason: String,
    /// The name of the node because of which; null if it is none.
    node: Option<String>,
    partitions: u32,
    tombstones: u64,
}

pub(crate) async fn run(
    connection: &Connection,
    format: Format,
    command: &StatusArgs,
) -> anyhow::Result<Exit> {
    if command.watch {
        return watch(connection, format).await;
    }
    output::print(format, &look(connection).await?, table)?;
    Ok(Exit::Done)
}

/// Looks again and again. One look that fails is no end: a node may be restarting.
async fn watch(connection: &Connection, format: Format) -> anyhow::Result<Exit> {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = String::new();
    loop {
        ticks.tick().await;
        let status = match look(connection).await {
            Ok(status) => status,
            Err(error) => {
                eprintln!("{error:#}");
                continue;
            }
        };
        if format != Format::Table {
            output::print(format, &status, table)?;
        } else if std::io::stdout().is_terminal() {
            output::write(format!("{CLEAR}{}\n", table(&status)).as_bytes())?;
        } else {
            let now = operations(&status);
            if now != shown {
                output::write(format!("{now}\n").as_bytes())?;
                shown = now;
            }
        }
    }
}

async fn look(connection: &Connection) -> anyhow::Result<Status> {
    let placement = connection.client().await?.ring().await?;
    let moves = moves::under_way(&placement).await;
    let answers = admin::statuses(&placement).await;
    let asked = Some(connection.endpoint().await);
    let mut nodes: Vec<NodeStatus> = answers
        .iter()
        .cloned()
        .map(|(node, status)| merge(&placement, &node, status))
        .collect();
    for node in &mut nodes {
        node.seen = seen(&node.id, asked, &answers);
    }
    Ok(Status {
        cluster_id: placement.cluster_id().to_string(),
        ring: RingStatus {
            epoch: placement.epoch().0,
            partitions: placement.partitions().get(),
            replication_factor: placement.replication_factor().get(),
            fingerprint: format!("{:016x}", placement.fingerprint()),
        },
        ready_nodes: nodes.iter().filter(|node| node.problem.is_none()).count(),
        nodes,
        operations: moves.iter().map(Moves::line).collect(),
        moves,
    })
}

/// What the placement and the node itself say, and whether they agree.
pub(crate) fn merge(
    placement: &Placement,
    node: &Node,
    status: Result<GetStatusResponse, String>,
) -> NodeStatus {
    let problem = match &status {
        Err(why) => Some(why.clone()),
        Ok(status) => disagreement(placement, node, status),
    };
    let phase = status
        .as_ref()
        .map_or("unreachable", admin::phase)
        .to_owned();
    NodeStatus {
        name: node.name.clone(),
        id: node.id.to_string(),
        zone: node.zone.to_string(),
        capacity: node.capacity.get(),
        state: match node.state {
            NodeState::Active => "active",
            NodeState::Draining => "draining",
        },
        endpoint: node.addresses.grpc.clone(),
        phase,
        seen: Seen::default(),
        report: status.ok().map(|status| report(placement, status)),
        problem,
    }
}

fn disagreement(placement: &Placement, node: &Node, status: &GetStatusResponse) -> Option<String> {
    if status.node_id != node.id.to_string() {
        return Some(format!("another node listens there: {}", status.node_id));
    }
    if status.phase() != NodePhase::Serving {
        return Some("does not serve".to_owned());
    }
    if status.epoch != placement.epoch().0 {
        return Some(format!("is at epoch {}", status.epoch));
    }
    if status.fingerprint != placement.fingerprint() {
        return Some("holds another placement of the same epoch".to_owned());
    }
    if status.disk_room == "no_values" {
        return Some("disk is full, values are refused".to_owned());
    }
    if status.vnodes_unsound > 0 {
        return Some(format!("rebuilds {} vnodes", status.vnodes_unsound));
    }
    if status.disk_slow {
        return Some("has a slow disk".to_owned());
    }
    (status.comparisons_overdue > 0).then(|| {
        let bound = show_seconds(status.comparison_bound_ms as f64 / 1000.0);
        let overdue = status.comparisons_overdue;
        format!("{overdue} partitions not compared with another owner within {bound}")
    })
}

/// What all others that answered believe of a node.
fn seen(
    id: &str,
    asked: Option<&str>,
    answers: &[(Node, Result<GetStatusResponse, String>)],
) -> Seen {
    let mut seen = Seen::default();
    for (observer, status) in answers {
        let peers = status.as_ref().map(|status| status.peers.as_slice());
        let Some(peer) = peers
            .unwrap_or_default()
            .iter()
            .find(|peer| peer.node_id == id)
        else {
            continue;
        };
        let (liveness, count) = match peer.liveness() {
            Liveness::Unspecified | Liveness::Alive => ("alive", &mut seen.alive),
            Liveness::Suspect => ("suspect", &mut seen.suspect),
            Liveness::Down => ("down", &mut seen.down),
        };
        *count += 1;
        if asked == Some(&observer.addresses.grpc) {
            seen.by_asked = Some(liveness);
        }
        if liveness != "alive" {
            seen.doubters.push(Doubter {
                name: observer.name.clone(),
                liveness,
                accusers: peer.accusers.clone(),
            });
        }
    }
    seen
}

impl Seen {
    /// One word where all agree, else what the asked node believes and how many believe what.
    fn text(&self) -> String {
        let said = [
            ("alive", self.alive),
            ("suspect", self.suspect),
            ("down", self.down),
        ];
        let mut said = said.iter().filter(|(_, count)| *count > 0);
        match (said.next(), said.next()) {
            (None, _) => "-".to_owned(),
            (Some((word, _)), None) => (*word).to_owned(),
            _ => format!(
                "{}/{}/{} alive/suspect/down{}",
                self.alive,
                self.suspect,
                self.down,
                self.by_asked
                    .map_or_else(String::new, |word| format!(", asked: {word}")),
            ),
        }
    }
}

fn report(placement: &Placement, status: GetStatusResponse) -> Report {
    Report {
        reaping: reaping(placement, status.reaping.clone().unwrap_or_default()),
        epoch: status.epoch,
        version: status.version,
        vnodes: status.vnodes,
        vnodes_unsound: status.vnodes_unsound,
        disk_room: status.disk_room,
        disk_slow: status.disk_slow,
        keys: status.keys,
        data_bytes: status.data_bytes,
        disk_free_bytes: status.disk_free_bytes,
        disk_total_bytes: status.disk_total_bytes,
        generation: status.generation,
        uptime_seconds: status.uptime_ms as f64 / 1000.0,
        peers_connected: status.peers.iter().filter(|peer| peer.connected).count(),
        peers: status.peers.len(),
        hints: status.hints.iter().map(|kept| kept.hints).sum(),
        hint_bytes: status.hints.iter().map(|kept| kept.bytes).sum(),
        repairs_needed: status.repairs_needed,
        comparison_lag_seconds: status.comparison_lag_ms as f64 / 1000.0,
        comparison_bound_seconds: status.comparison_bound_ms as f64 / 1000.0,
        comparisons_overdue: status.comparisons_overdue,
    }
}

fn reaping(placement: &Placement, status: ReapingStatus) -> Reaping {
    let name_of = |id: &str| admin::name_of(placement, id).unwrap_or(id).to_owned();
    let blocked = status.blocked.into_iter().map(|block| Block {
        node: (!block.node_id.is_empty()).then(|| name_of(&block.node_id)),
        reason: block.reason,
        partitions: block.partitions,
        tombstones: block.tombstones,
    });
    Reaping {
        tombstones: status.tombstones,
        tombstone_bytes: status.tombstone_bytes,
        blocked: blocked.collect(),
    }
}

/// How many deleted keys are still kept, and what holds up those that could go.
fn deletes(nodes: &[NodeStatus]) -> String {
    let reports = || nodes.iter().filter_map(|node| node.report.as_ref());
    let tombstones: u64 = reports().map(|report| report.reaping.tombstones).sum();
    let bytes: u64 = reports().map(|report| report.reaping.tombstone_bytes).sum();
    let mut blocked: BTreeMap<String, u64> = BTreeMap::new();
    for block in reports().flat_map(|report| &report.reaping.blocked) {
        let why = block.reason.replace('_', " ");
        let node = block.node.as_ref();
        let why = node.map_or_else(|| why.clone(), |node| format!("{why} ({node})"));
        *blocked.entry(why).or_default() += block.tombstones;
    }
    let blocked = blocked.into_iter();
    let blocked = blocked.map(|(why, count)| format!("; {count} blocked: {why}"));
    let blocked: String = blocked.collect();
    format!("{tombstones} kept ({}){blocked}", text::show_bytes(bytes))
}

fn table(status: &Status) -> String {
    let ring = &status.ring;
    format!(
        "Cluster     {}\nNodes       {} of {} ready\n\
         Ring        epoch {}, {} partitions, {} copies\nDeletes     {}\nOperations  {}\n\n{}",
        status.cluster_id,
        status.ready_nodes,
        status.nodes.len(),
        ring.epoch,
        ring.partitions,
        ring.replication_factor,
        deletes(&status.nodes),
        operations(status),
        node_table(&status.nodes),
    )
}

/// What moves, with a bar for each node that receives something.
fn operations(status: &Status) -> String {
    status.moves.as_ref().map_or_else(
        || "none".to_owned(),
        |moves| format!("{}\n{}", moves.line(), moves.bars()),
    )
}

/// The nodes as a table.
pub(crate) fn node_table(nodes: &[NodeStatus]) -> String {
    let header = [
        "name", "phase", "seen", "zone", "epoch", "vnodes", "keys", "data", "free", "hints",
        "uptime", "version", "problem",
    ];
    output::table(header, &[4, 5, 6, 7, 8, 9, 10], nodes.iter().map(row))
}

fn row(node: &NodeStatus) -> [String; 13] {
    let figure =
        |figure: fn(&Report) -> String| node.report.as_ref().map_or_else(|| "-".to_owned(), figure);
    [
        node.name.clone(),
        node.phase.clone(),
        node.seen.text(),
        node.zone.clone(),
        figure(|report| report.epoch.to_string()),
        figure(|report| report.vnodes.to_string()),
        figure(|report| report.keys.to_string()),
        figure(|report| text::show_bytes(report.data_bytes)),
        figure(|report| text::show_bytes(report.disk_free_bytes)),
        figure(|report| report.hints.to_string()),
        figure(|report| show_seconds(report.uptime_seconds)),
        figure(|report| report.version.clone()),
        node.problem.clone().unwrap_or_default(),
    ]
}

/// How long ago the node's copies were compared with the other owners', the longest of all.
pub(crate) fn comparison_line(node: &NodeStatus) -> String {
    node.report.as_ref().map_or_else(String::new, |report| {
        let (lag, bound) = (
            report.comparison_lag_seconds,
            report.comparison_bound_seconds,
        );
        let (lag, bound) = (show_seconds(lag), show_seconds(bound));
        let overdue = report.comparisons_overdue;
        format!("Copies compared within {lag} (bound {bound}, {overdue} overdue)\n")
    })
}

/// In whole seconds.
fn show_seconds(seconds: f64) -> String {
    let seconds = std::time::Duration::from_secs_f64(seconds.floor());
    humantime::format_duration(seconds).to_string()
}
