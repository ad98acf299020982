"""`csa worth`: what a scenario's classifier is worth, and what would change the answer."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from csa_games.cli.command import Command, Outcome
from csa_games.cli.output import clean, grid, number
from csa_games.cli.progress import waiting
from csa_games.cli.source import add_force, add_game, source
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.game import Game, Solution
    from solvers.breakeven import BreakEven

WEIGHTS = {"alpha": "α", "beta": "β", "gamma": "γ", "psi": "ψ"}
SECONDS = 60.0
"""How long each commitment is searched for, in scenarios that need one."""


def worth(args: argparse.Namespace) -> Outcome:
    """Return the worth of the classifier, break-even weights, and the rows nearest to a flip."""
    import numpy as np

    from csa_games.baselines import BASELINES
    from csa_games.evaluate import infoset_reach, posterior
    from csa_games.flip import distance_to_flip, values_by_intent
    from csa_games.game import ASSISTANT
    from csa_games.outcomes import information
    from solvers.breakeven import break_even
    from solvers.worth import classifier_worth

    asked = source(args)
    if asked.scenario is None:
        raise InputError(f"{asked.name} is no scenario, and has no classifier")
    game = asked.build()
    with waiting(f"what the classifier of {asked.name} is worth"):
        solution = _solved(game, args.target)
        told = classifier_worth(
            game, lambda other: solution if other is game else _solved(other, args.target)
        )
    policy = solution.policy
    with waiting("where policies break even"):
        even = {
            (weight, name): break_even(game, policy[ASSISTANT], baseline(game), weight)
            for weight in WEIGHTS
            for name, baseline in BASELINES.items()
        }
    own, others = infoset_reach(game, ASSISTANT, policy)
    moved = distance_to_flip(posterior(game, policy), values_by_intent(game, policy))
    # How often a row is used counts as much as how near it is: rare ones are left out.
    often = np.flatnonzero(own * others >= args.least)
    nearest = often[np.argsort(moved[often], kind="stable")][: args.rows]
    rows = [
        {
            "state": game.names.infosets[ASSISTANT][i],
            "reach": float(own[i] * others[i]),
            "distance": float(moved[i]),
        }
        for i in nearest.tolist()
    ]
    bits = information(game, policy).tolist()
    data = {
        "game": asked.name,
        "class": game.game_class,
        "method": solution.method,
        "without": told.none,
        "with": told.actual,
        "perfect": told.perfect,
        "worth": told.worth,
        "ceiling": told.ceiling,
        "bits": bits,
        "break_even": [
            {"weight": weight, "policy": name, "points": found.points, "ahead": found.ahead}
            for (weight, name), found in even.items()
        ],
        "nearest": rows,
    }

    def show(console: "Console") -> None:
        lines = [
            ("without it", _interval(told.none)),
            ("with it", _interval(told.actual)),
            ("if it told the intent", _interval(told.perfect)),
            ("it is worth", _interval(told.worth)),
            ("a perfect one", _interval(told.ceiling)),
            ("it tells", ", ".join(f"{number(b)} bits" for b in bits) + ", by turn"),
        ]
        title = clean(f"The classifier of {asked.name}: what the best policy is worth")
        console.print(grid(("", "payoff"), lines, title=title))
        console.print()
        table = [(name, *(_spoken(even[weight, name]) for weight in WEIGHTS)) for name in BASELINES]
        headings = ("the solution is ahead of", *WEIGHTS.values())
        console.print(grid(headings, table, title="Weights at which the solution is ahead"))
        console.print()
        near = [(r["state"], number(r["reach"]), number(r["distance"])) for r in rows]
        title = "States whose response flips first"
        console.print(grid(("state", "reach", "belief to move"), near, title=title))

    return Outcome(data, show)


def _solved(game: "Game", target: float) -> "Solution":
    """Return a policy with a certificate that bounds the best one."""
    import solvers

    if game.game_class == "general-sum":
        return solvers.solve(game, "commitment", seconds=SECONDS)
    return solvers.solve(game, "pcfr+", target=target)


def _interval(ends: tuple[float, float]) -> str:
    low, high = (number(end) for end in ends)
    return low if low == high else f"{low} to {high}"


def _spoken(found: "BreakEven") -> str:
    """Return where the first of two policies is ahead: "everywhere", "up to 7.02", "never"."""
    ends: Sequence[float] = (0.0, *found.points, float("inf"))
    ahead = [
        (low, high) for low, high, who in zip(ends, ends[1:], found.ahead, strict=False) if who == 0
    ]
    if not ahead:
        return "never"
    return " and ".join(map(_stretch, ahead))


def _stretch(ends: tuple[float, float]) -> str:
    low, high = ends
    if low == 0:
        return "everywhere" if high == float("inf") else f"up to {number(high)}"
    return f"from {number(low)}" if high == float("inf") else f"{number(low)} to {number(high)}"


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_game(parser, "SCENARIO")
    add_force(parser)
    parser.add_argument(
        "--target", type=float, default=1e-3, metavar="GAP", help="NashConv of each policy (1e-3)"
    )
    parser.add_argument(
        "--rows", type=int, default=10, metavar="N", help="how many states to show (10)"
    )
    parser.add_argument(
        "--least",
        type=float,
        default=1e-3,
        metavar="REACH",
        help="leave out states that are rarer than this (1e-3)",
    )


WORTH = Command(
    "what a scenario's classifier is worth, and what would change the answer",
    (
        "csa worth csa_oneshot",
        "csa worth crisis_guidance --set turns=2 --target 1e-3",
        "csa worth guard_cascade --json",
    ),
    _arguments,
    worth,
)
