//! Carries out the plan: begins and ends faults at their times, heals between segments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use crate::damage::{DamageTally, Damaged};
use crate::fault::{Fault, Kind, NodeOrdinal};
use crate::node_process::Expected;
use crate::plan::{Planned, Planner};
use crate::ring::Ring;
use crate::{damage, disk, wall_clock};

/// The longest segment.
const SEGMENT: Duration = Duration::from_secs(18);

/// Performs faults and counts them.
#[derive(Debug)]
pub(crate) struct Conductor {
    pub(crate) ring: Arc<Ring>,
    numbers: AtomicU64,
    pub(crate) counts: Mutex<BTreeMap<Kind, u64>>,
    pub(crate) damages: Mutex<DamageTally>,
    /// The one node whose disk is damaged at the moment.
    damaged: Mutex<Option<Damaged>>,
}

impl Conductor {
    pub(crate) fn new(ring: Arc<Ring>) -> Self {
        Self {
            ring,
            numbers: AtomicU64::new(0),
            counts: Mutex::default(),
            damages: Mutex::default(),
            damaged: Mutex::new(None),
        }
    }

    /// Goes on until the time is over and each of `kinds` was there once.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut planner: Planner,
        lasts: Duration,
        kinds: &[Kind],
    ) -> Result<()> {
        let wanted: BTreeSet<Kind> = kinds.iter().copied().collect();
        let is_done = || {
            let counts = self.counts.lock();
            self.ring.clock().elapsed() >= lasts
                && wanted.iter().all(|kind| counts.contains_key(kind))
        };
        while !is_done() {
            let segment = planner.segment(SEGMENT);
            let mut faults = JoinSet::new();
            for planned in segment.faults {
                faults.spawn(self.clone().carry_out(planned));
            }
            while let Some(carried_out) = faults.join_next().await {
                carried_out.context("a fault's task panicked")??;
            }
            self.heal().await?;
        }
        Ok(())
    }

    async fn carry_out(self: Arc<Self>, planned: Planned) -> Result<()> {
        let Planned { at, until, fault } = planned;
        sleep(at).await;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.ring.note(&format!("begin {number:3} {fault}"));
        *self.counts.lock().entry(fault.kind).or_default() += 1;
        self.begin(number, &fault)
            .await
            .with_context(|| format!("begin {fault}"))?;
        sleep(until.saturating_sub(at)).await;
        self.end(number, &fault)
            .await
            .with_context(|| format!("end {fault}"))?;
        self.ring.note(&format!("end   {number:3} {fault}"));
        Ok(())
    }

    async fn begin(&self, number: u64, fault: &Fault) -> Result<()> {
        let node = fault.nodes[0];
        match fault.kind {
            Kind::Kill => self.ring.process(node).lock().await.kill().await,
            Kind::KillAll => self.kill_all(&fault.nodes).await,
            Kind::Stop => {
                let stopped = self.ring.process(node).lock().await.stop().await;
                stopped.unwrap_or_else(|error| self.ring.found(format!("{error:#}")));
                Ok(())
            }
            Kind::Pause => self.ring.process(node).lock().await.signal(Signal::SIGSTOP),
            Kind::ClockStep | Kind::ClockLeap => self.set_clock(node, fault.measure),
            Kind::FullDisk => self.fill_disk(node, fault.measure.unsigned_abs()).await,
            Kind::DamageTable | Kind::DamageLog => {
                let damaged = damage::begin(&self.ring, node, fault.kind, &self.damages).await?;
                *self.damaged.lock() = Some(damaged);
                Ok(())
            }
            Kind::Isolate | Kind::Split | Kind::OneWay | Kind::Unplug | Kind::Loss | Kind::Slow => {
                self.network()?.lock().await.begin(number, fault)
            }
        }
    }

    async fn end(&self, number: u64, fault: &Fault) -> Result<()> {
        let node = fault.nodes[0];
        match fault.kind {
            Kind::Kill | Kind::KillAll | Kind::Stop => {
                for node in &fault.nodes {
                    self.ring.process(*node).lock().await.start()?;
                }
                Ok(())
            }
            Kind::Pause => self.ring.process(node).lock().await.signal(Signal::SIGCONT),
            Kind::ClockStep | Kind::ClockLeap => self.set_clock(node, 0),
            Kind::FullDisk => {
                disk::empty(&self.ring.site.data_dir(node))?;
                self.ring.process(node).lock().await.start_expected()
            }
            Kind::DamageTable | Kind::DamageLog => self.look_at_damage().await,
            Kind::Isolate | Kind::Split | Kind::OneWay | Kind::Unplug | Kind::Loss | Kind::Slow => {
                self.network()?.lock().await.end(number)
            }
        }
    }

    fn network(&self) -> Result<&tokio::sync::Mutex<crate::network::Network>> {
        let network = self.ring.network.as_ref();
        network.context("there is no network of our own")
    }

    fn set_clock(&self, node: NodeOrdinal, ms: i64) -> Result<()> {
        wall_clock::set_offset(&self.ring.site.clock_file(node), ms)
    }

    /// All are dead before any is waited for.
    async fn kill_all(&self, nodes: &[NodeOrdinal]) -> Result<()> {
        for node in nodes {
            let mut process = self.ring.process(*node).lock().await;
            process.expected = Expected::Down;
            process.signal(Signal::SIGKILL)?;
        }
        for node in nodes {
            self.ring.process(*node).lock().await.kill().await?;
        }
        Ok(())
    }

    async fn fill_disk(&self, node: NodeOrdinal, left_percent: u64) -> Result<()> {
        self.ring.process(node).lock().await.expected = Expected::MayEnd;
        let data = self.ring.site.data_dir(node);
        spawn_blocking(move || disk::fill(&data, left_percent)).await?
    }

    async fn look_at_damage(&self) -> Result<()> {
        let damaged = self.damaged.lock().take();
        if let Some(damaged) = damaged {
            damage::look(&self.ring, &damaged, &self.damages).await?;
            *self.damaged.lock() = Some(damaged);
        }
        Ok(())
    }

    /// Between two segments: every node serves, and a damaged disk is replaced and filled again.
    async fn heal(&self) -> Result<()> {
        let damaged = self.damaged.lock().take();
        self.ring
            .all_serve(damaged.as_ref().map(|damaged| damaged.node))
            .await;
        if let Some(damaged) = damaged {
            self.ring
                .note(&format!("node-{} gets an empty disk", damaged.node + 1));
            crate::rebuild::replace_disk(&self.ring, damaged.node).await?;
            self.ring
                .note(&format!("node-{} has its copies again", damaged.node + 1));
        }
        Ok(())
    }
}
