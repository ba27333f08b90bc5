{{/* Alert rules, as Prometheus reads them. `namespace`, `pod` and `job` are labels that a PodMonitor's targets have. */}}
{{- define "tilefleet.alerts" -}}
{{- $job := printf "%s/%s" .Release.Namespace (include "tilefleet.fullname" .) -}}
{{- $alerts := .Values.metrics.alerts -}}
groups:
  - name: {{ include "tilefleet.fullname" . }}
    rules:
      - alert: TilefleetNoProgress
        expr: |
          sum by (namespace, job) (rate(tilefleet_rows_total{job={{ $job | quote }}}[5m])) == 0
            and on (namespace, job)
          sum by (namespace, job) (tilefleet_run_tiles{job={{ $job | quote }}} - tilefleet_run_done_tiles{job={{ $job | quote }}}) > 0
        for: {{ $alerts.stalled }}
        labels:
          severity: warning
        annotations:
          summary: Workers run and commit no row
          description: |-
            Tiles are open, and no worker of {{ "{{ $labels.job }}" }} has committed a row for {{ $alerts.stalled }}. `tilefleet status` of
            the output says what may be wrong; the workers' logs name the store that does not answer.
      - alert: TilefleetManyRejects
        expr: |
          sum by (namespace, job) (increase(tilefleet_rows_total{job={{ $job | quote }}, status="rejected"}[30m]))
            / sum by (namespace, job) (increase(tilefleet_rows_total{job={{ $job | quote }}}[30m])) > {{ $alerts.rejectRatio }}
        for: 5m
        labels:
          severity: warning
        annotations:
          summary: Many tiles are rejected
          description: |-
            {{ "{{ $value | humanizePercentage }}" }} of the rows of the last 30 minutes of {{ "{{ $labels.job }}" }} are rejects. Above
            `limits.max_reject_ratio` the run exits 65, and its rows are not shown until it is accepted. `tilefleet rejects` groups them.
      - alert: TilefleetWorkDoneTwice
        expr: |
          sum by (namespace, job) (increase(tilefleet_shards_total{job={{ $job | quote }}, committed_by="another"}[1h]))
            / sum by (namespace, job) (increase(tilefleet_shards_total{job={{ $job | quote }}}[1h])) > 0.2
        for: 15m
        labels:
          severity: info
        annotations:
          summary: Shards are computed twice
          description: |-
            {{ "{{ $value | humanizePercentage }}" }} of the shards of the last hour of {{ "{{ $labels.job }}" }} were committed by another
            worker. No row is double, but time is lost: shards are too long for `queue.lease`, or workers too many at the end of a run.
      - alert: TilefleetModelWaits
        expr: |
          sum by (namespace, job) (rate(tilefleet_model_wait_seconds_total{job={{ $job | quote }}}[15m]))
            / sum by (namespace, job) (tilefleet_stage_width{job={{ $job | quote }}, stage="model"}) > 0.5
            and on (namespace, job)
          sum by (namespace, job) (rate(tilefleet_inferred_tiles_total{job={{ $job | quote }}}[15m])) > 0
        for: 30m
        labels:
          severity: info
        annotations:
          summary: The model waits for tiles
          description: |-
            The sessions of {{ "{{ $labels.job }}" }} have waited for {{ "{{ $value | humanizePercentage }}" }} of the last 15 minutes. The
            dashboard shows whether fetching or decoding is busy: more `run.fetch_concurrency`, a nearer store, or more processors.
{{- end }}
