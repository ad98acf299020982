"""`csa experiment`: a question, answered by a sweep, in words and pictures."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from csa_games.cli.command import Command, Outcome
from csa_games.cli.output import clean, grid
from csa_games.cli.progress import counting
from csa_games.cli.sweep import add_executor
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


def experiment(args: argparse.Namespace) -> Outcome:
    """Run the experiment that is named, or list them all."""
    try:
        from experiments.experiment import run
        from experiments.questions import EXPERIMENTS
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("experiments"):
            raise
        raise InputError(
            "csa experiment needs a source checkout of csa-games: experiments are not part of the "
            "installed package"
        ) from None
    if args.name is None:
        questions = {name: one.question for name, one in EXPERIMENTS.items()}
        return Outcome(
            questions,
            lambda console: console.print(grid(("experiment", "question"), questions.items())),
        )
    if args.name not in EXPERIMENTS:
        raise InputError(
            f"there is no experiment {args.name!r}; the experiments are {', '.join(EXPERIMENTS)}"
        )
    chosen = EXPERIMENTS[args.name]
    folder = Path(args.out or f"runs/{args.name}{'-quick' if args.quick else ''}")
    with counting(args.name) as progress:
        rows = run(
            args.name,
            chosen,
            folder,
            quick=args.quick,
            executor=args.executor,
            workers=args.workers,
            progress=progress,
        )
    told = chosen.answer(rows)
    data = {"experiment": args.name, "out": str(folder), "answer": told, "rows": rows}

    def show(console: "Console") -> None:
        console.print(clean(chosen.question), style="bold")
        for paragraph in told:
            console.print()
            console.print(clean(paragraph))
        console.print(f"\nsaved in {clean(str(folder))}: report.md, results.csv, figures/")

    return Outcome(data, show)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="which one (without: a list)")
    parser.add_argument("--quick", action="store_true", help="a coarser grid, in a minute or so")
    add_executor(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="the folder of the experiment, gone on with if it is there (runs/NAME)",
    )


EXPERIMENT = Command(
    "run an experiment and see what it answers",
    (
        "csa experiment",
        "csa experiment horizon --quick",
        "csa experiment atlas --workers 2 --out atlas",
        "csa experiment atlas --executor ray --workers 8",
    ),
    _arguments,
    experiment,
)
