"""`csa frontier`: what a bound, or any number of a scenario, costs and brings, as one curve."""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import Command, Outcome
from csa_games.cli.method import add_budgets
from csa_games.cli.output import clean, grid, number
from csa_games.cli.progress import counted
from csa_games.cli.source import add_force, add_game, source
from csa_games.errors import InputError

if TYPE_CHECKING:
    from csa_games.game import Solution

MOST_VALUES = 1_000


def trace(args: argparse.Namespace) -> Outcome:
    """Return the best guaranteed objective along the frontier, as a table, CSV and a picture."""
    from csa_games.factored import factored_game
    from csa_games.override import override
    from solvers import budget

    asked = source(args)
    if asked.scenario is None:
        raise InputError(f"{asked.name} is no scenario, and has no outcomes to set bounds to")
    values, objective = values_of(args.values), args.objective or "payoff"
    if args.out is not None:
        Path(args.out).mkdir(parents=True, exist_ok=True)  # before minutes of work, not after
    budgeted = args.over.endswith(("<=", ">="))
    game = asked.build() if budgeted else None

    def solutions() -> "Iterator[Solution]":
        for value in values:
            if game is not None:
                yield from budget.frontier(
                    game, args.over, [value], objective=objective, budgets=args.budgets or ()
                )
            else:
                assert asked.scenario is not None
                changed = factored_game(override(asked.scenario, {args.over: value}))
                yield budget.solve(changed, objective=objective, budgets=args.budgets or ())

    found = list(counted(solutions(), len(values), f"{asked.name}: {args.over}"))
    rows = list(map(_row, values, found))
    columns = list(rows[0])
    if args.out is not None:
        _save(Path(args.out), rows, args.over, objective)
    data = {"game": asked.name, "over": args.over, "objective": objective, "rows": rows}

    def show(console: Any) -> None:
        console.print(clean(f"{asked.name}: {objective}, guaranteed, over {args.over}"))
        console.print()
        lines = [(f"{row['bound']:g}", *(number(row[c]) for c in columns[1:])) for row in rows]
        console.print(grid(columns, lines))
        if args.out is not None:
            console.print(f"\nsaved in {clean(args.out)}: frontier.csv, frontier.svg")

    return Outcome(data, show)


def _row(value: float, solution: "Solution") -> dict[str, float]:
    """Return a point of the curve: where, the objective, and every budget's level and price."""
    told = solution.budgeted
    assert told is not None  # this is what `solvers.budget` makes
    row = {"bound": value, told.objective: told.value}
    for one in told.budgets:
        row |= {f"{one.measure} {one.side} level": one.level, f"{one.measure} price": one.price}
    return row


def _save(folder: Path, rows: Sequence[dict[str, float]], over: str, objective: str) -> None:
    """Write the curve as CSV and as a picture, into a folder that may hold other things."""
    from csa_games.csv_text import csv_text
    from csa_games.files import write_file
    from csa_games.plots import frontier

    points = [(row["bound"], row[objective]) for row in rows]
    write_file(folder / "frontier.csv", csv_text(rows).encode())
    write_file(folder / "frontier.svg", frontier(points, over, objective).encode())


def values_of(text: str) -> list[float]:
    """Return the numbers of "0,0.01,0.1" or of "START:STOP:COUNT", evenly spaced."""
    fault = InputError(
        f"found the values {text!r}, expected numbers such as 0,0.01,0.1 or START:STOP:COUNT with "
        f"2 to {MOST_VALUES:,} of them"
    )
    try:
        if ":" in text:
            start, stop, count = text.split(":")
            steps = int(count) - 1
            if not 1 <= steps < MOST_VALUES:
                raise fault
            first, last = float(start), float(stop)
            values = [first + (last - first) * k / steps for k in range(steps + 1)]
        else:
            values = [float(part) for part in text.split(",")]
    except ValueError:
        raise fault from None
    if not all(map(math.isfinite, values)) or len(values) > MOST_VALUES:
        raise fault
    return values


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_game(parser, "SCENARIO")
    add_force(parser)
    parser.add_argument(
        "over",
        metavar="OVER",
        help="a budget without its number, such as 'risk@malicious<=', or the path of a number of "
        "the scenario, such as weights.beta",
    )
    parser.add_argument(
        "values", metavar="VALUES", help="where: numbers such as 0,0.01,0.1, or START:STOP:COUNT"
    )
    add_budgets(parser)
    parser.add_argument("--out", metavar="DIR", help="write frontier.csv and frontier.svg into DIR")


FRONTIER = Command(
    "the best policy along a bound on outcomes, or along any number of a scenario",
    (
        "csa frontier crisis_guidance 'risk@malicious<=' 0.1:1:7 --out frontier",
        "csa frontier csa_oneshot weights.beta 0:10:11 --json",
        "csa frontier csa_oneshot 'risk<=' 0.01,0.02 --objective satisfaction",
    ),
    _arguments,
    trace,
)
