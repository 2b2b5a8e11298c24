//! Three nodes in processes of their own, each the owner of every key, and what restarts them: as under Kubernetes, a
//! process that ends is started again.

use std::path::{Path, PathBuf};

use annulus_node::Addresses;
use annulus_proto::admin::v1 as pb;
use annulus_proto::admin::v1::admin_client::AdminClient;
use annulus_ring::{HashSeed, PartitionCount, ReplicationFactor, found};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::Child;
use tokio::time::timeout;
use uuid::Uuid;

use crate::cluster::{self, SOON, until};
use crate::process::{free_addresses, spawn};

/// Small memory, short requests, so that little is needed to fill files and to wait for. The disk is the machine's,
/// however full that is.
const CONFIG: &str = "storage: {memtable_bytes: 1048576, block_cache_bytes: 1048576, rebuild: {retry: 100ms}, \
     free_space: {warn_percent: 4, background_percent: 3, values_percent: 2, reserve_percent: 1}}\n\
     limits: {max_request_timeout: 2s, default_request_timeout: 1s}";

struct Member {
    child: Child,
    addresses: Addresses,
    config: PathBuf,
    data: PathBuf,
}

/// See the module. Killed when dropped.
pub(crate) struct Trio {
    members: Vec<Member>,
    pub(crate) http: reqwest::Client,
    _dir: tempfile::TempDir,
}

impl Trio {
    /// Starts them as one new ring and waits until all serve.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "ab".repeat(32)).unwrap();
        let members = (0..3).map(|number| Member::start(dir.path(), number));
        let trio = Self {
            members: members.collect(),
            http: reqwest::Client::new(),
            _dir: dir,
        };
        let mut nodes = Vec::new();
        for (number, member) in trio.members.iter().enumerate() {
            trio.until_answers(number, "livez").await;
            let status = trio.admin(number, "v1/status").await.unwrap();
            let id = status["node_id"].as_str().unwrap().parse().unwrap();
            nodes.push(cluster::member(number, id, member.addresses));
        }
        nodes.sort_by_key(|node| node.id);
        let (partitions, copies) = (PartitionCount::new(16), ReplicationFactor::new(3));
        let placement = found(
            Uuid::from_u128(9),
            HashSeed(7),
            partitions.unwrap(),
            copies.unwrap(),
            &nodes,
        );
        let placement = placement.unwrap();
        for number in 0..3 {
            let request = pb::InstallPlacementRequest {
                placement: Some((&placement).into()),
            };
            let mut admin = trio.admin_client(number).await.unwrap();
            admin.install_placement(request).await.unwrap();
        }
        for number in 0..3 {
            trio.until_answers(number, "readyz").await;
        }
        trio
    }

    pub(crate) fn data_dir(&self, node: usize) -> &Path {
        &self.members[node].data
    }

    /// Ends a process with this signal, and waits for its end.
    pub(crate) async fn end(&mut self, node: usize, signal: Signal) {
        let child = &mut self.members[node].child;
        let id = i32::try_from(child.id().unwrap()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
        let ended = timeout(SOON, child.wait()).await;
        ended.expect("it ends").unwrap();
    }

    /// Starts what has ended.
    pub(crate) fn look_after(&mut self) {
        for member in &mut self.members {
            if member.child.try_wait().unwrap().is_some() {
                member.child = spawn(&member.config);
            }
        }
    }

    /// Writes a key; whether that was acknowledged.
    pub(crate) async fn put(&self, node: usize, key: &str, value: &str, w: &str) -> bool {
        let url = format!("{}?w={w}", self.url(node, key));
        let body = json!({"value": value}).to_string();
        let answer = self.http.put(url).body(body).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// Reads a key. Status, and the value if there is one; `None`: no answer came.
    pub(crate) async fn get(&self, node: usize, key: &str, r: &str) -> Option<(u16, Value)> {
        let url = format!("{}?r={r}", self.url(node, key));
        let answer = self.http.get(url).send().await.ok()?;
        let status = answer.status().as_u16();
        let mut body: Value = answer.json().await.ok()?;
        Some((status, body["value"].take()))
    }

    /// A node's vnodes; `None` while it does not answer.
    pub(crate) async fn vnodes(&self, node: usize) -> Option<Vec<pb::Vnode>> {
        let mut admin = self.admin_client(node).await?;
        let vnodes = admin.list_vnodes(pb::ListVnodesRequest {}).await.ok()?;
        Some(vnodes.into_inner().vnodes)
    }

    /// Whether all of a node's vnodes serve and none is known to be damaged.
    pub(crate) async fn is_whole(&self, node: usize) -> bool {
        let vnodes = self.vnodes(node).await.unwrap_or_default();
        vnodes.len() == 16 && vnodes.iter().all(|vnode| vnode.serving && !vnode.damaged)
    }

    fn url(&self, node: usize, key: &str) -> String {
        format!("http://{}/v1/data/{key}", self.members[node].addresses.http)
    }

    async fn admin(&self, node: usize, path: &str) -> Option<Value> {
        let url = format!("http://{}/{path}", self.members[node].addresses.admin);
        self.http.get(url).send().await.ok()?.json().await.ok()
    }

    async fn admin_client(&self, node: usize) -> Option<AdminClient<tonic::transport::Channel>> {
        let address = self.members[node].addresses.admin;
        let connected = AdminClient::connect(format!("http://{address}"));
        connected.await.ok()
    }

    async fn until_answers(&self, node: usize, probe: &str) {
        let url = format!("http://{}/{probe}", self.members[node].addresses.admin);
        let ok = async || {
            let answer = self.http.get(&url).send().await;
            answer.is_ok_and(|answer| answer.status() == 200)
        };
        until(ok).await;
    }
}

impl Member {
    fn start(dir: &Path, number: usize) -> Self {
        let addresses = free_addresses();
        let Addresses {
            grpc,
            http,
            peer,
            admin,
        } = addresses;
        let data = dir.join(format!("data-{number}"));
        let config = dir.join(format!("node-{number}.yaml"));
        let yaml = format!(
            "name: node-{number}\ndata_dir: '{}'\ncontext_key_file: '{}'\n\
             listen: {{grpc: \"{grpc}\", http: \"{http}\", peer: \"{peer}\", admin: \"{admin}\"}}\n\
             {CONFIG}\n",
            data.display(),
            dir.join("key").display()
        );
        std::fs::write(&config, yaml).unwrap();
        Self {
            child: spawn(&config),
            addresses,
            config,
            data,
        }
    }
}
