"""What is measured in a process of its own: `python -m experiments.guard.job KIND BUNDLE ASKED`.

`ASKED` is a file of keys, one a line. The result goes to standard output, as JSON.
"""

import gc
import json
import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, perf_counter_ns, thread_time_ns
from typing import Any

from csa_games.guard import Guard
from csa_games.guard.bundle import ROWS
from csa_games.guard.keys import turns_of

SECRET = b"a secret of the benchmark, of 32"
OPENED = 3  # times; the median counts
WARM = 2000  # calls before those that count


def opening(bundle: Path, asked: Path) -> dict[str, Any]:
    """Return seconds to open the bundle, without checking and with it, each time anew."""
    Guard.load(bundle, check=False)  # modules are imported now
    return {
        "unchecked": [_seconds(lambda: Guard.load(bundle, check=False)) for _ in range(OPENED)],
        "checked": [_seconds(lambda: Guard.load(bundle)) for _ in range(OPENED)],
    }


def memory(bundle: Path, asked: Path) -> dict[str, Any]:
    """Return what the process holds before and after opening, and after deciding on all keys."""
    found = {"imported": _resident()}
    guard = Guard.load(bundle, SECRET)
    found["opened"] = _resident()
    with asked.open(encoding="utf-8") as lines:
        for line in lines:
            guard.decide(_history(line.strip()), conversation="account 17")
    return found | {"decided": _resident(), "peak": _resident("VmHWM")}


def deciding(bundle: Path, asked: Path) -> dict[str, Any]:
    """Return how long decisions take: each with another conversation, as a host makes them."""
    guard = Guard.load(bundle, SECRET, check=False)
    calls = [
        (_history(key), f"account {n}") for n, key in enumerate(asked.read_text().splitlines())
    ]

    def call(n: int) -> tuple[str, str, str]:
        decision = guard.decide(*calls[n])
        return decision.action, decision.mechanism, decision.text

    return _timed(call, len(calls))


def explaining(bundle: Path, asked: Path) -> dict[str, Any]:
    """Return how long decisions take when everything that they can tell is asked for."""
    guard = Guard.load(bundle, SECRET, check=False)
    calls = [_history(key) for key in asked.read_text().splitlines()]
    return _timed(lambda n: guard.decide(calls[n], f"account {n}").as_dict(), len(calls))


def keyed_read(bundle: Path, asked: Path) -> dict[str, Any]:
    """Return how long it takes sqlite3 to read a row, and nothing else."""
    name = (bundle / ROWS).as_uri() + "?mode=ro&immutable=1"
    execute = sqlite3.connect(name, uri=True).execute
    keys = asked.read_text().splitlines()
    query = "SELECT * FROM assistant WHERE key = ?"
    return _timed(lambda n: execute(query, (keys[n],)).fetchone(), len(keys))


def dictionary(bundle: Path, asked: Path) -> dict[str, Any]:
    """Return how long a dict of all rows takes to fill and to read, and what it takes to hold."""
    before, start = _resident(), perf_counter()
    connection = sqlite3.connect((bundle / ROWS).as_uri() + "?mode=ro&immutable=1", uri=True)
    rows = {cells[0]: cells for cells in connection.execute("SELECT * FROM assistant")}
    seconds, held = perf_counter() - start, _resident() - before
    keys = asked.read_text().splitlines()
    return {"seconds": seconds, "held": held} | _timed(lambda n: rows[keys[n]], len(keys))


JOBS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {
    "opening": opening,
    "memory": memory,
    "deciding": deciding,
    "explaining": explaining,
    "keyed_read": keyed_read,
    "dictionary": dictionary,
}


def _timed(call: Callable[[int], object], count: int) -> dict[str, Any]:
    """Return quantiles of how long `call` takes, in microseconds: as clocks go, and of the core.

    The second leaves out what others did on the same core, which matters where they do much.
    """
    gc.collect()
    gc.freeze()  # what the benchmark holds is none of the guard's business
    for n in range(min(WARM, count)):
        call(n)
    return {
        name: _quantiles([_lasted(clock, call, n) for n in range(count)])
        for name, clock in (("wall_us", perf_counter_ns), ("cpu_us", thread_time_ns))
    }


def _lasted(clock: Callable[[], int], call: Callable[[int], object], n: int) -> int:
    start = clock()
    call(n)
    return clock() - start


def _quantiles(nanoseconds: Sequence[int]) -> dict[str, float]:
    ordered = sorted(nanoseconds)
    return {
        f"p{share}": ordered[len(ordered) * share // 100] / 1000 for share in (1, 50, 90, 99)
    } | {"calls": len(ordered)}


def _seconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def _history(key: str) -> list[dict[str, str | None]]:
    return [turn._asdict() for turn in turns_of(key)]


def _resident(field: str = "VmRSS") -> int:
    """Return the memory that this process holds, in bytes, as Linux tells it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in status if line.startswith(field + ":")]
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    kind, *paths = sys.argv[1:]
    json.dump(JOBS[kind](*map(Path, paths)), sys.stdout)
