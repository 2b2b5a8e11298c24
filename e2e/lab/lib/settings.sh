# Names, places and addresses of the lab, and the few functions that every part uses.
# shellcheck shell=bash disable=SC2034

NAME=annulus-lab                                      # network namespaces and cgroups carry it
STATE=${ANNULUS_LAB_STATE:-/var/tmp/annulus-lab}      # certificates, disks, logs of a running cluster
CACHE=${ANNULUS_CACHE:-$HOME/.cache/annulus}/kubernetes

# The nodes' network is 10.250.0.0/16 (node n is 10.250.n.1), pods of node n are in 10.244.n.0/24.
CONTROL_PLANE_IP=10.250.0.1
API_PORT=6443
SERVICE_RANGE=10.96.0.0/16
API_SERVICE_IP=10.96.0.1
DNS_SERVICE_IP=10.96.0.10
POD_RANGE=10.244.0.0/16

MAX_NODES=9

say() { echo "lab: $*"; }
die() {
  echo "lab: $*" >&2
  exit 1
}

# await WHAT SECONDS COMMAND...: repeat COMMAND until it succeeds.
await() {
  local what=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || die "gave up waiting for $what; the logs are in $STATE/n*/log"
    sleep 0.1
  done
}

# in_parallel FUNCTION ARGUMENT...: FUNCTION once per argument, all at once. Not to be called in a
# condition: bash ignores `set -e` there, and a step that failed would pass for done.
in_parallel() {
  local function=$1 argument pid failed='' pids=()
  shift
  for argument in "$@"; do
    "$function" "$argument" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=yes; done
  [ -z "$failed" ] || die "$function failed; the logs are in $STATE/n*/log"
}

# locked COMMAND...: one `up` or `down` at a time. Daemons must not inherit descriptor 9.
locked() {
  mkdir -p "$CACHE"
  exec 9>"$CACHE/lab.lock"
  flock -n 9 || die "another 'lab up' or 'lab down' is running"
  "$@"
}
