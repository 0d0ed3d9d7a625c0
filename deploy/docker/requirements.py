"""Print what pyproject.toml requires, with the extras that the arguments name: a Dockerfile installs it before the code.

So a change of pman's code leaves the layer of its dependencies as it is.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("/pyproject.toml").read_text())["project"]
wanted = [name for argument in sys.argv[1:] for name in argument.split(",") if name]
extras = project["optional-dependencies"]
if unknown := sorted(set(wanted) - set(extras)):
    sys.exit(f"no such extra: {', '.join(unknown)}. Known: {', '.join(sorted(extras))}")
sys.stdout.write("\n".join([*project["dependencies"], *(line for name in wanted for line in extras[name])]) + "\n")
