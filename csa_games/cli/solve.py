"""`csa solve`: a policy with its certificate, saved as a run."""

import argparse
import math
import re
import shlex
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import DONE, MISSED_TARGET, Command, Outcome
from csa_games.cli.findings import numbers, promise, rows
from csa_games.cli.method import add_method, options, solved
from csa_games.cli.output import clean, facts
from csa_games.cli.progress import waiting
from csa_games.cli.source import add_force, add_game, is_file, source
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.game import Game, Solution

STATUS = {
    "target": "target reached",
    "exact": "exact, up to rounding",
    "stationary": "no further step improves it, which proves nothing",
    "max_steps": "target not reached: the steps allowed are used up",
    "seconds": "target not reached: the time allowed is used up",
    "interrupted": "target not reached: interrupted; this is the best policy so far",
    "nonfinite": "target not reached: numbers overflowed; this is the best policy before that",
}


def solve_game(args: argparse.Namespace) -> Outcome:
    """Solve a game and save the run; an interrupt saves the best policy so far."""
    from csa_games.runs import check_place, save_run

    asked = source(args)
    run = args.out or _free(f"runs/{_label(asked.name)}-{args.method}")
    place = check_place(run)
    game = asked.build()
    if args.refine:
        _check_refinable(game, args.method)
    solution = solved(game, args, args.checkpoint)
    if args.refine:
        solution = _refined(game, solution)
    used = options(args) | {"set": args.set} | ({"refine": True} if args.refine else {})
    save_run(place, game, solution, source=asked.name, options=used, tree=asked.tree)
    data = described(game, solution) | {"game": asked.name, "run": run, "why": args.why}
    code = DONE if solution.status in ("target", "exact", "stationary") else MISSED_TARGET

    def show(console: "Console") -> None:
        console.print(clean(f"{asked.name}, solved by {solution.method}"), style="bold")
        chosen = [] if args.why is None else [("method", f"{args.method}: {args.why}")]
        console.print(facts([*chosen, *_rows(game, solution), ("saved", run)]))
        if game.scenario is not None:
            folder = clean(shlex.quote(run))
            console.print(
                f"\nNext: csa compare {folder}\n      csa report {folder} -o page.html\n"
                f"      csa export {folder} BUNDLE",
                soft_wrap=True,
            )

    return Outcome(data, show, code)


def _check_refinable(game: "Game", method: str) -> None:
    """Raise `InputError` for methods whose policies `_refined` would refuse, before the work."""
    import solvers

    chosen = solvers.choose(game).method if method == "auto" else method
    equilibrium = (*solvers.VARIANTS, "lp", "lcp", "lp-refined", "cfr-refined")
    if chosen not in equilibrium:
        raise InputError(
            f"--refine: {chosen} promises more than a gap, and off the path its policy may hold "
            f"what that rests on; expected one of {', '.join(equilibrium)}"
        )


def _refined(game: "Game", solution: "Solution") -> "Solution":
    """Return `solution` with rows for trembling hands where its own play never leads."""
    import solvers
    from solvers.refined import completed

    if solution.refinement is not None:
        return solution
    with waiting(f"refining {game.name} off the path"):
        return completed(game, solution, solvers.solve(game, "cfr-refined"))


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
    } | numbers(solution)


def certificate(solution: "Solution", players: tuple[str, str]) -> str:
    """Return what the value and the gaps of `solution` mean in its class of games."""
    if solution.commitment is not None:
        return promise(solution.commitment, players)
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


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_game(parser)
    add_force(parser)
    add_method(parser)
    parser.add_argument(
        "--refine",
        action="store_true",
        help="also play well where the policy itself never leads: take those rows from a solution "
        "among trembling hands; value and gap stay what they are",
    )
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
        "csa solve crisis_guidance --refine",
        "csa solve openspiel:leduc_poker --method dcfr --seconds 60",
        "csa solve my_scenario.toml --target 1e-4 --checkpoint checkpoints/mine",
        "csa solve my_game.efg --method lp --json",
        "csa solve my_scenario.toml --method commitment --seconds 600",
        "csa solve crisis_guidance --method budget --budget 'risk@malicious<=0.1'",
        "csa solve crisis_guidance --method robust --prior malicious=0.01:0.05",
        "csa solve my_scenario.toml --method auto",
    ),
    _arguments,
    solve_game,
)


def _rows(game: "Game", solution: "Solution") -> list[tuple[str, str]]:
    names, value, gap = game.names.players, solution.value, solution.gap
    work = f"{solution.steps:,} steps, {solution.seconds:.1f} s"
    return [
        ("status", STATUS[solution.status]),
        ("NashConv", f"{solution.nash_conv:.3g} after {work}"),
        ("value", ", ".join(f"{names[p]} {value[p]:.6g}" for p in (1, 0))),
        ("gap", ", ".join(f"{names[p]} {gap[p]:.2g}" for p in (1, 0))),
        *rows(solution),
        ("meaning", certificate(solution, names)),
    ]


def _label(name: str) -> str:
    """Return a folder's name for a game: of a file its stem, and no characters that shells read."""
    stem = Path(name).stem if is_file(name) else name
    return re.sub(r"[^A-Za-z0-9_.+-]+", "-", stem).strip("-.")[:80]


def _free(folder: str) -> str:
    """Return `folder`, or with a number behind it the first that is not there yet."""
    names = (folder if k == 1 else f"{folder}-{k}" for k in count(1))
    return next(name for name in names if not Path(name).exists())
