//! A node's pod. It meets the `restricted` pod security standard.
//!
//! Created when it is missing, never patched: a pod keeps what it was built from until it
//! goes. An annotation carries a hash of that, so that a pod older than the spec can be told.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource,
    EnvVar, EnvVarSource, HTTPGetAction, Lifecycle, LifecycleHandler, NodeAffinity, NodeSelector,
    NodeSelectorRequirement, NodeSelectorTerm, ObjectFieldSelector,
    PersistentVolumeClaimVolumeSource, Pod, PodAffinityTerm, PodAntiAffinity, PodSecurityContext,
    PodSpec, Probe, ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext,
    SleepAction, TopologySpreadConstraint, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use xxhash_rust::xxh3::xxh3_64;

use crate::cluster_controller::build::config_map::{CONFIG_FILE, config};
use crate::cluster_controller::build::{NodeSource, node_meta};
use crate::cluster_controller::validate::ValidCluster;
use crate::crd::{KVNode, Pool};
use crate::names;

/// Where the claim is mounted.
pub(super) const DATA_PATH: &str = "/var/lib/annulus";
/// Where the context key's Secret is mounted.
pub(super) const CONTEXT_KEY_DIRECTORY: &str = "/etc/annulus-secrets";
const CONFIG_DIRECTORY: &str = "/etc/annulus";
/// User and group of the node's process, `nonroot` in distroless images.
const NODE_USER: i64 = 65_532;
/// A node that is told to stop refuses new connections at once, but for a moment some proxies
/// still send it some: so it is told this many seconds after it was taken from the Services.
const LEAVE_SECONDS: i64 = 3;
/// Seconds for a node to leave, and then to finish what it has, before it is killed.
const TERMINATION_GRACE_SECONDS: i64 = LEAVE_SECONDS + 60;
/// How long a node may take to open its data: a log of many GiB is read once at a start after a
/// crash. One that is slower is restarted.
const START_SECONDS: i32 = 3600;
const ZONE_KEY: &str = "topology.kubernetes.io/zone";
const HOST_KEY: &str = "kubernetes.io/hostname";

/// The pod of `node`, which owns it: the KVNode must have come from the API server.
pub(crate) fn pod(cluster: &ValidCluster, source: &NodeSource<'_>, node: &KVNode) -> Pod {
    let spec = pod_spec(cluster, source, node);
    let mut metadata = node_meta(cluster, source);
    metadata.annotations = Some(BTreeMap::from([(
        names::REVISION_ANNOTATION.to_owned(),
        revision(cluster, &spec),
    )]));
    metadata.owner_references = Some(vec![OwnerReference {
        api_version: "annulus.dev/v1alpha1".to_owned(),
        kind: "KVNode".to_owned(),
        name: source.name.to_owned(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }]);
    Pod {
        metadata,
        spec: Some(spec),
        status: None,
    }
}

/// Hash of all that a pod is built from, the configuration file included.
fn revision(cluster: &ValidCluster, spec: &PodSpec) -> String {
    let spec = serde_json::to_string(spec).expect("a pod is plain data");
    format!(
        "{:016x}",
        xxh3_64(format!("{spec}{}", config(cluster)).as_bytes())
    )
}

fn pod_spec(cluster: &ValidCluster, source: &NodeSource<'_>, node: &KVNode) -> PodSpec {
    PodSpec {
        hostname: Some(source.name.to_owned()),
        subdomain: Some(names::peers_service(&cluster.name)),
        service_account_name: Some(names::service_account(&cluster.name)),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        restart_policy: Some("Always".to_owned()),
        termination_grace_period_seconds: Some(TERMINATION_GRACE_SECONDS),
        security_context: Some(pod_security()),
        affinity: Some(affinity(cluster, source.pool)),
        topology_spread_constraints: Some(vec![zone_spread(cluster)]),
        containers: vec![container(cluster, source, &node.spec.image)],
        volumes: Some(volumes(cluster, source)),
        ..PodSpec::default()
    }
}

fn container(cluster: &ValidCluster, source: &NodeSource<'_>, image: &str) -> Container {
    Container {
        name: "node".to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some(cluster.image_pull_policy.as_str().to_owned()),
        command: Some(vec!["annulus-node".to_owned()]),
        args: Some(vec![
            "--config".to_owned(),
            format!("{CONFIG_DIRECTORY}/{CONFIG_FILE}"),
            "--name".to_owned(),
            "$(POD_NAME)".to_owned(),
        ]),
        env: Some(vec![pod_name_variable()]),
        ports: Some(vec![
            port("grpc", names::GRPC_PORT),
            port("http", names::HTTP_PORT),
            port("peer", names::PEER_PORT),
            port("admin", names::ADMIN_PORT),
        ]),
        resources: Some(ResourceRequirements {
            requests: quantities(&source.pool.resources.requests),
            limits: quantities(&source.pool.resources.limits),
            claims: None,
        }),
        // Alive is whoever answers: replay, rebuild and lost peers never kill a node. It answers
        // when its data is open.
        startup_probe: Some(probe("/livez", 1, 5, START_SECONDS)),
        liveness_probe: Some(probe("/livez", 10, 5, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2, 2)),
        lifecycle: Some(leave_first()),
        security_context: Some(container_security()),
        volume_mounts: Some(vec![
            mount("data", DATA_PATH, false),
            mount("config", CONFIG_DIRECTORY, true),
            mount("context-key", CONTEXT_KEY_DIRECTORY, true),
            mount("tmp", "/tmp", false),
        ]),
        ..Container::default()
    }
}

fn pod_name_variable() -> EnvVar {
    EnvVar {
        name: "POD_NAME".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "metadata.name".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn quantities(map: &BTreeMap<String, Quantity>) -> Option<BTreeMap<String, Quantity>> {
    (!map.is_empty()).then(|| map.clone())
}

fn probe(path: &str, period: i32, timeout: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn leave_first() -> Lifecycle {
    Lifecycle {
        pre_stop: Some(LifecycleHandler {
            sleep: Some(SleepAction {
                seconds: LEAVE_SECONDS,
            }),
            ..LifecycleHandler::default()
        }),
        ..Lifecycle::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn volumes(cluster: &ValidCluster, source: &NodeSource<'_>) -> Vec<Volume> {
    let volume = |name: &str| Volume {
        name: name.to_owned(),
        ..Volume::default()
    };
    vec![
        Volume {
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: source.name.to_owned(),
                read_only: None,
            }),
            ..volume("data")
        },
        Volume {
            config_map: Some(ConfigMapVolumeSource {
                name: names::config_map(&cluster.name),
                ..ConfigMapVolumeSource::default()
            }),
            ..volume("config")
        },
        Volume {
            secret: Some(SecretVolumeSource {
                secret_name: Some(names::context_key_secret(&cluster.name)),
                default_mode: Some(0o440),
                ..SecretVolumeSource::default()
            }),
            ..volume("context-key")
        },
        Volume {
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Quantity("64Mi".to_owned())),
                ..EmptyDirVolumeSource::default()
            }),
            ..volume("tmp")
        },
    ]
}

fn pod_security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(NODE_USER),
        run_as_group: Some(NODE_USER),
        fs_group: Some(NODE_USER),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..PodSecurityContext::default()
    }
}

fn container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        ..SecurityContext::default()
    }
}

/// Zones first, and softly: a hard constraint would keep a pod from coming back while a zone
/// is down, though its disk ties it to its own zone anyway.
fn zone_spread(cluster: &ValidCluster) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: ZONE_KEY.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(pods_of(cluster)),
        ..TopologySpreadConstraint::default()
    }
}

fn affinity(cluster: &ValidCluster, pool: &Pool) -> Affinity {
    Affinity {
        node_affinity: (!pool.zones.is_empty()).then(|| in_zones(&pool.zones)),
        pod_affinity: None,
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm {
                    weight: 100,
                    pod_affinity_term: PodAffinityTerm {
                        topology_key: HOST_KEY.to_owned(),
                        label_selector: Some(pods_of(cluster)),
                        ..PodAffinityTerm::default()
                    },
                },
            ]),
            required_during_scheduling_ignored_during_execution: None,
        }),
    }
}

fn in_zones(zones: &[String]) -> NodeAffinity {
    NodeAffinity {
        required_during_scheduling_ignored_during_execution: Some(NodeSelector {
            node_selector_terms: vec![NodeSelectorTerm {
                match_expressions: Some(vec![NodeSelectorRequirement {
                    key: ZONE_KEY.to_owned(),
                    operator: "In".to_owned(),
                    values: Some(zones.to_vec()),
                }]),
                match_fields: None,
            }],
        }),
        preferred_during_scheduling_ignored_during_execution: None,
    }
}

fn pods_of(cluster: &ValidCluster) -> LabelSelector {
    LabelSelector {
        match_labels: Some(names::pod_selector(&cluster.name)),
        ..LabelSelector::default()
    }
}
