# The whole cluster: start, state, use, end.
# shellcheck shell=bash

# Directories outside our state that Kubernetes has no option to move. `up` notes those that were
# not there before, and `down` removes only these.
FIXED_DIRECTORIES=(/var/lib/kubelet /var/lib/cni /var/log/containers /var/log/pods /run/containerd)

node_numbers() {
  local directory
  for directory in "$STATE"/n[1-9]; do [ ! -d "$directory" ] || echo "${directory##*/n}"; done
}

up() { # NODES
  local nodes
  [[ $1 =~ ^[1-9]$ ]] || die "the number of nodes must be from 1 to $MAX_NODES, not '$1'"
  mapfile -t nodes < <(seq "$1")
  require_everything
  if is_running "$1"; then
    say "the cluster of $1 nodes is running already"
    return
  fi
  [ ! -e "$STATE" ] || down # what an unfinished start or a reboot has left
  build_binaries
  build_system_images
  SECONDS=0
  create_state
  create_control_plane_network
  create_certificates
  create_cgroups 0
  start_api_server
  in_parallel create_node "${nodes[@]}"
  await "the API server" 60 api_is_ready
  start_controllers
  in_parallel start_kubelet "${nodes[@]}"
  sed "s|@VOLUMES@|$STATE/volumes|" "$LAB_DIR/addons.yaml" | kubectl apply -f - >/dev/null
  await "the nodes" 90 nodes_are_ready "$1"
  kubectl -n kube-system rollout status daemonset/coredns --timeout=90s >/dev/null
  kubectl -n kube-system rollout status deployment/local-path-provisioner --timeout=90s >/dev/null
  touch "$STATE/complete"
  kubectl get nodes -L topology.kubernetes.io/zone
  say "up after $SECONDS s"
}

is_running() { # NODES
  [ -f "$STATE/complete" ] && api_is_ready >/dev/null 2>&1 && [ "$(node_numbers | wc -l)" = "$1" ]
}

create_state() {
  local directory
  mkdir -p "$STATE"/n0/{log,run}
  echo "made by e2e/lab; 'lab down' deletes this directory" >"$STATE/.annulus-lab"
  for directory in "${FIXED_DIRECTORIES[@]}"; do
    [ -e "$directory" ] || echo "$directory"
  done >"$STATE/new-directories"
}

nodes_are_ready() { # COUNT
  [ "$(kubectl get nodes --no-headers | awk '$2 == "Ready"' | wc -l)" = "$1" ]
}

down() {
  local n namespace
  [ -e "$STATE" ] || { say "no cluster is up" && return; }
  [ -f "$STATE/.annulus-lab" ] || die "$STATE was not made by the lab; not touching it"
  mapfile -t nodes < <(node_numbers)
  in_parallel kill_node 0 "${nodes[@]}"
  unmount_below "$STATE"
  for namespace in "$NAME" $(for n in "${nodes[@]}"; do namespace_of "$n"; done); do
    [ ! -e "/run/netns/$namespace" ] || ip netns del "$namespace"
  done
  remove_cgroups "$NAME"
  remove_fixed_directories
  rm -rf "$STATE"
}

remove_fixed_directories() {
  local directory
  [ ! -d /var/log/containers ] || find /var/log/containers -lname "$STATE/*" -delete
  [ -f "$STATE/new-directories" ] || return 0
  while read -r directory; do rm -rf "$directory"; done <"$STATE/new-directories"
}

need_cluster() { [ -f "$STATE/complete" ] || die "no cluster is up (run: $LAB_DIR/lab up)"; }

on_node() { # N FUNCTION ARGUMENT...
  local n=$1 function=$2
  shift 2
  need_cluster
  [[ $n =~ ^[1-9]$ ]] && [ -d "$STATE/n$n" ] || die "which node? There are: $(node_numbers | tr '\n' ' ')"
  "$function" "$n" "$@"
}

load_everywhere() { # ARCHIVE...
  local archive nodes
  need_cluster
  [ $# -gt 0 ] || die "load what? Name the OCI archives"
  for archive in "$@"; do [ -f "$archive" ] || die "no such archive: $archive"; done
  mapfile -t nodes < <(node_numbers)
  LOADING=("$@")
  in_parallel load_these "${nodes[@]}"
}

load_these() { load_into "$1" "${LOADING[@]}"; } # N

run_inside() { # COMMAND...
  need_cluster
  [ $# -gt 0 ] || die "run what?"
  # No proxy can be reached from there, and programs must not try.
  exec nsenter --net="/run/netns/$NAME" \
    env -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u http_proxy -u https_proxy -u all_proxy KUBECONFIG="$STATE/pki/admin.kubeconfig" ANNULUS_LAB=netns \
    HELM_CACHE_HOME="$STATE/helm/cache" HELM_CONFIG_HOME="$STATE/helm/config" HELM_DATA_HOME="$STATE/helm/data" \
    PATH="$(binaries_path):$PATH" "$@"
}

status() {
  local n program link ready
  [ -e "$STATE" ] || { say "no cluster is up" && return; }
  printf '%-14s %-6s %-9s %s\n' NODE LINK READY PROCESSES
  for n in 0 $(node_numbers); do
    program='' link=- ready=-
    for pid in "$STATE/n$n"/run/*.pid; do
      [ ! -f "$pid" ] || program+=" $(basename "$pid" .pid)$([ -d "/proc/$(cat "$pid")" ] || echo '(dead)')"
    done
    if [ "$n" != 0 ]; then
      link=$(ip -n "$NAME" -o link show "lab-n$n" 2>/dev/null | grep -q '[<,]UP[,>]' && echo up || echo cut)
      ready=$(kubectl get node "node$n" --request-timeout=2s \
        -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null || echo '?')
    fi
    printf '%-14s %-6s %-9s %s\n' "$([ "$n" = 0 ] && echo control-plane || echo "node$n")" "$link" "$ready" \
      "${program:-none} ($(node_processes "$n" | wc -l) in all)"
  done
}
