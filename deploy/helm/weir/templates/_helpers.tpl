{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/*
`helm upgrade --reuse-values` gives a new chart the values of the old one and none of its own, and a value may be null: what is
absent has its default. Below what Kubernetes or people give keys to, nothing is filled in, so that null removes something there.
*/}}
{{- define "weir.complete" -}}
{{- include "weir.fill" (dict "values" .Values "defaults" (.Files.Get "files/defaults.yaml" | fromYaml)) -}}
{{- end -}}
{{- define "weir.fill" -}}
{{- $values := .values -}}
{{- range $key, $default := .defaults -}}
{{- if or (not (hasKey $values $key)) (kindIs "invalid" (get $values $key)) -}}
{{- $_ := set $values $key $default -}}
{{- else if and (kindIs "map" $default) (not (has $key (list "resources" "updateStrategy" "labels"))) -}}
{{- include "weir.fill" (dict "values" (get $values $key) "defaults" $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "weir.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* linkerd check looks for objects of this very name. */}}
{{- define "weir.fullname" -}}
{{- if .Values.linkerdCni.enabled -}}
linkerd-cni
{{- else if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "weir.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "weir.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What is in two releases of one cluster must differ between them. */}}
{{- define "weir.clusterName" -}}
{{- if .Values.linkerdCni.enabled -}}
linkerd-cni
{{- else -}}
{{- include "weir.fullname" . -}}
{{- end -}}
{{- end -}}

{{- define "weir.serviceAccountName" -}}
{{- if .Values.linkerdCni.enabled -}}
linkerd-cni
{{- else if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "weir.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "weir.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "weir.selectorLabels" -}}
app.kubernetes.io/name: {{ include "weir.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "weir.labels" -}}
{{ include "weir.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: node-agent
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- if .Values.linkerdCni.enabled }}
k8s-app: linkerd-cni
linkerd.io/cni-resource: "true"
{{- end }}
{{- end -}}

{{/* (list $ LABELS): the chart's labels, and what people add to them. No key comes twice, for YAML and selectors have it so. */}}
{{- define "weir.labelsAnd" -}}
{{- merge (include "weir.labels" (index . 0) | fromYaml) (index . 1) | toYaml -}}
{{- end -}}

{{/* (list $ MONITOR): where an operator scrapes. The workloads' own namespace and pod are labels of the metrics. */}}
{{- define "weir.endpoint" -}}
{{- $monitor := index . 1 -}}
{{- $own := dict "port" "metrics" "interval" $monitor.interval "honorLabels" true -}}
{{- if (index . 0).Values.metrics.webConfig.tls }}{{ $_ := set $own "scheme" "https" }}{{ end -}}
{{- merge (deepCopy $monitor.endpoint) $own | toYaml -}}
{{- end -}}
