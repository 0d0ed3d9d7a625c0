"""What the backend ``kubernetes`` is made of. Private to it; everything but ``connection``, ``watch`` and ``logs`` is pure.

Kubernetes API 1.29 and later (podReplacementPolicy, podFailurePolicy): https://kubernetes.io/docs/reference/kubernetes-api/
"""
