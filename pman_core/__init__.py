"""The shared kernel: job model, states, store, settings and the backend contract.

Every other package may import this one; it imports none of them and no scheduler SDK.
"""

from importlib.metadata import version

__version__ = version("pman")
