"""What the backend ``kubernetes`` is made of. Private to it; most of it is pure.

Kubernetes API 1.29 and later: https://kubernetes.io/docs/reference/kubernetes-api/
"""
