//! Costs of the operations on every request's path, and the encoded sizes of typical states.

use std::hint::black_box;

use annulus_causality::{
    ConflictPolicy, Content, Context, ContextKey, HlcStamp, KeyState, NewWrite, RequestId,
    VersionVector, VnodeClock, VnodeId,
};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const VALUE_BYTES: usize = 100;

fn vnode(id: u64) -> VnodeClock {
    let mut clock = VnodeClock::create(VnodeId(id << 32));
    renew(&mut clock);
    clock
}

fn renew(clock: &mut VnodeClock) {
    if let Some(lease) = clock.needs_lease() {
        clock.lease_granted(&lease);
    }
}

fn write(sequence: u64) -> NewWrite {
    NewWrite {
        content: Content::Value(Bytes::from(vec![7; VALUE_BYTES])),
        stamp: HlcStamp::at_ms(1_700_000_000_000 + sequence),
        expires_at_ms: None,
        request_id: Some(RequestId {
            client: 1 << 60,
            sequence,
        }),
    }
}

/// A key after `writes` writes with context by three vnodes in turn, then `siblings` - 1 blind ones.
fn key(writes: u64, siblings: u64) -> KeyState {
    let mut vnodes = [vnode(1), vnode(2), vnode(3)];
    let mut state = KeyState::new();
    for sequence in 1..writes + siblings {
        let context = if sequence <= writes {
            state.context()
        } else {
            VersionVector::new()
        };
        let local = (!state.clock().is_empty()).then_some(&state);
        let minting = &mut vnodes[usize::try_from(sequence % 3).expect("it is below 3")];
        let minted = minting.mint(local, &context, write(sequence), ConflictPolicy::Siblings);
        state = minted.expect("within all limits").state;
    }
    state
}

fn operations(c: &mut Criterion) {
    for (name, state) in [
        ("first write", key(1, 1)),
        ("steady", key(20, 1)),
        ("5 siblings", key(20, 5)),
        ("64 siblings", key(20, 64)),
    ] {
        let bytes = state.encode();
        println!(
            "{name}: {} bytes encoded, {} of them values",
            bytes.len(),
            state.value_bytes()
        );
        let mut me = vnode(9);
        let context = state.context();
        let newer = me.mint(
            Some(&state),
            &context,
            write(1_000),
            ConflictPolicy::Siblings,
        );
        let newer = newer.expect("a merge is within limits").state;

        let mut group = c.benchmark_group(name);
        group.bench_function("sync", |b| {
            b.iter_batched_ref(
                || state.clone(),
                |state| state.sync(black_box(&newer)),
                BatchSize::SmallInput,
            );
        });
        group.bench_function("mint", |b| {
            b.iter_batched(
                || write(1_001),
                |write| {
                    renew(&mut me);
                    me.mint(
                        Some(black_box(&newer)),
                        &context,
                        write,
                        ConflictPolicy::Lww,
                    )
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function("encode", |b| b.iter(|| black_box(&state).encode()));
        group.bench_function("decode", |b| b.iter(|| KeyState::decode(black_box(&bytes))));
        group.bench_function("digest", |b| b.iter(|| black_box(&state).digest()));
        group.bench_function("issue context", |b| {
            let secret = ContextKey::new([7; 32]);
            b.iter(|| Context::issue(&secret, "kv", b"some/key", black_box(&state).context()));
        });
        group.finish();
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
