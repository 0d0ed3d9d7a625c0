{{- /* A Deployment of whatever speaks to the API server: (dict "root" $ "component" "worker" "args" (list ...)), args optional. */ -}}

{{- define "pman.workerDeployment" -}}
{{- $root := .root -}}
{{- $own := index $root.Values .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $root.Release.Name }}-{{ .component }}
  labels: {{- include "pman.componentLabels" . | nindent 4 }}
spec:
  {{- if not (and $root.Values.keda.enabled (eq .component "worker")) }}
  replicas: {{ $own.replicas }}
  {{- end }}
  selector:
    matchLabels: {{- include "pman.componentLabels" . | nindent 6 }}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata:
      labels: {{- include "pman.componentLabels" . | nindent 8 }}
      {{- include "pman.restartOnChange" $root | nindent 6 }}
    spec:
      serviceAccountName: {{ $root.Release.Name }}-worker
      automountServiceAccountToken: true
      enableServiceLinks: false
      # Tasks take seconds; Celery needs 10 s to put back what it has not begun.
      terminationGracePeriodSeconds: 60
      {{- include "pman.pullSecrets" $root | nindent 6 }}
      {{- include "pman.podSecurity" $root | nindent 6 }}
      {{- include "pman.spread" . | nindent 6 }}
      containers:
        - name: {{ .component }}
          image: {{ $root.Values.image.registry }}pman-worker:{{ $root.Values.image.tag }}
          {{- with .args }}
          args: {{- toYaml . | nindent 12 }}
          {{- end }}
          {{- include "pman.env" $root | nindent 10 }}
            - {name: HEARTBEAT_FILE, value: /tmp/heartbeat}
          # See deploy/kubernetes/base/workers.yaml.
          startupProbe:
            exec: {command: [sh, -c, 'find "$HEARTBEAT_FILE" -mmin -1 | grep -q .']}
            periodSeconds: 3
            timeoutSeconds: 10
            failureThreshold: 200
          readinessProbe:
            exec: {command: [sh, -c, 'find "$HEARTBEAT_FILE" -mmin -1 | grep -q .']}
            periodSeconds: 15
            timeoutSeconds: 10
            failureThreshold: 2
          livenessProbe:
            exec: {command: [sh, -c, 'find "$HEARTBEAT_FILE" -mmin -5 | grep -q .']}
            periodSeconds: 60
            timeoutSeconds: 10
            failureThreshold: 2
          resources: {{- toYaml $own.resources | nindent 12 }}
          {{- include "pman.containerSecurity" $root | nindent 10 }}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            - {name: pod-overlay, mountPath: /etc/pman}
      volumes:
        - {name: tmp, emptyDir: {sizeLimit: 64Mi}}
        # For KUBE_POD_OVERLAY=/etc/pman/overlay.yaml, if a site has one.
        - {name: pod-overlay, configMap: {name: {{ $root.Release.Name }}-pod-overlay, optional: true}}
{{- end }}
