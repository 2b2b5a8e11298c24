//! The program itself: its command line, its signals, its data over restarts.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use annulus_node::Addresses;
use annulus_proto::admin::v1 as pb;
use annulus_proto::admin::v1::admin_client::AdminClient;
use annulus_ring::{HashSeed, Node, PartitionCount, ReplicationFactor, found};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use uuid::Uuid;

use crate::cluster::{self, SOON, until};

/// A node in a process of its own; killed when dropped.
pub(crate) struct Process {
    child: Child,
    addresses: Addresses,
    config: PathBuf,
    dir: tempfile::TempDir,
}

impl Process {
    /// Starts a new node, with these lines added to its configuration, and waits until it is alive.
    pub(crate) async fn start(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Self::start_in(dir, &data, more).await
    }

    /// The same, with its data in that directory.
    pub(crate) async fn start_on(data: PathBuf, more: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &data, more).await
    }

    /// What restarts processes that end.
    pub(crate) fn start_again_if_ended(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            self.child = spawn(&self.config);
        }
    }

    async fn start_in(dir: tempfile::TempDir, data: &Path, more: &str) -> Self {
        std::fs::write(dir.path().join("key"), "ab".repeat(32)).unwrap();
        let addresses = free_addresses();
        let Addresses {
            grpc,
            http,
            peer,
            admin,
        } = addresses;
        let key = dir.path().join("key");
        let config = dir.path().join("node.yaml");
        let yaml = format!(
            "name: node-0\ndata_dir: '{}'\ncontext_key_file: '{}'\n\
             listen: {{grpc: \"{grpc}\", http: \"{http}\", peer: \"{peer}\", admin: \"{admin}\"}}\n\
             {more}\n",
            data.display(),
            key.display()
        );
        std::fs::write(&config, yaml).unwrap();
        let child = spawn(&config);
        let process = Self {
            child,
            addresses,
            config,
            dir,
        };
        process.until_alive().await;
        process
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Makes it the only node of a ring, and waits until it serves.
    pub(crate) async fn found(&self) {
        found_ring(&[self]).await;
    }

    async fn member(&self, number: usize) -> Node {
        let status = self.status().await;
        let id = status["node_id"].as_str().unwrap().parse().unwrap();
        cluster::member(number, id, self.addresses)
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        assert!(!self.signal(Signal::SIGKILL).await.success());
    }

    /// SIGTERM: it must drain and end with success.
    pub(crate) async fn terminate(&mut self) {
        assert!(self.signal(Signal::SIGTERM).await.success());
    }

    async fn signal(&mut self, signal: Signal) -> ExitStatus {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill(Pid::from_raw(id), signal).unwrap();
        timeout(SOON, self.child.wait())
            .await
            .expect("it ends")
            .unwrap()
    }

    pub(crate) async fn restart(&mut self) {
        self.child = spawn(&self.config);
        self.until_alive().await;
    }

    async fn until_alive(&self) {
        let url = format!("http://{}/livez", self.addresses.admin);
        until(async || reqwest::get(&url).await.is_ok()).await;
    }

    pub(crate) async fn until_ready(&self) {
        let url = format!("http://{}/readyz", self.addresses.admin);
        until(async || {
            reqwest::get(&url)
                .await
                .is_ok_and(|answer| answer.status() == 200)
        })
        .await;
    }

    pub(crate) async fn status(&self) -> Value {
        let url = format!("http://{}/v1/status", self.addresses.admin);
        reqwest::get(url).await.unwrap().json().await.unwrap()
    }

    pub(crate) fn data(&self, key: &str) -> String {
        format!("http://{}/v1/data/{key}", self.addresses.http)
    }
}

/// Makes a ring of these nodes, each the owner of every key, and waits until they serve.
pub(crate) async fn found_ring(nodes: &[&Process]) {
    let mut members = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        members.push(node.member(number).await);
    }
    members.sort_by_key(|member| member.id);
    let copies = ReplicationFactor::new(u8::try_from(nodes.len()).unwrap()).unwrap();
    let partitions = PartitionCount::new(16).unwrap();
    let placement = found(
        Uuid::from_u128(9),
        HashSeed(7),
        partitions,
        copies,
        &members,
    );
    let placement = placement.unwrap();
    for node in nodes {
        let client = AdminClient::connect(format!("http://{}", node.addresses.admin)).await;
        let placement = Some((&placement).into());
        let request = pb::InstallPlacementRequest { placement };
        client.unwrap().install_placement(request).await.unwrap();
    }
    for node in nodes {
        node.until_ready().await;
    }
}

pub(crate) fn spawn(config: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_annulus-node"))
        .arg("--config")
        .arg(config)
        .env("ANNULUS_NODE_LOG_LEVEL", "warn")
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Ports that were free a moment ago.
pub(crate) fn free_addresses() -> Addresses {
    let sockets = [(); 4].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [grpc, http, peer, admin] = sockets.map(|socket| socket.local_addr().unwrap());
    Addresses {
        grpc,
        http,
        peer,
        admin,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_and_identity_outlive_orderly_and_sudden_ends() {
    let mut node = Process::start("").await;
    node.found().await;
    let client = reqwest::Client::new();
    let before = node.status().await;
    for (generation, end) in [
        (2, Signal::SIGTERM),
        (3, Signal::SIGKILL),
        (4, Signal::SIGINT),
    ] {
        let body = json!({"value": generation}).to_string();
        let key = format!("k{generation}");
        let written = client.put(node.data(&key)).body(body).send().await.unwrap();
        assert_eq!(written.status(), 200);
        let ended = node.signal(end).await;
        assert_eq!(ended.success(), end != Signal::SIGKILL, "{ended}");
        node.restart().await;
        node.until_ready().await;
        let status = node.status().await;
        assert_eq!(status["node_id"], before["node_id"]);
        assert_eq!(
            (&status["generation"], &status["epoch"]),
            (&json!(generation), &json!(1))
        );
        for earlier in 2..=generation {
            let found = client
                .get(node.data(&format!("k{earlier}")))
                .send()
                .await
                .unwrap();
            assert_eq!(found.status(), 200, "k{earlier} after {end}");
            assert_eq!(found.json::<Value>().await.unwrap()["value"], earlier);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_can_not_open_the_same_data() {
    let node = Process::start("").await;
    let other = node.dir.path().join("other.yaml");
    let text = std::fs::read_to_string(&node.config).unwrap();
    std::fs::write(&other, text.replace("listen:", "#")).unwrap();
    let any = ["grpc", "http", "peer", "admin"].map(|port| format!("--listen-{port}=127.0.0.1:0"));
    let command = Command::new(env!("CARGO_BIN_EXE_annulus-node"))
        .arg("--config")
        .arg(&other)
        .args(any)
        .stderr(Stdio::piped())
        .output();
    let ended = timeout(SOON, command).await.unwrap().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_named_and_nothing_starts() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.yaml");
    for (yaml, named) in [
        (
            "{name: a, data_dir: d, context_key_file: k, keyspace: {}}",
            "keyspace",
        ),
        ("{name: a, data_dir: d}", "context_key_file"),
        (
            "{name: a, data_dir: d, context_key_file: /nowhere}",
            "/nowhere",
        ),
    ] {
        std::fs::write(&file, yaml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_annulus-node"));
        let command = command
            .arg("--config")
            .arg(&file)
            .current_dir(dir.path())
            .output();
        let ended = timeout(SOON, command).await.unwrap().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(named), "{yaml}: {said}");
        assert!(
            !dir.path().join("d").exists(),
            "nothing is made before all is known to be good"
        );
    }
}
