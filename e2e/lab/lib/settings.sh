# Names, places and addresses of the lab, and the few functions that every part uses.
# shellcheck shell=bash disable=SC2034

NAME=annulus-lab                                      # network namespaces and cgroups carry it
CACHE=${ANNULUS_CACHE:-$HOME/.cache/annulus}/kubernetes

# Where certificates, disks and logs of a running cluster are: where it was started. Otherwise on the disk; in memory
# where less than a quarter of the disk is free, for there the storage nodes would rightly take no copies.
state_dir() {
  local on_disk=/var/tmp/annulus-lab in_memory=/dev/shm/annulus-lab place avail size
  for place in "$on_disk" "$in_memory"; do
    if [ -f "$place/.annulus-lab" ]; then
      echo "$place"
      return
    fi
  done
  read -r avail size < <(df --output=avail,size -k /var/tmp | tail -n 1)
  if [ $((avail * 4)) -lt "$size" ] && [ "$(df --output=avail -k /dev/shm | tail -n 1)" -gt 8000000 ]; then
    echo "$in_memory"
  else
    echo "$on_disk"
  fi
}
STATE=${ANNULUS_LAB_STATE:-$(state_dir)}

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
