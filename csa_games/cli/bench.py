"""`csa bench`: how fast games are solved here, beside the solvers that could be used instead."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import DONE, FAILED_CHECK, Command, Outcome
from csa_games.cli.output import clean, grid
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

SMALL = ("kuhn", "leduc", "dialogue_1e4")
"""The games that are raced when none is named."""


def bench(args: argparse.Namespace) -> Outcome:
    """Return milliseconds per iteration of every engine on every game asked for."""
    try:
        from experiments.speed import bar, race, report, results
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("experiments"):
            raise
        raise InputError(
            "csa bench needs a source checkout of csa-games: the peers that it races, and how to "
            "install them, are not part of the installed package"
        ) from None

    games = _known(args.games or SMALL, results.GAMES, "game")
    engines = _known(args.engines or report.RACED, report.RACED, "engine")
    missing = race.missing(engines)
    seconds = results.QUICK_SECONDS if args.quick else results.SECONDS
    jobs = results.speed_jobs(games, [name for name in engines if name not in missing], seconds)
    found = results.measured(jobs, "csa bench", {}, lambda text: sys.stderr.write(f"{text}\n"))
    if args.out is not None:
        results.save(found, args.out)

    failed = [r for r in found["records"] if r["engine"] in bar.OUR_CFR_PLUS and "ms" not in r]
    data = found | {"missing": missing, "install": race.INSTALL}
    return Outcome(
        data,
        lambda console: _show(console, report.speed_table(found), found["records"], data),
        FAILED_CHECK if failed else DONE,
    )


def _known(asked: Sequence[str], known: Sequence[str], kind: str) -> Sequence[str]:
    if unknown := [name for name in asked if name not in known]:
        raise InputError(
            f"there is no {kind} {', '.join(map(repr, unknown))} to race; the {kind}s are "
            f"{', '.join(known)}"
        )
    return asked


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "games", nargs="*", metavar="GAME", help=f"what to race on (default: {', '.join(SMALL)})"
    )
    parser.add_argument(
        "--engines",
        type=lambda text: tuple(text.split(",")),
        metavar="NAME,NAME",
        help="which engines to race (default: all)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="take less time for it; the numbers are rougher"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write the results, tables and pictures to DIR"
    )


BENCH = Command(
    "race the solver against OpenSpiel, LiteEFG, noregret and scipy, in milliseconds per iteration",
    (
        "csa bench",
        "csa bench leduc liars_dice_6 --out bench",
        "csa bench kuhn --engines csa,scipy --quick --json",
    ),
    _arguments,
    bench,
)


def _show(
    console: "Console",
    table: tuple[Sequence[str], Sequence[Sequence[str]]],
    records: Sequence[Mapping[str, Any]],
    data: Mapping[str, Any],
) -> None:
    headings, rows = table
    raced = [k for k, heading in enumerate(headings) if not heading.endswith("†")]
    # One line for each engine: there are more of them than games that fit on a screen.
    lines = [(headings[k], *(row[k] for row in rows)) for k in raced[1:]]
    console.print("Milliseconds per iteration of CFR+ (median)")
    console.print()
    console.print(grid(("engine", *(row[0] for row in rows)), lines))
    for record in records:
        if record["status"] != "ok":
            what = f"{record['game']}, {record['engine']}: {record['status']}"
            console.print(clean(what), style="dim")
    if data["missing"]:
        console.print(f"\nNot installed: {', '.join(data['missing'])}. To add: {data['install']}")
