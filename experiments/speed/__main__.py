"""The whole experiment, or a part of it: `python -m experiments.speed --help`.

Without arguments every job runs, and `experiments/speed/results/` is written anew: `results.json`
with its provenance, after each job, and at the end the report. `--report` only makes the report
again, from the results that are there.
"""

import argparse
import os
import sys
from pathlib import Path

from experiments.speed.bandwidth import bandwidth, device_bandwidth
from experiments.speed.race import cores
from experiments.speed.results import GAMES, ON_CPU, all_jobs, keep, measured, read, save

FOLDER = Path(__file__).parent / "results"


def main() -> None:
    """Measure, and write the results and the report."""
    parser = argparse.ArgumentParser(prog="python -m experiments.speed")
    parser.add_argument("--games", nargs="+", choices=GAMES, default=ON_CPU, metavar="GAME")
    parser.add_argument("--engines", nargs="+", metavar="ENGINE", help="only these")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    args = parser.parse_args()
    if args.report:
        save(read(args.out), args.out)
        return
    # The processes that are timed need a GPU's memory, of which JAX takes most beforehand.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    jobs = [j for j in all_jobs(args.games) if not args.engines or j.engine in args.engines]
    command = " ".join(["python -m experiments.speed", *sys.argv[1:]])
    results = measured(
        jobs,
        command,
        bandwidth(len(cores())) | device_bandwidth(),
        lambda text: print(text, file=sys.stderr, flush=True),
        lambda results: keep(results, args.out),
    )
    save(results, args.out)


if __name__ == "__main__":
    main()
