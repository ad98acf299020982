"""`csa sweep`: a scenario solved at every combination of some of its numbers."""

import argparse
import inspect
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import Command, Outcome
from csa_games.cli.frontier import values_of
from csa_games.cli.method import add_method, options
from csa_games.cli.output import clean, grid, number
from csa_games.cli.progress import counting
from csa_games.cli.source import add_force, add_game, source
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.game import Game, Solution
    from csa_games.scenario import Scenario
    from csa_games.sweeps import Cell, Row

TOGETHER = 32
"""The most games that are solved in one compiled program: one cell."""
SHOWN = 40


def sweep(args: argparse.Namespace) -> Outcome:
    """Return value, gap and outcomes at every combination, and keep them in a folder."""
    from csa_games.csv_text import csv_text
    from csa_games.files import write_file
    from csa_games.sweeps import Sweep, run

    asked = source(args)
    if asked.scenario is None:
        raise InputError(f"{asked.name} is no scenario, and has no numbers with names to change")
    if args.method == "auto":
        raise InputError("found the method auto, expected one and the same for the whole sweep")
    axes = dict(map(_axis, args.over))
    folder = Path(args.out or f"runs/sweep-{Path(asked.name).stem}")
    points = [dict(zip(axes, place, strict=True)) for place in product(*axes.values())]
    changed(asked.scenario, points[0])  # wrong paths are told before the work begins
    doing = Sweep(
        name=asked.name,
        work="csa_games.cli.sweep:work",
        cells=[{"points": points[k : k + TOGETHER]} for k in range(0, len(points), TOGETHER)],
        common={
            "scenario": asked.scenario.model_dump(mode="json", exclude_none=True),
            "method": args.method,
            "options": {
                name: x for name, x in options(args).items() if getattr(args, name) is not None
            },
        },
    )
    with counting(f"sweep of {asked.name}") as progress:
        found = run(doing, folder, executor=args.executor, workers=args.workers, progress=progress)
    rows = [row for done in found for row in done.rows]
    write_file(folder / "results.csv", csv_text(rows).encode())
    data = {"game": asked.name, "method": args.method, "out": str(folder), "rows": rows}
    return Outcome(data, lambda console: _show(console, asked.name, list(axes), rows, folder))


def changed(scenario: "Scenario", point: Mapping[str, float]) -> "Scenario":
    """Return `scenario` at `point`; of priors the other intents' keep their ratios."""
    from csa_games.override import override, with_prior

    for path, value in point.items():
        parts = path.split(".")
        if len(parts) == 3 and (parts[0], parts[2]) == ("intents", "prior"):
            scenario = with_prior(scenario, parts[1], value)
        else:
            whole = path == "turns" and float(value).is_integer()
            scenario = override(scenario, {path: int(value) if whole else value})
    return scenario


def work(cell: "Cell") -> "list[Row]":
    """Return a row for each of the points of `cell`, users reacting to what was found."""
    from csa_games.factored import factored_game
    from csa_games.game import ASSISTANT
    from csa_games.scenario import scenario_from
    from solvers.compare import compare

    scenario = scenario_from(cell["scenario"], "the scenario of the sweep")
    games = [factored_game(changed(scenario, point)) for point in cell["points"]]
    rows: list[Row] = []
    for point, game, solution in zip(
        cell["points"], games, _solutions(games, cell["method"], cell["options"]), strict=True
    ):
        (told,) = compare(game, {"solution": solution.policy[ASSISTANT]})
        row: Row = {
            **point,
            "value": float(solution.value[ASSISTANT]),
            "against reacting users": told.value,
            "nash_conv": solution.nash_conv,
            "status": solution.status,
        }
        for measure, by in told.outcomes.items():
            row |= {f"{measure} {who}": x for who, x in by.items()}
        rows.append(row)
    return rows


def _solutions(
    games: "Sequence[Game]", method: str, chosen: Mapping[str, Any]
) -> "Iterator[Solution]":
    """Yield the solution of each game, all solved together where the method can and they fit."""
    import solvers
    from solvers.together import alike, solve_many

    together = inspect.signature(solve_many).parameters
    if method in solvers.VARIANTS and set(chosen) <= set(together) and alike(games):
        yield from solve_many(games, method, **chosen)
    else:
        for game in games:
            yield solvers.solve(game, method, **chosen)


def _axis(text: str) -> tuple[str, list[float]]:
    path, equals, values = text.partition("=")
    if not equals or not path:
        raise InputError(
            f"--over: found {text!r}, expected PATH=VALUES, such as weights.beta=1,2,5 or "
            "intents.malicious.prior=0.01:0.1:10"
        )
    return path.strip(), values_of(values)


def add_executor(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what runs the cells of a sweep."""
    parser.add_argument(
        "--executor",
        default="local",
        metavar="NAME",
        help="what runs the cells: local (the default), ray or slurm, which are extras",
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="how many cells at once (1)"
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_game(parser, "SCENARIO")
    add_force(parser)
    parser.add_argument(
        "--over",
        action="append",
        required=True,
        metavar="PATH=VALUES",
        help="numbers of the scenario to go through, such as weights.beta=1,2,5 or "
        "intents.malicious.prior=0.01:0.1:10 (the other priors keep their ratios); given several "
        "times, every combination",
    )
    add_method(parser)
    add_executor(parser)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="the folder of the sweep, gone on with if it is there (runs/sweep-SCENARIO)",
    )


SWEEP = Command(
    "solve a scenario at every combination of some of its numbers",
    (
        "csa sweep csa_oneshot --over intents.malicious.prior=0.01:0.2:20",
        "csa sweep csa_oneshot --over weights.alpha=1,2 --over weights.beta=1,2,5",
        "csa sweep crisis_guidance --over weights.psi=0:2:9 --out psi --workers 2",
    ),
    _arguments,
    sweep,
)


def _show(
    console: "Console", name: str, axes: Sequence[str], rows: "Sequence[Row]", folder: Path
) -> None:
    columns = [*axes, "value", "nash_conv", "status"]
    console.print(clean(f"{name}: the assistant's value at {len(rows)} places"))
    console.print()
    console.print(grid(columns, [[_cell(row[c]) for c in columns] for row in rows[:SHOWN]]))
    if len(rows) > SHOWN:
        console.print(f"and {len(rows) - SHOWN} more")
    console.print(f"\nsaved in {clean(str(folder))}: results.csv, with outcomes by intent")


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)
