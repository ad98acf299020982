"""`csa guard replay` and `csa guard drift`: what audit logs prove, and what they say of the world."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from csa_games.cli.command import (
    DONE,
    FAILED_CHECK,
    FAILED_VERIFICATION,
    Command,
    Outcome,
    UnverifiedError,
)
from csa_games.cli.keys import add_keys
from csa_games.cli.output import clean, facts, grid, whole
from csa_games.cli.progress import counting

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.guard import Guard

MB = 1_000_000


def replay(args: argparse.Namespace) -> Outcome:
    """Return whether logs are whole, and what their decisions come to when made again."""
    from csa_games.guard.replay import replay

    secret = _secret(args.secret_file)
    guards = [_loaded(folder, secret, args.keys) for folder in args.policy]
    with _megabytes("MB replayed") as seen:
        found = replay(args.log, guards, secret, anchors=args.anchor, seen=seen)

    def show(console: "Console") -> None:
        for fault in found.faults:
            console.print(clean(str(fault)), soft_wrap=True)
        if found.wrong > len(found.faults):
            console.print(f"and {whole(found.wrong - len(found.faults))} more faults")
        for gap in found.gaps:
            console.print(clean(gap), soft_wrap=True)
        console.print(
            f"{whole(found.decisions)} decisions, {whole(found.recomputed)} computed again: "
            + ("what the log says holds" if found.passed else f"{whole(found.wrong)} faults"),
            style="bold",
            soft_wrap=True,
        )
        for chain in found.logs:
            console.print()
            rows = [
                ("log", chain.log),
                ("begins", chain.begins),
                ("files", whole(chain.files)),
                ("decisions", whole(chain.decisions)),
                ("lost", whole(chain.lost)),
                ("torn", f"{whole(chain.torn)} bytes"),
                ("anchor", chain.anchor),
            ]
            console.print(facts(rows))
        console.print()
        console.print(
            grid(
                ("by", "", "decisions"),
                [
                    (what, name, whole(count))
                    for what, counts in found.counts.items()
                    for name, count in counts.items()
                ],
                left=2,
            )
        )

    code = FAILED_CHECK if found.gaps else DONE
    return Outcome(found.as_dict(), show, code if found.passed else FAILED_VERIFICATION)


def _secret(path: str | None) -> bytes | None:
    """Return the content of a file with a secret, its line end left out."""
    return None if path is None else Path(path).read_bytes().rstrip(b"\r\n")


def _loaded(folder: str, secret: bytes | None, keys: str | None) -> "Guard":
    from csa_games.guard import BundleError, Guard

    try:
        return Guard.load(folder, secret, keys)
    except BundleError as error:
        raise UnverifiedError(*(f"{folder}: {fault}" for fault in error.faults)) from None


@contextmanager
def _megabytes(what: str) -> Iterator[Callable[[int, int], object]]:
    """Yield a function that shows on a terminal how much has been read of how much."""
    if not sys.stderr.isatty():
        yield lambda done, size: None
        return
    with counting(what) as show:
        yield lambda done, size: show(done // MB, max(1, size // MB))


def _logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "log", nargs="+", metavar="LOG", help="every file of one log or of several, in any order"
    )


def _replay_arguments(parser: argparse.ArgumentParser) -> None:
    _logs(parser)
    parser.add_argument(
        "--policy",
        nargs="+",
        required=True,
        metavar="BUNDLE",
        help="the folders of the bundles that decided",
    )
    parser.add_argument(
        "--secret-file",
        metavar="FILE",
        help="the secret of draws and log, its line end left out; without it draws are believed",
    )
    parser.add_argument(
        "--anchor",
        action="append",
        default=[],
        metavar="HASH",
        help="an anchor kept from earlier, which must still be in the log; may be given several "
        "times",
    )
    add_keys(parser)


REPLAY = Command(
    "check an audit log and make every decision in it again; exit 3 where something is wrong, 1 "
    "where something could not be checked",
    (
        "csa guard replay audit.jsonl* --policy bundle --secret-file secret",
        "csa guard replay audit.jsonl --policy bundles/17 bundles/18 --anchor 3fa1... --json",
    ),
    _replay_arguments,
    replay,
)
