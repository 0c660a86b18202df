{{/* What makes no sense is refused before anything is made, with a sentence that says what to write. */}}

{{- define "wavecast.checks" -}}
{{- include "wavecast.checkNames" . -}}
{{- include "wavecast.checkStore" . -}}
{{- include "wavecast.checkReleases" . -}}
{{- include "wavecast.checkTraffic" . -}}
{{- if .Values.releases -}}
{{- include "wavecast.checkEntry" . -}}
{{- end -}}
{{- include "wavecast.checkJobs" . -}}
{{- include "wavecast.checkCluster" . -}}
{{- end -}}

{{- define "wavecast.checkNames" -}}
{{- $name := include "wavecast.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,21}[a-z0-9])?$" $name) -}}
{{- fail (printf "'%s' is no name for InferenceServices; write nameOverride with at most 23 lower-case letters, digits and dashes, a letter first" $name) -}}
{{- end -}}
{{- /* KServe makes a host name of every component, whoever needs it: <service>-<component>-<namespace>. */ -}}
{{- $components := list -}}
{{- range .Values.releases -}}
{{- $components = append $components (include "wavecast.backend" (list $ .name)) -}}
{{- range $kind, $version := .members -}}
{{- $components = append $components (printf "%s-predictor" (include "wavecast.member" (list $ $kind $version))) -}}
{{- end -}}
{{- end -}}
{{- range $components -}}
{{- $host := printf "%s-%s" . $.Release.Namespace -}}
{{- if gt (len $host) 63 -}}
{{- fail (printf "KServe would make the host name '%s' of %d characters, and 63 are allowed; write nameOverride with %d less than '%s', or take a namespace with a shorter name" $host (len $host) (sub (len $host) 63) $name) -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.image.tag "latest" -}}
{{- fail "image.tag: 'latest' moves, so a rollback would not bring the old image back; write a version" -}}
{{- end -}}
{{- end -}}

{{- define "wavecast.checkStore" -}}
{{- with .Values.store -}}
{{- if not .uri -}}
{{- fail "store.uri is empty; write the store of the releases, s3://bucket/prefix" -}}
{{- end -}}
{{- if not (regexMatch "^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/]+)*$" .uri) -}}
{{- fail (printf "store.uri: '%s' is no store; write s3://bucket/prefix, without a slash at the end" .uri) -}}
{{- end -}}
{{- if contains "/" .endpoint -}}
{{- fail (printf "store.endpoint: '%s' is no address; write host:port, and useHttps says which scheme" .endpoint) -}}
{{- end -}}
{{- $given := 0 -}}
{{- with .credentials -}}
{{- if ne (empty .accessKeyId) (empty .secretAccessKey) -}}
{{- fail "store.credentials has one of accessKeyId and secretAccessKey; write both" -}}
{{- end -}}
{{- range list .existingSecret .accessKeyId .workloadIdentity -}}{{- if . -}}{{- $given = add1 $given -}}{{- end -}}{{- end -}}
{{- end -}}
{{- if not $given -}}
{{- fail (printf "store.credentials is empty, and %s needs some; write existingSecret (a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), workloadIdentity, or accessKeyId and secretAccessKey" .uri) -}}
{{- end -}}
{{- if and (not $.Values.serviceAccount.create) (or .credentials.accessKeyId .credentials.workloadIdentity) -}}
{{- fail "serviceAccount.create is false, so accessKeyId and workloadIdentity of store.credentials would reach no pod; let the chart make the ServiceAccount, or write existingSecret and name it under secrets of your own" -}}
{{- end -}}
{{- if gt (int $given) 1 -}}
{{- fail "store.credentials has more than one of existingSecret, accessKeyId and workloadIdentity; write one" -}}
{{- end -}}
{{- end -}}
{{- include "wavecast.checkStoreSecret" . -}}
{{- end -}}

{{/* KServe learns the endpoint from the Secret alone; one without it would send every pod to AWS. */}}
{{- define "wavecast.checkStoreSecret" -}}
{{- $name := .Values.store.credentials.existingSecret -}}
{{- if and $name .Values.store.endpoint -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace $name -}}
{{- if $secret -}}
{{- $said := get (dig "annotations" dict $secret.metadata) "serving.kserve.io/s3-endpoint" -}}
{{- if ne $said .Values.store.endpoint -}}
{{- fail (printf "Secret %s sends KServe to '%s', store.endpoint says '%s'; run: kubectl -n %s annotate --overwrite secret %s serving.kserve.io/s3-endpoint=%s serving.kserve.io/s3-usehttps=%s serving.kserve.io/s3-region=%s" $name $said .Values.store.endpoint .Release.Namespace $name .Values.store.endpoint (ternary "1" "0" .Values.store.useHttps) .Values.store.region) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "wavecast.checkReleases" -}}
{{- $seen := dict -}}
{{- range $i, $release := .Values.releases -}}
{{- if not (regexMatch "^[0-9a-f]{12}$" .name) -}}
{{- fail (printf "releases[%d].name: '%s' is no version; write 12 hexadecimal digits, as 'wavecast store ls' shows them" $i .name) -}}
{{- end -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "releases has %s twice; name each release once" .name) -}}
{{- end -}}
{{- $_ := set $seen .name true -}}
{{- if not .members -}}
{{- fail (printf "releases[%d].members is empty; write the version of each member of %s, as its release.json has them" $i .name) -}}
{{- end -}}
{{- range $kind, $version := .members -}}
{{- if not (regexMatch "^[0-9a-f]{12}$" $version) -}}
{{- fail (printf "releases[%d].members.%s: '%s' is no version; write 12 hexadecimal digits, as 'wavecast store ls' shows them" $i $kind $version) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "wavecast.checkTraffic" -}}
{{- $running := list -}}
{{- range .Values.releases -}}{{- $running = append $running .name -}}{{- end -}}
{{- with .Values.traffic -}}
{{- range $share := list "percent" "mirrorPercent" -}}
{{- $value := int (get $.Values.traffic $share) -}}
{{- if or (lt $value 0) (gt $value 100) -}}
{{- fail (printf "traffic.%s: %d is no percentage; write a whole number from 0 to 100" $share $value) -}}
{{- end -}}
{{- if and $value (not $.Values.traffic.canary) -}}
{{- fail (printf "traffic.%s is %d, but no canary is named; write one, or 0" $share $value) -}}
{{- end -}}
{{- end -}}
{{- if and $running (not .stable) -}}
{{- fail (printf "traffic.stable is empty; write the release that answers, one of %s" (join ", " $running)) -}}
{{- end -}}
{{- range $role := list "stable" "canary" -}}
{{- $name := get $.Values.traffic $role -}}
{{- if and $name (not (has $name $running)) -}}
{{- fail (printf "traffic.%s is %s, which is not in releases; add it there with its members" $role $name) -}}
{{- end -}}
{{- end -}}
{{- if and .stable $.Release.IsUpgrade -}}
{{- $runs := lookup "serving.kserve.io/v1beta1" "InferenceService" $.Release.Namespace (include "wavecast.release" (list $ .stable)) -}}
{{- if and $runs (ne (hasKey $runs.spec "transformer") (eq $.Values.placement "transformer")) -}}
{{- fail (printf "placement: %s answers, and '%s' would replace all of its pods at once, so nobody would; install the other placement under another name, and move the clients" .stable $.Values.placement) -}}
{{- end -}}
{{- end -}}
{{- if and .canary (eq .canary .stable) -}}
{{- fail (printf "traffic.canary is the stable release %s; write another one, or nothing" .stable) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "wavecast.checkEntry" -}}
{{- if not .Values.gateway.name -}}
{{- fail "gateway.name is empty; write the Gateway to attach to ('kubectl get gateways -A' lists them)" -}}
{{- end -}}
{{- if not .Values.gateway.hostnames -}}
{{- fail "gateway.hostnames is empty; write the name under which forecasts are reached, for example [wavecast.example.com]" -}}
{{- end -}}
{{- range $grpc := include "wavecast.grpcHostnames" . | fromJsonArray -}}
{{- range $rest := $.Values.gateway.hostnames -}}
{{- $under := and (hasPrefix "*." $rest) (hasSuffix (trimPrefix "*" $rest) $grpc) -}}
{{- $over := and (hasPrefix "*." $grpc) (hasSuffix (trimPrefix "*" $grpc) $rest) -}}
{{- if or (eq $grpc $rest) $under $over -}}
{{- fail (printf "gRPC would be reached under %s, and REST under %s; the Gateway API lets only one of the two have a name, so write gateway.grpcHostnames that no name of gateway.hostnames covers" $grpc $rest) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (not .Values.auth.existingSecret) (not .Values.auth.insecure) -}}
{{- fail "auth says nothing; write auth.existingSecret (a Secret with the key 'keys', a file of 'wavecast keys create'), or auth.insecure=true if anybody who reaches the gateway may ask" -}}
{{- end -}}
{{- if and .Values.auth.existingSecret .Values.auth.insecure -}}
{{- fail "auth.insecure lets anybody in, and auth.existingSecret does not; write one of them" -}}
{{- end -}}
{{- range $where, $workload := dict "router" .Values.router "wavelet" .Values.wavelet "members.lstm" .Values.members.lstm "members.transformer" .Values.members.transformer "members.xgboost" .Values.members.xgboost -}}
{{- if and $workload.autoscaling.enabled (lt (int $workload.autoscaling.maxReplicas) (int $workload.replicas)) -}}
{{- fail (printf "%s.autoscaling.maxReplicas is %d, less than its replicas %d; write more" $where (int $workload.autoscaling.maxReplicas) (int $workload.replicas)) -}}
{{- end -}}
{{- range list "host" "http_port" "grpc_port" "model_dir" "members" "predictor_host" "api_keys" "insecure" "timeout_s" "grace_s" "min_members" "tls_cert" "tls_key" -}}
{{- if hasKey $workload.settings . -}}
{{- fail (printf "%s.settings: '%s' is set by the chart from other values; leave it out" $where .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "wavecast.checkJobs" -}}
{{- range $job := list "tuning" "retraining" -}}
{{- with get $.Values $job -}}
{{- if and .enabled (not .data) -}}
{{- fail (printf "%s.data is empty; write the URI of the bars, for example s3://bucket/bars.parquet" $job) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.tuning -}}
{{- if and .enabled (not .storageSecret) -}}
{{- fail "tuning.storageSecret is empty; write a Secret with the key 'url', the postgresql:// URL of the studies" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "wavecast.checkCluster" -}}
{{- $needs := dict
  "serving.kserve.io/v1beta1/InferenceService" "KServe 0.15 or later"
  "serving.kserve.io/v1alpha1/ServingRuntime" "KServe 0.15 or later" -}}
{{- if .Values.releases -}}
{{- $_ := set $needs "gateway.networking.k8s.io/v1/HTTPRoute" "the Gateway API 1.2 or later and a controller for it" -}}
{{- $_ := set $needs "gateway.networking.k8s.io/v1/GRPCRoute" "the Gateway API 1.2 or later and a controller for it" -}}
{{- end -}}
{{- if .Values.monitoring.podMonitor.enabled -}}
{{- $_ := set $needs "monitoring.coreos.com/v1/PodMonitor" "the Prometheus operator, or set monitoring.podMonitor.enabled=false" -}}
{{- end -}}
{{- range $api, $what := $needs -}}
{{- if not ($.Capabilities.APIVersions.Has $api) -}}
{{- fail (printf "this cluster has no %s; install %s ('helm template' is told with --api-versions %s)" $api $what $api) -}}
{{- end -}}
{{- end -}}
{{- end -}}
