"""HTTP and nothing else: requests in, records out. It imports ``pman_core`` only; no scheduler, no worker."""
