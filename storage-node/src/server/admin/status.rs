//! The node's status, gathered when it is asked for.

use std::path::PathBuf;
use std::sync::Arc;

use annulus_proto::admin::v1::{
    self as pb, GetStatusResponse, HintBacklog, PeerStatus, ReapingBlock,
    ReapingStatus as WireReaping,
};
use annulus_ring::NodeId;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::antientropy::AntiEntropy;
use crate::clock::{Clock, milliseconds};
use crate::disk_pace::{DiskStanding, micros};
use crate::hints::{Hints, TargetBacklog};
use crate::membership::{DiskState, Liveness, Membership, Sighting};
use crate::moves::Moves;
use crate::peer::TonicTransport;
use crate::placement::PlacementStore;
use crate::reaping::{ReapingReport, ReapingStatus};
use crate::replica::Replica;
use crate::server::phase::Phase;
use crate::telemetry::{DiskSpace, disk_space};

/// Where the status comes from. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct StatusSource(Arc<Sources>);

/// What the status is made of.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) node_id: NodeId,
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) started: Instant,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) placement: PlacementStore,
    pub(crate) replica: Replica,
    pub(crate) transport: TonicTransport,
    pub(crate) hints: Hints,
    pub(crate) membership: Membership,
    pub(crate) anti_entropy: AntiEntropy,
    pub(crate) reaping: ReapingStatus,
    pub(crate) moves: Moves,
    pub(crate) disks: DiskStanding,
    pub(crate) phase: watch::Receiver<Phase>,
}

/// The status as `/v1/status` shows it: the same fields as in gRPC, in JSON's ways.
#[derive(Debug, Serialize)]
pub(super) struct JsonStatus {
    node_id: String,
    name: String,
    cluster_id: Option<String>,
    phase: &'static str,
    epoch: u64,
    acked_epoch: u64,
    /// 16 hexadecimal digits: JSON numbers lose bits.
    fingerprint: String,
    version: String,
    generation: u64,
    uptime_ms: u64,
    vnodes: u32,
    keys: u64,
    data_bytes: u64,
    disk_free_bytes: u64,
    disk_total_bytes: u64,
    /// The longest time that a partition was not compared with another owner; those that this node begins.
    comparison_lag_ms: u64,
    /// How long that may be.
    comparison_bound_ms: u64,
    /// Comparisons that are over the bound.
    comparisons_overdue: u32,
    peers: Vec<JsonPeer>,
    hints: Vec<JsonHints>,
    repairs_needed: u32,
    vnodes_unsound: u32,
    disk_room: String,
    disk_slow: bool,
    disk_sync_p99_us: u64,
    disk_read_p99_us: u64,
    reaping: JsonReaping,
}

#[derive(Debug, Serialize)]
struct JsonReaping {
    tombstones: u64,
    tombstone_bytes: u64,
    reaped: u64,
    expired_values_dropped: u64,
    passes: u64,
    blocked: Vec<JsonBlock>,
}

#[derive(Debug, Serialize)]
struct JsonBlock {
    reason: String,
    node_id: Option<String>,
    partitions: u32,
    tombstones: u64,
    tombstone_bytes: u64,
}

#[derive(Debug, Serialize)]
struct JsonPeer {
    node_id: String,
    connected: bool,
    liveness: &'static str,
    heard_ms_ago: Option<u64>,
    accusers: Vec<String>,
}

/// Writes kept for one node.
#[derive(Debug, Serialize)]
struct JsonHints {
    target: String,
    hints: u64,
    sloppy: u64,
    bytes: u64,
    oldest_age_ms: u64,
}

impl StatusSource {
    pub(crate) fn new(sources: Sources) -> Self {
        Self(Arc::new(sources))
    }

    pub(super) fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    pub(super) fn placement(&self) -> &PlacementStore {
        &self.0.placement
    }

    pub(super) fn replica(&self) -> &Replica {
        &self.0.replica
    }

    pub(super) fn anti_entropy(&self) -> &AntiEntropy {
        &self.0.anti_entropy
    }

    pub(super) fn moves(&self) -> &Moves {
        &self.0.moves
    }

    pub(super) fn gather(&self) -> GetStatusResponse {
        let Sources {
            node_id,
            name,
            replica,
            ..
        } = &*self.0;
        let placement = self.0.placement.current();
        let disk = disk_space(&self.0.data_dir).unwrap_or(DiskSpace {
            free_bytes: 0,
            total_bytes: 0,
        });
        let uptime = self.0.clock.now() - self.0.started;
        let estimates = replica.estimates();
        let peers = peers(&self.0.transport, &self.0.membership);
        let lag = self.0.anti_entropy.lag();
        let slowness = self.0.disks.own();
        GetStatusResponse {
            node_id: node_id.to_string(),
            name: name.clone(),
            cluster_id: placement
                .as_ref()
                .map_or_else(String::new, |p| p.cluster_id().to_string()),
            phase: self.phase().to_wire().into(),
            epoch: placement
                .as_ref()
                .map_or(0, |placement| placement.epoch().0),
            acked_epoch: self.0.placement.acked().0,
            fingerprint: placement
                .as_ref()
                .map_or(0, |placement| placement.fingerprint()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            vnodes: u32::try_from(replica.vnodes().len()).unwrap_or(u32::MAX),
            data_bytes: estimates.bytes,
            disk_free_bytes: disk.free_bytes,
            disk_total_bytes: disk.total_bytes,
            generation: replica.generation(),
            uptime_ms: milliseconds(uptime),
            comparison_lag_ms: milliseconds(lag.longest),
            comparison_bound_ms: milliseconds(lag.bound),
            comparisons_overdue: u32::try_from(lag.overdue).unwrap_or(u32::MAX),
            peers,
            keys: estimates.keys,
            hints: self.hints(),
            repairs_needed: u32::try_from(self.0.hints.repairs_needed().len()).unwrap_or(u32::MAX),
            local_health: self.0.membership.local_health(),
            reaping: Some(write_reaping(&self.0.reaping.report())),
            vnodes_unsound: u32::try_from(replica.unsound().len()).unwrap_or(u32::MAX),
            disk_room: replica.room().as_str().to_owned(),
            disk_slow: slowness.is_slow,
            disk_sync_p99_us: micros(slowness.pace.sync),
            disk_read_p99_us: micros(slowness.pace.read),
        }
    }

    fn hints(&self) -> Vec<HintBacklog> {
        let hints = &self.0.hints;
        let backlog = |(target, kept): (NodeId, TargetBacklog)| HintBacklog {
            target: target.to_string(),
            hints: kept.hints,
            sloppy: kept.sloppy,
            bytes: kept.bytes,
            oldest_age_ms: hints.age_ms(kept.oldest_ms),
        };
        hints.backlog().into_iter().map(backlog).collect()
    }

    pub(super) fn to_json(&self) -> JsonStatus {
        let status = self.gather();
        let peers = status.peers.into_iter();
        JsonStatus {
            node_id: status.node_id,
            name: status.name,
            cluster_id: Some(status.cluster_id).filter(|id| !id.is_empty()),
            phase: self.phase().as_str(),
            epoch: status.epoch,
            acked_epoch: status.acked_epoch,
            fingerprint: format!("{:016x}", status.fingerprint),
            version: status.version,
            generation: status.generation,
            uptime_ms: status.uptime_ms,
            vnodes: status.vnodes,
            keys: status.keys,
            data_bytes: status.data_bytes,
            disk_free_bytes: status.disk_free_bytes,
            disk_total_bytes: status.disk_total_bytes,
            comparison_lag_ms: status.comparison_lag_ms,
            comparison_bound_ms: status.comparison_bound_ms,
            comparisons_overdue: status.comparisons_overdue,
            peers: peers
                .map(|peer| JsonPeer {
                    liveness: match peer.liveness() {
                        pb::Liveness::Unspecified | pb::Liveness::Alive => "alive",
                        pb::Liveness::Suspect => "suspect",
                        pb::Liveness::Down => "down",
                    },
                    node_id: peer.node_id,
                    connected: peer.connected,
                    heard_ms_ago: peer.heard_ms_ago,
                    accusers: peer.accusers,
                })
                .collect(),
            vnodes_unsound: status.vnodes_unsound,
            disk_room: status.disk_room,
            disk_slow: status.disk_slow,
            disk_sync_p99_us: status.disk_sync_p99_us,
            disk_read_p99_us: status.disk_read_p99_us,
            hints: status.hints.into_iter().map(JsonHints::from).collect(),
            repairs_needed: status.repairs_needed,
            reaping: json_reaping(status.reaping.unwrap_or_default()),
        }
    }
}

impl From<HintBacklog> for JsonHints {
    fn from(kept: HintBacklog) -> Self {
        Self {
            target: kept.target,
            hints: kept.hints,
            sloppy: kept.sloppy,
            bytes: kept.bytes,
            oldest_age_ms: kept.oldest_age_ms,
        }
    }
}

/// The other nodes of the placement: the way to each, and what is believed of it.
fn peers(transport: &TonicTransport, membership: &Membership) -> Vec<PeerStatus> {
    let sightings = membership.sightings();
    let status = |(id, connected): (NodeId, bool)| {
        let at = sightings.binary_search_by_key(&id, |sighting| sighting.node);
        let sighting = at.ok().map(|at| &sightings[at]);
        PeerStatus {
            node_id: id.to_string(),
            connected,
            ..sighting.map(sighted).unwrap_or_default()
        }
    };
    transport.peers().into_iter().map(status).collect()
}

fn sighted(sighting: &Sighting) -> PeerStatus {
    let ms = milliseconds;
    let facts = sighting.facts.unwrap_or_default();
    PeerStatus {
        liveness: match sighting.liveness {
            Liveness::Alive => pb::Liveness::Alive,
            Liveness::Suspect => pb::Liveness::Suspect,
            Liveness::Down => pb::Liveness::Down,
        }
        .into(),
        generation: sighting.generation,
        heartbeat: sighting.heartbeat,
        heard_ms_ago: sighting.heard_ago.map(ms),
        suspect_ms: sighting.suspect_for.map(ms),
        accusers: sighting.accusers.iter().map(NodeId::to_string).collect(),
        requests_in_flight: facts.requests_in_flight,
        disk: match facts.disk {
            DiskState::Ok => "ok",
            DiskState::Low => "low",
            DiskState::Full => "full",
            DiskState::Damaged => "damaged",
        }
        .to_owned(),
        hint_backlog_bytes: facts.hint_backlog_bytes,
        epoch: facts.epoch.0,
        fingerprint: facts.fingerprint,
        ..PeerStatus::default()
    }
}

fn write_reaping(report: &ReapingReport) -> WireReaping {
    let blocked = report.blocked.iter().map(|blocked| ReapingBlock {
        reason: blocked.blocked.reason.as_str().to_owned(),
        node_id: blocked
            .blocked
            .node
            .map_or_else(String::new, |node| node.to_string()),
        partitions: blocked.partitions,
        tombstones: blocked.amount.keys,
        tombstone_bytes: blocked.amount.bytes,
    });
    WireReaping {
        tombstones: report.tombstones.keys,
        tombstone_bytes: report.tombstones.bytes,
        reaped: report.reaped,
        expired_values_dropped: report.values_dropped,
        passes: report.passes,
        blocked: blocked.collect(),
    }
}

fn json_reaping(reaping: WireReaping) -> JsonReaping {
    let blocked = reaping.blocked.into_iter().map(|block| JsonBlock {
        reason: block.reason,
        node_id: Some(block.node_id).filter(|node| !node.is_empty()),
        partitions: block.partitions,
        tombstones: block.tombstones,
        tombstone_bytes: block.tombstone_bytes,
    });
    JsonReaping {
        tombstones: reaping.tombstones,
        tombstone_bytes: reaping.tombstone_bytes,
        reaped: reaping.reaped,
        expired_values_dropped: reaping.expired_values_dropped,
        passes: reaping.passes,
        blocked: blocked.collect(),
    }
}
