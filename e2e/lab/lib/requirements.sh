# What the machine must offer, and how to get what it lacks.
# shellcheck shell=bash

# A program or file, and the Debian package that brings it.
PACKAGES=(
  containerd:containerd runc:runc ip:iproute2 nft:nftables iptables:iptables conntrack:conntrack
  openssl:openssl ethtool:ethtool socat:socat buildah:buildah gcc:gcc flock:util-linux
  /usr/lib/cni/bridge:containernetworking-plugins
  /usr/lib/x86_64-linux-gnu/libc.a:libc6-dev
  busybox:busybox-static
)

missing_packages() {
  local entry
  for entry in "${PACKAGES[@]}"; do
    case $entry in
      /*) [ -e "${entry%%:*}" ] || echo "${entry##*:}" ;;
      *) command -v "${entry%%:*}" >/dev/null || echo "${entry##*:}" ;;
    esac
  done
}

# Everything that is missing, one line each; nothing when the lab can run.
missing() {
  local packages
  [ "$(uname -s)" = Linux ] || { echo "the lab needs Linux" && return; }
  [ "$(id -u)" = 0 ] || echo "the lab must run as root (network namespaces, cgroups, mounts)"
  packages=$(missing_packages | tr '\n' ' ')
  [ -z "$packages" ] || echo "Debian packages are missing: $packages(run: $LAB_DIR/lab deps)"
  binaries_are_built || command -v go >/dev/null \
    || echo "the Go toolchain is missing (https://go.dev/dl), and $(binaries_directory kubernetes) is not built"
  [ -e /proc/self/ns/net ] || echo "the kernel has no network namespaces"
  [ -w /sys/fs/cgroup ] || echo "/sys/fs/cgroup is not mounted or not writable"
  if ! cgroup_is_v2; then
    local controller
    for controller in cpu cpuset memory pids freezer; do
      [ -d "/sys/fs/cgroup/$controller" ] || echo "the cgroup controller $controller is not mounted"
    done
  fi
  grep -qw overlay /proc/filesystems || modprobe -q overlay 2>/dev/null || echo "the kernel has no overlay file system"
}

report_missing() {
  local lacking
  lacking=$(missing)
  [ -n "$lacking" ] || { say "this machine has all that the lab needs" && return; }
  echo "$lacking" >&2
  return 1
}

require_everything() { report_missing >/dev/null || die "this machine cannot run the lab (see above)"; }

install_missing() {
  local packages
  mapfile -t packages < <(missing_packages)
  [ ${#packages[@]} -gt 0 ] || { say "all packages are installed" && return; }
  say "installing ${packages[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}
