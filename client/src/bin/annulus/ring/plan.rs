//! `annulus ring plan`: what a change of the number of nodes would move, and how long that takes at
//! least. Nothing is changed.

use std::collections::BTreeMap;

use annulus_ring::{
    Capacity, Node, NodeAddresses, NodeId, NodeState, Placement, Transfer, Zone, plan,
};
use anyhow::Context;
use serde::Serialize;
use uuid::Uuid;

use crate::admin::{self, natural};
use crate::exit::{Exit, UsageError};
use crate::output::{self, Format};
use crate::ring::shares::zone_shares;
use crate::text;

/// Says what would move if the ring had this many nodes, without moving it.
///
/// New nodes have capacity 1 and go to the zones with the fewest nodes; leaving nodes are the last
/// ones by name, out of the zones with the most nodes.
///
/// Examples:
///   annulus ring plan --nodes 5
///   annulus ring plan --nodes 5 -o json | jq '.moves | length'
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Plan {
    /// How many nodes the ring should have, 1024 at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    nodes: u16,

    /// What a node sends or receives at most, for the estimate: the default of clusters.
    #[arg(long, value_name = "BYTES", default_value_t = 50 << 20, value_parser = clap::value_parser!(u64).range(1..))]
    bytes_per_second: u64,
}

/// The JSON form is an interface: field names do not change.
#[derive(Debug, PartialEq, Serialize)]
struct Answer {
    partitions: u32,
    replication_factor: u8,
    moves: Vec<Move>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<Estimate>,
}

/// What the plan costs, going by the data that the nodes have now.
#[derive(Debug, PartialEq, Serialize)]
struct Estimate {
    bytes: u64,
    seconds: u64,
}

#[derive(Debug, PartialEq, Serialize)]
struct Move {
    partition: u16,
    from: String,
    to: String,
}

pub(super) async fn run(
    placement: &Placement,
    format: Format,
    command: &Plan,
) -> anyhow::Result<Exit> {
    let copies = placement.replication_factor().get();
    if command.nodes < u16::from(copies) {
        return Err(UsageError(format!(
            "{} nodes can't hold {copies} copies of everything; give --nodes {copies} or more",
            command.nodes
        ))
        .into());
    }
    let mut answer = answer(placement, usize::from(command.nodes))?;
    let each = bytes_per_vnode(placement).await;
    answer.estimate = each.map(|each| estimate(&answer.moves, each, command.bytes_per_second));
    output::print(format, &answer, |answer| table(placement, answer))?;
    Ok(Exit::Done)
}

/// Bytes of a vnode, on average over the nodes that answer; `None` when none does.
async fn bytes_per_vnode(placement: &Placement) -> Option<u64> {
    let statuses = admin::statuses(placement).await;
    let reports = statuses
        .iter()
        .filter_map(|(_, status)| status.as_ref().ok());
    let (bytes, vnodes) = reports.fold((0_u64, 0_u64), |(bytes, vnodes), report| {
        (bytes + report.data_bytes, vnodes + u64::from(report.vnodes))
    });
    (vnodes > 0).then(|| bytes / vnodes)
}

/// All bytes, and the time that the busiest node takes in the direction in which it has most to do.
fn estimate(moves: &[Move], each: u64, bytes_per_second: u64) -> Estimate {
    let mut loads: BTreeMap<(&str, bool), u64> = BTreeMap::new();
    for step in moves {
        *loads.entry((&step.from, false)).or_default() += each;
        *loads.entry((&step.to, true)).or_default() += each;
    }
    let busiest = loads.into_values().max().unwrap_or(0);
    Estimate {
        bytes: each * moves.len() as u64,
        seconds: busiest.div_ceil(bytes_per_second),
    }
}

fn answer(placement: &Placement, count: usize) -> anyhow::Result<Answer> {
    let desired = desired_nodes(placement, count);
    let (partitions, copies) = (placement.partitions(), placement.replication_factor());
    let transfers = plan(Some(placement), &desired, partitions, copies).context("plan the ring")?;
    let name = |id: NodeId| {
        let node = desired
            .iter()
            .chain(placement.nodes())
            .find(|node| node.id == id);
        node.map_or_else(|| id.to_string(), |node| node.name.clone())
    };
    let named = |transfer: &Transfer| Move {
        partition: transfer.partition.0,
        from: transfer.from.map(name).unwrap_or_default(),
        to: name(transfer.to),
    };
    Ok(Answer {
        partitions: partitions.get(),
        replication_factor: copies.get(),
        moves: transfers.transfers().iter().map(named).collect(),
        estimate: None,
    })
}

/// The current nodes with as many added or taken away as the count asks for.
fn desired_nodes(placement: &Placement, count: usize) -> Vec<Node> {
    let mut nodes = placement.nodes().to_vec();
    nodes.sort_by(|one, other| natural(&one.name).cmp(&natural(&other.name)));
    while nodes.len() > count {
        let fullest = nodes_by_zone(&nodes)
            .into_iter()
            .max_by_key(|(_, count)| *count);
        let last = fullest.and_then(|(zone, _)| nodes.iter().rposition(|node| node.zone == zone));
        nodes.remove(last.expect("a list longer than a count has a node in its fullest zone"));
    }
    while nodes.len() < count {
        let emptiest = nodes_by_zone(&nodes)
            .into_iter()
            .min_by_key(|(_, count)| *count);
        let zone = emptiest.map_or_else(|| Zone::from("z1"), |(zone, _)| zone);
        let new = new_node(&nodes, zone);
        nodes.push(new);
    }
    nodes
}

fn nodes_by_zone(nodes: &[Node]) -> BTreeMap<Zone, usize> {
    let mut zones = BTreeMap::new();
    for node in nodes {
        *zones.entry(node.zone.clone()).or_insert(0) += 1;
    }
    zones
}

/// A node that does not exist yet: the first free name of the ring's own kind, and an id that
/// depends on nothing else, so that the same question always has the same answer.
fn new_node(nodes: &[Node], zone: Zone) -> Node {
    let is_free = |name: &String| nodes.iter().all(|node| node.name != *name);
    let stem = nodes.last().map_or("node-", |node| natural(&node.name).0);
    let name = (1..=nodes.len() + 1)
        .map(|number| format!("{stem}{number}"))
        .find(is_free)
        .expect("one name more than there are nodes");
    let nowhere = format!("{name}:0");
    Node {
        id: NodeId(Uuid::from_u128(u128::MAX - nodes.len() as u128)),
        name,
        addresses: NodeAddresses {
            grpc: nowhere.clone(),
            http: nowhere.clone(),
            peer: nowhere.clone(),
            admin: nowhere,
        },
        zone,
        capacity: Capacity::ONE,
        state: NodeState::Active,
    }
}

fn table(placement: &Placement, answer: &Answer) -> String {
    let vnodes: usize = zone_shares(placement)
        .iter()
        .map(|share| share.vnodes)
        .sum();
    let mut pairs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for step in &answer.moves {
        *pairs.entry((&step.from, &step.to)).or_default() += 1;
    }
    let rows = pairs
        .into_iter()
        .map(|((from, to), count)| [from.to_owned(), to.to_owned(), count.to_string()]);
    let cost = answer.estimate.as_ref().map(|estimate| {
        let time = std::time::Duration::from_secs(estimate.seconds);
        let time = humantime::format_duration(time);
        let bytes = text::show_bytes(estimate.bytes);
        format!("About {bytes} are copied, which takes {time} at least\n")
    });
    let cost = cost.unwrap_or_default();
    format!(
        "{} of {vnodes} vnodes move ({})\n{cost}\n{}",
        answer.moves.len(),
        text::show_percent(answer.moves.len() as f64 / vnodes.max(1) as f64),
        output::table(["from", "to", "vnodes"], &[2], rows),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::fixtures::{founded, founded_in};

    #[test]
    fn the_fifth_node_takes_a_fifth_and_nothing_else_moves() {
        let answer = answer(&founded_in(4, 1), 5).unwrap();
        assert!(
            answer
                .moves
                .iter()
                .all(|step| step.to == "node-5" && step.from != "node-5")
        );
        let fifth = 256 * 3 / 5;
        assert!(
            answer.moves.len().abs_diff(fifth) <= 1,
            "{} moves",
            answer.moves.len()
        );
    }

    #[test]
    fn a_leaver_s_vnodes_go_to_all_others() {
        let answer = answer(&founded_in(6, 1), 5).unwrap();
        assert!(answer.moves.iter().all(|step| step.from == "node-6"));
        let takers: std::collections::BTreeSet<_> = answer.moves.iter().map(|s| &s.to).collect();
        assert_eq!(takers.len(), 5);
    }

    #[test]
    fn with_as_many_zones_as_copies_a_new_node_takes_from_its_zone() {
        let answer = answer(&founded(4), 5).unwrap();
        assert!(
            answer
                .moves
                .iter()
                .all(|step| step.from == "node-2" && step.to == "node-5")
        );
        assert_eq!(answer.moves.len(), 128);
    }

    #[test]
    fn the_busiest_node_says_how_long_it_takes() {
        let moves = answer(&founded_in(4, 1), 5).unwrap().moves;
        let cost = estimate(&moves, 1_000, 1_000);
        let count = moves.len() as u64;
        let expected = Estimate {
            bytes: 1_000 * count,
            seconds: count,
        };
        assert_eq!(cost, expected, "all come to the new node");
    }

    #[test]
    fn the_same_number_of_nodes_moves_nothing() {
        assert_eq!(answer(&founded(3), 3).unwrap().moves, []);
    }

    #[test]
    fn new_names_go_on_where_the_ring_s_names_end_or_fill_a_gap() {
        let named = |numbers: &[u16]| {
            let mut nodes = founded(3).nodes().to_vec();
            for (node, number) in nodes.iter_mut().zip(numbers) {
                node.name = format!("orders-default-{number}");
            }
            new_node(&nodes, Zone::from("z1")).name
        };
        assert_eq!(named(&[0, 1, 2]), "orders-default-3");
        assert_eq!(named(&[1, 2, 3]), "orders-default-4");
        assert_eq!(named(&[0, 1, 3]), "orders-default-2");
    }

    #[test]
    fn new_nodes_go_to_the_zones_with_the_fewest() {
        let nodes = desired_nodes(&founded(4), 6);
        assert!(nodes_by_zone(&nodes).values().all(|count| *count == 2));
    }

    #[test]
    fn the_json_form_is_as_the_interface_says() {
        let answer = Answer {
            partitions: 256,
            replication_factor: 3,
            moves: vec![Move {
                partition: 7,
                from: "node-1".into(),
                to: "node-4".into(),
            }],
            estimate: None,
        };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"partitions":256,"replication_factor":3,"moves":[{"partition":7,"from":"node-1","to":"node-4"}]}"#
        );
    }
}
