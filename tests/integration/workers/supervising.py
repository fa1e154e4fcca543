"""A supervisor whose workers are stand-ins: ``python supervising.py COUNT FILE PROBE_SECONDS``."""

import asyncio
import sys
from functools import partial
from pathlib import Path

from gateway.workers.__main__ import supervised
from gateway.workers.ending import exit_status

_STAND_IN = (sys.executable, str(Path(__file__).with_name("stand_in.py")))
_READY_SECONDS = 3.0

if __name__ == "__main__":
    count, file, probe_seconds = int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    run = partial(supervised, count, file, command=_STAND_IN, ready_seconds=_READY_SECONDS, probe_seconds=probe_seconds)
    sys.exit(exit_status(lambda: asyncio.run(run())))
