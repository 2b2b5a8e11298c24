# The cluster's certificate authority and one kubeconfig per component.
# shellcheck shell=bash

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

create_authority() {
  local directory=$STATE/pki
  mkdir -p -m 0700 "$directory"
  new_key "$directory/ca.key"
  openssl req -x509 -new -key "$directory/ca.key" -out "$directory/ca.crt" -days 3650 -subj "/CN=$NAME" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
  new_key "$directory/service-accounts.key"
  openssl ec -in "$directory/service-accounts.key" -pubout -out "$directory/service-accounts.pub" 2>/dev/null
}

# certificate NAME SUBJECT [EXTENSION]: a key, a certificate, and a kubeconfig that uses both.
# Without any extension openssl would make a version 1 certificate, which rustls refuses.
certificate() {
  local path=$STATE/pki/$1 extensions
  extensions=$(printf '%s\n' basicConstraints=CA:FALSE extendedKeyUsage=clientAuth,serverAuth "${3:-}")
  new_key "$path.key"
  openssl req -new -key "$path.key" -out "$path.csr" -subj "$2"
  openssl x509 -req -in "$path.csr" -CA "$STATE/pki/ca.crt" -CAkey "$STATE/pki/ca.key" \
    -set_serial "0x$(openssl rand -hex 8)" -out "$path.crt" -days 3650 -extfile <(echo "$extensions") 2>/dev/null
  cat >"$path.kubeconfig" <<EOC
apiVersion: v1
kind: Config
clusters: [{name: $NAME, cluster: {server: "https://$CONTROL_PLANE_IP:$API_PORT", certificate-authority: $STATE/pki/ca.crt}}]
users: [{name: $1, user: {client-certificate: $path.crt, client-key: $path.key}}]
contexts: [{name: $NAME, context: {cluster: $NAME, user: $1}}]
current-context: $NAME
EOC
}

create_certificates() {
  local name names="subjectAltName=IP:127.0.0.1,IP:$CONTROL_PLANE_IP,IP:$API_SERVICE_IP,DNS:localhost"
  for name in kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local; do
    names+=",DNS:$name"
  done
  create_authority
  certificate apiserver /CN=kube-apiserver "$names"
  certificate admin /O=system:masters/CN=admin
  certificate controller-manager /CN=system:kube-controller-manager
  certificate scheduler /CN=system:kube-scheduler
  certificate proxy /CN=system:kube-proxy
}
