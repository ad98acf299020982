"""`csa compare`: a scenario's solution beside other concepts, plain policies and published ones."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import Command, Outcome
from csa_games.cli.method import OPTIONS, add_method, solved
from csa_games.cli.output import clean, grid, number
from csa_games.cli.progress import waiting
from csa_games.cli.solve import certificate, described
from csa_games.cli.source import add_force, add_game, is_run, source
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.game import Game, Solution
    from csa_games.operating_points import OperatingPoint
    from solvers.compare import Row

PARTS = ("commitment", "robust", "baselines", "published")
"""What `--only` picks from; the solution itself is always there."""

MOST_ROBUST = 500_000
"""Histories up to which a robust policy is found along the way: its program takes half a minute."""

ROBUST_SECONDS = 30.0
"""How long one is iterated to where there is no such program; what it guarantees is exact."""

COMMITMENT_SECONDS = 20.0
"""How long a commitment is searched for along the way; how good it is at least, it says itself."""


def compare_policies(args: argparse.Namespace) -> Outcome:
    """Return the solution and what it is compared with, each against users who react to it."""
    from solvers.compare import compare

    parts = _parts(args.only)
    picture = _picture(args.plot)
    game, solution, name = _solution(args)
    policies: dict[str, Any] = {"solution": solution.policy[1]}
    remarks: list[str] = []
    others: dict[str, Solution] = {}
    for part, find in (("commitment", _commitment), ("robust", _robust)):
        if part not in parts:
            continue
        found, remark = find(game, solution)
        remarks += [] if remark is None else [remark]
        if found is not None:
            others[part], policies[part] = found, found.policy[1]
    if "baselines" in parts:
        policies |= _baselines(game)
    rows = compare(game, policies)
    published = _published(game, rows[0].value) if "published" in parts else []
    if picture is not None:
        remark = _draw(picture, args.plot, rows, [point for point, _ in published])
        remarks += [f"Saved: {args.plot}." if remark is None else remark]
    data = {
        "game": name,
        "class": game.game_class,
        "solution": described(game, solution),
        "others": {part: described(game, found) for part, found in others.items()},
        "rows": [_numbers(row) for row in rows],
        "published": [
            _numbers(row)
            | asdict(point)
            | {"over_refusal": point.over_refusal, "unsafe_compliance": point.unsafe_compliance}
            for point, row in published
        ],
        "remarks": remarks,
    }

    def show(console: "Console") -> None:
        _show(console, name, game, rows)
        if published:
            _show_published(console, game, published)
        console.print(f"\nSolution, {certificate(solution, game.names.players)}.")
        for part, found in others.items():
            console.print(f"{part.capitalize()}, {certificate(found, game.names.players)}.")
        for remark in remarks:
            console.print(clean(remark))

    return Outcome(data, show)


def beside_baselines(game: "Game", solution: "Solution") -> "list[Row]":
    """Return the rows of the solution of a dialogue and of every baseline."""
    from csa_games.game import ASSISTANT
    from solvers.compare import compare

    return compare(game, {"solution": solution.policy[ASSISTANT], **_baselines(game)})


def _baselines(game: "Game") -> dict[str, Any]:
    from csa_games.baselines import BASELINES

    return {name: baseline(game) for name, baseline in BASELINES.items()}


def _commitment(game: "Game", solution: "Solution") -> "tuple[Solution | None, str | None]":
    """Return the best commitment found, or why it is left out."""
    from solvers import commitment

    if solution.commitment is not None:
        return None, "Commitment is the solution itself."
    if game.game_class != "general-sum":
        return None, (
            "Commitment is left out: in the security class an equilibrium policy is the best one "
            "to commit to, so that the row would repeat the solution's."
        )
    with waiting(f"committing in {game.name}"):
        return commitment.solve(game, seconds=COMMITMENT_SECONDS), None


def _robust(game: "Game", solution: "Solution") -> "tuple[Solution | None, str | None]":
    """Return the policy that is robust over the scenario's priors, or why it is left out."""
    from csa_games.evaluate import histories
    from solvers import robust

    if solution.robustness is not None:
        return None, "Robust is the solution itself."
    if (count := histories(game)) > MOST_ROBUST:
        return None, (
            f"Robust is left out: {count:,} histories are more than {MOST_ROBUST:,}, and its "
            "program would take minutes; csa solve --method robust has the time."
        )
    try:
        with waiting(f"a robust policy of {game.name}"):
            return robust.solve(game, seconds=ROBUST_SECONDS), None
    except InputError as error:  # quantal or rational users, or no intervals
        return None, f"Robust is left out: {error}."


def _published(game: "Game", reference: float) -> "list[tuple[OperatingPoint, Row]]":
    """Return every published system with what it would be worth if it answered here."""
    from csa_games.operating_points import OPERATING_POINTS
    from solvers.compare import as_filter

    return [
        (point, as_filter(game, point.name, point.over_refusal[1], point.unsafe_compliance[1],
                          reference))
        for point in OPERATING_POINTS
    ]  # fmt: skip


def _picture(path: str | None) -> "Callable[[Any], bytes] | None":
    """Return what draws the picture that the ending of `path` names, before anything is solved."""
    if path is None:
        return None
    from csa_games.plots import pareto, pareto_png

    drawers: dict[str, Callable[[Any], bytes]] = {
        ".svg": lambda points: pareto(points).encode(),
        ".png": pareto_png,
    }
    ending = Path(path).suffix.lower()
    if ending not in drawers:
        raise InputError(f"--plot: found {path!r}, expected a file that ends in .svg or .png")
    Path(path).parent.mkdir(parents=True, exist_ok=True)  # before minutes of work, not after
    return drawers[ending]


def _draw(
    draw: "Callable[[Any], bytes]",
    path: str,
    rows: "Sequence[Row]",
    published: "Sequence[OperatingPoint]",
) -> str | None:
    """Write the picture of both errors, or say why there is none."""
    from csa_games.files import write_file
    from csa_games.plots import RatePoint

    exact = [(row.name, row.whole["over-refusal"], row.whole["unsafe compliance"]) for row in rows]
    if any(math.isnan(rate) for _, x, y in exact for rate in (x, y)):
        return (
            "There is no picture: it takes intents that do no harm, intents that may, and answers."
        )
    points = [RatePoint(name, (x,) * 3, (y,) * 3, published=False) for name, x, y in exact]
    points += [
        RatePoint(point.name, point.over_refusal, point.unsafe_compliance, published=True)
        for point in published
    ]
    write_file(path, draw(points))
    return None


SHORT = {
    "worst": "worst",
    "over-refusal": "over-refusal",
    "unsafe compliance": "unsafe",
    "bits learned": "bits",
}
"""Columns of the table, as people read them."""


def _numbers(row: "Row") -> dict[str, Any]:
    return {
        "policy": row.name,
        "value": row.value,
        "difference": row.difference,
        "worst": row.worst,
        "outcomes": row.outcomes,
        "whole": row.whole,
    }


def _parts(only: str | None) -> tuple[str, ...]:
    """Return what to set beside the solution."""
    if only is None:
        return PARTS
    parts = tuple(part.strip() for part in only.split(",") if part.strip())
    for part in parts:
        if part not in PARTS:
            raise InputError(f"--only: found {part!r}, expected some of {', '.join(PARTS)}")
    return parts


def _solution(args: argparse.Namespace) -> tuple["Game", "Solution", str]:
    """Return the game and its solution, read from a run or made now, and what to call it."""
    if is_run(args.game):
        from csa_games.runs import read_run

        given = [f"--{name.replace('_', '-')}" for name in (*OPTIONS, "set") if getattr(args, name)]
        if given:
            raise InputError(
                f"{args.game} is a run, which is solved already: {', '.join(given)} cannot change "
                "it"
            )
        run = read_run(args.game)
        return run.game, run.solution, args.game
    asked = source(args)
    if asked.scenario is None:
        raise InputError(
            f"{asked.name} is no scenario, and has no baselines to compare a solution with"
        )
    game = asked.build()
    return game, solved(game, args), asked.name


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_game(parser, "SCENARIO", "; or the folder of a run")
    add_force(parser)
    parser.add_argument(
        "--only",
        metavar="PARTS",
        help=f"what to set beside the solution, of {','.join(PARTS)} (all of them)",
    )
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help="draw over-refusal against unsafe compliance into FILE.svg or FILE.png",
    )
    add_method(parser)


COMPARE = Command(
    "compare a scenario's solution with the best commitment, a robust policy, plain policies and "
    "published systems",
    (
        "csa compare csa_oneshot",
        "csa compare crisis_guidance --target 1e-2 --plot rates.svg",
        "csa compare crisis_guidance --target 1e-3 --only baselines",
        "csa compare runs/crisis_guidance-pcfr+ --json",
    ),
    _arguments,
    compare_policies,
)


def _show(console: "Console", name: str, game: "Game", rows: "list[Row]") -> None:
    import numpy as np

    secure = game.game_class == "security"
    console.print(clean(f"{name}: the assistant's payoff, strategic users at their best"))
    console.print()
    headings = ("policy", "guaranteed" if secure else "measured", "difference", *SHORT.values())
    lines = [
        (
            *(row.name, number(row.value), f"{row.difference:+.4f}"),
            *(number({"worst": row.worst, **row.whole}[column]) for column in SHORT),
        )
        for row in rows
    ]
    console.print(grid(headings, lines))
    console.print(
        "Worst: at the worst of the priors that the scenario allows. Over-refusal and unsafe: "
        "shares of answers, refusals of the harmless and compliance with the harmful. Bits: what "
        "a conversation tells about the intent."
    )
    for measure, shown in rows[0].outcomes.items():
        values = [value for row in rows for value in row.outcomes[measure].values()]
        if not np.nan_to_num(values).any():
            continue  # nothing of the kind happens in this scenario
        by_intent = [(row.name, *map(number, row.outcomes[measure].values())) for row in rows]
        console.print()
        console.print(grid(("policy", *shown), by_intent, title=f"{measure}, by intent"))


def _show_published(
    console: "Console", game: "Game", published: "list[tuple[OperatingPoint, Row]]"
) -> None:
    from csa_games.operating_points import SOURCES

    assert game.scenario is not None
    plain = game.scenario.baselines
    console.print()
    headings = ("published", "over-refusal, %", "unsafe, %", "value", "difference")
    lines = [
        (
            row.name,
            *map(_spelled, (point.over_refusal, point.unsafe_compliance)),
            *(number(row.value), f"{row.difference:+.4f}"),
        )
        for point, row in published
    ]
    console.print(grid(headings, lines, title="Published systems, as if they answered here"))
    console.print(
        f"Assumed: every answer is {plain.comply} or {plain.refuse}, by a coin of its own that "
        "falls as published for harmless and for harmful prompts, whatever is asked here. Such a "
        "system may see more than this scenario's classifier, and beat every policy here. Rates "
        "have 95 % intervals (Wilson)."
    )
    for source_of in SOURCES.values():
        console.print(clean(f"Source: {source_of}."))


def _spelled(rate: tuple[float, float, float]) -> str:
    low, value, high = (100 * part for part in rate)
    return f"{value:.1f} ({low:.1f}–{high:.1f})"
