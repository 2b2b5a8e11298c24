# Starting and ending processes. Everything that runs for a node (number 0 is the control plane)
# lives below one cgroup, so that ending a node ends exactly what was started for it.
# shellcheck shell=bash

cgroup_is_v2() { [ -f /sys/fs/cgroup/cgroup.controllers ]; }

cgroup_hierarchies() {
  if cgroup_is_v2; then echo /sys/fs/cgroup; else ls -d /sys/fs/cgroup/*/; fi
}

# The hierarchy that membership is read from; on version 1 the freezer can stop it all at once.
node_cgroup() { # N
  if cgroup_is_v2; then echo "/sys/fs/cgroup/$NAME/n$1"; else echo "/sys/fs/cgroup/freezer/$NAME/n$1"; fi
}

create_cgroups() { # N
  local hierarchy group
  for hierarchy in $(cgroup_hierarchies); do
    for group in "$NAME" "$NAME/n$1" "$NAME/n$1/daemons"; do
      mkdir -p "$hierarchy/$group" 2>/dev/null || continue
      # A new cpuset is empty, and nothing can run in it.
      if ! cgroup_is_v2 && [ -f "$hierarchy/$group/cpuset.cpus" ]; then
        cat "$hierarchy/cpuset.cpus" >"$hierarchy/$group/cpuset.cpus"
        cat "$hierarchy/cpuset.mems" >"$hierarchy/$group/cpuset.mems"
      fi
    done
  done
}

remove_cgroups() { # GROUP below the hierarchies' roots
  local hierarchy
  for hierarchy in $(cgroup_hierarchies); do
    [ ! -d "$hierarchy/$1" ] || find "$hierarchy/$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}

namespace_of() { if [ "$1" = 0 ]; then echo "$NAME"; else echo "$NAME-n$1"; fi; }

inside() { # N COMMAND...: in the network of a node. Not `ip netns exec`: that hides the cgroups.
  local n=$1
  shift
  nsenter --net="/run/netns/$(namespace_of "$n")" "$@"
}

# start N PROGRAM COMMAND...: a daemon of node N, with its log and its process id kept.
start() {
  local n=$1 program=$2
  shift 2
  # shellcheck disable=SC2016
  setsid bash -c 'echo $$ >"$0" && exec "$@"' "$(node_cgroup "$n")/daemons/cgroup.procs" \
    nsenter --net="/run/netns/$(namespace_of "$n")" "$@" \
    >>"$STATE/n$n/log/$program.log" 2>&1 </dev/null 9>&- &
  echo $! >"$STATE/n$n/run/$program.pid"
}

node_processes() { # N
  find "$(node_cgroup "$1")" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}

has_no_processes() { [ -z "$(node_processes "$1")" ]; }

# end_processes N: all at once and without warning, as a power cut would.
end_processes() {
  local group deadline=$((SECONDS + 20))
  group=$(node_cgroup "$1")
  [ -d "$group" ] || return 0
  until has_no_processes "$1"; do
    [ $SECONDS -lt $deadline ] || die "processes of node $1 do not end: $(node_processes "$1" | tr '\n' ' ')"
    kill_group "$1" "$group"
    sleep 0.1
  done
}

kill_group() { # N GROUP
  if cgroup_is_v2; then
    echo 1 >"$2/cgroup.kill"
    return
  fi
  echo FROZEN >"$2/freezer.state"
  node_processes "$1" | xargs -r kill -KILL 2>/dev/null || true
  echo THAWED >"$2/freezer.state"
}

unmount_below() { # DIRECTORY: every mount under it, deepest first
  local mount
  awk -v prefix="$1/" 'index($2, prefix) == 1 {print $2}' /proc/self/mounts | sort -r \
    | while read -r mount; do umount -l "$mount"; done
}
