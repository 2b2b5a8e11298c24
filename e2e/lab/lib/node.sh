# A node: its link, its containerd, kubelet and kube-proxy; its loss and its return.
# shellcheck shell=bash

node_directory() { echo "$STATE/n$1"; }

containerd_socket() { echo "$STATE/n$1/run/containerd.sock"; }

ctr_of() { # N ARGUMENTS...
  local n=$1
  shift
  ctr --address "$(containerd_socket "$n")" --namespace k8s.io "$@"
}

create_node() { # N: all but the kubelet, which needs the API server
  mkdir -p "$STATE/n$1"/{cni,etc,log,run}
  create_link "$1"
  certificate "node$1" "/O=system:nodes/CN=system:node:node$1"
  write_network_configuration "$1"
  write_containerd_configuration "$1"
  write_kubelet_configuration "$1"
  start_containerd "$1"
}

create_link() { # N
  local namespace
  namespace=$(namespace_of "$1")
  ip netns add "$namespace"
  ip -n "$namespace" link set lo up
  ip -n "$NAME" link add "lab-n$1" type veth peer name eth0 netns "$namespace"
  ip -n "$NAME" link set "lab-n$1" master lab0 up
  ip -n "$namespace" addr add "10.250.$1.1/16" dev eth0
  ip -n "$namespace" link set eth0 up
  ip -n "$namespace" route add default via "$CONTROL_PLANE_IP"
  inside "$1" sysctl -qw net.ipv4.ip_forward=1
  ip -n "$NAME" route add "10.244.$1.0/24" via "10.250.$1.1"
}

write_network_configuration() { # N
  cat >"$STATE/n$1/cni/10-bridge.conflist" <<EOC
{"cniVersion": "0.4.0", "name": "$NAME", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$STATE/n$1/ipam",
            "ranges": [[{"subnet": "10.244.$1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOC
  echo "nameserver 127.0.0.1" >"$STATE/n$1/etc/resolv.conf"
}

write_containerd_configuration() { # N
  # The pods' network namespaces go below our state directory, so that they are ours to clean.
  cat >"$STATE/n$1/etc/containerd.toml" <<EOC
version = 2
root = "$STATE/n$1/containerd"
state = "$STATE/n$1/run/containerd"
[grpc]
  address = "$(containerd_socket "$1")"
[plugins."io.containerd.internal.v1.opt"]
  path = "$STATE/n$1/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$STATE/n$1/cni"
EOC
}

write_kubelet_configuration() { # N
  cat >"$STATE/n$1/etc/kubelet.yaml" <<EOC
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: /$NAME/n$1
failCgroupV1: false
failSwapOn: false
containerRuntimeEndpoint: unix://$(containerd_socket "$1")
authentication: {anonymous: {enabled: false}, x509: {clientCAFile: $STATE/pki/ca.crt}}
authorization: {mode: AlwaysAllow}
clusterDNS: [$DNS_SERVICE_IP]
clusterDomain: cluster.local
resolvConf: $STATE/n$1/etc/resolv.conf
podLogsDir: $STATE/n$1/log/pods
volumePluginDir: $STATE/n$1/volume-plugins
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 4s
EOC
}

start_containerd() { # N
  create_cgroups "$1"
  rm -f "$(containerd_socket "$1")"
  start "$1" containerd containerd --config "$STATE/n$1/etc/containerd.toml"
  await "containerd of node $1" 20 ctr_of "$1" version
  # shellcheck disable=SC2046
  load_into "$1" $(system_archives)
}

start_kubelet() { # N
  local bin
  bin=$(binaries_directory kubernetes)
  start "$1" kubelet "$bin/kubelet" --config="$STATE/n$1/etc/kubelet.yaml" \
    --kubeconfig="$STATE/pki/node$1.kubeconfig" --root-dir="$STATE/n$1/kubelet" --cert-dir="$STATE/n$1/run/pki" \
    --hostname-override="node$1" --node-ip="10.250.$1.1" \
    --node-labels="topology.kubernetes.io/zone=z$((($1 - 1) % 3 + 1)),topology.kubernetes.io/region=lab"
  start "$1" kube-proxy "$bin/kube-proxy" --kubeconfig="$STATE/pki/proxy.kubeconfig" --proxy-mode=nftables \
    --hostname-override="node$1" --cluster-cidr="$POD_RANGE" --conntrack-max-per-core=0
}

load_into() { # N ARCHIVE...
  local n=$1 archive
  shift
  for archive in "$@"; do ctr_of "$n" images import "$archive" >/dev/null; done
}

kill_node() { # N
  end_processes "$1"
  unmount_below "$STATE/n$1"
  # What a machine keeps in memory is gone after a power cut; its disk stays.
  rm -rf "$STATE/n$1"/run/containerd "$STATE/n$1"/run/*.pid "$(containerd_socket "$1")"
  remove_cgroups "$NAME/n$1"
}

restart_node() { # N
  has_no_processes "$1" || die "node $1 is running"
  start_containerd "$1"
  start_kubelet "$1"
}

set_link() { ip -n "$NAME" link set "lab-n$1" "$2"; } # N up|down
