{{/* Names and labels. */}}

{{- define "tilefleet.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "tilefleet.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "tilefleet.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "tilefleet.selector" . }}
{{- end }}

{{- define "tilefleet.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "tilefleet.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "tilefleet.image" -}}
{{- $suffix := .Values.gpu.enabled | ternary .Values.gpu.tagSuffix "" -}}
{{- $tag := default (printf "%s%s" .Chart.AppVersion $suffix) .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository $tag -}}
{{- end -}}
{{- end }}

{{/* How the fleet runs: `auto` is decided here. */}}
{{- define "tilefleet.mode" -}}
{{- if ne .Values.mode "auto" -}}{{ .Values.mode }}
{{- else if .Values.gpu.enabled -}}scaledjob
{{- else -}}job
{{- end -}}
{{- end }}

{{/* "true" if shards come from a queue. */}}
{{- define "tilefleet.queued" -}}
{{- if has (include "tilefleet.mode" .) (list "deployment" "scaledjob") -}}true{{- end -}}
{{- end }}

{{- define "tilefleet.queueName" -}}
{{- default (printf "tilefleet-%s-%s" .Release.Namespace .Release.Name) .Values.queue.name -}}
{{- end }}

{{/* Where KEDA asks NATS for its streams. */}}
{{- define "tilefleet.monitoring" -}}
{{- if .Values.scaledjob.monitoring -}}{{ .Values.scaledjob.monitoring }}
{{- else if .Values.nats.enabled -}}{{ include "tilefleet.fullname" . }}-nats.{{ .Release.Namespace }}.svc:8222
{{- end -}}
{{- end }}

{{- define "tilefleet.pipelineMap" -}}
{{- default (printf "%s-pipeline" (include "tilefleet.fullname" .)) .Values.pipeline.existingConfigMap -}}
{{- end }}

{{- define "tilefleet.pipelineFile" -}}
/etc/tilefleet/{{ .Values.pipeline.name }}.toml
{{- end }}

{{/* "true" if there is a file that `settings` do not make up. */}}
{{- define "tilefleet.hasFile" -}}
{{- if or .Values.pipeline.text .Values.pipeline.existingConfigMap -}}true{{- end -}}
{{- end }}

{{/* What the pipeline sets, of `settings` and else of `text`; nothing if that is not known here.
     Takes a list: the root, section, key. */}}
{{- define "tilefleet.setting" -}}
{{- $root := index . 0 -}}{{- $section := index . 1 -}}{{- $key := index . 2 -}}
{{- $file := fromToml $root.Values.pipeline.text -}}
{{- $given := merge (dict) (get $root.Values.pipeline.settings $section | default dict) (get $file $section | default dict) -}}
{{- if hasKey $given $key -}}{{- get $given $key | toJson | trimAll "\"" -}}{{- end -}}
{{- end }}

{{/* One value as TOML, which reads JSON's texts, numbers and lists. */}}
{{- define "tilefleet.toml" -}}
{{- toJson . -}}
{{- end }}

{{/* Bytes of a size of the pipeline ("512MiB") or of Kubernetes ("512Mi"). Takes a dict: what, size. */}}
{{- define "tilefleet.bytes" -}}
{{- $size := .size | toString -}}
{{- if not (regexMatch "^[0-9]+ *([kKMGT]i?)?B?$" $size) -}}
{{- fail (printf "%s is `%s`: write a whole number with a unit, such as 512Mi" .what $size) -}}
{{- end -}}
{{- $factors := dict "" 1 "K" 1000 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- $unit := regexFind "[kKMGT]i?" $size -}}
{{- mul (regexFind "^[0-9]+" $size | int64) (get $factors $unit) -}}
{{- end }}

{{/* Whole processors of a quantity, at least one. */}}
{{- define "tilefleet.cores" -}}
{{- $cpu := .Values.resources.cpu | toString -}}
{{- if hasSuffix "m" $cpu -}}
{{- max 1 (div (add (trimSuffix "m" $cpu | int64) 999) 1000) -}}
{{- else -}}
{{- max 1 (ceil $cpu | int64) -}}
{{- end -}}
{{- end }}

{{/* Seconds of a duration of the pipeline, rounded up: "12s", "1m 30s". */}}
{{- define "tilefleet.seconds" -}}
{{- $text := . | toString -}}
{{- if not (regexMatch "^([0-9]+ *(ms|s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|hrs|hour|hours) *)+$" $text) -}}
{{- fail (printf "run.grace is `%s`: write a duration such as \"12s\" or \"1m 30s\"" $text) -}}
{{- end -}}
{{- $milliseconds := 0 -}}
{{- range regexFindAll "[0-9]+ *[a-z]+" $text -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $factor := 1000 -}}
{{- if eq $unit "ms" -}}{{- $factor = 1 -}}
{{- else if hasPrefix "m" $unit -}}{{- $factor = 60000 -}}
{{- else if hasPrefix "h" $unit -}}{{- $factor = 3600000 -}}
{{- end -}}
{{- $milliseconds = add $milliseconds (mul (regexFind "^[0-9]+" . | int64) $factor) -}}
{{- end -}}
{{- div (add $milliseconds 999) 1000 -}}
{{- end }}

{{- define "tilefleet.runGrace" -}}
{{- default "12s" (include "tilefleet.setting" (list . "run" "grace")) -}}
{{- end }}

{{- define "tilefleet.runMemory" -}}
{{- default "512MiB" (include "tilefleet.setting" (list . "run" "memory")) -}}
{{- end }}

{{/* Copies of the model in a worker's memory: one per session. */}}
{{- define "tilefleet.sessions" -}}
{{- $set := include "tilefleet.setting" (list . "run" "sessions") -}}
{{- if regexMatch "^[0-9]+$" $set -}}{{ $set }}
{{- else if .Values.gpu.enabled -}}{{ mul 2 .Values.gpu.count }}
{{- else -}}{{ min 4 (include "tilefleet.cores" . | int64) }}
{{- end -}}
{{- end }}

{{/* Memory of a worker, in MiB: docs/how-to/operate.md says what it is made of. */}}
{{- define "tilefleet.memory" -}}
{{- if .Values.resources.memory -}}{{ include "tilefleet.quantity" .Values.resources.memory }}
{{- else -}}
{{- $queues := include "tilefleet.bytes" (dict "what" "run.memory" "size" (include "tilefleet.runMemory" .)) | int64 -}}
{{- $model := include "tilefleet.bytes" (dict "what" "resources.model" "size" .Values.resources.model) | int64 -}}
{{- $reserve := include "tilefleet.bytes" (dict "what" "resources.reserve" "size" .Values.resources.reserve) | int64 -}}
{{- $tiles := include "tilefleet.setting" (list . "plan" "shard_tiles") -}}
{{- $shards := mul 3 8192 (regexMatch "^[0-9]+$" $tiles | ternary ($tiles | int64) 4096) -}}
{{- $bytes := add $queues (mul (include "tilefleet.sessions" . | int64) $model) $shards $reserve -}}
{{- include "tilefleet.quantity" (printf "%dMi" (div (add $bytes 1048575) 1048576)) -}}
{{- end -}}
{{- end }}

{{/* A quantity as Kubernetes writes it: "1024Mi" is "1Gi", "0.5" is "500m". KEDA stores a ScaledJob again in this form; if the chart had
     another, Helm would refuse the next upgrade, because the field has changed and is KEDA's now. */}}
{{- define "tilefleet.quantity" -}}
{{- $text := toString . -}}
{{- $digits := regexFind "^[0-9.]+" $text -}}
{{- $unit := trimPrefix $digits $text -}}
{{- if and (contains "." $digits) $unit -}}{{ $text }}
{{- else -}}
{{- $number := int64 $digits -}}
{{- if contains "." $digits -}}
{{- $number = round (mulf $digits 1000) 0 | int64 -}}
{{- $unit = "m" -}}
{{- end -}}
{{- $larger := dict "Ki" "Mi" "Mi" "Gi" "Gi" "Ti" "m" "" "" "k" "k" "M" "M" "G" "G" "T" -}}
{{- range until 5 -}}
{{- $step := hasSuffix "i" $unit | ternary 1024 1000 -}}
{{- if and (gt $number 0) (hasKey $larger $unit) (eq (mod $number $step) 0) -}}
{{- $number = div $number $step -}}
{{- $unit = get $larger $unit -}}
{{- end -}}
{{- end -}}
{{- $number }}{{ $unit -}}
{{- end -}}
{{- end }}

{{/* What contradicts itself is refused here, before anything is installed. */}}
{{- define "tilefleet.check" -}}
{{- $values := .Values -}}
{{- $file := fromToml $values.pipeline.text -}}
{{- if hasKey $file "Error" -}}
{{- fail (printf "pipeline.text is not valid TOML: %s" (get $file "Error")) -}}
{{- end -}}
{{- $secret := "(SECRET|PASSWORD|SESSION_TOKEN|ACCOUNT_KEY|SAS_KEY|PRIVACY_KEY)" -}}
{{- range $name := keys $values.credentials.env | sortAlpha -}}
{{- if regexMatch $secret (upper $name) -}}
{{- fail (printf "credentials.env.%s is a secret, and values are no place for one: put it into a Secret, and name that in credentials.existingSecret" $name) -}}
{{- end -}}
{{- end -}}
{{- range $values.env -}}
{{- if and .value (regexMatch $secret (upper .name)) -}}
{{- fail (printf "env has the secret %s, and values are no place for one: put it into a Secret, and take it from there with valueFrom.secretKeyRef" .name) -}}
{{- end -}}
{{- end -}}
{{- if contains "@" $values.queue.url -}}
{{- fail "queue.url has a user or password, and values are no place for one: put the URL into a Secret, and name that in queue.existingSecret" -}}
{{- end -}}
{{- if and $values.pipeline.text $values.pipeline.existingConfigMap -}}
{{- fail "pipeline.text and pipeline.existingConfigMap are both set: keep one of them" -}}
{{- end -}}
{{- $provider := include "tilefleet.setting" (list . "run" "provider") | default "cpu" -}}
{{- if and (ne $provider "cpu") (not $values.gpu.enabled) -}}
{{- fail (printf "the pipeline asks for run.provider %s, and pods get no GPU: set gpu.enabled=true and gpu.provider=%s" $provider $provider) -}}
{{- end -}}
{{- if and $values.gpu.enabled (has $provider (list "cuda" "tensorrt")) (ne $provider $values.gpu.provider) -}}
{{- fail (printf "the pipeline asks for run.provider %s, and gpu.provider is %s: make them the same" $provider $values.gpu.provider) -}}
{{- end -}}
{{- if and $values.engineCache.enabled (include "tilefleet.setting" (list . "tensorrt" "cache")) -}}
{{- fail "engineCache.enabled and tensorrt.cache of the pipeline are both set: keep one of them" -}}
{{- end -}}
{{- if include "tilefleet.queued" . -}}
{{- $mode := include "tilefleet.mode" . -}}
{{- $urls := list -}}
{{- range list $values.queue.url $values.queue.existingSecret ($values.nats.enabled | ternary "nats.enabled" "") -}}
{{- if . -}}{{- $urls = append $urls . -}}{{- end -}}
{{- end -}}
{{- if ne (len $urls) 1 -}}
{{- fail (printf "mode %s needs a queue: set one of queue.url, queue.existingSecret and nats.enabled, and only one; or `--set mode=job`" $mode) -}}
{{- end -}}
{{- if and (eq $mode "scaledjob") (not (include "tilefleet.monitoring" .)) -}}
{{- fail "mode scaledjob needs scaledjob.monitoring: host and port of NATS' monitoring (8222), which KEDA asks how much work there is" -}}
{{- end -}}
{{- else if $values.nats.enabled -}}
{{- fail (printf "nats.enabled is for the modes deployment and scaledjob, not for %s: leave it out" (include "tilefleet.mode" .)) -}}
{{- end -}}
{{- if and $values.credentials.existingSecret $values.credentials.external.enabled -}}
{{- fail "credentials.existingSecret and credentials.external are both set: keep one of them" -}}
{{- end -}}
{{- if $values.podDisruptionBudget.enabled -}}
{{- if and $values.podDisruptionBudget.maxUnavailable (ne (include "tilefleet.mode" .) "deployment") -}}
{{- fail "podDisruptionBudget.maxUnavailable is for mode deployment: Kubernetes cannot count the pods that a Job wants, and would let none be evicted; set minAvailable" -}}
{{- end -}}
{{- if and $values.podDisruptionBudget.maxUnavailable $values.podDisruptionBudget.minAvailable -}}
{{- fail "podDisruptionBudget has maxUnavailable and minAvailable: keep one of them" -}}
{{- end -}}
{{- end -}}
{{- end }}
