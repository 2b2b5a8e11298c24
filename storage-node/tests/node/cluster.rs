//! A ring of nodes in this process, and the clients that ask them.

use std::path::Path;
use std::time::Duration;

use annulus_node::config::{Config, EngineKind};
use annulus_node::storage::free_space::FreeSpaceSteps;
use annulus_node::{Addresses, Node};
use annulus_proto::admin::v1::InstallPlacementRequest;
use annulus_proto::admin::v1::admin_client::AdminClient;
use annulus_proto::kv::v1::key_value_client::KeyValueClient;
use annulus_ring::{
    Capacity, HashSeed, NodeAddresses, NodeId, NodeState, PartitionCount, Placement,
    ReplicationFactor, Zone, found,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tonic::transport::Channel;
use uuid::Uuid;

/// How long anything that must come to pass may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A ring of nodes. Its data goes with it.
pub(crate) struct Cluster {
    nodes: Vec<Option<Node>>,
    addresses: Vec<Addresses>,
    configs: Vec<Config>,
    pub(crate) http: reqwest::Client,
    _dir: tempfile::TempDir,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    /// `null` where there is no body.
    pub(crate) body: Value,
}

/// Writes a configuration's secret and gives the configuration of a node on free ports.
pub(crate) fn config(dir: &Path, name: &str, engine: EngineKind) -> Config {
    let secret = dir.join("context-key");
    std::fs::write(&secret, [7; 32]).unwrap();
    let yaml = format!(
        "{{name: {name}, data_dir: '{}', context_key_file: '{}', drain_timeout: 5s}}",
        dir.join(name).display(),
        secret.display()
    );
    let mut config = Config::parse(&yaml).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    config.listen.grpc = any;
    config.listen.http = any;
    config.listen.peer = any;
    config.listen.admin = any;
    config.storage.engine = engine;
    config.storage.memtable_bytes = 1 << 20;
    config.storage.block_cache_bytes = 1 << 20;
    // The disk is the machine's, however full that is.
    config.storage.free_space = FreeSpaceSteps {
        warn_percent: 4,
        background_percent: 3,
        values_percent: 2,
        reserve_percent: 1,
        ..FreeSpaceSteps::default()
    };
    config
}

impl Cluster {
    /// Starts so many nodes, each the owner of every key (of up to three copies), and waits until all serve.
    pub(crate) async fn start(count: usize, engine: EngineKind) -> Self {
        Self::start_with(count, engine, |_| ()).await
    }

    /// As [`Self::start`], with changes to every node's configuration.
    pub(crate) async fn start_with(
        count: usize,
        engine: EngineKind,
        change: impl Fn(&mut Config),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut nodes, mut configs) = (Vec::new(), Vec::new());
        for number in 0..count {
            let mut config = config(dir.path(), &format!("node-{number}"), engine);
            change(&mut config);
            nodes.push(Node::start(config.clone()).await.unwrap());
            configs.push(config);
        }
        let addresses: Vec<_> = nodes.iter().map(Node::addresses).collect();
        let placement = founding(&nodes);
        let nodes = nodes.into_iter().map(Some).collect();
        let http = reqwest::Client::new();
        let cluster = Self {
            nodes,
            addresses,
            configs,
            http,
            _dir: dir,
        };
        for number in 0..count {
            cluster.install(number, &placement).await;
        }
        for number in 0..count {
            cluster.until_ready(number).await;
        }
        cluster
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn addresses(&self, node: usize) -> Addresses {
        self.addresses[node]
    }

    /// Stops a node in order.
    pub(crate) async fn stop(&mut self, node: usize) {
        self.nodes[node].take().unwrap().drain().await.unwrap();
    }

    /// Starts a node that was stopped, over its data and at its addresses, and waits until it serves.
    pub(crate) async fn restart(&mut self, node: usize) {
        let mut config = self.configs[node].clone();
        let addresses = self.addresses[node];
        config.listen.grpc = addresses.grpc;
        config.listen.http = addresses.http;
        config.listen.peer = addresses.peer;
        config.listen.admin = addresses.admin;
        self.nodes[node] = Some(Node::start(config).await.unwrap());
        self.until_ready(node).await;
    }

    pub(crate) async fn install(&self, node: usize, placement: &Placement) {
        let mut admin = self.admin(node).await;
        let request = InstallPlacementRequest {
            placement: Some(placement.into()),
        };
        admin.install_placement(request).await.unwrap();
    }

    pub(crate) async fn admin(&self, node: usize) -> AdminClient<Channel> {
        AdminClient::connect(format!("http://{}", self.addresses[node].admin))
            .await
            .unwrap()
    }

    pub(crate) async fn grpc(&self, node: usize) -> KeyValueClient<Channel> {
        let client = KeyValueClient::connect(format!("http://{}", self.addresses[node].grpc));
        client.await.unwrap().max_encoding_message_size(usize::MAX)
    }

    async fn until_ready(&self, node: usize) {
        let url = format!("http://{}/readyz", self.addresses[node].admin);
        until(async || self.http.get(&url).send().await.unwrap().status() == 200).await;
    }

    /// Sends a request to a node's client port.
    pub(crate) async fn send(
        &self,
        node: usize,
        method: &str,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let url = format!("http://{}{path}", self.addresses[node].http);
        let method = method.parse().unwrap();
        let answer = self
            .http
            .request(method, url)
            .body(body)
            .send()
            .await
            .unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await.unwrap();
        let body = match &*bytes {
            [] => Value::Null,
            json => serde_json::from_slice(json).unwrap(),
        };
        Answer {
            status,
            headers,
            body,
        }
    }

    pub(crate) async fn get(&self, node: usize, path: &str) -> Answer {
        self.send(node, "GET", path, "").await
    }

    /// Writes bytes under `/kv/…`; blind where the context is `null`.
    pub(crate) async fn put_kv(
        &self,
        node: usize,
        path: &str,
        value: &str,
        context: &Value,
    ) -> Answer {
        let body = json!({"value": STANDARD.encode(value), "context": context});
        self.send(node, "PUT", path, body.to_string()).await
    }
}

impl Answer {
    /// The values of a `/kv/…` answer, in order.
    pub(crate) fn values(&self) -> Vec<String> {
        let values = self.body["values"]
            .as_array()
            .unwrap_or_else(|| panic!("{self:?}"));
        let text = |value: &Value| {
            String::from_utf8(STANDARD.decode(value["value"].as_str().unwrap()).unwrap()).unwrap()
        };
        let mut values: Vec<_> = values.iter().map(text).collect();
        values.sort();
        values
    }

    pub(crate) fn context(&self) -> &Value {
        &self.body["context"]
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }
}

/// The first placement of these nodes.
pub(crate) fn founding(nodes: &[Node]) -> Placement {
    let mut members: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(n, node)| member(n, node.id(), node.addresses()))
        .collect();
    members.sort_by_key(|member| member.id);
    let copies = ReplicationFactor::new(u8::try_from(nodes.len().min(3)).unwrap()).unwrap();
    let partitions = PartitionCount::new(16).unwrap();
    found(
        Uuid::from_u128(9),
        HashSeed(7),
        partitions,
        copies,
        &members,
    )
    .unwrap()
}

/// A node as the placement knows it.
pub(crate) fn member(number: usize, id: NodeId, addresses: Addresses) -> annulus_ring::Node {
    annulus_ring::Node {
        id,
        name: format!("node-{number}"),
        addresses: NodeAddresses {
            peer: addresses.peer.to_string(),
            grpc: addresses.grpc.to_string(),
            http: addresses.http.to_string(),
            admin: addresses.admin.to_string(),
        },
        zone: Zone::from("a"),
        capacity: Capacity::ONE,
        state: NodeState::Active,
    }
}

/// Waits until something is so.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await; // paced: between two looks
        }
    };
    tokio::time::timeout(SOON, waiting)
        .await
        .expect("it does not come to pass");
}
