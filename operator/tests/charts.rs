//! The charts as Helm renders them. Needs Helm: `HELM_BIN=… cargo test --test charts -- --ignored`.
#![expect(clippy::unwrap_used, reason = "a test that fails by panicking")]

use std::process::{Command, Output};

use serde_json::Value;

const NEEDS_HELM: &str = "set HELM_BIN to the path of helm";

fn helm(chart: &str, arguments: &[&str]) -> Output {
    let chart = format!("{}/../charts/{chart}", env!("CARGO_MANIFEST_DIR"));
    Command::new(std::env::var_os("HELM_BIN").expect(NEEDS_HELM))
        .args([
            "template",
            "annulus",
            &chart,
            "--namespace",
            "annulus-system",
        ])
        .args(arguments)
        .output()
        .unwrap()
}

fn rendered(chart: &str, arguments: &[&str]) -> Vec<Value> {
    let output = helm(chart, arguments);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.split("\n---")
        .map(|document| serde_yaml::from_str::<Value>(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

fn refused(chart: &str, arguments: &[&str]) -> String {
    let output = helm(chart, arguments);
    assert!(!output.status.success(), "{arguments:?} was accepted");
    String::from_utf8(output.stderr).unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect()
}

fn only<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let [only] = of_kind(objects, kind)[..] else {
        panic!("not one {kind}")
    };
    only
}

fn variable<'a>(deployment: &'a Value, name: &str) -> &'a Value {
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().unwrap();
    &variables
        .iter()
        .find(|variable| variable["name"] == name)
        .unwrap()["value"]
}

#[test]
#[ignore = "needs helm: HELM_BIN"]
fn the_operator_runs_restricted_and_small() {
    let objects = rendered("annulus-operator", &[]);
    let deployment = only(&objects, "Deployment");
    assert_eq!(deployment["metadata"]["name"], "annulus-operator");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let container = &pod["containers"][0];
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"][0],
        "ALL"
    );
    assert_eq!(
        container["securityContext"]["allowPrivilegeEscalation"],
        false
    );
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["resources"]["requests"]["cpu"], "100m");
    assert_eq!(container["resources"]["limits"]["memory"], "512Mi");
}

#[test]
#[ignore = "needs helm: HELM_BIN"]
fn images_come_from_tags_or_digests() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let set_digest = format!("image.digest={digest}");
    let objects = rendered(
        "annulus-operator",
        &[
            "--set",
            "image.repository=localhost/annulus-operator",
            "--set",
            &set_digest,
            "--set",
            "nodeImage.repository=localhost/annulus-node,nodeImage.tag=dev,nodeImage.pullPolicy=Never",
        ],
    );
    let deployment = only(&objects, "Deployment");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["image"],
        format!("localhost/annulus-operator@{digest}")
    );
    assert_eq!(
        variable(deployment, "ANNULUS_OPERATOR_NODE_IMAGE"),
        "localhost/annulus-node:dev"
    );
    assert_eq!(
        variable(deployment, "ANNULUS_OPERATOR_NODE_IMAGE_PULL_POLICY"),
        "Never"
    );
}

#[test]
#[ignore = "needs helm: HELM_BIN"]
fn crds_are_kept_and_can_be_left_out() {
    let objects = rendered("annulus-operator", &[]);
    let crds = of_kind(&objects, "CustomResourceDefinition");
    assert_eq!(crds.len(), 3);
    for crd in crds {
        assert_eq!(
            crd["metadata"]["annotations"]["helm.sh/resource-policy"],
            "keep"
        );
        assert!(!crd["spec"]["versions"][0]["schema"].is_null());
    }
    let without = rendered("annulus-operator", &["--set", "crds.install=false"]);
    assert!(of_kind(&without, "CustomResourceDefinition").is_empty());
}

#[test]
#[ignore = "needs helm: HELM_BIN"]
fn a_namespaced_operator_gets_no_right_elsewhere() {
    let arguments = [
        "--set",
        "watchNamespaces={a,b}",
        "--set",
        "rbac.nodeReader=false",
    ];
    let objects = rendered("annulus-operator", &arguments);
    assert!(of_kind(&objects, "ClusterRoleBinding").is_empty());
    let namespaces: Vec<&str> = of_kind(&objects, "Role")
        .iter()
        .map(|role| role["metadata"]["namespace"].as_str().unwrap())
        .collect();
    assert_eq!(
        namespaces
            .iter()
            .filter(|namespace| **namespace == "a")
            .count(),
        1
    );
    assert_eq!(
        namespaces
            .iter()
            .filter(|namespace| **namespace == "b")
            .count(),
        1
    );
    let deployment = only(&objects, "Deployment");
    let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    assert_eq!(
        arguments,
        &serde_json::json!(["run", "--watch-namespace=a", "--watch-namespace=b"])
    );
}

#[test]
#[ignore = "needs helm: HELM_BIN"]
fn the_operator_reads_no_secret() {
    for object in rendered("annulus-operator", &[]) {
        for rule in object["rules"].as_array().into_iter().flatten() {
            let secrets = rule["resources"]
                .as_array()
                .unwrap()
                .iter()
                .any(|r| r == "secrets");
            assert!(
                !secrets || rule["verbs"] == serde_json::json!(["create"]),
                "{rule}"
            );
            let verbs = rule["verbs"].as_array().unwrap();
            assert!(verbs.iter().all(|verb| verb != "*"), "{rule}");
        }
    }
}

#[test]
#[ignore = "needs helm: HELM_BIN"]
fn a_cluster_is_what_the_values_say() {
    let objects = rendered(
        "annulus-cluster",
        &["--set", "pools[0].nodes=5,image=node:2"],
    );
    let cluster = only(&objects, "KVCluster");
    assert_eq!(cluster["metadata"]["name"], "annulus");
    assert_eq!(cluster["spec"]["image"], "node:2");
    assert_eq!(cluster["spec"]["pools"][0]["nodes"], 5);
    assert_eq!(cluster["spec"]["consistency"]["read"], "quorum");
}

#[test]
#[ignore = "needs helm: HELM_BIN"]
fn a_level_may_be_a_number() {
    for set in ["--set", "--set-string"] {
        let objects = rendered("annulus-cluster", &[set, "consistency.read=2"]);
        let cluster = only(&objects, "KVCluster");
        assert_eq!(cluster["spec"]["consistency"]["read"], "2");
    }
}

#[test]
#[ignore = "needs helm: HELM_BIN"]
fn mistaken_values_are_refused() {
    assert!(refused("annulus-operator", &["--set", "replicas=2"]).contains("replicas"));
    assert!(refused("annulus-operator", &["--set", "log.format=xml"]).contains("format"));
    assert!(refused("annulus-cluster", &["--set", "pools[0].nodes=0"]).contains("nodes"));
    assert!(refused("annulus-cluster", &["--set", "consistency.read=most"]).contains("read"));
}
