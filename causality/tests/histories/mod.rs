//! Random lives of one key on three vnodes, for the laws: every state that the public interface can bring about.

use annulus_causality::{
    ConflictPolicy, Content, HlcClock, KeyState, NewWrite, RequestId, VersionVector, VnodeClock,
    VnodeId,
};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const VNODES: usize = 3;

/// So many cases; failing ones are written down next to the test.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let failures = FileFailurePersistence::WithSource("regressions");
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(failures)),
        ..ProptestConfig::default()
    }
}

/// One step of a life.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Writes at a vnode; `seen` picks an earlier state as the client's context.
    Write {
        vnode: usize,
        seen: Option<usize>,
        request: Option<u64>,
        delete: bool,
        ttl_ms: Option<u64>,
    },
    /// One vnode's state reaches another.
    Send { from: usize, to: usize },
    /// A vnode loses the key.
    Lose { vnode: usize },
    /// A vnode crashes and starts again.
    Crash { vnode: usize },
}

/// A random life.
pub(crate) fn history() -> impl Strategy<Value = Vec<Step>> {
    let vnode = || 0..VNODES;
    let write = (
        vnode(),
        prop::option::weighted(0.6, 0..64_usize),
        prop::option::weighted(0.7, 0..24_u64),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.2, 0..3_000_u64),
    )
        .prop_map(|(vnode, seen, request, delete, ttl_ms)| Step::Write {
            vnode,
            seen,
            request,
            delete,
            ttl_ms,
        });
    let step = prop_oneof![
        6 => write,
        4 => (vnode(), vnode()).prop_map(|(from, to)| Step::Send { from, to }),
        1 => vnode().prop_map(|vnode| Step::Lose { vnode }),
        1 => vnode().prop_map(|vnode| Step::Crash { vnode }),
    ];
    prop::collection::vec(step, 1..60)
}

struct Vnode {
    clock: VnodeClock,
    hlc: HlcClock,
    state: Option<KeyState>,
}

impl Vnode {
    fn take_lease(&mut self) {
        if let Some(lease) = self.clock.needs_lease() {
            self.clock.lease_granted(&lease);
        }
    }
}

/// Lives a history; gives every state that ever was on a vnode, the empty one first.
pub(crate) fn states_of(history: &[Step], policy: ConflictPolicy) -> Vec<KeyState> {
    let mut vnodes: Vec<Vnode> = (1..=VNODES as u64)
        .map(|id| Vnode {
            clock: VnodeClock::create(VnodeId(id)),
            hlc: HlcClock::new(),
            state: None,
        })
        .collect();
    let mut states = vec![KeyState::new()];
    for (at, step) in history.iter().enumerate() {
        let new = take(step, at, &mut vnodes, &states, policy);
        states.extend(new);
    }
    states
}

fn take(
    step: &Step,
    at: usize,
    vnodes: &mut [Vnode],
    states: &[KeyState],
    policy: ConflictPolicy,
) -> Option<KeyState> {
    match *step {
        Step::Write {
            vnode,
            seen,
            request,
            delete,
            ttl_ms,
        } => {
            let value = Bytes::from(format!("value {at}"));
            // Each vnode's wall clock is off by its own amount.
            let now_ms = 1_000_000 + 50 * at as u64 + 100 * vnode as u64;
            let me = &mut vnodes[vnode];
            me.take_lease();
            let above = me.state.as_ref().and_then(KeyState::max_stamp);
            let write = NewWrite {
                content: if delete {
                    Content::Tombstone
                } else {
                    Content::Value(value)
                },
                stamp: me.hlc.tick(now_ms, above).ok()?,
                expires_at_ms: ttl_ms.map(|ttl| now_ms + ttl),
                request_id: request.map(|sequence| RequestId {
                    client: 1,
                    sequence,
                }),
            };
            let context = seen.map_or_else(VersionVector::new, |seen| {
                states[seen % states.len()].context()
            });
            // In last-writer-wins keyspaces a context from ahead is refused: nothing happens.
            let minted = me
                .clock
                .mint(me.state.as_ref(), &context, write, policy)
                .ok()?;
            me.state = Some(minted.state);
            me.state.clone()
        }
        Step::Send { from, to } => {
            let incoming = vnodes[from].state.clone()?;
            let me = &mut vnodes[to];
            me.take_lease();
            let received = me
                .clock
                .receive(me.state.as_ref(), incoming, policy)
                .expect("there is a lease");
            me.state = Some(received.state);
            me.state.clone()
        }
        Step::Lose { vnode } => {
            vnodes[vnode].state = None;
            None
        }
        Step::Crash { vnode } => {
            let me = &mut vnodes[vnode];
            me.take_lease();
            let lease = me.clock.clone().close();
            me.clock = VnodeClock::open(lease, false);
            None
        }
    }
}
