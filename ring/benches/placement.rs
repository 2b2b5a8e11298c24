//! What placement costs at the largest size: 1,000 nodes, 16,384 partitions, three copies.

use std::hint::black_box;
use std::num::NonZeroU32;

use annulus_ring::{
    Capacity, HashSeed, Node, NodeAddresses, NodeId, NodeState, PartitionCount, PartitionId,
    Placement, ReplicationFactor, Zone, found, plan,
};
use criterion::{Criterion, criterion_group, criterion_main};
use uuid::Uuid;

const NODES: u32 = 1_000;
const ZONES: u32 = 5;

fn node(number: u32, zones: u32, capacity: u32) -> Node {
    let address = |port: u16| format!("node-{number}:{port}");
    Node {
        id: NodeId(Uuid::from_u128(u128::from(
            number.wrapping_mul(2_654_435_761),
        ))),
        name: format!("node-{number}"),
        addresses: NodeAddresses {
            peer: address(7400),
            grpc: address(7401),
            http: address(7402),
            admin: address(7403),
        },
        zone: Zone(format!("zone-{}", number % zones)),
        capacity: Capacity(NonZeroU32::new(capacity).expect("not zero")),
        state: NodeState::Active,
    }
}

fn nodes(count: u32, zones: u32) -> Vec<Node> {
    (0..count).map(|number| node(number, zones, 1)).collect()
}

fn q() -> PartitionCount {
    PartitionCount::new(16_384).expect("a power of two")
}

fn n() -> ReplicationFactor {
    ReplicationFactor::new(3).expect("not zero")
}

fn founded(zones: u32) -> Placement {
    found(Uuid::nil(), HashSeed(1), q(), n(), &nodes(NODES, zones)).expect("enough nodes")
}

fn lookup(criterion: &mut Criterion) {
    let placement = founded(ZONES);
    let mut number = 0u16;
    criterion.bench_function("owners of a partition", |bencher| {
        bencher.iter(|| {
            number = (number + 977) % 16_384;
            black_box(placement.owners(black_box(PartitionId(number)))[0])
        });
    });
    criterion.bench_function("locate a 24-byte key", |bencher| {
        bencher.iter(|| {
            placement.locate(black_box("default"), black_box(b"user:0123456789:profile!"))
        });
    });
}

fn planning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan 1000 nodes, 16384 x 3");
    group.sample_size(10);
    for zones in [1, ZONES] {
        group.bench_function(format!("from nothing, {zones} zones"), |bencher| {
            bencher.iter(|| founded(zones));
        });
        let current = founded(zones);
        let mut doubled = nodes(NODES, zones);
        for node in doubled.iter_mut().take(500) {
            node.capacity = Capacity(NonZeroU32::new(2).expect("not zero"));
        }
        for (change, desired) in [
            ("a node joins", nodes(NODES + 1, zones)),
            ("a node leaves", nodes(NODES - 1, zones)),
            ("half the nodes double", doubled),
            (
                "half the nodes leave and zones change",
                nodes(NODES / 2, zones + 1),
            ),
        ] {
            group.bench_function(format!("{change}, {zones} zones"), |bencher| {
                bencher.iter(|| plan(Some(&current), &desired, q(), n()).expect("enough nodes"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, lookup, planning);
criterion_main!(benches);
