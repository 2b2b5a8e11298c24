//! Where a local ring keeps its files, where its nodes listen, and what it tells each node. Pure.

use std::path::{Path, PathBuf};

use annulus_ring::{NodeAddresses, Zone};
use serde::Serialize;

/// The most nodes of a local ring.
pub(crate) const MAX_NODES: u16 = 64;

/// Ports of two nodes are this far apart.
const PORTS_APART: u16 = 100;

/// The ring's directory and ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    dir: PathBuf,
    base_port: u16,
}

/// A node's place among the nodes, counted from 0. People see its [`number`].
pub(crate) type NodeOrdinal = u16;

/// What is written to a node's configuration file.
#[derive(Debug, Serialize)]
pub(crate) struct NodeConfig {
    name: String,
    data_dir: PathBuf,
    context_key_file: PathBuf,
    listen: Listen,
}

#[derive(Debug, Serialize)]
struct Listen {
    grpc: String,
    http: String,
    peer: String,
    admin: String,
}

impl Layout {
    /// Checks that `nodes` nodes have ports from `base_port` on.
    pub(crate) fn new(dir: &Path, base_port: u16, nodes: u16) -> Result<Self, String> {
        let last = u32::from(base_port) + u32::from(PORTS_APART) * u32::from(nodes) + 3;
        if last > u32::from(u16::MAX) {
            return Err(format!(
                "{nodes} nodes from port {base_port} on would need port {last}; \
                 give a lower --base-port"
            ));
        }
        Ok(Self {
            dir: dir.to_owned(),
            base_port,
        })
    }

    /// The ring's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The cluster's secret for contexts.
    pub(crate) fn context_key_file(&self) -> PathBuf {
        self.dir.join("context-key")
    }

    /// The placement.
    pub(crate) fn ring_file(&self) -> PathBuf {
        self.dir.join("ring.json")
    }

    /// The nodes that it is to have.
    pub(crate) fn wanted_file(&self) -> PathBuf {
        self.dir.join("wanted.json")
    }

    /// The nodes that it had when it was last as wanted.
    pub(crate) fn reached_file(&self) -> PathBuf {
        self.dir.join("reached.json")
    }

    /// Held while a ring runs here.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Everything of one node.
    pub(crate) fn node_dir(&self, node: NodeOrdinal) -> PathBuf {
        self.dir.join(node_name(node))
    }

    /// The process id of a running node.
    pub(crate) fn pid_file(&self, node: NodeOrdinal) -> PathBuf {
        self.node_dir(node).join("pid")
    }

    /// What a node says.
    pub(crate) fn log_file(&self, node: NodeOrdinal) -> PathBuf {
        self.node_dir(node).join("log")
    }

    /// A node's configuration.
    pub(crate) fn config_file(&self, node: NodeOrdinal) -> PathBuf {
        self.node_dir(node).join("config.yaml")
    }

    /// The content of that file.
    pub(crate) fn config(&self, node: NodeOrdinal) -> NodeConfig {
        let NodeAddresses {
            grpc,
            http,
            peer,
            admin,
        } = self.addresses(node);
        NodeConfig {
            name: node_name(node),
            data_dir: self.node_dir(node).join("data"),
            context_key_file: self.context_key_file(),
            listen: Listen {
                grpc,
                http,
                peer,
                admin,
            },
        }
    }

    /// Whether a node's ports exist.
    pub(crate) fn has_ports(&self, node: NodeOrdinal) -> bool {
        Self::new(&self.dir, self.base_port, number(node)).is_ok()
    }

    /// A node's ports: client gRPC, client HTTP, peer, admin.
    pub(crate) fn ports(&self, node: NodeOrdinal) -> [u16; 4] {
        let first = self.base_port + PORTS_APART * number(node);
        [first, first + 1, first + 2, first + 3]
    }

    /// Where a node listens.
    pub(crate) fn addresses(&self, node: NodeOrdinal) -> NodeAddresses {
        let [grpc, http, peer, admin] = self.ports(node).map(|port| format!("127.0.0.1:{port}"));
        NodeAddresses {
            peer,
            grpc,
            http,
            admin,
        }
    }
}

/// A node's number, counted from 1: in its name and in its ports.
fn number(node: NodeOrdinal) -> u16 {
    node + 1
}

/// A node's name.
pub(crate) fn node_name(node: NodeOrdinal) -> String {
    format!("node-{}", number(node))
}

/// The place of a node with this name, if it is one of a local ring's.
pub(crate) fn ordinal_of(name: &str) -> Option<NodeOrdinal> {
    let number: u16 = name.strip_prefix("node-")?.parse().ok()?;
    (1..=MAX_NODES).contains(&number).then(|| number - 1)
}

/// A node's zone, where nodes are spread over `zones` zones in turn.
pub(crate) fn zone(node: NodeOrdinal, zones: u16) -> Zone {
    Zone(format!("z{}", node % zones + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_numbered_from_one_and_node_i_s_ports_are_moved_up_by_i_hundred() {
        let layout = Layout::new(Path::new("/d"), 9600, 3).unwrap();
        assert_eq!(layout.ports(0), [9700, 9701, 9702, 9703]);
        assert_eq!(layout.ports(2), [9900, 9901, 9902, 9903]);
        assert_eq!(layout.addresses(0).admin, "127.0.0.1:9703");
        assert_eq!(layout.pid_file(0), Path::new("/d/node-1/pid"));
        assert_eq!(layout.config(2).name, "node-3");
        assert_eq!(ordinal_of("node-3"), Some(2));
        for other in ["node-0", "node-65", "node-x", "orders-1"] {
            assert_eq!(ordinal_of(other), None, "{other}");
        }
    }

    #[test]
    fn ports_that_do_not_exist_are_refused() {
        assert!(Layout::new(Path::new("/d"), 65_232, 3).is_ok());
        assert!(Layout::new(Path::new("/d"), 65_233, 3).is_err());
    }

    #[test]
    fn zones_take_turns() {
        let zones: Vec<String> = (0..4).map(|node| zone(node, 3).0).collect();
        assert_eq!(zones, ["z1", "z2", "z3", "z1"]);
    }
}
