{{/* What the jobs that make releases have in common. */}}

{{/* (list $ credentials-secret): access to the store by the usual AWS variables; workload identity brings its own */}}
{{- define "wavecast.storeEnv" -}}
{{- $ := index . 0 -}}
{{- $secret := index . 1 | default (include "wavecast.storeSecret" $) -}}
- {name: AWS_REGION, value: {{ $.Values.store.region | quote }}}
{{- with $.Values.store.endpoint }}
- {name: AWS_ENDPOINT_URL, value: {{ ternary "https" "http" $.Values.store.useHttps }}://{{ . }}}
{{- end }}
{{- range $key := ternary (list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY") list (ne $secret "") }}
- name: {{ $key }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}}
{{- end }}
{{- end -}}

{{/* (list $ role): labels of a job's pod, and its fields but for containers and volumes */}}
{{- define "wavecast.jobPodHead" -}}
{{- $ := index . 0 -}}
metadata:
  labels:
    {{- include "wavecast.selector" $ | nindent 4 }}
    wavecast.dev/role: {{ index . 1 }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "wavecast.serviceAccount" $ }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    {{- include "wavecast.podSecurity" $ | nindent 4 }}
  {{- with $.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $.Values.scheduling.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.Values.scheduling.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* (list $ values script env): pod template of a job whose script is in `sh` */}}
{{- define "wavecast.jobPod" -}}
{{- $ := index . 0 -}}
{{- $job := index . 1 }}
{{- include "wavecast.jobPodHead" (list $ "job") }}
  containers:
    - name: job
      image: {{ include "wavecast.image" (list $ "optimization") }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      workingDir: /work
      command:
        - sh
        - -euc
        - |
          {{- index . 2 | trim | nindent 10 }}
      env:
        - {name: DATA, value: {{ $job.data | quote }}}
        - {name: PROXY, value: {{ $job.proxy }}}
        - {name: BARS_PER_YEAR, value: {{ $job.barsPerYear | quote }}}
        - {name: SEED, value: {{ int64 $job.seed | quote }}}
        - {name: WAVECAST_STORE, value: {{ $.Values.store.uri | quote }}}
        {{- include "wavecast.storeEnv" (list $ $job.credentialsSecret) | nindent 8 }}
        {{- with index . 3 }}
        {{- . | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml $job.resources | nindent 8 }}
      securityContext:
        {{- include "wavecast.containerSecurity" $ | nindent 8 }}
      volumeMounts:
        - {name: work, mountPath: /work}
        - {name: tmp, mountPath: /tmp}
  volumes:
    - name: work
      emptyDir: {sizeLimit: {{ $job.scratch }}}
    - name: tmp
      emptyDir: {sizeLimit: 512Mi}
{{- end -}}

{{/* A wrong value (2) and a refused gate (3) stay what they are, however often they are tried. */}}
{{- define "wavecast.jobFailurePolicy" -}}
podFailurePolicy:
  rules:
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
    - action: FailJob
      onExitCodes: {containerName: job, operator: In, values: [2, 3]}
{{- end -}}

{{/* (values of the job) From bars to a release in the store, or exit code 3 from a gate; recipes are arguments. */}}
{{- define "wavecast.makeRelease" -}}
wavecast train --data "$DATA" --proxy "$PROXY" --bars-per-year "$BARS_PER_YEAR" --seed "$SEED" --run runs/new "$@"
wavecast compress --run runs/new --data "$DATA"{{ if .keepPassing }} --keep-passing{{ end }}
wavecast publish --run runs/new-compressed
{{- end -}}
