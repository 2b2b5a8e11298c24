# The images of the storage node (--target node) and of the operator (--target operator).
#
# Nothing is compiled here: the build context holds the finished binaries, so that the same files
# that were tested are shipped. `e2e/lab/image` makes the context and the base. The base needs the
# C and C++ runtime libraries and the CA certificates; a shell is neither needed nor wanted.
# The programs run as any user, on a read-only root file system; the node writes to its data
# directory only.
ARG BASE=debian:stable-slim

FROM ${BASE} AS annulus
LABEL org.opencontainers.image.vendor="Annulus" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532

FROM annulus AS node
ARG VERSION=dev
LABEL org.opencontainers.image.title="annulus-node" \
      org.opencontainers.image.description="Storage node of the Annulus key-value store" \
      org.opencontainers.image.version="${VERSION}"
COPY annulus-node /usr/bin/annulus-node
EXPOSE 9600 9601 9602 9603 9602/udp
ENTRYPOINT ["/usr/bin/annulus-node"]

FROM annulus AS operator
ARG VERSION=dev
LABEL org.opencontainers.image.title="annulus-operator" \
      org.opencontainers.image.description="Kubernetes operator of the Annulus key-value store" \
      org.opencontainers.image.version="${VERSION}"
COPY annulus-operator /usr/bin/annulus-operator
ENTRYPOINT ["/usr/bin/annulus-operator"]
