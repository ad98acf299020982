"""Run every experiment into this folder, and write its index: `python -m experiments`.

`--report` only writes reports, charts and the index again, from the rows in the tree. An experiment
whose question or grid has changed is not mixed with what an earlier one left: remove its folder
first. Case studies need logs that are no part of the project; without them they are passed over,
unless they are named.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from csa_games.errors import InputError
from csa_games.files import write_file
from experiments.experiment import run, tell
from experiments.logs import source
from experiments.questions import CASE_STUDIES, EXPERIMENTS

FOLDER = Path(__file__).parent
INDEX = FOLDER / "README.md"


def index() -> str:
    """Return the index in Markdown: every question, with the report that answers it."""
    lines = [
        "# experiments",
        "",
        "Each of these was made by `csa experiment NAME` (all of them: `make experiments`), whose "
        "report has the answer, and whose folder the rows, the pictures and where it was made. How "
        "fast the engine is: [speed](speed/results/speed.md); how good ascent is at commitments: "
        "[commitment](commitment/report.md); how fast the guard is: [in process]"
        "(guard/results/report.md) and [behind its server](guard-server/report.md). Those called "
        "case- are of published logs, which are not in the tree (`python -m experiments.logs`).",
        "",
        "| experiment | question |",
        "|---|---|",
        *(
            f"| [{name}]({name}/report.md) | {one.question} |"
            for name, one in EXPERIMENTS.items()
            if (FOLDER / name / "report.md").is_file()
        ),
    ]
    return "\n".join(lines) + "\n"


def _tell(name: str, done: int, count: int) -> None:
    sys.stderr.write(f"{name}: {done} of {count}\n")


def main() -> None:
    """Run what is asked for and write the index."""
    parser = argparse.ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones (all of them)")
    parser.add_argument("--report", action="store_true", help="run nothing, write reports again")
    args = parser.parse_args()
    for name in args.names or EXPERIMENTS:
        if args.report:
            tell(EXPERIMENTS[name], FOLDER / name)
            continue
        if not args.names and name in CASE_STUDIES and not source.folder().is_dir():
            sys.stderr.write(f"{name}: passed over, for its log is not there\n")
            continue
        try:
            run(
                name,
                EXPERIMENTS[name],
                FOLDER / name,
                workers=max(1, (os.cpu_count() or 1) // 2),
                progress=partial(_tell, name),
            )
        except InputError as error:
            parser.error(str(error))
    write_file(INDEX, index().encode())


if __name__ == "__main__":
    main()
