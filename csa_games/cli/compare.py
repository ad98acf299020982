"""`csa compare`: a scenario's solution beside the policies that it has to beat."""

import argparse
from typing import TYPE_CHECKING

from csa_games.cli.command import Command, Outcome
from csa_games.cli.method import OPTIONS, add_method, solved
from csa_games.cli.output import clean, grid, number
from csa_games.cli.solve import certificate, described
from csa_games.cli.source import add_force, add_game, is_run, source
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.game import Game, Solution
    from solvers.compare import Row


def compare_policies(args: argparse.Namespace) -> Outcome:
    """Return the solution and the baselines, each against users who best-respond to it."""
    game, solution, name = _solution(args)
    rows = beside_baselines(game, solution)
    data = {
        "game": name,
        "class": game.game_class,
        "solution": described(game, solution),
        "rows": [
            {
                "policy": row.name,
                "value": row.value,
                "difference": row.difference,
                "outcomes": row.outcomes,
            }
            for row in rows
        ],
    }
    return Outcome(data, lambda console: _show(console, name, game, solution, rows))


def beside_baselines(game: "Game", solution: "Solution") -> "list[Row]":
    """Return the rows of the solution of a dialogue and of every baseline."""
    from csa_games.baselines import BASELINES
    from csa_games.game import ASSISTANT
    from solvers.compare import compare

    baselines = {name: baseline(game) for name, baseline in BASELINES.items()}
    return compare(game, {"solution": solution.policy[ASSISTANT], **baselines})


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
    add_method(parser)


COMPARE = Command(
    "compare a scenario's solution with plain policies: comply, refuse, threshold, myopic Bayes",
    (
        "csa compare csa_oneshot",
        "csa compare crisis_guidance --target 1e-3",
        "csa compare runs/crisis_guidance-pcfr+ --json",
    ),
    _arguments,
    compare_policies,
)


def _show(
    console: "Console", name: str, game: "Game", solution: "Solution", rows: "list[Row]"
) -> None:
    import numpy as np

    secure = game.game_class == "security"
    console.print(clean(f"{name}: the assistant's payoff, strategic users at their best"))
    console.print()
    headings = ("policy", "guaranteed" if secure else "measured", "difference")
    lines = [(row.name, number(row.value), f"{row.difference:+.4f}") for row in rows]
    console.print(grid(headings, lines))
    for measure, shown in rows[0].outcomes.items():
        values = [value for row in rows for value in row.outcomes[measure].values()]
        if not np.nan_to_num(values).any():
            continue  # nothing of the kind happens in this scenario
        by_intent = [(row.name, *map(number, row.outcomes[measure].values())) for row in rows]
        console.print()
        console.print(grid(("policy", *shown), by_intent, title=f"{measure}, by intent"))
    console.print(f"\nSolution, {certificate(solution, game.names.players)}.")
