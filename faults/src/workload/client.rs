//! One client: a session of requests, each after the one before it ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annulus_causality::Context;
use annulus_checker::{Attempt, KeyName, Operation, Outcome, Record};
use anyhow::Result;
use tokio::time::sleep;

use super::Answer;
use super::ask::{Ask, Draw, Via};
use super::grpc::GrpcClient;
use super::http::HttpClient;
use crate::clock::Clock;
use crate::recording::Recording;
use crate::site::Site;

/// Attempts of one request.
const MAX_ATTEMPTS: usize = 4;

/// Keys whose context a client remembers; then it begins anew.
const MAX_SEEN: usize = 500;

/// Of 1000 answers so many get lost on the last bit of their way.
const LOST_OF_1000: u64 = 10;

/// What all clients share.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) clock: Clock,
    pub(crate) recording: Recording,
    /// Nodes that no client may ask at the moment.
    pub(crate) closed: Vec<AtomicBool>,
    /// Clients end after the request that they are at.
    pub(crate) stopped: AtomicBool,
    nodes: Vec<(GrpcClient, HttpClient)>,
}

impl Arena {
    pub(crate) fn new(
        site: &Site,
        nodes: usize,
        recording: Recording,
        clock: Clock,
    ) -> Result<Self> {
        let client = |node| {
            let addresses = site.addresses(node);
            Ok((
                GrpcClient::new(&addresses.grpc)?,
                HttpClient::new(&addresses.http)?,
            ))
        };
        Ok(Self {
            clock,
            recording,
            closed: (0..nodes).map(|_| AtomicBool::new(false)).collect(),
            stopped: AtomicBool::new(false),
            nodes: (0..nodes).map(client).collect::<Result<_>>()?,
        })
    }

    /// Nodes that clients may ask.
    fn open(&self) -> Vec<usize> {
        let nodes = self.closed.iter().enumerate();
        let open = nodes.filter(|(_, closed)| !closed.load(Ordering::Relaxed));
        open.map(|(node, _)| node).collect()
    }

    /// The open node whose turn it is.
    pub(crate) fn open_in_turn(&self, turn: u64) -> usize {
        let open = self.open();
        let turn = usize::try_from(turn).unwrap_or_default();
        open[turn % open.len()]
    }

    /// Asks a node.
    pub(crate) async fn ask(&self, node: usize, ask: &Ask) -> Answer {
        let (grpc, http) = &self.nodes[node];
        match ask.via {
            Via::Grpc => grpc.ask(ask).await,
            Via::HttpKv | Via::HttpData => http.ask(ask).await,
        }
    }
}

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    number: u64,
    arena: Arc<Arena>,
    draw: Draw,
    /// The mean time between two requests.
    pause: Duration,
    seen: HashMap<KeyName, Context>,
}

impl Client {
    pub(crate) fn new(number: u64, arena: Arc<Arena>, draw: Draw, pause: Duration) -> Self {
        Self {
            number,
            arena,
            draw,
            pause,
            seen: HashMap::new(),
        }
    }

    /// Asks until told to stop.
    pub(crate) async fn run(mut self) {
        let twice_ms = u64::try_from(2 * self.pause.as_millis()).expect("a short pause") + 1;
        while !self.arena.stopped.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(
                self.draw.chance().within(0..twice_ms),
            ))
            .await;
            let key = self.draw.key(self.arena.clock.elapsed());
            let ask = self.draw.ask(key.clone(), self.seen.get(&key).cloned());
            self.carry_out(ask).await;
        }
    }

    async fn carry_out(&mut self, ask: Ask) {
        self.arena.recording.uses(&ask.key);
        let mut attempts = Vec::new();
        loop {
            let invoked_at_us = self.arena.clock.now_us();
            let answer = self.attempt(&ask).await;
            let is_ok = answer.is_ok();
            // Nothing has happened: to try again is no second write.
            let may_retry = ask.may_be_retried() || answer.outcome == Outcome::Rejected;
            attempts.push(Attempt {
                invoked_at_us,
                completed_at_us: Some(self.arena.clock.now_us()),
                outcome: answer.outcome,
            });
            if let Some(context) = answer.context {
                self.learn(&ask.key, context);
            }
            let is_last = attempts.len() == MAX_ATTEMPTS || self.draw.chance().hits(200);
            if is_ok || !may_retry || is_last {
                break;
            }
            sleep(Duration::from_millis(self.draw.chance().within(1..300))).await;
        }
        let operation = Operation {
            id: self.arena.recording.number(),
            client: self.number,
            session: self.number,
            policy: ask.policy(),
            kind: ask.kind(),
            consistency: ask.consistency(),
            request: ask.request,
            key: ask.key,
            attempts,
        };
        self.arena.recording.add(&Record::Operation(operation));
    }

    async fn attempt(&mut self, ask: &Ask) -> Answer {
        let open = self.arena.open();
        let node = open[self.draw.chance().index(open.len())];
        let answer = self.arena.ask(node, ask).await;
        if self.draw.chance().hits(LOST_OF_1000) {
            return Answer::UNKNOWN;
        }
        answer
    }

    fn learn(&mut self, key: &KeyName, context: Context) {
        if self.seen.len() >= MAX_SEEN {
            self.seen.clear();
        }
        self.seen.insert(key.clone(), context);
    }
}
