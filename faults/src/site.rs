//! Where a run's nodes are: their addresses, directories and configurations.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use annulus_ring::NodeAddresses;
use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::command::run;
use crate::fault::NodeOrdinal;
use crate::isolation::Isolation;
use crate::network;

/// A keyspace whose values live for a few seconds.
pub(crate) const SHORT_LIVED: &str = "short";

/// Seconds that they live.
pub(crate) const SHORT_LIVED_TTL: i64 = 5;

/// How nodes keep their data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Engine {
    /// On disk.
    Rocksdb,
    /// In memory: every kill loses everything. A run with it has to fail.
    Memory,
}

/// How the nodes of a run are set up.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How they keep their data.
    pub(crate) engine: Engine,
    /// Whether they keep writes for others that are away.
    pub(crate) keeps_hints: bool,
    /// Whether they scrub as often as can be; seldom otherwise.
    pub(crate) scrubs: bool,
    /// Whether memtables and caches are so small that a short run has tables on disk and reads go there.
    pub(crate) small_buffers: bool,
    /// Size of a node's own file system.
    pub(crate) disk_mib: u64,
    /// Nodes that run and are no members at first: the last ones.
    pub(crate) spares: usize,
}

impl Settings {
    /// As people run nodes.
    pub(crate) fn usual(engine: Engine) -> Self {
        Self {
            engine,
            keeps_hints: true,
            scrubs: false,
            small_buffers: false,
            disk_mib: 1024,
            spares: 0,
        }
    }
}

/// The places of a run.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    dir: PathBuf,
    addresses: Vec<NodeAddresses>,
    is_isolated: bool,
}

impl Site {
    /// Makes directories, file systems and configurations for so many nodes in `dir`.
    pub(crate) fn make(
        dir: &Path,
        isolation: &Isolation,
        nodes: usize,
        settings: &Settings,
    ) -> Result<Self> {
        let is_isolated = *isolation == Isolation::Namespaces;
        let addresses = if is_isolated {
            (0..nodes)
                .map(|node| addresses(&network::address(node), 9600))
                .collect()
        } else {
            let first = free_ports(nodes)?;
            (0..nodes)
                .map(|node| addresses("127.0.0.1", port(first, node)))
                .collect()
        };
        let site = Self {
            dir: dir.to_owned(),
            addresses,
            is_isolated,
        };
        let secret: [u8; 32] = std::array::from_fn(|at| u8::try_from(at).expect("32 at most"));
        std::fs::write(site.context_key_file(), secret).context("write the contexts' secret")?;
        for node in 0..nodes {
            site.make_node(node, settings)?;
        }
        Ok(site)
    }

    fn make_node(&self, node: NodeOrdinal, settings: &Settings) -> Result<()> {
        let data = self.data_dir(node);
        std::fs::create_dir_all(&data).with_context(|| format!("make {}", data.display()))?;
        if self.is_isolated {
            let size = format!("size={}m", settings.disk_mib);
            run(
                "mount",
                &[
                    "-t",
                    "tmpfs",
                    "-o",
                    &size,
                    "tmpfs",
                    &data.display().to_string(),
                ],
            )?;
        }
        crate::wall_clock::set_offset(&self.clock_file(node), 0)?;
        self.configure(node, settings)
    }

    /// Writes a node's configuration, for its next start.
    pub(crate) fn configure(&self, node: NodeOrdinal, settings: &Settings) -> Result<()> {
        let data = self.data_dir(node);
        let NodeAddresses {
            grpc,
            http,
            peer,
            admin,
        } = &self.addresses[node];
        let engine = match settings.engine {
            Engine::Rocksdb => "rocksdb",
            Engine::Memory => "memory",
        };
        let mut config = json!({
            "name": format!("node-{}", node + 1),
            "data_dir": data,
            "context_key_file": self.context_key_file(),
            "listen": {"grpc": grpc, "http": http, "peer": peer, "admin": admin},
            "storage": {"engine": engine},
            // A node that lost its copies waits so long before it fills them again.
            "limits": {"max_request_timeout": "3s"},
            "keyspaces": {SHORT_LIVED: {"default_ttl": SHORT_LIVED_TTL}},
            "drain_timeout": "5s",
        });
        if settings.small_buffers {
            config["storage"]["memtable_bytes"] = json!(1 << 20);
            config["storage"]["block_cache_bytes"] = json!(1 << 20);
        }
        if !settings.keeps_hints {
            config["hints"] = json!({"max_bytes": 0});
        }
        if settings.scrubs {
            config["anti_entropy"] = json!({"scrub_interval": "60s"});
        }
        let yaml = serde_yaml::to_string(&config).context("write a configuration")?;
        std::fs::write(self.config_file(node), yaml).context("write a configuration")
    }

    /// Everything of the run.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether nodes have networks and file systems of their own.
    pub(crate) fn is_isolated(&self) -> bool {
        self.is_isolated
    }

    /// Where a node listens.
    pub(crate) fn addresses(&self, node: NodeOrdinal) -> &NodeAddresses {
        &self.addresses[node]
    }

    fn node_dir(&self, node: NodeOrdinal) -> PathBuf {
        self.dir.join(format!("node-{}", node + 1))
    }

    /// What a node must keep over a restart.
    pub(crate) fn data_dir(&self, node: NodeOrdinal) -> PathBuf {
        self.node_dir(node).join("data")
    }

    /// What a node says.
    pub(crate) fn log_file(&self, node: NodeOrdinal) -> PathBuf {
        self.node_dir(node).join("log")
    }

    /// How far a node's wall clock is off.
    pub(crate) fn clock_file(&self, node: NodeOrdinal) -> PathBuf {
        self.node_dir(node).join("clock")
    }

    /// A node's configuration.
    pub(crate) fn config_file(&self, node: NodeOrdinal) -> PathBuf {
        self.node_dir(node).join("config.yaml")
    }

    fn context_key_file(&self) -> PathBuf {
        self.dir.join("context-key")
    }
}

fn addresses(host: &str, first: u16) -> NodeAddresses {
    let at = |port: u16| format!("{host}:{}", first + port);
    NodeAddresses {
        grpc: at(0),
        http: at(1),
        peer: at(2),
        admin: at(3),
    }
}

fn port(first: u16, node: NodeOrdinal) -> u16 {
    first + 10 * u16::try_from(node).expect("a few nodes")
}

/// Ports on loopback that nobody uses, below those that the system gives out by itself.
fn free_ports(nodes: usize) -> Result<u16> {
    let start = u16::try_from(std::process::id() % 100).expect("below 100") * 200 + 10_000;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let all_free =
        |first: &u16| (0..nodes).all(|node| (0..4).all(|more| is_free(port(*first, node) + more)));
    match (start..30_000).step_by(200).find(all_free) {
        Some(first) => Ok(first),
        None => bail!("no {nodes} free ranges of ports on loopback"),
    }
}
