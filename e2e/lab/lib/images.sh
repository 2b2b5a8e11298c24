# The images that a node needs before any of ours (pause, CoreDNS, volume provisioner), and the
# base under our own images. No registry: everything is built here and kept as an OCI archive.
# shellcheck shell=bash

SYSTEM_IMAGES=(pause coredns local-path-provisioner)

# Archives and the base carry a checksum of their recipe: another recipe makes other ones.
images_directory() {
  local recipe
  recipe=$({ binaries_stamp kubernetes && binaries_stamp addons && cat "$LAB_DIR/lib/images.sh"; } | sha256sum)
  echo "$CACHE/images-${recipe:0:12}"
}

base_image() { echo "localhost/annulus-base:$(sha256sum <"$LAB_DIR/lib/images.sh" | cut -c1-12)"; }

system_archives() {
  local name
  for name in "${SYSTEM_IMAGES[@]}"; do echo "$(images_directory)/$name.tar"; done
}

build_system_images() {
  local name directory work
  directory=$(images_directory)
  mkdir -p "$directory"
  for name in "${SYSTEM_IMAGES[@]}"; do
    [ -f "$directory/$name.tar" ] && continue
    say "building the image $name"
    work=$(mktemp -d)
    "context_of_$name" "$work"
    build_image "$work" "localhost/$name:1" "$directory/$name.tar"
    rm -rf "$work"
  done
}

# build_image CONTEXT TAG ARCHIVE [BUILDAH OPTIONS...]
build_image() {
  local context=$1 tag=$2 archive=$3
  shift 3
  buildah_stored build --quiet --isolation chroot -t "$tag" "$@" "$context" >/dev/null
  rm -f "$archive" "$archive.part"
  buildah_stored push --quiet "$tag" "oci-archive:$archive.part:$tag"
  mv "$archive.part" "$archive"
}

buildah_stored() { buildah --storage-driver vfs --root "$CACHE/buildah" --runroot "$CACHE/buildah-run" "$@"; }

# Kubernetes carries the source of its own pause program.
context_of_pause() {
  local module
  module=$(cd "$LAB_DIR/tools/kubernetes" && go list -m -f '{{.Dir}}' k8s.io/kubernetes)
  gcc -static -Os -DVERSION=lab -o "$1/pause" "$module/build/pause/linux/pause.c"
  strip "$1/pause"
  printf 'FROM scratch\nCOPY pause /pause\nENTRYPOINT ["/pause"]\n' >"$1/Dockerfile"
}

context_of_coredns() {
  cp "$(binaries_directory addons)/coredns" "$1/"
  printf 'FROM scratch\nCOPY coredns /coredns\nENTRYPOINT ["/coredns"]\n' >"$1/Dockerfile"
}

# Its helper pods run a shell script that makes and removes a directory.
context_of_local-path-provisioner() {
  cp "$(binaries_directory addons)/local-path-provisioner" "$1/"
  cp -L "$(command -v busybox)" "$1/busybox"
  cat >"$1/Dockerfile" <<'D'
FROM scratch
COPY busybox /bin/sh
COPY busybox /bin/mkdir
COPY busybox /bin/rm
COPY local-path-provisioner /bin/local-path-provisioner
ENTRYPOINT ["/bin/local-path-provisioner"]
D
}

# The base has what a Rust program with C++ inside needs, and nothing to log in with. It is made
# of this host's own packages, because binaries that were built here need at least this C library.
context_of_base() {
  local root=$1/root packages=$1/packages
  mkdir -p "$root"/{etc/ssl/certs,tmp,usr/bin} "$packages"
  (cd "$packages" && apt-get -qq -o APT::Sandbox::User=root download libc6 libgcc-s1 libstdc++6 ca-certificates)
  for package in "$packages"/*.deb; do dpkg-deb -x "$package" "$root"; done
  cat "$root"/usr/share/ca-certificates/mozilla/*.crt >"$root/etc/ssl/certs/ca-certificates.crt"
  rm -rf "$root"/usr/share/{ca-certificates,man,lintian,gcc,gdb} "$root"/usr/sbin "$root"/usr/lib/*/gconv "$root"/etc/ld.so.conf.d
  find "$root/usr/share/doc" -type f ! -name copyright -delete
  find "$root" -type d -empty ! -path "$root/tmp" ! -path "$root/usr/bin" -delete
  chmod 1777 "$root/tmp"
  printf 'root:x:0:0:root:/:/sbin/nologin\nannulus:x:65532:65532:annulus:/tmp:/sbin/nologin\n' >"$root/etc/passwd"
  printf 'root:x:0:\nannulus:x:65532:\n' >"$root/etc/group"
  echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
  printf 'FROM scratch\nCOPY root /\n' >"$1/Dockerfile"
}
