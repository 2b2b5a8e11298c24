//! kind: nodes are Docker containers.
//!
//! One worker per node that is asked for, beside the control plane. So that pods can be reached
//! by their IP addresses from this machine, their ranges are routed to the nodes' containers;
//! that takes root (or `CAP_NET_ADMIN`) and Linux.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{output_of, run};

const NAME: &str = "annulus-lab";

/// A cluster of Docker containers.
#[derive(Debug)]
pub struct Kind {
    kubeconfig: PathBuf,
}

impl Kind {
    /// kind, or why it cannot run.
    pub(super) fn find() -> Result<Self, String> {
        output_of(Command::new("kind").arg("version"))
            .map_err(|_| "there is no `kind` program".to_owned())?;
        output_of(Command::new("docker").arg("info"))
            .map_err(|_| "no Docker daemon answers `docker info`".to_owned())?;
        Ok(Self {
            kubeconfig: std::env::temp_dir().join(format!("{NAME}-kubeconfig")),
        })
    }

    pub(super) fn up(&self, nodes: u8) -> Result<()> {
        let clusters = output_of(Command::new("kind").args(["get", "clusters"]))?;
        if !clusters.lines().any(|line| line == NAME) {
            self.create(nodes)?;
        }
        self.route_to_pods()
    }

    fn create(&self, nodes: u8) -> Result<()> {
        let mut child = Command::new("kind")
            .args([
                "create", "cluster", "--name", NAME, "--wait", "120s", "--config", "-",
            ])
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .stdin(Stdio::piped())
            .spawn()
            .context("start kind")?;
        let mut input = child.stdin.take().context("kind has no standard input")?;
        input
            .write_all(configuration(nodes).as_bytes())
            .context("hand kind its configuration")?;
        drop(input);
        let status = child.wait().context("wait for kind")?;
        if !status.success() {
            bail!("kind could not create the cluster: {status}");
        }
        Ok(())
    }

    fn route_to_pods(&self) -> Result<()> {
        let template = r#"{range .items[*]}{.spec.podCIDR} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}"#;
        let ranges = output_of(self.command("kubectl").args([
            "get",
            "nodes",
            "-o",
            &format!("jsonpath={template}"),
        ]))?;
        for line in ranges.lines() {
            let (range, node) = line.split_once(' ').context("a node without a pod range")?;
            run(Command::new("ip").args(["route", "replace", range, "via", node]))?;
        }
        Ok(())
    }

    pub(super) fn load_image(&self, archive: &str) -> Result<()> {
        run(self
            .command("kind")
            .args(["load", "image-archive", archive, "--name", NAME]))
    }

    pub(super) fn down(&self) -> Result<()> {
        run(self
            .command("kind")
            .args(["delete", "cluster", "--name", NAME]))
    }

    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("ANNULUS_LAB", "kind");
        command
    }

    pub(super) fn partition(node: &str) -> Result<()> {
        drop_rules("-I", node)
    }

    pub(super) fn heal(node: &str) -> Result<()> {
        drop_rules("-D", node)
    }
}

/// Drops all that enters or leaves by the node's link, forwarded packets of pods included.
fn drop_rules(action: &str, node: &str) -> Result<()> {
    for rule in [["PREROUTING", "-i"], ["POSTROUTING", "-o"]] {
        let [chain, direction] = rule;
        run(Command::new("docker")
            .args(["exec", node, "iptables", "-t", "mangle"])
            .args([action, chain, direction, "eth0", "-j", "DROP"]))?;
    }
    Ok(())
}

fn configuration(nodes: u8) -> String {
    let mut text = String::from(
        "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n",
    );
    for node in 0..nodes {
        let zone = node % 3 + 1;
        writeln!(
            text,
            "- role: worker\n  labels: {{topology.kubernetes.io/zone: z{zone}}}"
        )
        .expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::configuration;

    #[test]
    fn workers_take_the_three_zones_in_turn() {
        let text = configuration(4);
        assert_eq!(text.matches("role: worker").count(), 4);
        assert_eq!(text.matches("zone: z1").count(), 2);
        assert_eq!(text.matches("zone: z3").count(), 1);
    }
}
