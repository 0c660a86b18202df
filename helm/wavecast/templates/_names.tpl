{{/* All names and labels of the chart are built here. */}}

{{- define "wavecast.fullname" -}}
{{- .Values.nameOverride | default .Release.Name -}}
{{- end -}}

{{/* (list $ component), component of: xgboost lstm transformer wavelet router optimization */}}
{{- define "wavecast.image" -}}
{{- $ := index . 0 -}}
{{- printf "%s/wavecast-%s:%s" $.Values.image.registry (index . 1) ($.Values.image.tag | default $.Chart.AppVersion) -}}
{{- end -}}

{{/* (list $ kind version): InferenceService of a member */}}
{{- define "wavecast.member" -}}
{{- printf "%s-%s-%s" (include "wavecast.fullname" (index . 0)) (index . 1) (index . 2) -}}
{{- end -}}

{{/* (list $ release): InferenceService of a release */}}
{{- define "wavecast.release" -}}
{{- printf "%s-%s" (include "wavecast.fullname" (index . 0)) (index . 1) -}}
{{- end -}}

{{/* (list $ release): Service that accepts bars, made by KServe: port 80 is REST, 8081 gRPC */}}
{{- define "wavecast.backend" -}}
{{- $component := ternary "transformer" "predictor" (eq (index . 0).Values.placement "transformer") -}}
{{- printf "%s-%s" (include "wavecast.release" .) $component -}}
{{- end -}}

{{/* (list $ isvc): headless Service of its predictor, so that its client sees every replica; KServe's own has one
     address unless the cluster is configured otherwise, and a kept connection would stay with one replica. */}}
{{- define "wavecast.headless" -}}
{{- printf "%s-headless" (index . 1) -}}
{{- end -}}

{{- define "wavecast.headlessHost" -}}
{{- printf "%s.%s" (include "wavecast.headless" .) (index . 0).Release.Namespace -}}
{{- end -}}

{{/* (list $ name spec): a ServingRuntime's name holds a checksum of its content. A change is then a new runtime and a
     changed InferenceService: one rolling update on every version of KServe, in whatever order the two arrive. */}}
{{- define "wavecast.runtimeName" -}}
{{- printf "%s-%s-%s" (include "wavecast.fullname" (index . 0)) (index . 1) (index . 2 | sha256sum | trunc 8) -}}
{{- end -}}

{{- define "wavecast.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "wavecast.fullname" .) -}}
{{- end -}}

{{- define "wavecast.storeSecret" -}}
{{- with .Values.store.credentials -}}
{{- if .accessKeyId -}}{{ include "wavecast.fullname" $ }}-store{{- else -}}{{ .existingSecret }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* What selects everything of this installation. */}}
{{- define "wavecast.selector" -}}
app.kubernetes.io/name: wavecast
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* No chart version among the labels: KServe hands them to the pods, which would restart for it. */}}
{{- define "wavecast.labels" -}}
{{ include "wavecast.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* (list $ isvc role): labels that select the pods of one role of an InferenceService */}}
{{- define "wavecast.podSelector" -}}
{{ include "wavecast.selector" (index . 0) }}
wavecast.dev/service: {{ index . 1 }}
wavecast.dev/role: {{ index . 2 }}
{{- end -}}

{{/* JSON object of the member versions that run: "<kind>-<version>" to {kind, version} */}}
{{- define "wavecast.memberVersions" -}}
{{- $found := dict -}}
{{- range .Values.releases -}}
{{- range $kind, $version := .members -}}
{{- $_ := set $found (printf "%s-%s" $kind $version) (dict "kind" $kind "version" $version) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Role of the pods that accept bars */}}
{{- define "wavecast.entryRole" -}}
{{- ternary "wavelet" "release" (eq .Values.placement "transformer") -}}
{{- end -}}

{{- define "wavecast.grpcHostnames" -}}
{{- $names := .Values.gateway.grpcHostnames -}}
{{- if not $names -}}
{{- range .Values.gateway.hostnames -}}{{- $names = append $names (printf "grpc.%s" (trimPrefix "*." .)) -}}{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}
