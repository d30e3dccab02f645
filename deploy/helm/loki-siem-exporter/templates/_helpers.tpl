{{- define "lse.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end -}}

{{- define "lse.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "lse.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lse.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}{{ else }}{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end -}}
{{- end -}}

{{- define "lse.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "lse.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end -}}
{{- end -}}

{{- define "lse.embedded" -}}
{{- if eq (dig "bus" "kind" "sqlite" .Values.config) "sqlite" }}true{{ end -}}
{{- end -}}

{{/* The configuration as the pods read it. JSON, which YAML readers take: Helm holds numbers as floats, and its YAML would
     write 20000000000 as 2e+10. */}}
{{- define "lse.config" -}}
{{- $own := dict "listen" "0.0.0.0:9464" "state_dir" "/var/lib/loki-siem" "log_format" "json" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "service" (merge (deepCopy (default dict $config.service)) $own) -}}
{{- if include "lse.embedded" . -}}
{{- $_ := set $config "bus" (merge (deepCopy (default dict $config.bus)) (dict "kind" "sqlite" "path" "/var/lib/loki-siem/bus.db")) -}}
{{- end -}}
{{- $config | toPrettyJson -}}
{{- end -}}

{{/* Drain, then five seconds in which the supervisor ends its children, then some for the kubelet. */}}
{{- define "lse.grace" -}}
{{- add (ceil (dig "service" "drain_deadline_seconds" 25.0 .Values.config)) 15 -}}
{{- end -}}

{{/* "port" of an address like https://host:port/path or host:port, with a default. Call with (list address default). */}}
{{- define "lse.port" -}}
{{- $address := index . 0 -}}
{{- $rest := regexReplaceAll "^[a-z]+://" $address "" | splitList "/" | first -}}
{{- $port := regexFind ":[0-9]+$" $rest | trimPrefix ":" -}}
{{- if $port }}{{ $port }}{{ else if hasPrefix "https://" $address }}443{{ else if hasPrefix "http://" $address }}80{{ else }}{{ index . 1 }}{{ end -}}
{{- end -}}

{{- define "lse.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "lse.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "lse.mounts" -}}
- {name: config, mountPath: /etc/loki-siem/config.yaml, subPath: config.yaml, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- if or .Values.secrets (and .Values.externalSecrets.enabled .Values.externalSecrets.data) }}
- {name: secrets, mountPath: /etc/loki-siem/secrets, readOnly: true}
{{- end }}
{{- if .Values.secretsStoreCsi.enabled }}
- {name: csi, mountPath: /etc/loki-siem/csi, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Call with (dict "root" $ "configMap" name). */}}
{{- define "lse.volumes" -}}
{{- $values := .root.Values -}}
- name: config
  configMap:
    name: {{ .configMap }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- if or $values.secrets (and $values.externalSecrets.enabled $values.externalSecrets.data) }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
    {{- range $file, $source := $values.secrets }}
      - secret:
          name: {{ $source.secretName }}
          items:
            - {key: {{ $source.key | quote }}, path: {{ $file | quote }}}
    {{- end }}
    {{- if and $values.externalSecrets.enabled $values.externalSecrets.data }}
      - secret:
          name: {{ include "lse.name" .root }}-external
    {{- end }}
{{- end }}
{{- if $values.secretsStoreCsi.enabled }}
- name: csi
  csi:
    driver: secrets-store.csi.k8s.io
    readOnly: true
    volumeAttributes:
      secretProviderClass: {{ $values.secretsStoreCsi.secretProviderClass | quote }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The pod of a reader or of a target's delivery. Call with (dict "root" $ "component" "reader"|"delivery" "target" name
     "arguments" (list …) "resources" … "state" "claim"|"empty"). */}}
{{- define "lse.pod" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
metadata:
  labels:
    {{- include "lse.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with .target }}
    loki-siem/target: {{ . }}
    {{- end }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "lse.config" $root | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "lse.serviceAccount" $root }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ include "lse.grace" $root }}
  securityContext:
    {{- include "lse.podSecurityContext" $root | nindent 4 }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
  {{- if $values.topologySpreadConstraints }}
    {{- toYaml $values.topologySpreadConstraints | nindent 4 }}
  {{- else }}
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "lse.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $.component }}
          {{- with $.target }}
          loki-siem/target: {{ . }}
          {{- end }}
  {{- end }}
  {{- end }}
  containers:
    - name: loki-siem
      image: {{ include "lse.image" $root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{ concat (list "run" "-c" "/etc/loki-siem/config.yaml") .arguments | toJson }}
      ports:
        - {name: metrics, containerPort: 9464}
      # Startup: the policies are compiled and the checkpoint is read. Live: the loops turn; nothing about Loki, the bus or the
      # target, for no restart mends those. Ready gates roll-outs only.
      startupProbe:
        httpGet: {path: /healthz/startup, port: metrics}
        periodSeconds: 2
        failureThreshold: 150
      livenessProbe:
        httpGet: {path: /healthz/live, port: metrics}
        periodSeconds: 10
        timeoutSeconds: 3
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /healthz/ready, port: metrics}
        periodSeconds: 5
        timeoutSeconds: 3
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        {{- include "lse.securityContext" $root | nindent 8 }}
      volumeMounts:
        {{- include "lse.mounts" $root | nindent 8 }}
        - {name: state, mountPath: /var/lib/loki-siem}
  volumes:
    {{- include "lse.volumes" (dict "root" $root "configMap" (printf "%s-config" (include "lse.name" $root))) | nindent 4 }}
    {{- if eq .state "empty" }}
    - name: state
      emptyDir:
        sizeLimit: 1Gi
    {{- end }}
{{- end -}}
