"""`csa solve`: a policy with its certificate, saved as a run."""

import argparse
import inspect
import math
import re
import shlex
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import DONE, MISSED_TARGET, Command, Outcome
from csa_games.cli.compiled import keep_compiled
from csa_games.cli.memory import require
from csa_games.cli.output import clean, facts
from csa_games.cli.progress import Limits, waiting, watched
from csa_games.cli.source import add_force, add_game, is_file, source
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.findings import Commitment
    from csa_games.game import Game, Solution

OPTIONS = (
    "target",
    "max_steps",
    "seconds",
    "dead_zone",
    "dtype",
    "leader",
    "nudge",
    "starts",
    "seed",
)

TIED = 0.01  # by how much, relatively, the worth of a policy may depend on ties unmentioned

LEADERS = {"user": 0, "assistant": 1, "0": 0, "1": 1}

STATUS = {
    "target": "target reached",
    "exact": "exact, up to rounding",
    "stationary": "no further step improves it, which proves nothing",
    "max_steps": "target not reached: the steps allowed are used up",
    "seconds": "target not reached: the time allowed is used up",
    "interrupted": "target not reached: interrupted; this is the best policy so far",
    "nonfinite": "target not reached: numbers overflowed; this is the best policy before that",
}


def add_method(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say how to solve."""
    parser.add_argument(
        "--method",
        default="pcfr+",
        type=_method,
        metavar="NAME",
        help="the solver: pcfr+ (the default), cfr, cfr+, dcfr, ...; lp for the exact linear "
        "program of a zero-sum game; commitment for the best policy against users who know it; a "
        "wrong name lists them all",
    )
    parser.add_argument(
        "--target", type=float, metavar="GAP", help="the NashConv to reach, in payoff units (1e-4)"
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
        "--leader",
        type=_leader,
        metavar="PLAYER",
        help="who commits: assistant (the default) or user, of other games 1 or 0",
    )
    parser.add_argument(
        "--nudge",
        type=float,
        metavar="SHARE",
        help="move a commitment by this share to one without ties, such as 0.01 (0)",
    )
    parser.add_argument(
        "--starts", type=int, metavar="N", help="from how many policies an ascent begins (8)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of random starts (0)")
    parser.add_argument(
        "--no-cache",
        action="store_true",
        help="compile everything again and keep nothing; compiled programs are kept in the user's "
        "cache folder otherwise",
    )


def options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the method's options: those that were given, and its own defaults for the others."""
    from solvers import SOLVERS

    known = inspect.signature(SOLVERS[args.method]).parameters
    given = {name: getattr(args, name) for name in OPTIONS}
    return {
        name: known[name].default if value is None else value
        for name, value in given.items()
        if name in known or value is not None  # the method itself refuses what it does not know
    }


def solved(game: "Game", args: argparse.Namespace, checkpoint: str | None = None) -> "Solution":
    """Return the solution of `game` as the arguments of `add_method` ask, showing progress."""
    import solvers
    from solvers.driver import solving_bytes

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
    if game.scenario is None:  # of a scenario it was known before it was built
        require(solving_bytes(game.form), f"solving {game.name}", force=args.force)
    if not args.no_cache:
        keep_compiled()
    ends = {name: wanted[name] for name in ("target", "max_steps", "seconds") if name in wanted}
    gap = "NashConv" if "target" in wanted else "optimality gap"
    with watched(game.name, Limits(**ends, gap=gap)) as progress:
        return solvers.solve(game, args.method, progress=progress, **wanted)


def solve_game(args: argparse.Namespace) -> Outcome:
    """Solve a game and save the run; an interrupt saves the best policy so far."""
    from csa_games.runs import check_place, save_run

    asked = source(args)
    run = args.out or _free(f"runs/{_label(asked.name)}-{args.method}")
    place = check_place(run)
    game = asked.build()
    solution = solved(game, args, args.checkpoint)
    used = options(args) | {"set": args.set}
    save_run(place, game, solution, source=asked.name, options=used, tree=asked.tree)
    data = described(game, solution) | {"game": asked.name, "run": run}
    code = DONE if solution.status in ("target", "exact", "stationary") else MISSED_TARGET

    def show(console: "Console") -> None:
        console.print(clean(f"{asked.name}, solved by {solution.method}"), style="bold")
        console.print(facts([*_rows(game, solution), ("saved", run)]))
        if game.scenario is not None:
            folder = clean(shlex.quote(run))
            console.print(
                f"\nNext: csa compare {folder}\n      csa report {folder} -o page.html\n"
                f"      csa export {folder} BUNDLE",
                soft_wrap=True,
            )

    return Outcome(data, show, code)


def described(game: "Game", solution: "Solution") -> dict[str, Any]:
    """Return what `--json` says about a solution."""
    return {
        "game": solution.game,
        "method": solution.method,
        "steps": solution.steps,
        "seconds": solution.seconds,
        "value": solution.value,
        "gap": solution.gap,
        "nash_conv": solution.nash_conv,
        "status": solution.status,
        "class": solution.game_class,
        "dead_zone": solution.dead_zone,
        "certificate": certificate(solution, game.names.players),
    } | ({} if solution.commitment is None else {"commitment": _judged(solution.commitment)})


def _judged(commitment: "Commitment") -> dict[str, Any]:
    """Return a commitment's numbers, derived ones included."""
    derived = ("optimality_gap", "value_of_commitment", "value_of_randomisation")
    return asdict(commitment) | {name: getattr(commitment, name) for name in derived}


def certificate(solution: "Solution", players: tuple[str, str]) -> str:
    """Return what the value and the gaps of `solution` mean in its class of games."""
    if solution.commitment is not None:
        return _promise(solution.commitment, players)
    # Rounded away from the value, so that they stay true.
    least = f"{math.floor(1e6 * (solution.value[1] - solution.gap[0])) / 1e6:.6f}"
    most = f"{math.ceil(1e6 * (solution.value[1] + solution.gap[1])) / 1e6:.6f}"
    if solution.game_class == "security":
        return (
            "security class: the assistant's value is guaranteed within the gap. Whatever the "
            f"adversarial users do, it expects at least {least}; no policy can guarantee more than "
            f"{most}"
        )
    if solution.game_class == "zero-sum":
        return (
            f"zero-sum: the value is guaranteed within the gap. Whatever {players[0]} does, "
            f"{players[1]} expects at least {least}; no policy can guarantee it more than {most}"
        )
    return (
        "general-sum: measured gap only. Neither player gains more than its gap by changing its "
        "own policy alone; nothing else is guaranteed"
    )


def _promise(commitment: "Commitment", players: tuple[str, str]) -> str:
    """Return what a commitment's value means."""
    leader, others = players[commitment.leader], players[1 - commitment.leader]
    tied = commitment.weak < commitment.strong - TIED * max(1.0, abs(commitment.strong))
    hint = " (--nudge 0.001 leaves hardly any)" if tied else ""
    return (
        f"commitment: {leader} expects {commitment.strong:.6g} from {others} who knows the policy "
        f"and breaks ties for it, {commitment.weak:.6g} if ties are broken against it{hint}; no "
        f"policy is worth more than {commitment.bound:.6g} ({commitment.bound_by})"
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_game(parser)
    add_force(parser)
    add_method(parser)
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="keep the run in DIR while it works: whatever stops it, the same command goes on from "
        "there and ends with the same bits",
    )
    parser.add_argument(
        "--out",
        metavar="RUN",
        help="the folder to save the run in; an earlier run there is replaced "
        "(a new folder runs/GAME-METHOD)",
    )


SOLVE = Command(
    "solve a game and save the policy with its certificate",
    (
        "csa solve crisis_guidance",
        "csa solve crisis_guidance --set weights.beta=3 --target 1e-3 --out runs/beta-3",
        "csa solve openspiel:leduc_poker --method dcfr --seconds 60",
        "csa solve my_scenario.toml --target 1e-4 --checkpoint checkpoints/mine",
        "csa solve my_game.efg --method lp --json",
        "csa solve my_scenario.toml --method commitment --seconds 600",
    ),
    _arguments,
    solve_game,
)


def _method(name: str) -> str:
    from solvers import SOLVERS

    if name not in SOLVERS:
        raise argparse.ArgumentTypeError(
            f"there is no method {name!r}; the methods are {', '.join(SOLVERS)}"
        )
    return name


def _leader(name: str) -> int:
    if name not in LEADERS:
        raise argparse.ArgumentTypeError(f"found {name!r}, expected {', '.join(LEADERS)}")
    return LEADERS[name]


def _rows(game: "Game", solution: "Solution") -> list[tuple[str, str]]:
    names, value, gap = game.names.players, solution.value, solution.gap
    work = f"{solution.steps:,} steps, {solution.seconds:.1f} s"
    return [
        ("status", STATUS[solution.status]),
        ("NashConv", f"{solution.nash_conv:.3g} after {work}"),
        ("value", ", ".join(f"{names[p]} {value[p]:.6g}" for p in (1, 0))),
        ("gap", ", ".join(f"{names[p]} {gap[p]:.2g}" for p in (1, 0))),
        *_commitment_rows(solution.commitment),
        ("meaning", certificate(solution, names)),
    ]


def _commitment_rows(commitment: "Commitment | None") -> list[tuple[str, str]]:
    if commitment is None:
        return []
    return [
        ("optimality gap", f"{commitment.optimality_gap:.3g}"),
        (
            "worth of committing",
            f"{commitment.value_of_commitment:.3g} more than {commitment.equilibrium:.6g} at "
            f"policies with NashConv {commitment.equilibrium_gap:.2g}",
        ),
        (
            "worth of mixing",
            f"{commitment.value_of_randomisation:.3g} more than {commitment.pure:.6g} of a pure "
            f"policy; no pure one is worth more than {commitment.pure_bound:.6g}",
        ),
    ]


def _label(name: str) -> str:
    """Return a folder's name for a game: of a file its stem, and no characters that shells read."""
    stem = Path(name).stem if is_file(name) else name
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", stem).strip("-.")[:80]


def _free(folder: str) -> str:
    """Return `folder`, or with a number behind it the first that is not there yet."""
    names = (folder if k == 1 else f"{folder}-{k}" for k in count(1))
    return next(name for name in names if not Path(name).exists())
