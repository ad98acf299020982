"""`csa doubt`: which conclusions flip when a number is at the end of its interval."""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import Command, Outcome
from csa_games.cli.output import clean, grid, number
from csa_games.cli.progress import counted, waiting
from csa_games.cli.source import add_force, add_game, source
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.charts import Chart
    from csa_games.game import Game, Solution
    from csa_games.moves import Move
    from csa_games.scenario import Scenario
    from solvers.flips import Flip

SECONDS = 10.0
"""How long each commitment is searched for, in scenarios that need one."""
MOST_STEPS = 10_000


def doubt(args: argparse.Namespace) -> Outcome:
    """Return what keeping the policy loses at the ends of all intervals, and what flips there."""
    from csa_games.baselines import BASELINES
    from csa_games.game import ASSISTANT
    from csa_games.moves import moves
    from solvers.flips import flips

    asked = source(args)
    if asked.scenario is None:
        raise InputError(f"{asked.name} is no scenario, and has no numbers with intervals")
    if not 0 < args.target <= args.least:
        raise InputError(
            f"found --target {args.target:g} and --least {args.least:g}, expected the first above "
            "0 and no larger than the second: what a solver leaves is no finding"
        )
    scenario, found = asked.scenario, moves(asked.scenario)
    if not found:
        raise InputError(
            f"{asked.name}: found no interval around any number, expected some: low and high of "
            "quantities, kernels, channels or payoff cells, as csa fit writes them"
        )
    plot = _place(args.plot)
    game = asked.build()
    with waiting(f"solving {asked.name}"):
        (solution,) = _solved([game], args.target)
    others = {name: baseline(game) for name, baseline in BASELINES.items()}
    ways = [partial(_game, scenario, move) for move in found]
    solve = partial(_solved, target=args.target)
    tried = flips(game, solution, ways, solve, others=others, least=args.least)
    ends = list(zip(found, counted(tried, len(found), f"doubts of {asked.name}"), strict=True))
    rows = [_row(game, move, flip) for move, flip in ends]
    rows.sort(key=lambda row: -row["lost"][0])
    data = {
        "game": asked.name,
        "class": game.game_class,
        "method": solution.method,
        "value": float(solution.value[ASSISTANT]),
        "least": args.least,
        "ends": rows,
        "states": _states(game, solution, args.least),
    }
    if plot is not None:
        from csa_games.charts import save

        save(plot.parent, plot.name, _chart(rows))
    return Outcome(data, lambda console: _show(console, data, args.rows))


def _place(asked: str | None) -> Path | None:
    """Return where the picture goes, which is made sure of before minutes of work."""
    if asked is None:
        return None
    place = Path(asked)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _game(scenario: "Scenario", move: "Move", share: float) -> "Game":
    from csa_games.factored import factored_game
    from csa_games.moves import moved

    return factored_game(moved(scenario, move, share))


def _solved(games: "Sequence[Game]", target: float) -> "Iterator[Solution]":
    """Yield policies with certificates that bound the best, all found together where they can be.

    Games of one shape in the security class are one compiled program.
    """
    import solvers
    from solvers.together import alike, solve_many

    if alike(games) and all(game.game_class == "security" for game in games):
        yield from solve_many(games, target=target, max_steps=MOST_STEPS)
        return
    for game in games:
        if game.game_class == "general-sum":
            yield solvers.solve(game, "commitment", seconds=SECONDS)
        else:
            yield solvers.solve(game, target=target, max_steps=MOST_STEPS)


def _row(game: "Game", move: "Move", flip: "Flip") -> dict[str, Any]:
    """Return what `--json` says of an end."""
    from csa_games.game import ASSISTANT

    at = None
    if flip.share is not None:
        at = _along(move.value, move.end, flip.share)
    return {
        "number": move.name,
        "label": move.label,
        "side": move.side,
        "value": move.value,
        "end": move.end,
        "lost": flip.lost,
        "flips_at": at,
        "responses": [
            {
                "state": game.names.infosets[ASSISTANT][found.infoset],
                "before": game.names.actions[ASSISTANT][found.infoset][found.before],
                "after": game.names.actions[ASSISTANT][found.infoset][found.after],
                "lost": found.lost,
            }
            for found in flip.responses
        ],
        "overtaken_by": list(flip.overtaken),
    }


def _along(begin: Any, end: Any, share: float) -> Any:
    """Return the number, or those by turn, that far on the way."""
    if isinstance(begin, list) or isinstance(end, list):
        count = len(begin if isinstance(begin, list) else end)
        pairs = zip(_list(begin, count), _list(end, count), strict=True)
        return [_along(one, other, share) for one, other in pairs]
    return (1 - share) * begin + share * end


def _list(value: Any, count: int) -> list[float]:
    return value if isinstance(value, list) else [value] * count


def _states(game: "Game", solution: "Solution", least: float) -> list[dict[str, Any]]:
    """Return the first turn's states that are reached: response, and belief to move for another."""
    from csa_games.evaluate import infoset_reach, posterior
    from csa_games.flip import distance_to_flip, values_by_intent
    from csa_games.game import ASSISTANT

    policy = solution.policy
    own, others = infoset_reach(game, ASSISTANT, policy)
    moved = distance_to_flip(posterior(game, policy), values_by_intent(game, policy))
    return [
        {
            "state": game.names.infosets[ASSISTANT][i],
            "response": game.names.actions[ASSISTANT][i][int(policy[ASSISTANT][i].argmax())],
            "reach": float(own[i] * others[i]),
            "distance": float(moved[i]),
        }
        for i in range(game.form.treeplex[ASSISTANT].levels[0].infosets)
        if own[i] * others[i] >= least
    ]


def _chart(rows: Sequence[dict[str, Any]]) -> "Chart":
    from csa_games.charts import tornado

    bars: dict[str, list[float]] = {}
    for row in rows:
        bars.setdefault(row["label"], [0.0, 0.0])[row["side"] == "high"] = row["lost"][0]
    return tornado(
        {name: (low, high) for name, (low, high) in bars.items()},
        "lost by keeping the policy, at the ends of the interval",
        ("low end", "high end"),
    )


def _show(console: "Console", data: dict[str, Any], most: int) -> None:
    rows = [row for row in data["ends"] if row["flips_at"] is not None]
    console.print(
        clean(
            f"{data['game']}: {len(data['ends'])} ends of intervals tried one at a time, and "
            f"conclusions flip at {len(rows)}"
        )
    )
    if rows:
        console.print()
        lines = [
            (
                row["label"],
                _spoken(row["value"]),
                _spoken(row["flips_at"]),
                _spoken(row["end"]),
                number(row["lost"][0]),
            )
            for row in rows[:most]
        ]
        columns = ["number", "value", "flips at", "end", "lost there"]
        console.print(grid(columns, lines, title="What keeping the policy loses"))
        if len(rows) > most:
            console.print(f"and {len(rows) - most} more")
    for title, headings, told in (
        ("Responses that flip", ["state", "was", "becomes", "if"], _responses(rows)),
        ("Policies that overtake it", ["policy", "if"], _overtaken(rows)),
    ):
        if told:
            console.print()
            console.print(grid(headings, told[:most], left=len(headings), title=title))
            if len(told) > most:
                console.print(f"and {len(told) - most} more")
    console.print()
    states = [
        (row["state"], row["response"], number(row["reach"]), number(row["distance"]))
        for row in data["states"][:most]
    ]
    columns = ["state", "response", "reach", "belief to move"]
    console.print(grid(columns, states, left=2, title="The first turn, and how far off a flip is"))


def _responses(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (told["state"], told["before"], told["after"], f"{row['label']} {_way(row)}")
        for row in rows
        for told in row["responses"]
    ]


def _overtaken(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    return [(name, f"{row['label']} {_way(row)}") for row in rows for name in row["overtaken_by"]]


def _way(row: dict[str, Any]) -> str:
    return f"{'falls' if row['side'] == 'low' else 'rises'} to {_spoken(row['end'])}"


def _spoken(value: Any) -> str:
    return ", ".join(f"{one:.4g}" for one in (value if isinstance(value, list) else [value]))


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_game(parser, "SCENARIO")
    add_force(parser)
    parser.add_argument(
        "--target", type=float, default=1e-4, metavar="GAP", help="NashConv of each policy (1e-4)"
    )
    parser.add_argument(
        "--least",
        type=float,
        default=1e-3,
        metavar="PAYOFF",
        help="what differs by less is no difference (1e-3)",
    )
    parser.add_argument(
        "--rows", type=int, default=10, metavar="N", help="how many lines of each table (10)"
    )
    parser.add_argument(
        "--plot",
        metavar="NAME",
        help="draw what is lost at each end, as NAME.svg, NAME.png and NAME.csv",
    )


DOUBT = Command(
    "which conclusions flip when a number of a scenario is at the end of its interval",
    (
        "csa doubt csa_oneshot",
        "csa doubt fitted.toml --set turns=2 --plot doubt",
        "csa doubt customer_service --least 0.01 --json",
    ),
    _arguments,
    doubt,
)
