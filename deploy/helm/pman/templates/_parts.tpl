{{- /* What several objects have in common. Those that take a component get (dict "root" $ "component" "api"). */ -}}

{{- define "pman.labels" -}}
app.kubernetes.io/name: pman
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pman.componentLabels" -}}
{{ include "pman.labels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "pman.secret" -}}
{{ .Values.secret.existing | default .Release.Name }}
{{- end }}

{{- define "pman.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "pman.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "pman.componentLabels" . | nindent 8 }}
{{- end }}

{{- define "pman.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "pman.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "pman.settings" -}}
CONTAINER_ENV: kubernetes
JOB_NAMESPACE: {{ .Values.jobs.namespace | quote }}
PMAN_INSTANCE: {{ .Values.settings.PMAN_INSTANCE | default .Release.Name | quote }}
{{- range $name, $value := omit .Values.settings "PMAN_INSTANCE" "CONTAINER_ENV" "JOB_NAMESPACE" "REDIS_URL" }}
{{ $name }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}

{{- define "pman.env" -}}
envFrom:
  - configMapRef: {name: {{ .Release.Name }}-settings}
env:
  - name: REDIS_PASSWORD
    valueFrom:
      secretKeyRef: {name: {{ include "pman.secret" . }}, key: REDIS_PASSWORD}
  - name: REDIS_URL
    value: redis://:$(REDIS_PASSWORD)@{{ .Release.Name }}-redis:6379/0
{{- end }}

{{- define "pman.restartOnChange" -}}
annotations: {checksum/settings: {{ include "pman.settings" . | sha256sum }}}
{{- end }}

{{- define "pman.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .root.Release.Name }}-{{ .component }}
  labels: {{- include "pman.componentLabels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "pman.componentLabels" . | nindent 6 }}
{{- end }}

{{- define "pman.redisConf" -}}
# What is written is kept (at most a second is lost at a power cut), and a full Redis refuses instead of forgetting jobs.
appendonly yes
appendfsync everysec
save ""
dir /data
maxmemory {{ .Values.redis.maxmemory }}
maxmemory-policy noeviction
# It listens to all, and has a password.
protected-mode no
{{- end }}
