"""Measure guards in process: `python -m experiments.guard [--largest ROWS] [--out DIR]`.

Bundles go to a temporary folder and are deleted; what was found is `results.json`, with its
provenance, `results.csv` and `report.md`. `--report` only writes the last two again.
"""

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from csa_games.files import write_file
from csa_games.guard.bundle import ROWS, SCENARIO, parse
from csa_games.provenance import provenance
from experiments.guard.bundles import NAME, STEPS, TURNS, Keys, made_up, solved
from experiments.guard.report import csv_text, markdown

FOLDER = Path(__file__).parent / "results"
MILLION, LARGEST = 10**6, 10**7
SEED = 6
ASKED = 20_000  # keys that decisions are asked for
RUNS = 5  # of what is timed call by call, each in a process of its own
LIMIT = 280  # seconds a process may take


def main() -> None:
    """Measure, and write the results and the report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.guard")
    parser.add_argument("--largest", type=int, default=LARGEST, metavar="ROWS")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.report:
        results = json.loads((args.out / "results.json").read_text(encoding="utf-8"))
    else:
        with TemporaryDirectory() as folder:
            results = measured(Path(folder), args.largest)
        text = json.dumps(results, indent=1)
        write_file(args.out / "results.json", text.encode() + b"\n")
    write_file(args.out / "results.csv", csv_text(results).encode())
    write_file(args.out / "report.md", markdown(results).encode())


def measured(folder: Path, largest: int) -> dict[str, Any]:
    """Return the results, JSON values, of bundles that are written into `folder`."""
    results: dict[str, Any] = {
        "command": " ".join(["python -m experiments.guard", *sys.argv[1:]]),
        "provenance": provenance() | {"sqlite": sqlite3.sqlite_version},
        "load_before": os.getloadavg(),
        "seed": SEED,
        "solved": {"scenario": NAME, "turns": TURNS, "steps": STEPS},
        "bundles": {},
    }
    draw = random.Random(SEED)
    start = perf_counter()
    real = folder / "solved"
    rows = solved(real)
    _say(f"solved and exported in {perf_counter() - start:.0f} s")
    results["bundles"]["solved"] = _bundle(real, rows, perf_counter() - start)
    with closing(sqlite3.connect(real / ROWS)) as connection:
        keys, reach = zip(
            *connection.execute("SELECT key, reach FROM assistant WHERE key < '~'"), strict=True
        )
    asked = {
        "uniform": _kept(folder / "uniform", draw.choices(keys, k=ASKED)),
        "by reach": _kept(folder / "by reach", draw.choices(keys, reach, k=ASKED)),
    }
    results["bundles"]["solved"] |= _jobs(real, asked["uniform"]) | {
        "deciding by reach": _runs("deciding", real, asked["by reach"])
    }
    for name, count in (("million", MILLION), ("largest", largest)):
        place = folder / name
        place.mkdir()
        start = perf_counter()
        made_up(place, real, count, SEED)
        results["bundles"][name] = _bundle(place, count, perf_counter() - start)
        _say(f"{count} rows written in {perf_counter() - start:.0f} s")
        every = Keys(parse((place / SCENARIO).read_bytes()), count)
        uniform = _kept(folder / "asked", [every[draw.randrange(count)] for _ in range(ASKED)])
        results["bundles"][name] |= _jobs(place, uniform)
        if name == "million":
            results["bundles"][name]["dictionary"] = _job("dictionary", place, uniform)
        (place / ROWS).unlink()
    results["load_after"] = os.getloadavg()
    return results


def _jobs(bundle: Path, asked: Path) -> dict[str, Any]:
    found: dict[str, Any] = {kind: _job(kind, bundle, asked) for kind in ("opening", "memory")}
    for kind in ("deciding", "explaining", "keyed_read"):
        found[kind] = _runs(kind, bundle, asked)
    return found


def _runs(kind: str, bundle: Path, asked: Path) -> list[dict[str, Any]]:
    return [_job(kind, bundle, asked) for _ in range(RUNS)]


def _job(kind: str, bundle: Path, asked: Path) -> dict[str, Any]:
    """Return what the job of this kind finds, in a process of its own."""
    command = [sys.executable, "-m", "experiments.guard.job", kind, str(bundle), str(asked)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=LIMIT)
    _say(f"{bundle.name}: {kind}: {done.stdout.decode()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _bundle(folder: Path, rows: int, seconds: float) -> dict[str, Any]:
    size = (folder / ROWS).stat().st_size
    return {"rows": rows, "bytes": size, "made_seconds": seconds}


def _kept(path: Path, keys: list[str]) -> Path:
    path.write_text("\n".join(keys), encoding="utf-8")
    return path


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
