"""One engine on one game in a process of its own: `python -m experiments.speed.worker JOB OUT`.

JOB is a `Job` as JSON, OUT the file that what is found is written to, again after each part.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from experiments.speed.batch import batch
from experiments.speed.job import Job, Note, peak_bytes
from experiments.speed.measure import gap, solve, speed
from experiments.speed.racers import ENGINES

PR_SET_PDEATHSIG = 1  # of prctl(2)

KINDS: dict[str, Callable[[Job, Note], None]] = {
    "speed": speed,
    "gap": gap,
    "solve": solve,
    "batch": batch,
}


def main(text: str, out: str) -> None:
    """Do the job and write what is found to the file `out`."""
    _end_with_parent()
    job = Job.read(text)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job.cores)
    found: dict[str, Any] = {"version": _version(ENGINES[job.engine].version_of)}

    def note(more: Mapping[str, Any]) -> None:
        found.update(more, peak_bytes=peak_bytes())
        beside = Path(f"{out}.new")
        beside.write_text(json.dumps(found), encoding="utf-8")
        beside.replace(out)

    KINDS[job.kind](job, note)


def _end_with_parent() -> None:
    """Ask Linux to end this process when the one that started it ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main(*sys.argv[1:])
