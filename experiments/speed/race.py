"""Running jobs one after the other, each in a process of its own, watched for time and memory.

Whatever goes wrong becomes a record that says so: an engine that fails never disappears.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from csa_games.dialogue import sizes
from csa_games.interop.efg_write import write_efg
from csa_games.rules import Chance, Decision, Node
from experiments.speed.games import DIALOGUES, OPENSPIEL, build, dialogue
from experiments.speed.job import Job
from experiments.speed.racers import ENGINES, PEERS, Track

ROOT = Path(__file__).resolve().parents[2]
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
INSTALL = "make peers"
MOST_WRITTEN = 1_000_000  # histories of a dialogue that peers get as a file
POLL = 0.2  # seconds

Record = dict[str, Any]
"""One job's outcome: engine, game, kind, status ("ok" or a sentence), and what was measured.

`others` is how many processors other programs kept busy meanwhile, on average: a race among them
says little.
"""


def most_bytes() -> float:
    """Return how much memory a process may have: four fifths of this machine's."""
    return 0.8 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cores() -> tuple[int, ...]:
    """Return the processors that this process may use, which every engine then gets."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def race(jobs: Iterable[Job], say: Callable[[str], object] = lambda _: None) -> Iterator[Record]:
    """Do `jobs` in order and yield a record of each; `say` hears what is going on.

    Processes that outlive their job's limit or grow past `most_bytes` are stopped.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = cache(lambda name: write_dialogue(name, Path(folder)))
        for job in jobs:
            say(f"{job.kind}: {job.game}, {job.engine}")
            record: Record = {"engine": job.engine, "game": job.game, "kind": job.kind}
            if (reason := _impossible(job)) is not None:
                record["status"] = reason
            else:
                if job.engine in PEERS and job.track.dialogue is not None:
                    efg = files(job.track.dialogue)
                    job = replace(job, track=replace(job.track, efg=str(efg)))
                record |= run(job, Path(folder))
            say(f"  {record['status']}" + (f", {record['ms']:.4g} ms" if "ms" in record else ""))
            yield record


def run(job: Job, folder: Path) -> Record:
    """Return the record of one job done in a process of its own, with its files in `folder`."""
    python = python_with(ENGINES[job.engine].package)
    if python is None:
        return {"status": f"not installed: {INSTALL}"}
    out, log = folder / "found.json", folder / "log"
    out.unlink(missing_ok=True)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    threads = str(len(job.cores))
    environment = os.environ | {
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }
    begin, busy, own = monotonic(), _busy_seconds(), _own_seconds()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [python, "-m", "experiments.speed.worker", job.json(), str(out)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
        with _ended(process):
            status = _watch(process, job.limit, most_bytes())
    found: Record = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    if status == "failed":
        status = f"failed: {_complaint(log.read_text(encoding='utf-8', errors='replace'))}"
    wall = monotonic() - begin
    others = max(0.0, _busy_seconds() - busy - (_own_seconds() - own)) / wall
    return found | {"status": status, "wall_seconds": wall, "others": others}


def python_with(package: str) -> str | None:
    """Return the first Python that can import `package`: this one, or that of the peers."""
    return next((python for python in _pythons() if _has(python, package)), None)


def missing(engines: Iterable[str]) -> list[str]:
    """Return those of `engines` that are not installed."""
    return [name for name in engines if python_with(ENGINES[name].package) is None]


def track_of(game: str) -> Track:
    """Return where engines find `game`, a name in `games`; KeyError if there is none."""
    if game in DIALOGUES:
        return Track(dialogue=game)
    return Track(openspiel=OPENSPIEL[game])


def _pythons() -> list[str]:
    return [sys.executable, *([str(PEERS_PYTHON)] if PEERS_PYTHON.exists() else [])]


@cache
def _has(python: str, package: str) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def _impossible(job: Job) -> str | None:
    """Return why a job is not even tried: peers get dialogues as a file with every history."""
    if job.engine in PEERS and job.track.dialogue is not None:
        histories = sizes(dialogue(job.track.dialogue)).histories
        if histories > MOST_WRITTEN:
            return f"too large: a file with {histories:.3g} histories"
    return None


def write_dialogue(name: str, folder: Path) -> Path:
    """Return an `.efg` file of a dialogue; its infosets are called by number, to be read fast."""
    game = build(dialogue(name))
    path = folder / f"{name}.efg"
    write_efg(replace(game, root=lambda: _numbered(game.root())), path, most_nodes=None)
    return path


def _numbered(root: Node) -> Node:
    """Return the tree with short infoset names: numbers in the order in which they are met."""
    numbers: dict[tuple[int, str], str] = {}

    def renamed(node: Node) -> Node:
        if isinstance(node, Chance):
            return replace(node, child=lambda k: renamed(node.child(k)))
        if isinstance(node, Decision):
            number = numbers.setdefault((node.player, node.infoset), str(len(numbers)))
            return replace(node, infoset=number, child=lambda k: renamed(node.child(k)))
        return node

    return renamed(root)


def _complaint(text: str) -> str:
    """Return the line that says what went wrong in what a process printed before it failed."""
    errors = re.findall(r"^[\w.]*(?:Error|Exception)\b.*", text, re.MULTILINE)
    lines = errors or text.strip().splitlines() or ["no message"]
    return str(lines[-1]).strip()[:200]


@contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Leave no process behind, also after Ctrl-C."""
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _watch(process: "subprocess.Popen[bytes]", seconds: float, bytes_: float) -> str:
    """Wait for the end of a process, or until it exceeds a limit, and return the status."""
    begin = monotonic()
    while process.poll() is None:
        if monotonic() - begin > seconds:
            return f"stopped after {seconds:.0f} s"
        if _resident(process.pid) > bytes_:
            return f"stopped at {bytes_ / 1e9:.3g} GB of memory"
        sleep(POLL)
    return "ok" if process.returncode == 0 else "failed"


def _busy_seconds() -> float:
    """Return the processor seconds that this machine has spent on anything; 0 if it cannot tell."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    except OSError:  # not Linux
        return 0.0
    user, nice, system, _, _, interrupts, soft, stolen = map(int, first[1:9])
    ticks = user + nice + system + interrupts + soft + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """Return the processor seconds that this process and its ended children have spent."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):  # ended, or not Linux
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
