"""Measure guards in process: `python -m experiments.guard [--only BUNDLE ...] [--out DIR]`.

Bundles go to a temporary folder and are deleted; what was found is `results.json`, each bundle with
its own provenance, and `results.csv`; once there are results of every bundle, `report.md` too.
`--report` measures nothing and writes the last two again.
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
from csa_games.guard.bundle import MANIFEST, PLAYS, ROWS, parse
from csa_games.guard.plays import TRUST
from csa_games.provenance import provenance
from experiments.guard.bundles import made_up, made_up_keys, solved
from experiments.guard.report import csv_text, markdown

FOLDER = Path(__file__).parent / "results"
SOLVED, MILLION, LARGEST = "solved", "million", "largest"
BUNDLES = {SOLVED: None, MILLION: 10**6, LARGEST: 10**7}
"""The number of rows of each bundle that is made up."""

SEED = 6
ASKED = 20_000  # keys that decisions are asked for
RUNS = 5  # of what is timed call by call, each in a process of its own
LIMIT = 280  # seconds a process may take


def main() -> None:
    """Measure, and write the results and the report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.guard")
    parser.add_argument("--only", nargs="+", choices=BUNDLES, default=list(BUNDLES))
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "results.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in () if args.report else args.only:
        with TemporaryDirectory() as folder:
            results[name] = measured(name, Path(folder))
        write_file(path, json.dumps(results, indent=1).encode() + b"\n")
    write_file(args.out / "results.csv", csv_text(results).encode())
    if results.keys() >= BUNDLES.keys():
        write_file(args.out / "report.md", markdown(results).encode())


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Return what is found of the bundle of this name, JSON values; it is written to `folder`."""
    found: dict[str, Any] = {
        "provenance": provenance() | {"sqlite": sqlite3.sqlite_version},
        "seed": SEED,
        "load_before": os.getloadavg()[0],
    }
    draw = random.Random(SEED)
    bundle, start, count = folder / name, perf_counter(), BUNDLES[name]
    if count is None:
        solved(bundle)
        keys, reach = _states(bundle)
        uniform = draw.choices(keys, k=ASKED)
        by_reach = draw.choices(keys, reach, k=ASKED)
        del keys, reach
    else:
        solved(folder / "like", turns=2)
        start = perf_counter()
        made_up(bundle, folder / "like", count, SEED)
        every = made_up_keys(count)
        uniform = [every[draw.randrange(count)] for _ in range(ASKED)]
    found["seconds"] = perf_counter() - start
    found["bytes"] = {file: (bundle / file).stat().st_size for file in (ROWS, PLAYS)}
    found["rows"] = sum(parse((bundle / MANIFEST).read_bytes())["rows"][kind] for kind in TRUST)
    asked = folder / "asked"
    asked.write_text("\n".join(uniform), encoding="utf-8")
    found |= {kind: _job(kind, bundle, asked) for kind in ("opening", "memory")}
    for kind in ("deciding", "explaining", "keyed_read"):
        found[kind] = [_job(kind, bundle, asked) for _ in range(RUNS)]
    if name == MILLION:
        found["dictionary"] = [_job("dictionary", bundle, asked)]
    if name == SOLVED:
        asked.write_text("\n".join(by_reach), encoding="utf-8")
        found["deciding by reach"] = [_job("deciding", bundle, asked) for _ in range(RUNS)]
    return found | {"load_after": os.getloadavg()[0]}


def _states(bundle: Path) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return key and reach of every row that is of one state."""
    query = "SELECT key, reach FROM assistant WHERE key < '~'"
    with closing(sqlite3.connect(bundle / ROWS)) as connection:
        keys, reach = zip(*connection.execute(query), strict=True)
    return keys, reach


def _job(kind: str, bundle: Path, asked: Path) -> dict[str, Any]:
    """Return what the job of this kind finds, in a process of its own."""
    command = [sys.executable, "-m", "experiments.guard.job", kind, str(bundle), str(asked)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=LIMIT)
    print(f"{bundle.name}: {kind}: {done.stdout.decode()}", file=sys.stderr, flush=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
