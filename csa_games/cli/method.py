"""How to solve: the arguments that name a method and its options, and solving as they ask."""

import argparse
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from csa_games.cli.compiled import keep_compiled
from csa_games.cli.memory import require
from csa_games.cli.progress import Limits, waiting, watched
from csa_games.errors import InputError

if TYPE_CHECKING:
    from csa_games.game import Game, Solution

OPTIONS = (
    *("target", "max_steps", "seconds", "dead_zone", "dtype"),
    *("leader", "nudge", "starts", "seed"),
    *("rationality", "epsilon", "select"),
    *("objective", "budgets", "priors", "radius", "weights", "kernels", "channels", "payoffs"),
)
"""The options of all methods; a method refuses those that it does not have."""

PLAYERS = {"user": 0, "assistant": 1, "0": 0, "1": 1}


def add_method(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say how to solve."""
    parser.add_argument(
        "--method",
        default="pcfr+",
        type=_method,
        metavar="NAME",
        help="the solver: pcfr+ (the default), cfr, cfr+, dcfr, ...; race for the best of all "
        "these; lp for the exact linear program of a zero-sum game; commitment for the best policy "
        "against users who know it; auto for what suits the game; a wrong name lists them all",
    )
    parser.add_argument(
        "--target",
        type=float,
        metavar="GAP",
        help="the NashConv to reach, in payoff units (1e-4); for robust, where a game is "
        "too large for an exact program, the optimality gap (1e-3)",
    )
    parser.add_argument("--max-steps", type=int, metavar="N", help="the most iterations (100000)")
    parser.add_argument("--seconds", type=float, metavar="S", help="the most time, in seconds")
    parser.add_argument(
        "--dead-zone",
        type=float,
        metavar="R",
        help="regrets up to R count as zero, in payoff units (1e-8 of the largest payoff, and 1e-4 "
        "of it in float32)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float64", "float32"),
        help="the numbers of the iterations (float64); certificates are in float64 either way",
    )
    parser.add_argument(
        "--no-cache",
        action="store_true",
        help="compile everything again and keep nothing; compiled programs are kept in the user's "
        "cache folder otherwise",
    )
    _add_commitment(parser.add_argument_group("commitment"))
    others = parser.add_argument_group("other methods")
    others.add_argument(
        "--rationality", type=float, metavar="LAMBDA", help="qre: of all who choose, in 1/payoff"
    )
    others.add_argument(
        "--epsilon",
        type=float,
        metavar="P",
        help="lp-refined, cfr-refined: how hands tremble",
    )
    others.add_argument(
        "--select", choices=("any", "best", "worst"), help="lcp: which equilibrium (any)"
    )
    add_budgets(parser)
    robust = parser.add_argument_group("robust")
    robust.add_argument(
        "--prior",
        dest="priors",
        action="append",
        metavar="INTENT=LOW:HIGH",
        help="where the prior of an intent may lie; may be given several times",
    )
    robust.add_argument(
        "--radius", type=float, metavar="R", help="or how far every prior may be off"
    )
    robust.add_argument(
        "--weight",
        dest="weights",
        action="append",
        metavar="NAME=LOW:HIGH",
        help="where alpha, beta, gamma or psi may lie; may be given several times",
    )
    robust.add_argument(
        "--kernels",
        type=float,
        metavar="R",
        help="how far every reaction probability of kernels may be off, in place of the intervals "
        "in the scenario's file (0: not at all)",
    )
    robust.add_argument(
        "--channels",
        type=float,
        metavar="R",
        help="how far every probability of a signal may be off, where the classifier drifts, in "
        "place of the intervals in the scenario's file (0: not at all)",
    )
    robust.add_argument(
        "--payoffs",
        action="store_true",
        default=None,
        help="payoffs and severities may lie anywhere in the intervals of the scenario's file",
    )


def _add_commitment(group: Any) -> None:
    group.add_argument(
        "--leader",
        type=_player,
        metavar="PLAYER",
        help="who commits: assistant (the default) or user, of other games 1 or 0",
    )
    group.add_argument(
        "--nudge",
        type=float,
        metavar="SHARE",
        help="move a commitment by this share to one without ties, such as 0.001 (0)",
    )
    group.add_argument(
        "--starts", type=int, metavar="N", help="from how many policies an ascent begins (8)"
    )
    group.add_argument("--seed", type=int, metavar="N", help="of random starts (0)")


def add_budgets(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what is wanted most, within which bounds."""
    group = parser.add_argument_group("budget")
    group.add_argument(
        "--objective", metavar="MEASURE", help="what to have most of, such as satisfaction (payoff)"
    )
    group.add_argument(
        "--budget",
        dest="budgets",
        action="append",
        metavar="BOUND",
        help="a bound on an outcome, such as 'risk@malicious<=0.01' or, on how likely a response "
        "is, 'gives:comply@malicious<=0.01'; a wrong name lists them all; may be given several "
        "times",
    )


def options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the method's options: those that were given, and its own defaults for the others."""
    from solvers import SOLVERS

    known = inspect.signature(SOLVERS[args.method]).parameters
    given = {name: getattr(args, name) for name in OPTIONS}
    for name in ("priors", "weights"):
        if given[name] is not None:
            given[name] = dict(_interval(name[:-1], text) for text in given[name])
    return {
        name: known[name].default if value is None else value
        for name, value in given.items()
        if name in known or value is not None  # the method itself refuses what it does not know
    }


def choose(game: "Game", args: argparse.Namespace) -> None:
    """Put the method that suits `game` in the place of "auto", with why, in `args`.

    Options that it does not have were meant for another one and are forgotten.
    """
    import solvers

    if args.method != "auto":
        args.why = None
        return
    args.method, args.why = solvers.choose(game)
    known = inspect.signature(solvers.SOLVERS[args.method]).parameters
    for name in OPTIONS:
        if name not in known:
            setattr(args, name, None)


def solved(game: "Game", args: argparse.Namespace, checkpoint: str | None = None) -> "Solution":
    """Return the solution of `game` as the arguments of `add_method` ask, showing progress."""
    import solvers
    from solvers.driver import solving_bytes

    choose(game, args)
    wanted = options(args)
    known = inspect.signature(solvers.SOLVERS[args.method]).parameters
    if checkpoint is not None:
        if "checkpoint" not in known:
            raise InputError(
                f"--checkpoint: {args.method} cannot be resumed, and has nothing to keep"
            )
        wanted["checkpoint"] = checkpoint
    if "progress" not in known:
        with waiting(f"solving {game.name}"):
            return solvers.solve(game, args.method, **wanted)
    runs = len(solvers.VARIANTS) if args.method == "race" else 1
    if game.scenario is None or runs > 1:  # of a scenario it was known before it was built
        require(runs * solving_bytes(game.form), f"solving {game.name}", force=args.force)
    if not args.no_cache:
        keep_compiled()
    ends = {name: wanted[name] for name in ("target", "max_steps", "seconds") if name in wanted}
    bounded = args.method.startswith("commitment") or args.method == "robust"
    gap = "optimality gap" if bounded else "NashConv"
    with watched(game.name, Limits(**ends, gap=gap)) as progress:
        return solvers.solve(game, args.method, progress=progress, **wanted)


def _interval(what: str, text: str) -> tuple[str, tuple[float, float]]:
    """Return (name, (low, high)) of NAME=LOW:HIGH."""
    name, _, ends = text.partition("=")
    parts: Sequence[str] = ends.split(":")
    try:
        low, high = map(float, parts)
    except ValueError:
        raise InputError(
            f"--{what}: found {text!r}, expected NAME=LOW:HIGH, such as malicious=0.01:0.1"
        ) from None
    return name.strip(), (low, high)


def _method(name: str) -> str:
    from solvers import SOLVERS

    if name != "auto" and name not in SOLVERS:
        raise argparse.ArgumentTypeError(
            f"there is no method {name!r}; the methods are {', '.join(SOLVERS)} and auto"
        )
    return name


def _player(name: str) -> int:
    if name not in PLAYERS:
        raise argparse.ArgumentTypeError(f"found {name!r}, expected {', '.join(PLAYERS)}")
    return PLAYERS[name]
