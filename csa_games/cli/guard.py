"""`csa guard`: the decision that a bundle makes, and why. Standard library only."""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import DONE, FAILED_INPUT, Command, Group, Outcome, UnverifiedError
from csa_games.cli.guard_audit import DRIFT, REPLAY
from csa_games.cli.guard_check import CHECK
from csa_games.cli.guard_serve import SERVE
from csa_games.cli.guard_try import TRY
from csa_games.cli.keys import add_keys
from csa_games.cli.output import clean, facts, grid, number
from csa_games.cli.secret import secret_in
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


def decide(args: argparse.Namespace) -> Outcome:
    """Return what the guard of a bundle answers to a history."""
    from csa_games.guard import BundleError, Guard

    try:
        guard = Guard.load(args.bundle, secret=secret_in(args.secret_file), keys=args.keys)
    except BundleError as error:
        raise UnverifiedError(*error.faults) from None
    decision = guard.decide(_history(args.history), conversation=args.conversation)

    def show(console: "Console") -> None:
        console.print(clean(f"{decision.action} ({decision.mechanism})"), style="bold")
        if decision.text:
            console.print(clean(decision.text))
        console.print()
        console.print(clean(decision.explanation))
        probabilities = grid(
            ("response", "probability", "value"),
            [
                (name, number(share), number((decision.values or {}).get(name, math.nan)))
                for name, share in decision.probabilities.items()
            ],
        )
        console.print()
        console.print(probabilities)
        if decision.posterior is not None:
            console.print()
            rows = [(name, number(share)) for name, share in decision.posterior.items()]
            console.print(grid(("intent", "posterior"), rows))
        console.print()
        console.print(
            facts(
                [
                    ("reason", decision.reason),
                    ("margin", number(math.nan if decision.margin is None else decision.margin)),
                    ("state", decision.key or "unknown"),
                    ("row", decision.key_used),
                    ("revision", decision.revision),
                ]
            )
        )

    return Outcome(decision.as_dict(), show, FAILED_INPUT if decision.reason == "ERROR" else DONE)


def _history(given: str) -> Any:
    """Return the JSON value in `given`, in the file of that name, or on standard input (-)."""
    if given.lstrip().startswith("["):
        text, where = given.encode(errors="surrogateescape"), "--history"
    elif given == "-":
        text, where = sys.stdin.buffer.read(), "standard input"
    else:
        text, where = Path(given).read_bytes(), given
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {error}") from None


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of a bundle")
    parser.add_argument(
        "--history",
        required=True,
        metavar="FILE",
        help="the turns so far, as JSON: a file, - for standard input, or the JSON text itself",
    )
    parser.add_argument(
        "--conversation",
        required=True,
        metavar="ID",
        help="who is answered, an identity that the client cannot choose",
    )
    parser.add_argument(
        "--secret-file",
        metavar="FILE",
        help="a file with the secret that draws from mixed rows are keyed with",
    )
    add_keys(parser)


GUARD = Group(
    "ask a bundle for decisions, and check those it has made",
    {
        "decide": Command(
            "say what the guard decides in a conversation, and why",
            (
                """csa guard decide bundle --conversation c1 \\
      --history '[{"ask": "plain", "signal": "flag"}]'""",
                "csa guard decide bundle --conversation c1 --history - --json < history.json",
            ),
            _arguments,
            decide,
        ),
        "replay": REPLAY,
        "drift": DRIFT,
        "check": CHECK,
        "try": TRY,
        "serve": SERVE,
    },
)
