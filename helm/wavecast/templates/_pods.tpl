{{/* What pods have in common. */}}

{{- define "wavecast.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "wavecast.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* (list $ settings): environment of a server; 1024.0 of YAML is 1024 in JSON */}}
{{- define "wavecast.env" -}}
{{- $ := index . 0 -}}
- {name: WAVECAST_HOST, value: "0.0.0.0"}
- {name: WAVECAST_TIMEOUT_S, value: {{ $.Values.disruption.requestS | quote }}}
- {name: WAVECAST_GRACE_S, value: {{ $.Values.disruption.requestS | quote }}}
{{- range $name, $value := index . 1 }}
- {name: WAVECAST_{{ upper $name }}, value: {{ (kindIs "string" $value | ternary $value (toJson $value)) | quote }}}
{{- end }}
{{- end -}}

{{/* (list port model startupPath): started when the server listens, ready when the model says so (its golden windows
     were replayed and what it depends on is ready), dead when it does not answer at all */}}
{{- define "wavecast.probes" -}}
{{- $port := index . 0 -}}
startupProbe:
  httpGet: {path: {{ index . 2 }}, port: {{ $port }}}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 120
readinessProbe:
  httpGet: {path: /v2/models/{{ index . 1 }}/ready, port: {{ $port }}}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /v2/health/live, port: {{ $port }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{/* seconds: requests still come until every gateway and router knows that the pod is leaving */}}
{{- define "wavecast.drain" -}}
lifecycle:
  preStop:
    exec: {command: [sleep, {{ . | quote }}]}
{{- end -}}

{{/* (list $ workload): replicas of a KServe component */}}
{{- define "wavecast.replicas" -}}
{{- with index . 1 -}}
minReplicas: {{ .replicas }}
maxReplicas: {{ ternary .autoscaling.maxReplicas .replicas .autoscaling.enabled }}
{{- if .autoscaling.enabled }}
scaleMetric: cpu
scaleTarget: {{ .autoscaling.targetCpuPercent }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* (list $ isvc role): labels and pod-level fields of a KServe component */}}
{{- define "wavecast.component" -}}
{{- $args := . -}}
{{- $ := index . 0 -}}
labels:
  wavecast.dev/service: {{ index . 1 }}
  wavecast.dev/role: {{ index . 2 }}
deploymentStrategy:
  type: RollingUpdate
  rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
serviceAccountName: {{ include "wavecast.serviceAccount" $ }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ add $.Values.disruption.drainS $.Values.disruption.requestS 10 }}
securityContext:
  {{- include "wavecast.podSecurity" $ | nindent 2 }}
{{- with $.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $.Values.scheduling }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .spread }}
topologySpreadConstraints:
  {{- range . }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $.Values.scheduling.whenUnsatisfiable }}
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "wavecast.podSelector" $args | nindent 8 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Annotations and labels of every InferenceService; (list $ scaled) */}}
{{- define "wavecast.isvcMetadata" -}}
{{- $ := index . 0 -}}
labels:
  {{- include "wavecast.labels" $ | nindent 2 }}
  # No route of KServe's own: members are for the router alone, releases for the chart's routes.
  networking.kserve.io/visibility: cluster-local
annotations:
  serving.kserve.io/deploymentMode: {{ $.Values.kserve.deploymentMode }}
  {{- /* KServe 0.15 may not know "none"; there an autoscaler between equal bounds fixes the replicas. */}}
  serving.kserve.io/autoscalerClass: {{ ternary "hpa" "none" (or (index . 1) (eq $.Values.kserve.deploymentMode "RawDeployment")) }}
{{- end -}}
