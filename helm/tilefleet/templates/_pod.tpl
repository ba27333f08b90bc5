{{/* The pods: a template for all modes. */}}

{{/* Settings and variables of every container. Takes a dict: root, indexed. */}}
{{- define "tilefleet.env" -}}
{{- $values := .root.Values -}}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: HOME
  value: /tmp
- name: TMPDIR
  value: /tmp
- name: TILEFLEET_CACHE
  value: /var/cache/tilefleet
- name: TILEFLEET_LOG_FORMAT
  value: json
# What the chart has made the pod by: pod and program cannot disagree.
- name: TILEFLEET_RUN_GRACE
  value: {{ include "tilefleet.runGrace" .root | quote }}
- name: TILEFLEET_RUN_MEMORY
  value: {{ include "tilefleet.runMemory" .root | quote }}
{{- if not (include "tilefleet.setting" (list .root "run" "threads")) }}
- name: TILEFLEET_RUN_THREADS
  valueFrom:
    resourceFieldRef:
      containerName: {{ .container }}
      resource: requests.cpu
      divisor: "1"  # KEDA writes "0", which means the same, where there is none
{{- end }}
{{- with $values.gpu.enabled | ternary $values.gpu.provider (include "tilefleet.setting" (list .root "run" "provider")) }}
- name: TILEFLEET_RUN_PROVIDER
  value: {{ . }}
{{- end }}
{{- if $values.gpu.enabled }}
- name: TILEFLEET_RUN_DEVICES
  value: all
{{- end }}
{{- if and .gpu $values.engineCache.enabled }}
- name: TILEFLEET_TENSORRT_CACHE
  value: /var/cache/tilefleet-engines
{{- end }}
{{- if $values.metrics.enabled }}
- name: TILEFLEET_OBSERVE_LISTEN
  value: {{ printf "%s:%v" $values.metrics.address $values.metrics.port | quote }}
{{- end }}
{{- if .indexed }}
# Kubernetes tells a pod its index, not of how many, nor of which Job.
- name: TILEFLEET_SHARE_COUNT
  value: {{ $values.job.workers | quote }}
- name: TILEFLEET_SHARE_JOB
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['batch.kubernetes.io/controller-uid']
# Eight pods must not all list a large input.
- name: TILEFLEET_PLAN_WAIT
  value: {{ $values.job.planWait | quote }}
{{- end }}
{{- if include "tilefleet.queued" .root }}
- name: TILEFLEET_QUEUE_URL
  {{- if $values.queue.existingSecret }}
  valueFrom:
    secretKeyRef:
      name: {{ $values.queue.existingSecret | quote }}
      key: {{ $values.queue.secretKey | quote }}
  {{- else }}
  value: {{ default (printf "nats://%s-nats.%s.svc:4222" (include "tilefleet.fullname" .root) .root.Release.Namespace) $values.queue.url | quote }}
  {{- end }}
- name: TILEFLEET_QUEUE_NAME
  value: {{ include "tilefleet.queueName" .root | quote }}
{{- if $values.queue.credentialsSecret }}
- name: TILEFLEET_QUEUE_CREDENTIALS
  value: /var/run/secrets/tilefleet-queue/{{ $values.queue.credentialsKey }}
{{- end }}
{{- with $values.queue.lease }}
- name: TILEFLEET_QUEUE_LEASE
  value: {{ . | quote }}
{{- end }}
{{- with $values.queue.idle }}
- name: TILEFLEET_QUEUE_IDLE
  value: {{ . | quote }}
{{- end }}
- name: TILEFLEET_QUEUE_REPLICAS
  value: {{ $values.queue.replicas | quote }}
{{- end }}
{{- if include "tilefleet.hasFile" .root }}
{{- range $section, $keys := $values.pipeline.settings }}
{{- range $name, $value := (kindIs "map" $keys | ternary $keys (dict "" $keys)) }}
{{- include "tilefleet.settingEnv" (dict "path" (compact (list $section $name)) "value" $value) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $name, $value := $values.credentials.env }}
- name: {{ $name | quote }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- with $values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A setting as a variable: `run.batch` is TILEFLEET_RUN_BATCH. Tables within sections have variables of their own. */}}
{{- define "tilefleet.settingEnv" -}}
{{- $path := .path -}}
{{- if kindIs "map" .value -}}
{{- range $name, $value := .value -}}
{{- include "tilefleet.settingEnv" (dict "path" (append $path $name) "value" $value) -}}
{{- end -}}
{{- else if not (has (join "." $path) (list "run.grace" "run.memory" "run.provider")) }}
- name: TILEFLEET_{{ join "_" $path | upper }}
  value: {{ include "tilefleet.toml" .value | quote }}
{{- end -}}
{{- end }}

{{/* Credentials that are a secret's keys. */}}
{{- define "tilefleet.envFrom" -}}
{{- $secret := .Values.credentials.existingSecret -}}
{{- if .Values.credentials.external.enabled -}}
{{- $secret = printf "%s-credentials" (include "tilefleet.fullname" .) -}}
{{- end -}}
{{- if $secret }}
envFrom:
  - secretRef:
      name: {{ $secret | quote }}
{{- end }}
{{- end }}

{{- define "tilefleet.mounts" -}}
{{- $values := .root.Values -}}
- name: pipeline
  mountPath: /etc/tilefleet
  readOnly: true
- name: tmp
  mountPath: /tmp
- name: cache
  mountPath: /var/cache/tilefleet
{{- if and .gpu $values.engineCache.enabled }}
- name: engines
  mountPath: /var/cache/tilefleet-engines
{{- end }}
{{- if $values.credentials.filesSecret }}
- name: credentials
  mountPath: /var/run/secrets/tilefleet
  readOnly: true
{{- end }}
{{- if and (include "tilefleet.queued" .root) $values.queue.credentialsSecret }}
- name: queue
  mountPath: /var/run/secrets/tilefleet-queue
  readOnly: true
{{- end }}
{{- with $values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tilefleet.volumes" -}}
{{- $values := .root.Values -}}
- name: pipeline
  configMap:
    name: {{ include "tilefleet.pipelineMap" .root | quote }}
    items:
      - key: {{ empty $values.pipeline.existingConfigMap | ternary "pipeline.toml" $values.pipeline.key | quote }}
        path: {{ $values.pipeline.name }}.toml
- name: tmp
  emptyDir:
    sizeLimit: {{ include "tilefleet.quantity" $values.resources.scratch | quote }}
- name: cache
  emptyDir:
    sizeLimit: {{ include "tilefleet.quantity" $values.resources.cache | quote }}
{{- if and .gpu $values.engineCache.enabled }}
- name: engines
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-engines" (include "tilefleet.fullname" .root)) $values.engineCache.existingClaim | quote }}
{{- end }}
{{- with $values.credentials.filesSecret }}
- name: credentials
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
{{- end }}
{{- if and (include "tilefleet.queued" .root) $values.queue.credentialsSecret }}
- name: queue
  secret:
    secretName: {{ $values.queue.credentialsSecret | quote }}
    defaultMode: 0440
{{- end }}
{{- with $values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A container that runs a command. Takes a dict: root, name, args, indexed, gpu, serves. */}}
{{- define "tilefleet.container" -}}
{{- $values := .root.Values -}}
name: {{ .container }}
image: {{ include "tilefleet.image" .root | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
{{- with $values.image.entrypoint }}
command: {{ toJson . }}
{{- end }}
args: {{ toJson .args }}
env:
  {{- include "tilefleet.env" . | nindent 2 }}
{{- include "tilefleet.envFrom" .root }}
{{- if and .serves $values.metrics.enabled }}
ports:
  - name: metrics
    containerPort: {{ $values.metrics.port }}
{{- end }}
resources:
  requests:
    cpu: {{ include "tilefleet.quantity" $values.resources.cpu | quote }}
    memory: {{ include "tilefleet.memory" .root | quote }}
  limits:
    {{- with $values.resources.cpuLimit }}
    cpu: {{ include "tilefleet.quantity" . | quote }}
    {{- end }}
    memory: {{ include "tilefleet.memory" .root | quote }}
    {{- if and .gpu $values.gpu.enabled }}
    {{ $values.gpu.resource }}: {{ $values.gpu.count | quote }}
    {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
volumeMounts:
  {{- include "tilefleet.mounts" . | nindent 2 }}
{{- end }}

{{/* A pod. Takes a dict: root, component, args, plan, indexed, gpu, restart. */}}
{{- define "tilefleet.pod" -}}
{{- $values := .root.Values -}}
{{- $identity := $values.workloadIdentity -}}
metadata:
  labels:
    {{- include "tilefleet.selector" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- if $identity.azureClientId }}
    azure.workload.identity/use: "true"
    {{- end }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "tilefleet.serviceAccount" .root | quote }}
  # Workers ask the API server for nothing.
  automountServiceAccountToken: false
  restartPolicy: {{ .restart }}
  # After SIGTERM a worker finishes what is nearly done for `run.grace`.
  terminationGracePeriodSeconds: {{ add (include "tilefleet.seconds" (include "tilefleet.runGrace" .root)) $values.grace }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ $values.securityContext.user }}
    runAsGroup: {{ $values.securityContext.group }}
    fsGroup: {{ $values.securityContext.group }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with $values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  {{- if and .gpu $values.gpu.enabled $values.gpu.runtimeClass }}
  runtimeClassName: {{ $values.gpu.runtimeClass | quote }}
  {{- end }}
  {{- $nodes := deepCopy $values.nodeSelector }}
  {{- if and .gpu $values.gpu.enabled }}
  {{- $nodes = merge $nodes $values.gpu.nodeSelector }}
  {{- end }}
  {{- with $nodes }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- $tolerations := $values.tolerations }}
  {{- if and .gpu $values.gpu.enabled }}
  {{- $tolerations = concat $tolerations $values.gpu.tolerations }}
  {{- end }}
  {{- with $tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .plan }}
  initContainers:
    - {{ include "tilefleet.container" (merge (dict "container" "plan" "args" .plan "gpu" false "serves" false) .) | indent 6 | trim }}
  {{- end }}
  containers:
    - {{ include "tilefleet.container" (merge (dict "container" .component "serves" true) .) | indent 6 | trim }}
      {{- if .probes }}
      {{- include "tilefleet.probes" .root | nindent 6 }}
      {{- end }}
  volumes:
    {{- include "tilefleet.volumes" . | nindent 4 }}
{{- end }}

{{/* The process answers once the model is there; readiness is of the process, not of work: an empty queue is no fault. */}}
{{- define "tilefleet.probes" -}}
{{- if .Values.metrics.enabled -}}
startupProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 5
  failureThreshold: 240
livenessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /healthz
    port: metrics
  periodSeconds: 10
  timeoutSeconds: 5
{{- end -}}
{{- end }}

{{/* What each exit code asks for: docs/how-to/many-workers.md. The first rule that fits decides. Codes come before
     disruptions: the one worker that says 65 must be heard even if its node goes. Takes the action for 65. */}}
{{- define "tilefleet.failurePolicy" -}}
rules:
  - action: {{ . }}
    onExitCodes:
      operator: In
      values: [65]
  - action: FailJob
    onExitCodes:
      operator: In
      values: [64, 70, 78]
  - action: Ignore
    onPodConditions:
      - type: DisruptionTarget
        # The published schemas want it before 1.35; API servers add it.
        status: "True"
  # Drained after SIGTERM, on a machine that did not say why.
  - action: Ignore
    onExitCodes:
      operator: In
      values: [143]
{{- end }}

{{/* Labels by which Kueue admits a Job. */}}
{{- define "tilefleet.kueueLabels" -}}
{{- with .Values.kueue.queue }}
kueue.x-k8s.io/queue-name: {{ . | quote }}
{{- end }}
{{- if and .Values.kueue.queue .Values.kueue.priorityClass }}
kueue.x-k8s.io/priority-class: {{ .Values.kueue.priorityClass | quote }}
{{- end }}
{{- end }}

{{- define "tilefleet.indexedJobMetadata" -}}
labels:
  {{- include "tilefleet.labels" . | nindent 2 }}
  app.kubernetes.io/component: worker
  {{- with include "tilefleet.kueueLabels" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
{{- if and .Values.kueue.queue .Values.kueue.minWorkers }}
annotations:
  kueue.x-k8s.io/job-min-parallelism: {{ .Values.kueue.minWorkers | quote }}
{{- end }}
{{- end }}

{{- define "tilefleet.indexedJobSpec" -}}
{{- $values := .Values -}}
{{- $file := include "tilefleet.pipelineFile" . -}}
completionMode: Indexed
completions: {{ $values.job.workers }}
parallelism: {{ default $values.job.workers $values.job.parallelism }}
backoffLimitPerIndex: {{ $values.job.retries }}
podReplacementPolicy: Failed
podFailurePolicy:
  {{- include "tilefleet.failurePolicy" "FailIndex" | nindent 2 }}
{{- if ge (int $values.job.ttl) 0 }}
ttlSecondsAfterFinished: {{ $values.job.ttl }}
{{- end }}
{{- if $values.job.deadline }}
activeDeadlineSeconds: {{ $values.job.deadline }}
{{- end }}
template:
  {{- $plan := $values.job.plan | ternary (list "plan" $file "--share" "auto") (list) }}
  {{- $args := list "run" $file "--share" "auto" }}
  {{- include "tilefleet.pod" (dict "root" . "component" "worker" "args" $args "plan" $plan "indexed" true "gpu" true "probes" false "restart" "Never") | nindent 2 }}
{{- end }}

{{/* The ConfigMap's pipeline file. */}}
{{- define "tilefleet.pipelineText" -}}
{{- if .Values.pipeline.text -}}
{{ .Values.pipeline.text }}
{{- else -}}
# Made of pipeline.settings of the release {{ .Release.Name }}.
{{- range $name, $value := .Values.pipeline.settings }}
{{- if not (kindIs "map" $value) }}
{{ $name }} = {{ include "tilefleet.toml" $value }}
{{- end }}
{{- end }}
{{- range $section, $keys := .Values.pipeline.settings }}
{{- if kindIs "map" $keys }}
{{- include "tilefleet.tomlTable" (dict "name" $section "keys" $keys) }}
{{- end }}
{{- end }}
{{- end -}}
{{- end }}

{{- define "tilefleet.tomlTable" }}

[{{ .name }}]
{{- range $key, $value := .keys }}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ include "tilefleet.toml" $value }}
{{- end }}
{{- end }}
{{- $name := .name }}
{{- range $key, $value := .keys }}
{{- if kindIs "map" $value }}
{{- include "tilefleet.tomlTable" (dict "name" (printf "%s.%s" $name $key) "keys" $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A name that changes with what a Job runs: a Job's template is immutable. Takes a list: root, suffix, spec. */}}
{{- define "tilefleet.hashed" -}}
{{- $root := index . 0 -}}
{{- $content := printf "%s\n%s\n%s" (index . 2) (include "tilefleet.pipelineText" $root) $root.Values.job.rerun -}}
{{- printf "%s%s-%s" (include "tilefleet.fullname" $root) (index . 1) (sha256sum $content | trunc 8) -}}
{{- end }}
