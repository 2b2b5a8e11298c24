# Kubernetes and its tools, built from the Go modules in tools/. Each set has a directory in the
# cache that is named after its main version and stamped with a checksum of the pins: a changed
# go.mod, toolchain or list of programs builds it anew.
# shellcheck shell=bash

declare -A MAIN_MODULE=([kubernetes]=k8s.io/kubernetes [addons]=helm.sh/helm/v4)
declare -A PROGRAMS=(
  [kubernetes]="kube-apiserver=k8s.io/kubernetes/cmd/kube-apiserver
    kube-controller-manager=k8s.io/kubernetes/cmd/kube-controller-manager
    kube-scheduler=k8s.io/kubernetes/cmd/kube-scheduler
    kubelet=k8s.io/kubernetes/cmd/kubelet
    kube-proxy=k8s.io/kubernetes/cmd/kube-proxy
    kubectl=k8s.io/kubernetes/cmd/kubectl
    etcd=go.etcd.io/etcd/server/v3"
  [addons]="helm=helm.sh/helm/v4/cmd/helm
    coredns=github.com/coredns/coredns
    local-path-provisioner=github.com/rancher/local-path-provisioner"
)

pinned_version() { # SET MODULE -> v1.2.3
  awk -v m="$2" '$1 == m && $2 ~ /^v/ {print $2; exit}' "$LAB_DIR/tools/$1/go.mod"
}

binaries_directory() { echo "$CACHE/$1-$(pinned_version "$1" "${MAIN_MODULE[$1]}")"; }

binaries_path() { echo "$(binaries_directory kubernetes):$(binaries_directory addons)"; }

# The stamp leaves the toolchain out when there is none: a machine may have only the cache.
binaries_stamp() { # SET
  { cat "$LAB_DIR/tools/$1/go.mod" "$LAB_DIR/tools/$1/go.sum" && echo "${PROGRAMS[$1]}"; } | sha256sum | cut -c1-64
}

binaries_are_built() {
  local set
  for set in "${!PROGRAMS[@]}"; do
    [ "$(cat "$(binaries_directory "$set")/.stamp" 2>/dev/null)" = "$(binaries_stamp "$set")" ] || return 1
  done
}

link_flags() { # what the projects' own builds set, so that the programs know their versions
  local kubernetes helm minor
  kubernetes=$(pinned_version kubernetes k8s.io/kubernetes)
  helm=$(pinned_version addons helm.sh/helm/v4)
  minor=${kubernetes#v1.}
  local version=k8s.io/component-base/version
  echo "-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}" \
    "-X helm.sh/helm/v4/internal/version.version=$helm"
}

build_binaries() {
  local set
  if binaries_are_built; then return; fi
  command -v go >/dev/null || die "the Go toolchain is needed to build Kubernetes (https://go.dev/dl)"
  for set in kubernetes addons; do build_set "$set"; done
}

build_set() { # SET
  local directory entry name stamp
  directory=$(binaries_directory "$1") stamp=$(binaries_stamp "$1")
  [ "$(cat "$directory/.stamp" 2>/dev/null)" != "$stamp" ] || return 0
  # A build that was cut short goes on with the programs it has; one with other pins does not.
  [ "$(cat "$directory/.building" 2>/dev/null)" = "$stamp" ] || rm -rf "$directory"
  mkdir -p "$directory"
  rm -f "$directory/.stamp"
  echo "$stamp" >"$directory/.building"
  for entry in ${PROGRAMS[$1]}; do
    name=${entry%%=*}
    [ -x "$directory/$name" ] && continue
    say "building $name"
    # Without cgo: the programs must start from images that hold nothing else.
    (cd "$LAB_DIR/tools/$1" && CGO_ENABLED=0 go build -trimpath -buildvcs=false \
      -ldflags="$(link_flags)" -o "$directory/$name.part" "${entry#*=}")
    mv "$directory/$name.part" "$directory/$name"
  done
  mv "$directory/.building" "$directory/.stamp"
}
