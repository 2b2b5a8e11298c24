# Node 0: the switch that connects the nodes, etcd, the API server and the controllers.
# shellcheck shell=bash

create_control_plane_network() {
  ip netns add "$NAME"
  ip -n "$NAME" link set lo up
  # The kernel may lack dummy devices; a bridge serves as the nodes' switch and as our own link.
  ip -n "$NAME" link add lab0 type bridge
  ip -n "$NAME" addr add "$CONTROL_PLANE_IP/16" dev lab0
  ip -n "$NAME" link set lab0 up
  inside 0 sysctl -qw net.ipv4.ip_forward=1
}

start_api_server() {
  local bin pki=$STATE/pki
  bin=$(binaries_directory kubernetes)
  start 0 etcd "$bin/etcd" --data-dir "$STATE/n0/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
  start 0 kube-apiserver "$bin/kube-apiserver" \
    --etcd-servers=http://127.0.0.1:2379 \
    --advertise-address="$CONTROL_PLANE_IP" --secure-port="$API_PORT" --cert-dir="$STATE/n0/run" \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --client-ca-file="$pki/ca.crt" \
    --service-account-key-file="$pki/service-accounts.pub" \
    --service-account-signing-key-file="$pki/service-accounts.key" \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-cluster-ip-range="$SERVICE_RANGE" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key" \
    --kubelet-preferred-address-types=InternalIP
}

start_controllers() {
  local bin pki=$STATE/pki
  bin=$(binaries_directory kubernetes)
  # A lost node is noticed after 20 s instead of 50 s: tests wait for it.
  start 0 kube-controller-manager "$bin/kube-controller-manager" \
    --kubeconfig="$pki/controller-manager.kubeconfig" --cert-dir="$STATE/n0/run" \
    --service-account-private-key-file="$pki/service-accounts.key" --root-ca-file="$pki/ca.crt" \
    --use-service-account-credentials=true --leader-elect=false \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" \
    --node-monitor-grace-period=20s
  start 0 kube-scheduler "$bin/kube-scheduler" \
    --kubeconfig="$pki/scheduler.kubeconfig" --cert-dir="$STATE/n0/run" --leader-elect=false
}

kubectl() {
  inside 0 env KUBECONFIG="$STATE/pki/admin.kubeconfig" "$(binaries_directory kubernetes)/kubectl" "$@"
}

api_is_ready() { kubectl get --raw /readyz; }
