//! The network between nodes: each in a namespace of its own, all on one bridge, and rules of what gets lost.
//!
//! Cuts and losses are rules in the receiving node's namespace (nftables), rebuilt as a whole whenever they
//! change, so that faults that overlap add up and nothing is left behind. Clients have an address of their own on
//! the bridge, which no cut between nodes concerns.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::command::run;
use crate::fault::{Fault, Kind, NodeOrdinal};

/// Clients' address on the bridge.
const CLIENTS: &str = "10.213.0.254";

/// Names one of the faults that are there at a time.
pub(crate) type FaultNumber = u64;

/// The network of a run.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    active: BTreeMap<FaultNumber, Fault>,
    /// Cut off from all other nodes, beside all faults: while its copies are filled again.
    shut: Option<NodeOrdinal>,
}

/// A node's address.
pub(crate) fn address(node: NodeOrdinal) -> String {
    format!("10.213.0.{}", node + 1)
}

/// Where a node's network namespace is found.
pub(crate) fn namespace(node: NodeOrdinal) -> PathBuf {
    PathBuf::from(format!("/run/netns/node-{}", node + 1))
}

/// Bytes that have passed a node's port, with all headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Towards the node.
    pub(crate) received: u64,
    /// From it.
    pub(crate) sent: u64,
}

/// What has passed a node's port so far, as the kernel counts it at the bridge.
pub(crate) fn traffic(node: NodeOrdinal) -> Result<Traffic> {
    let table = std::fs::read_to_string("/proc/net/dev").context("read /proc/net/dev")?;
    let port = format!("port-{}", node + 1);
    read_traffic(&table, &port).with_context(|| format!("/proc/net/dev does not tell of {port}"))
}

/// What the bridge's side of a pair receives, the node has sent.
fn read_traffic(table: &str, port: &str) -> Option<Traffic> {
    let mut lines = table.lines().map(|line| line.split_whitespace());
    let mut fields = lines.find_map(|mut fields| {
        let name = fields.next()?.strip_suffix(':')?;
        (name == port).then_some(fields)
    })?;
    Some(Traffic {
        sent: fields.next()?.parse().ok()?,
        received: fields.nth(7)?.parse().ok()?,
    })
}

impl Network {
    /// Makes the bridge and the namespaces, in the network namespace that this process is in.
    pub(crate) fn make(nodes: usize) -> Result<Self> {
        // Named namespaces are mounts: seen in our mount namespace only.
        std::fs::create_dir_all("/run/netns").context("make /run/netns")?;
        run("mount", &["-t", "tmpfs", "tmpfs", "/run/netns"])?;
        run("ip", &["link", "set", "lo", "up"])?;
        run("ip", &["link", "add", "hub", "type", "bridge"])?;
        run("ip", &["link", "set", "hub", "up"])?;
        run(
            "ip",
            &["addr", "add", &format!("{CLIENTS}/24"), "dev", "hub"],
        )?;
        for node in 0..nodes {
            let (name, port) = (format!("node-{}", node + 1), format!("port-{}", node + 1));
            let own = format!("{}/24", address(node));
            run("ip", &["netns", "add", &name])?;
            run(
                "ip",
                &[
                    "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name,
                ],
            )?;
            run("ip", &["link", "set", &port, "master", "hub", "up"])?;
            run("ip", &["-n", &name, "addr", "add", &own, "dev", "eth0"])?;
            run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
            run("ip", &["-n", &name, "link", "set", "eth0", "up"])?;
        }
        Ok(Self {
            nodes,
            active: BTreeMap::new(),
            shut: None,
        })
    }

    /// A fault of the network begins.
    pub(crate) fn begin(&mut self, number: FaultNumber, fault: &Fault) -> Result<()> {
        match fault.kind {
            Kind::Unplug => self.set_link(fault.nodes[0], "down")?,
            Kind::Slow => run(
                "tc",
                &[
                    "-n",
                    &format!("node-{}", fault.nodes[0] + 1),
                    "qdisc",
                    "replace",
                    "dev",
                    "eth0",
                    "root",
                    "tbf",
                    "rate",
                    "400kbit",
                    "burst",
                    "8kb",
                    "latency",
                    "800ms",
                ],
            )?,
            _ => {}
        }
        self.active.insert(number, fault.clone());
        self.apply()
    }

    /// It ends.
    pub(crate) fn end(&mut self, number: FaultNumber) -> Result<()> {
        let Some(fault) = self.active.remove(&number) else {
            return Ok(());
        };
        let node = fault.nodes[0];
        let goes_on = |kind| {
            self.active
                .values()
                .any(|other| other.kind == kind && other.nodes[0] == node)
        };
        match fault.kind {
            Kind::Unplug if !goes_on(Kind::Unplug) => self.set_link(node, "up")?,
            Kind::Slow if !goes_on(Kind::Slow) => {
                let name = format!("node-{}", node + 1);
                run("tc", &["-n", &name, "qdisc", "del", "dev", "eth0", "root"])?;
            }
            _ => {}
        }
        self.apply()
    }

    /// Cuts a node off from all other nodes, or none any more. Clients still reach it.
    pub(crate) fn shut(&mut self, node: Option<NodeOrdinal>) -> Result<()> {
        self.shut = node;
        self.apply()
    }

    fn set_link(&self, node: NodeOrdinal, state: &str) -> Result<()> {
        debug_assert!(node < self.nodes);
        let port = format!("port-{}", node + 1);
        run("ip", &["link", "set", &port, state])
    }

    fn apply(&self) -> Result<()> {
        for node in 0..self.nodes {
            let rules = rules(self.nodes, node, self.active.values(), self.shut);
            load(node, &rules)?;
        }
        Ok(())
    }
}

/// Replaces all rules in a node's namespace at once.
fn load(node: NodeOrdinal, rules: &str) -> Result<()> {
    let mut nft = Command::new("nsenter");
    nft.arg(format!("--net={}", namespace(node).display()))
        .args(["--", "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    let mut nft = nft.spawn().context("start nsenter")?;
    let mut input = nft.stdin.take().context("nft has no input")?;
    input.write_all(rules.as_bytes()).context("write to nft")?;
    drop(input);
    let output = nft.wait_with_output().context("wait for nft")?;
    if !output.status.success() {
        bail!("nft: {}\n{rules}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// What a node receives and what not. Pure.
fn rules<'f>(
    nodes: usize,
    node: NodeOrdinal,
    active: impl Iterator<Item = &'f Fault>,
    shut: Option<NodeOrdinal>,
) -> String {
    let mut lost = vec![0_i64; nodes];
    for fault in active {
        for (from, lost) in lost
            .iter_mut()
            .enumerate()
            .filter(|(from, _)| *from != node)
        {
            *lost = (*lost).max(lost_percent(fault, from, node));
        }
    }
    let mut text = "flush ruleset\ntable inet faults {\n  chain input {\n    type filter hook input priority 0;\n"
        .to_owned();
    for (from, lost) in lost.iter().enumerate().filter(|(from, _)| *from != node) {
        let source = address(from);
        let is_cut = *lost >= 100 || shut == Some(node) || shut == Some(from);
        let line = match *lost {
            _ if is_cut => writeln!(text, "    ip saddr {source} drop"),
            0 => Ok(()),
            lost => writeln!(
                text,
                "    ip saddr {source} numgen random mod 100 < {lost} drop"
            ),
        };
        line.expect("writing to a String can't fail");
    }
    text.push_str("  }\n}\n");
    text
}

/// How many percent of the packets from one node to another a fault loses.
fn lost_percent(fault: &Fault, from: NodeOrdinal, to: NodeOrdinal) -> i64 {
    let [has_from, has_to] = [from, to].map(|node| fault.nodes.contains(&node));
    match fault.kind {
        Kind::Isolate | Kind::Split if has_from != has_to => 100,
        Kind::OneWay if has_from && fault.measure == 0 => 100,
        Kind::OneWay if has_to && fault.measure != 0 => 100,
        Kind::Loss if has_from || has_to => fault.measure,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drops(faults: &[Fault], to: NodeOrdinal, shut: Option<NodeOrdinal>) -> Vec<String> {
        let text = rules(3, to, faults.iter(), shut);
        let lines = text.lines().filter(|line| line.contains("drop"));
        lines.map(|line| line.trim().to_owned()).collect()
    }

    fn fault(kind: Kind, nodes: &[NodeOrdinal], measure: i64) -> Fault {
        Fault {
            kind,
            nodes: nodes.to_vec(),
            measure,
        }
    }

    #[test]
    fn an_isolated_node_hears_nobody_and_is_heard_by_nobody() {
        let faults = [fault(Kind::Isolate, &[1], 0)];
        assert_eq!(
            drops(&faults, 1, None),
            ["ip saddr 10.213.0.1 drop", "ip saddr 10.213.0.3 drop"]
        );
        assert_eq!(drops(&faults, 0, None), ["ip saddr 10.213.0.2 drop"]);
    }

    #[test]
    fn a_one_way_cut_has_one_way() {
        let unheard = [fault(Kind::OneWay, &[1], 0)];
        assert!(drops(&unheard, 1, None).is_empty());
        assert_eq!(drops(&unheard, 0, None), ["ip saddr 10.213.0.2 drop"]);
        let deaf = [fault(Kind::OneWay, &[1], 1)];
        assert_eq!(drops(&deaf, 1, None).len(), 2);
        assert!(drops(&deaf, 0, None).is_empty());
    }

    #[test]
    fn faults_that_overlap_add_up() {
        let faults = [fault(Kind::Loss, &[0], 20), fault(Kind::Split, &[0, 1], 0)];
        assert_eq!(
            drops(&faults, 1, None),
            [
                "ip saddr 10.213.0.1 numgen random mod 100 < 20 drop",
                "ip saddr 10.213.0.3 drop"
            ]
        );
    }

    #[test]
    fn a_ports_counters_are_seen_from_the_node() {
        let table = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       1       2    0    0    0     0          0         0        3       4    0    0    0     0       0          0
port-4:     500      51    0    0    0     0          0         0     7000      71    0    0    0     0       0          0
";
        let found = read_traffic(table, "port-4");
        let (received, sent) = (7000, 500);
        assert_eq!(found, Some(Traffic { received, sent }));
        assert_eq!(read_traffic(table, "port-1"), None);
    }

    #[test]
    fn a_shut_node_is_cut_off_beside_all_faults() {
        assert_eq!(drops(&[], 2, Some(2)).len(), 2);
        assert_eq!(drops(&[], 0, Some(2)), ["ip saddr 10.213.0.3 drop"]);
        assert!(drops(&[], 0, None).is_empty());
    }
}
