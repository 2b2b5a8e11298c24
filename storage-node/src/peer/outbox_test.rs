use std::time::Duration;

use annulus_proto::peer::v1::{DigestReply, Merge, ReadDigest};
use annulus_ring::RingEpoch;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::task::noop_waker_ref;
use uuid::Uuid;

use super::*;

fn outbox() -> Outbox {
    Outbox::new(NodeId(Uuid::from_u128(1)))
}

fn small() -> Call {
    Call {
        epoch: RingEpoch(1),
        session: None,
        body: request::Body::Digest(ReadDigest { key: None }),
    }
}

fn large(bytes: usize) -> Call {
    let merge = Merge {
        state: Bytes::from(vec![0; bytes]),
        ..Merge::default()
    };
    Call {
        epoch: RingEpoch(1),
        session: None,
        body: request::Body::Merge(merge),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(9)
}

fn frame(outbox: &Outbox, session: u64) -> Poll<Option<RequestFrame>> {
    outbox.poll_frame(
        session,
        Instant::now(),
        &mut Context::from_waker(noop_waker_ref()),
    )
}

fn ids(outbox: &Outbox, session: u64) -> Vec<u64> {
    match frame(outbox, session) {
        Poll::Ready(Some(frame)) => frame.requests.iter().map(|request| request.id).collect(),
        Poll::Ready(None) => panic!("the session is over"),
        Poll::Pending => Vec::new(),
    }
}

fn outcome(ticket: Ticket) -> Option<Answer> {
    ticket.answer.now_or_never().map(|answer| answer.unwrap())
}

#[test]
fn nothing_leaves_before_the_peer_greeted_back() {
    let outbox = outbox();
    let ticket = outbox.enqueue(small(), soon()).unwrap();
    let session = outbox.begin_session();
    assert!(frame(&outbox, session).is_pending());
    outbox.open(session);
    assert_eq!(ids(&outbox, session), [ticket.id]);
}

#[test]
fn an_ended_session_tells_what_left_from_what_did_not() {
    let outbox = outbox();
    let session = outbox.begin_session();
    outbox.open(session);
    let left = outbox.enqueue(small(), soon()).unwrap();
    assert_eq!(ids(&outbox, session), [left.id]);
    let waits = outbox.enqueue(small(), soon()).unwrap();
    outbox.close("broken", Reachability::Unreachable);
    assert!(matches!(
        outcome(left),
        Some(Err(PeerCallError::Lost { .. }))
    ));
    assert!(matches!(
        outcome(waits),
        Some(Err(PeerCallError::NotSent { .. }))
    ));
    assert!(matches!(frame(&outbox, session), Poll::Ready(None)));
    assert!(
        outbox.enqueue(small(), soon()).is_err(),
        "an unreachable peer fails calls at once"
    );
}

#[test]
fn a_session_after_a_failed_attempt_stands_until_it_ends_itself() {
    let outbox = outbox();
    let failed = outbox.begin_session();
    outbox.close("it can't be reached", Reachability::Unreachable);
    let session = outbox.begin_session();
    assert!(matches!(frame(&outbox, failed), Poll::Ready(None)));
    assert!(
        frame(&outbox, session).is_pending(),
        "it has not greeted back yet"
    );
    outbox.open(session);
    let ticket = outbox.enqueue(small(), soon()).unwrap();
    assert_eq!(ids(&outbox, session), [ticket.id]);
    outbox.close("broken", Reachability::Connecting);
    assert!(matches!(frame(&outbox, session), Poll::Ready(None)));
}

#[test]
fn what_waits_goes_with_the_next_session_and_late_answers_reach_nobody() {
    let outbox = outbox();
    let first = outbox.begin_session();
    outbox.open(first);
    let left = outbox.enqueue(small(), soon()).unwrap();
    ids(&outbox, first);
    let waits = outbox.enqueue(small(), soon()).unwrap();
    outbox.close("broken", Reachability::Connecting);
    let second = outbox.begin_session();
    assert!(matches!(frame(&outbox, first), Poll::Ready(None)));
    outbox.open(second);
    assert_eq!(ids(&outbox, second), [waits.id]);
    outbox.answered(left.id, reply::Body::Digest(DigestReply { digest: None }));
    assert!(matches!(
        outcome(left),
        Some(Err(PeerCallError::Lost { .. }))
    ));
    outbox.answered(waits.id, reply::Body::Digest(DigestReply { digest: None }));
    assert!(matches!(outcome(waits), Some(Ok(_))));
}

#[test]
fn giving_up_is_honest() {
    let outbox = outbox();
    let session = outbox.begin_session();
    outbox.open(session);
    let left = outbox.enqueue(small(), soon()).unwrap();
    ids(&outbox, session);
    let waits = outbox.enqueue(small(), soon()).unwrap();
    assert!(matches!(
        outbox.give_up(left.id, "late"),
        PeerCallError::Lost { .. }
    ));
    assert!(matches!(
        outbox.give_up(waits.id, "late"),
        PeerCallError::NotSent { .. }
    ));
    assert_eq!(
        ids(&outbox, session),
        [0; 0],
        "what was given up is never sent"
    );
    assert_eq!(outbox.state.lock().bytes, 0);
}

#[test]
fn a_request_past_its_deadline_is_not_sent() {
    let outbox = outbox();
    let session = outbox.begin_session();
    outbox.open(session);
    let late = outbox.enqueue(small(), Instant::now()).unwrap();
    assert_eq!(ids(&outbox, session), [0; 0]);
    assert!(matches!(
        outcome(late),
        Some(Err(PeerCallError::NotSent { .. }))
    ));
}

#[test]
fn frames_and_the_outbox_are_bounded() {
    let outbox = outbox();
    let session = outbox.begin_session();
    outbox.open(session);
    let tickets: Vec<_> = (0..MAX_CALLS)
        .map(|_| outbox.enqueue(small(), soon()))
        .collect();
    assert!(tickets.iter().all(Result::is_ok));
    assert!(matches!(
        outbox.enqueue(small(), soon()),
        Err(PeerCallError::NotSent { .. })
    ));
    assert_eq!(ids(&outbox, session).len(), MAX_FRAME_REQUESTS);
    outbox.close("broken", Reachability::Connecting);

    let outbox = self::outbox();
    outbox.open(outbox.begin_session());
    let tickets: Vec<_> = [2 << 20, 600 << 10, 600 << 10]
        .map(|bytes| outbox.enqueue(large(bytes), soon()).unwrap())
        .into();
    for ticket in &tickets {
        assert_eq!(
            ids(&outbox, 1),
            [ticket.id],
            "each is alone: together they pass 1 MiB"
        );
    }
    assert!(outbox.enqueue(large(MAX_CALL_BYTES), soon()).is_err());
}
