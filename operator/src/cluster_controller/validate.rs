//! Second step: the spec as the operator understands it, or what is wrong with it. Pure.
//!
//! CEL in the CRD has refused most mistakes already; this step repeats what the other steps
//! rely on (an older CRD may be installed) and adds what no rule on one object can know.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use annulus_ring::{NodeId, Rules};
use kube::ResourceExt;
use thiserror::Error;

use crate::cluster_controller::units::{bytes, duration};
use crate::crd::{Approval, Consistency, ImagePullPolicy, KVCluster, MAX_NODES_PER_POOL, Pool};
use crate::names;

/// Longest name of a cluster.
const MAX_CLUSTER_NAME: usize = 36;
/// Longest name of a pool.
const MAX_POOL_NAME: usize = 20;
/// Most partitions of a ring.
const MAX_PARTITIONS: i32 = 16_384;
/// Most nodes of a ring.
const MAX_NODES: usize = annulus_ring::MAX_NODES;

/// Why a spec cannot be carried out. Nothing was changed; the user must change the spec.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum InvalidSpec {
    /// The object has no namespace or uid: it did not come from an API server.
    #[error("the object has no namespace or no uid")]
    Incomplete,
    /// Names of pods would not fit, or would not be DNS names.
    #[error("the name {name:?} must be at most {max} characters of a-z, 0-9 and '-'")]
    Name {
        /// The cluster's or the pool's name.
        name: String,
        /// Its limit.
        max: usize,
    },
    /// No image is known.
    #[error("no image: set spec.image, or the operator's --node-image")]
    NoImage,
    /// Two pools share a name.
    #[error("the pool {0:?} is there twice")]
    DuplicatePool(String),
    /// A number is out of its range.
    #[error("{field} is {value}, but must be {expected}")]
    Number {
        /// Path in the spec.
        field: &'static str,
        /// What it holds.
        value: i64,
        /// What it may hold.
        expected: &'static str,
    },
    /// More copies than nodes to keep them.
    #[error("replicationFactor {factor} needs as many nodes, but there are {nodes}")]
    TooFewNodes {
        /// N.
        factor: i32,
        /// Nodes in all pools.
        nodes: usize,
    },
    /// Not a consistency level of this cluster.
    #[error(
        "consistency.{field} is {value:?}: use one, quorum, all, local_quorum or a number up to replicationFactor"
    )]
    Consistency {
        /// `read` or `write`.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// A text that is no quantity of its kind.
    #[error("{field} is {value:?}: write {expected}")]
    Text {
        /// Path in the spec, or the annotation.
        field: &'static str,
        /// What it holds.
        value: String,
        /// How it is written.
        expected: &'static str,
    },
}

/// What the operator's installation says of nodes whose cluster does not.
#[derive(Clone, Debug)]
pub(crate) struct NodeDefaults {
    /// Their image.
    pub(crate) image: Option<String>,
    /// When it is pulled.
    pub(crate) pull_policy: ImagePullPolicy,
}

/// A spec that can be carried out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ValidCluster {
    /// Name.
    pub(crate) name: String,
    /// Namespace.
    pub(crate) namespace: String,
    /// The object's uid.
    pub(crate) uid: String,
    /// Whether the status says that a ring was founded for it once.
    pub(crate) founded_before: bool,
    /// The image that the user asks for.
    pub(crate) image: Option<String>,
    /// The image of nodes that have none yet.
    pub(crate) default_image: String,
    /// When images are pulled.
    pub(crate) image_pull_policy: ImagePullPolicy,
    /// N.
    pub(crate) replication_factor: u8,
    /// Q.
    pub(crate) partitions: u32,
    /// Default R and W.
    pub(crate) consistency: Consistency,
    /// Copies of a partition that must serve so that default reads and writes succeed.
    pub(crate) quorum: usize,
    /// Pools by name.
    pub(crate) pools: BTreeMap<String, Pool>,
    /// The nodes that the spec asks for, by name.
    pub(crate) nodes: BTreeMap<String, NodeSeat>,
    /// Bytes that moves send or receive per second and node at most.
    pub(crate) bytes_per_second: u64,
    /// Partitions that a node sends or receives at the same time.
    pub(crate) streams_per_node: i32,
    /// How long a node may be missing before it is given up.
    pub(crate) replace_after: Duration,
    /// Whether data moves without being asked.
    pub(crate) approval: Approval,
    /// The plan that a person approved.
    pub(crate) approved: Option<String>,
    /// Disks of which a person says that they never return.
    pub(crate) destroyed: BTreeSet<NodeId>,
}

/// The place of a node in the spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeSeat {
    /// Name of the pool.
    pub(crate) pool: String,
    /// Number within the pool.
    pub(crate) ordinal: i32,
    /// Weight on the ring.
    pub(crate) capacity: u32,
}

impl ValidCluster {
    /// The seat that a node of this name has, whether or not the spec asks for it now; `None`
    /// when the name is not one of this cluster's pools'.
    pub(crate) fn seat_of(&self, node: &str) -> Option<NodeSeat> {
        if let Some(seat) = self.nodes.get(node) {
            return Some(seat.clone());
        }
        let (pool, ordinal) = node
            .strip_prefix(self.name.as_str())?
            .strip_prefix('-')?
            .rsplit_once('-')?;
        let capacity = u32::try_from(self.pools.get(pool)?.capacity).ok()?;
        Some(NodeSeat {
            pool: pool.to_owned(),
            ordinal: ordinal.parse().ok()?,
            capacity,
        })
    }

    /// The smallest quorums that a promise rests on, with as many copies as the spec asks for, and with the
    /// fewest that there are now of a partition: the default ones, where they overlap.
    pub(crate) fn rules(&self, fewest: u8) -> Rules {
        let of = |factor: u8| {
            let read = copies("read", &self.consistency.read, factor).unwrap_or(factor.into());
            let write = copies("write", &self.consistency.write, factor).unwrap_or(factor.into());
            if read + write > usize::from(factor) {
                return (read, write);
            }
            let majority = usize::from(factor) / 2 + 1;
            (majority, majority)
        };
        let (one, other) = (of(fewest), of(self.replication_factor));
        let narrow = |copies: usize| u8::try_from(copies).unwrap_or(u8::MAX);
        Rules {
            read_min: narrow(one.0.min(other.0)),
            write_min: narrow(one.1.min(other.1)),
        }
    }

    /// Whether data must outlive the KVCluster: then the context key must, too.
    pub(crate) fn keeps_data(&self) -> bool {
        self.pools
            .values()
            .any(|pool| pool.storage.when_deleted == crate::crd::RetentionPolicy::Retain)
    }
}

/// Checks a cluster's spec.
pub(crate) fn validate(
    cluster: &KVCluster,
    defaults: &NodeDefaults,
) -> Result<ValidCluster, InvalidSpec> {
    let spec = &cluster.spec;
    let name = cluster.name_any();
    check_name(&name, MAX_CLUSTER_NAME)?;
    let (Some(namespace), Some(uid)) = (cluster.namespace(), cluster.uid()) else {
        return Err(InvalidSpec::Incomplete);
    };
    let image = spec.image.clone().filter(|image| !image.is_empty());
    let default_image = image
        .clone()
        .or_else(|| defaults.image.clone())
        .ok_or(InvalidSpec::NoImage)?;
    let pools = valid_pools(spec.pools.as_slice(), spec.nodes)?;
    let nodes = seats(&name, &pools);
    let (replication_factor, partitions) = valid_ring(cluster, nodes.len())?;
    let read = copies("read", &spec.consistency.read, replication_factor)?;
    let write = copies("write", &spec.consistency.write, replication_factor)?;
    Ok(ValidCluster {
        name,
        namespace,
        uid,
        founded_before: cluster
            .status
            .as_ref()
            .is_some_and(|old| old.ring_epoch.is_some()),
        image,
        default_image,
        image_pull_policy: spec.image_pull_policy.unwrap_or(defaults.pull_policy),
        replication_factor,
        partitions,
        consistency: spec.consistency.clone(),
        quorum: read.max(write),
        pools,
        nodes,
        bytes_per_second: rate(&spec.rebalance.max_bytes_per_second)?,
        streams_per_node: spec.rebalance.streams_per_node,
        replace_after: duration(&spec.replace_after).ok_or_else(|| InvalidSpec::Text {
            field: "replaceAfter",
            value: spec.replace_after.clone(),
            expected: "a number and s, m, h or d, such as 15m",
        })?,
        approval: spec.approval,
        approved: cluster
            .annotations()
            .get(names::APPROVE_ANNOTATION)
            .cloned(),
        destroyed: destroyed(cluster)?,
    })
}

fn rate(text: &str) -> Result<u64, InvalidSpec> {
    let rate = bytes(text).filter(|bytes| *bytes > 0);
    rate.ok_or_else(|| InvalidSpec::Text {
        field: "rebalance.maxBytesPerSecond",
        value: text.to_owned(),
        expected: "bytes above 0, such as 50Mi",
    })
}

fn destroyed(cluster: &KVCluster) -> Result<BTreeSet<NodeId>, InvalidSpec> {
    let Some(text) = cluster.annotations().get(names::DESTROYED_ANNOTATION) else {
        return Ok(BTreeSet::new());
    };
    let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
    let read = |id: &str| {
        id.parse().map_err(|_| InvalidSpec::Text {
            field: names::DESTROYED_ANNOTATION,
            value: id.to_owned(),
            expected: "identities of nodes (kubectl get kvn -o wide), separated by commas",
        })
    };
    ids.map(read).collect()
}

fn check_name(name: &str, max: usize) -> Result<(), InvalidSpec> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > max || !name.chars().all(plain) {
        return Err(InvalidSpec::Name {
            name: name.to_owned(),
            max,
        });
    }
    Ok(())
}

/// The pools by name, the only one with its count overridden by `spec.nodes`.
fn valid_pools(pools: &[Pool], nodes: Option<i32>) -> Result<BTreeMap<String, Pool>, InvalidSpec> {
    let mut seen = HashSet::new();
    for pool in pools {
        check_name(&pool.name, MAX_POOL_NAME)?;
        if !seen.insert(pool.name.as_str()) {
            return Err(InvalidSpec::DuplicatePool(pool.name.clone()));
        }
    }
    let mut pools: BTreeMap<String, Pool> = pools
        .iter()
        .map(|pool| (pool.name.clone(), pool.clone()))
        .collect();
    if let (Some(nodes), 1) = (nodes, pools.len()) {
        for pool in pools.values_mut() {
            pool.nodes = nodes;
        }
    }
    for pool in pools.values() {
        in_range(
            "pools[].nodes",
            pool.nodes,
            1,
            MAX_NODES_PER_POOL,
            "from 1 to 1000",
        )?;
        in_range("pools[].capacity", pool.capacity, 1, 1000, "from 1 to 1000")?;
    }
    Ok(pools)
}

fn valid_ring(cluster: &KVCluster, nodes: usize) -> Result<(u8, u32), InvalidSpec> {
    let spec = &cluster.spec;
    let (factor, partitions) = (spec.replication_factor, spec.partitions);
    in_range("replicationFactor", factor, 1, 9, "from 1 to 9")?;
    in_range(
        "partitions",
        partitions,
        1,
        MAX_PARTITIONS,
        "a power of two from 1 to 16384",
    )?;
    let (factor_u8, partitions_u32) = (
        u8::try_from(factor).expect("checked to be from 1 to 9"),
        u32::try_from(partitions).expect("checked to be positive"),
    );
    if !partitions_u32.is_power_of_two() {
        return Err(InvalidSpec::Number {
            field: "partitions",
            value: i64::from(partitions),
            expected: "a power of two from 1 to 16384",
        });
    }
    if nodes < usize::from(factor_u8) {
        return Err(InvalidSpec::TooFewNodes { factor, nodes });
    }
    if nodes > MAX_NODES {
        return Err(InvalidSpec::Number {
            field: "pools[].nodes",
            value: i64::try_from(nodes).unwrap_or(i64::MAX),
            expected: "at most 1024 in all pools together",
        });
    }
    Ok((factor_u8, partitions_u32))
}

fn in_range(
    field: &'static str,
    value: i32,
    least: i32,
    most: i32,
    expected: &'static str,
) -> Result<(), InvalidSpec> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(InvalidSpec::Number {
        field,
        value: i64::from(value),
        expected,
    })
}

fn seats(cluster: &str, pools: &BTreeMap<String, Pool>) -> BTreeMap<String, NodeSeat> {
    let mut seats = BTreeMap::new();
    for pool in pools.values() {
        let capacity = u32::try_from(pool.capacity).unwrap_or(1);
        for ordinal in 0..pool.nodes {
            let seat = NodeSeat {
                pool: pool.name.clone(),
                ordinal,
                capacity,
            };
            seats.insert(names::node(cluster, &pool.name, ordinal), seat);
        }
    }
    seats
}

/// How many copies a consistency level means.
fn copies(field: &'static str, level: &str, factor: u8) -> Result<usize, InvalidSpec> {
    let factor = usize::from(factor);
    match level {
        "one" => Ok(1),
        "quorum" | "local_quorum" => Ok(factor / 2 + 1),
        "all" => Ok(factor),
        number => number
            .parse()
            .ok()
            .filter(|copies| (1..=factor).contains(copies))
            .ok_or_else(|| InvalidSpec::Consistency {
                field,
                value: level.to_owned(),
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn refused(change: impl FnOnce(&mut KVCluster)) -> InvalidSpec {
        let mut cluster = fixtures::cluster(3);
        change(&mut cluster);
        validate(&cluster, &fixtures::defaults()).unwrap_err()
    }

    #[test]
    fn a_minimal_cluster_gets_all_defaults() {
        let cluster = validate(&fixtures::cluster(3), &fixtures::defaults()).unwrap();
        assert_eq!(
            (
                cluster.replication_factor,
                cluster.partitions,
                cluster.quorum
            ),
            (3, 256, 2)
        );
        let nodes: Vec<&str> = cluster.nodes.keys().map(String::as_str).collect();
        assert_eq!(
            nodes,
            ["orders-default-0", "orders-default-1", "orders-default-2"]
        );
        assert_eq!(cluster.default_image, "node:1");
        assert!(cluster.keeps_data());
    }

    #[test]
    fn the_scaled_count_overrides_the_only_pool() {
        let mut cluster = fixtures::cluster(3);
        cluster.spec.nodes = Some(5);
        assert_eq!(
            validate(&cluster, &fixtures::defaults())
                .unwrap()
                .nodes
                .len(),
            5
        );
    }

    #[test]
    fn the_stricter_of_read_and_write_is_the_default_quorum() {
        let mut cluster = fixtures::cluster(3);
        cluster.spec.consistency = Consistency {
            read: "one".into(),
            write: "3".into(),
        };
        assert_eq!(validate(&cluster, &fixtures::defaults()).unwrap().quorum, 3);
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused() {
        assert_eq!(
            refused(|c| c.spec.pools[0].nodes = 2),
            InvalidSpec::TooFewNodes {
                factor: 3,
                nodes: 2
            }
        );
        assert!(matches!(
            refused(|c| c.spec.partitions = 100),
            InvalidSpec::Number { .. }
        ));
        assert!(matches!(
            refused(|c| c.spec.partitions = -4),
            InvalidSpec::Number { .. }
        ));
        assert!(matches!(
            refused(|c| c.spec.consistency.write = "4".into()),
            InvalidSpec::Consistency { field: "write", .. }
        ));
        assert!(matches!(
            refused(|c| c.metadata.name = Some("x".repeat(37))),
            InvalidSpec::Name { max: 36, .. }
        ));
        assert_eq!(
            refused(|c| c.spec.pools.push(c.spec.pools[0].clone())),
            InvalidSpec::DuplicatePool("default".into())
        );
        assert_eq!(refused(|c| c.metadata.uid = None), InvalidSpec::Incomplete);
    }

    #[test]
    fn a_node_beyond_the_count_still_has_its_seat() {
        let cluster = validate(&fixtures::cluster(3), &fixtures::defaults()).unwrap();
        let seat = cluster.seat_of("orders-default-7").unwrap();
        assert_eq!((seat.pool.as_str(), seat.ordinal), ("default", 7));
        for foreign in [
            "orders-other-0",
            "others-default-0",
            "orders-default-x",
            "orders",
        ] {
            assert_eq!(cluster.seat_of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn promises_rest_on_the_smaller_quorum_of_both_numbers_of_copies() {
        let rules = |read: &str, write: &str, factor| {
            let mut cluster = fixtures::cluster(5);
            cluster.spec.consistency = Consistency {
                read: read.into(),
                write: write.into(),
            };
            let cluster = validate(&cluster, &fixtures::defaults()).unwrap();
            let rules = cluster.rules(factor);
            (rules.read_min, rules.write_min)
        };
        assert_eq!(rules("quorum", "quorum", 3), (2, 2));
        assert_eq!(rules("quorum", "quorum", 5), (2, 2), "three copies to be");
        assert_eq!(rules("one", "all", 3), (1, 3));
        assert_eq!(rules("one", "one", 3), (2, 2), "nothing was promised");
    }

    #[test]
    fn what_says_how_and_when_to_move_is_read() {
        let mut cluster = fixtures::cluster(3);
        let disk = "00000000-0000-0000-0000-000000000007";
        let notes = [
            (names::APPROVE_ANNOTATION, "1234abcd".to_owned()),
            (names::DESTROYED_ANNOTATION, format!("{disk}, ")),
        ];
        let notes = notes.map(|(key, value)| (key.to_owned(), value));
        cluster.metadata.annotations = Some(BTreeMap::from(notes));
        let valid = validate(&cluster, &fixtures::defaults()).unwrap();
        assert_eq!(valid.bytes_per_second, 50 << 20);
        assert_eq!(valid.replace_after, Duration::from_secs(900));
        assert_eq!(valid.approved.as_deref(), Some("1234abcd"));
        assert_eq!(valid.destroyed.len(), 1);
        for (key, value) in [("rate", "0"), ("after", "soon"), ("disk", "seven")] {
            let refused = refused(|c| match key {
                "rate" => c.spec.rebalance.max_bytes_per_second = value.into(),
                "after" => c.spec.replace_after = value.into(),
                _ => {
                    let note = (names::DESTROYED_ANNOTATION.to_owned(), value.to_owned());
                    c.metadata.annotations = Some(BTreeMap::from([note]));
                }
            });
            assert!(matches!(refused, InvalidSpec::Text { .. }), "{key}");
        }
    }

    #[test]
    fn an_image_is_needed_from_somewhere() {
        let defaults = NodeDefaults {
            image: None,
            ..fixtures::defaults()
        };
        assert_eq!(
            validate(&fixtures::cluster(3), &defaults),
            Err(InvalidSpec::NoImage)
        );
    }
}
