"""``python -m tests.fakes.cromwell CONF FOLDER PORT SCALE``: the fake as a process, which can be killed."""

import sys
from pathlib import Path

from tests.fakes.cromwell import serve

serve(conf=Path(sys.argv[1]), folder=Path(sys.argv[2]), port=int(sys.argv[3]), scale=float(sys.argv[4]))
