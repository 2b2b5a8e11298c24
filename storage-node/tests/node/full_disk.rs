//! A disk filled to its last byte: clear errors, nothing acknowledged is lost, and the node goes on when space returns.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::cluster::until;
use crate::process::Process;

const DISK_BYTES: u64 = 96 << 20;

/// Values end with 40 % of this small disk left, which a second of writes does not fill.
const CONFIG: &str = "storage: {memtable_bytes: 1048576, block_cache_bytes: 1048576, \
     free_space: {warn_percent: 60, background_percent: 50, values_percent: 40}}";

/// A file system of its own, in memory. Unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where nobody may mount: the steps are tested without a real disk in `storage::free_space`.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(directory.path())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(directory))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What is left mounted goes with the machine; there is nobody to tell.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Takes up space until so many bytes are written, or there is none.
fn fill(path: &Path, bytes: u64) {
    let mut file = fs::File::create(path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        let chunk = vec![7; size];
        while file.metadata().unwrap().len() < bytes && file.write_all(&chunk).is_ok() {}
    }
}

fn value(number: u32) -> String {
    format!("{number} ").repeat(2000)
}

struct Client<'a> {
    node: &'a Process,
    http: reqwest::Client,
}

impl<'a> Client<'a> {
    fn of(node: &'a Process, http: &reqwest::Client) -> Self {
        let http = http.clone();
        Self { node, http }
    }

    async fn put(&self, number: u32) -> Option<(u16, Value)> {
        let body = json!({"value": value(number)}).to_string();
        let url = self.node.data(&format!("k{number}"));
        let answer = self.http.put(url).body(body).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.ok()?))
    }

    async fn delete(&self, number: u32) -> bool {
        let url = self.node.data(&format!("k{number}"));
        let answer = self.http.delete(url).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    async fn get(&self, number: u32) -> Option<(u16, Value)> {
        let url = self.node.data(&format!("k{number}"));
        let answer = self.http.get(url).send().await.ok()?;
        let status = answer.status().as_u16();
        let mut body: Value = answer.json().await.unwrap_or_default();
        Some((status, body["value"].take()))
    }
}

fn assert_disk_full((status, body): &(u16, Value)) {
    assert_eq!(body["error"]["code"], "disk_full", "{status} {body}");
    assert_eq!(body["error"]["outcome"], "rejected", "{status} {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_filled_to_its_last_byte_loses_nothing_and_serves_again_with_space() {
    let Some(disk) = SmallDisk::mount() else {
        println!("nobody may mount a file system here");
        return;
    };
    fill(&disk.file("ballast"), DISK_BYTES * 3 / 10);
    let mut node = Process::start_on(disk.file("data"), CONFIG).await;
    node.found().await;
    let http = reqwest::Client::new();
    let mut acknowledged = BTreeSet::new();
    let refusal = loop {
        let number = u32::try_from(acknowledged.len()).unwrap();
        let answer = Client::of(&node, &http)
            .put(number)
            .await
            .expect("it is up");
        if answer.0 != 200 {
            break answer;
        }
        acknowledged.insert(number);
    };
    assert_disk_full(&refusal);
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    assert!(Client::of(&node, &http).delete(0).await, "deletes go on");
    acknowledged.remove(&0);
    fill(&disk.file("filler"), u64::MAX);
    if let Some(answer) = Client::of(&node, &http).put(1_000_000).await {
        assert_disk_full(&answer);
    }
    let mut unknown = BTreeSet::new();
    for number in 1..50 {
        acknowledged.remove(&number);
        if !Client::of(&node, &http).delete(number).await {
            unknown.insert(number);
        }
    }
    fs::remove_file(disk.file("filler")).unwrap();
    fs::remove_file(disk.file("ballast")).unwrap();
    until(async || {
        node.start_again_if_ended();
        let answer = Client::of(&node, &http).put(2_000_000).await;
        answer.is_some_and(|(status, _)| status == 200)
    })
    .await;
    for number in acknowledged {
        let found = Client::of(&node, &http).get(number).await;
        assert_eq!(found, Some((200, value(number).into())), "k{number}");
    }
    for number in (0..50).filter(|number| !unknown.contains(number)) {
        let (status, _) = Client::of(&node, &http).get(number).await.unwrap();
        assert_eq!(status, 404, "the delete of k{number} was acknowledged");
    }
}
