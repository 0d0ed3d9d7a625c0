"""Print what pyproject.toml requires, with the extras that the arguments name, or with --build what builds pman.

The Dockerfile installs it before the code, so that a change of the code leaves the layer of the dependencies as it is.
"""

import sys
import tomllib
from pathlib import Path

pyproject = tomllib.loads(Path("/pyproject.toml").read_text())
project = pyproject["project"]
if sys.argv[1:] == ["--build"]:
    sys.stdout.write("\n".join(pyproject["build-system"]["requires"]) + "\n")
    sys.exit()
wanted = [name for argument in sys.argv[1:] for name in argument.split(",") if name]
extras = project["optional-dependencies"]
if unknown := sorted(set(wanted) - set(extras)):
    sys.exit(f"no such extra: {', '.join(unknown)}. Known: {', '.join(sorted(extras))}")
sys.stdout.write("\n".join([*project["dependencies"], *(line for name in wanted for line in extras[name])]) + "\n")
