"""What a process is to measure, and how it says what it found."""

import json
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.speed.racers import Track

Note = Callable[[Mapping[str, Any]], None]
"""Adds to what has been found, on the disk: a process that is stopped keeps what it had."""


@dataclass(frozen=True)
class Job:
    """What a process is to do.

    `kind` is what to measure: a key of `worker.KINDS`. `seconds` is the budget of it, setup and the
    first iteration aside, and `limit` what the whole process may take before it is stopped;
    `target` is a NashConv, `cores` are the processors to run on.
    """

    engine: str
    game: str
    kind: str
    track: Track
    seconds: float
    limit: float
    cores: tuple[int, ...]
    target: float = 0.0

    def json(self) -> str:
        """Return the job as `read` takes it."""
        return json.dumps(asdict(self))

    @staticmethod
    def read(text: str) -> "Job":
        """Return the job that `json` wrote."""
        parts = json.loads(text)
        parts |= {"track": Track(**parts["track"]), "cores": tuple(parts["cores"])}
        return Job(**parts)


def peak_bytes() -> int:
    """Return the most memory that this process has had resident so far.

    `ru_maxrss` begins with what the process that started this one had, so Linux is asked otherwise.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * next(
            int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")
        )
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else 1024 * most
