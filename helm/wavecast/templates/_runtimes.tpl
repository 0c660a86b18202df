{{/* Specs of the ServingRuntimes, whose checksums are part of their names. */}}

{{/* (list $ kind) */}}
{{- define "wavecast.memberRuntime" -}}
{{- $ := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $member := get $.Values.members $kind -}}
supportedModelFormats: [{name: wavecast-{{ $kind }}, version: "1", autoSelect: false}]
protocolVersions: [v2, grpc-v2]
containers:
  - name: kserve-container
    image: {{ include "wavecast.image" (list $ $kind) }}
    imagePullPolicy: {{ $.Values.image.pullPolicy }}
    env:
      {{- include "wavecast.env" (list $ $member.settings) | nindent 6 }}
    ports:
      - {name: http1, containerPort: 8080, protocol: TCP}
      - {name: grpc, containerPort: 8081, protocol: TCP}
    {{- include "wavecast.probes" (list 8080 $kind (printf "/v2/models/%s/ready" $kind)) | nindent 4 }}
    {{- include "wavecast.drain" $.Values.disruption.drainS | nindent 4 }}
    resources:
      {{- toYaml $member.resources | nindent 6 }}
    securityContext:
      {{- include "wavecast.containerSecurity" $ | nindent 6 }}
{{- end -}}

{{/* The router, and with it the wavelet process if they share a pod. The router leaves last: the other one still
     answers what it has accepted. */}}
{{- define "wavecast.ensembleRuntime" -}}
{{- $together := eq .Values.placement "collocated" -}}
{{- $drain := int .Values.disruption.drainS -}}
supportedModelFormats: [{name: wavecast-ensemble, version: "1", autoSelect: false}]
protocolVersions: [v2, grpc-v2]
containers:
  - name: kserve-container
    image: {{ include "wavecast.image" (list . "router") }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    env:
      {{- $settings := merge (dict "min_members" .Values.router.minMembers) .Values.router.settings }}
      {{- if $together }}
      {{- $settings = merge (dict "http_port" 8090 "grpc_port" 8091) $settings }}
      {{- end }}
      {{- include "wavecast.env" (list . $settings) | nindent 6 }}
    ports:
      - {name: {{ ternary "router-http" "http1" $together }}, containerPort: {{ ternary 8090 8080 $together }}, protocol: TCP}
      - {name: {{ ternary "router-grpc" "grpc" $together }}, containerPort: {{ ternary 8091 8081 $together }}, protocol: TCP}
    {{- include "wavecast.probes" (list (ternary 8090 8080 $together) "wavecast" "/v2/health/live") | nindent 4 }}
    {{- include "wavecast.drain" (ternary (add $drain .Values.disruption.requestS) $drain $together) | nindent 4 }}
    resources:
      {{- toYaml .Values.router.resources | nindent 6 }}
    securityContext:
      {{- include "wavecast.containerSecurity" . | nindent 6 }}
  {{- if $together }}
  - name: transformer-container
    {{- include "wavecast.waveletContainer" (list . "127.0.0.1:8090") | nindent 4 }}
  {{- end }}
{{- if $together }}
{{- with include "wavecast.keyVolume" . }}
{{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* (list $ address-of-the-router): the process that accepts bars, without its name */}}
{{- define "wavecast.waveletContainer" -}}
{{- $ := index . 0 -}}
image: {{ include "wavecast.image" (list $ "wavelet") }}
imagePullPolicy: {{ $.Values.image.pullPolicy }}
env:
  {{- $access := dict "insecure" true }}
  {{- if $.Values.auth.existingSecret }}
  {{- $access = dict "api_keys" "/etc/wavecast/keys" }}
  {{- end }}
  {{- include "wavecast.env" (list $ (merge (dict "predictor_host" (index . 1)) $access $.Values.wavelet.settings)) | nindent 2 }}
ports:
  - {name: http1, containerPort: 8080, protocol: TCP}
  - {name: grpc, containerPort: 8081, protocol: TCP}
{{- include "wavecast.probes" (list 8080 "wavecast" "/v2/health/live") | nindent 0 }}
{{- include "wavecast.drain" $.Values.disruption.drainS | nindent 0 }}
resources:
  {{- toYaml $.Values.wavelet.resources | nindent 2 }}
securityContext:
  {{- include "wavecast.containerSecurity" $ | nindent 2 }}
{{- if $.Values.auth.existingSecret }}
volumeMounts:
  - {name: api-keys, mountPath: /etc/wavecast, readOnly: true}
{{- end }}
{{- end -}}

{{- define "wavecast.keyVolume" -}}
{{- with .Values.auth.existingSecret -}}
volumes:
  - name: api-keys
    secret: {secretName: {{ . }}, items: [{key: keys, path: keys}]}
{{- end -}}
{{- end -}}
