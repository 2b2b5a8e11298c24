{{- define "annulus-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "annulus-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{- $name := include "annulus-operator.name" . -}}
{{- if hasPrefix .Release.Name $name -}}
{{- $name }}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "annulus-operator.selector" -}}
app.kubernetes.io/name: {{ include "annulus-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "annulus-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "annulus-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "annulus-operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "annulus-operator.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* An image from a repository, a tag and a digest; the digest counts over the tag. */}}
{{- define "annulus-operator.image" -}}
{{- $image := index . 0 -}}
{{- $chart := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{- printf "%s:%s" $image.repository (default $chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{/* What the operator may do with the objects of KVClusters, in each namespace it looks after. */}}
{{- define "annulus-operator.rules" -}}
- apiGroups: [annulus.dev]
  resources: [kvclusters]
  verbs: [get, list, watch]
- apiGroups: [annulus.dev]
  resources: [kvnodes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [annulus.dev]
  resources: [kvrings]
  verbs: [get, list, watch, create, update]
- apiGroups: [annulus.dev]
  resources: [kvclusters/status, kvnodes/status]
  verbs: [patch]
# Owner references that block the owner's deletion.
- apiGroups: [annulus.dev]
  resources: [kvclusters/finalizers, kvnodes/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
# Only create: the operator can read no Secret. It makes each cluster's context key once; that
# there is one already, it learns from the refusal. (Rules cannot name objects to be created.)
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
