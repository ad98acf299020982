"""`csa guard try`: a conversation with a bundle, turn by turn, in the terminal."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from csa_games.cli.command import Command, Outcome, UnverifiedError
from csa_games.cli.keys import add_keys
from csa_games.cli.output import clean, console, grid, number
from csa_games.cli.secret import secret_in

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from csa_games.guard import Decision, Guard

BACK, RESTART, QUIT = "back", "restart", "quit"
WIDTH = 30  # of the longest bar


@dataclass(frozen=True)
class Turn:
    """What was put in and what came out; a signal of None is a classifier that said nothing."""

    ask: str
    signal: str | None
    decision: "Decision"


def attempt(args: argparse.Namespace) -> Outcome:
    """Hold a conversation until standard input ends; return its turns."""
    from csa_games.guard import BundleError, Guard

    try:
        guard = Guard.load(args.bundle, secret=secret_in(args.secret_file), keys=args.keys)
    except BundleError as error:
        raise UnverifiedError(*error.faults) from None
    screen = console(sys.stderr)
    turns = converse(guard, args.conversation, screen, _line)
    data = {
        "revision": guard.revision,
        "conversation": args.conversation,
        "turns": [
            {"ask": turn.ask, "signal": turn.signal, "decision": turn.decision.as_dict()}
            for turn in turns
        ],
    }

    def show(console: "Console") -> None:
        if turns:
            rows = [_row(k, turn) for k, turn in enumerate(turns, 1)]
            console.print(grid(("turn", "ask", "signal", "response", "reason"), rows, left=5))

    return Outcome(data, show)


def converse(
    guard: "Guard", conversation: str, screen: "Console", line: Callable[[], str | None]
) -> Sequence[Turn]:
    """Return the turns of a conversation; `line` gives what is typed, None at its end."""
    terms = guard.terms
    screen.print(clean(f"{terms.name}, {terms.turns} turns, revision {guard.revision[:12]}"))
    screen.print(f"A number or a name; empty: no signal; {BACK}, {RESTART}, {QUIT}.")
    asks = [name for name in terms.asks if name not in terms.ending_asks]
    turns: tuple[Turn, ...] = ()
    ask: str | None = None
    while True:
        if ask is None:
            prompt = f"Turn {len(turns) + 1}. The ask? {_numbered(asks)}"
        else:
            prompt = f"The signal of {ask}? {_numbered(terms.signals)}"
        screen.print()
        screen.print(clean(prompt), style="bold")
        typed = line()
        if typed is None or typed == QUIT:
            return turns
        if typed == RESTART:
            turns, ask = (), None
        elif typed == BACK:
            turns, ask = (turns, None) if ask is not None else (turns[:-1], None)
        elif ask is None:
            ask = _picked(typed, asks) if typed else None
        else:
            signal = _picked(typed, terms.signals) if typed else None
            history = [(turn.ask, turn.signal, turn.decision.action) for turn in turns]
            decision = guard.decide([*history, (ask, signal)], conversation)
            turns, ask = (*turns, Turn(ask, signal, decision)), None
            _show(screen, guard, decision)


def _show(screen: "Console", guard: "Guard", decision: "Decision") -> None:
    screen.print()
    screen.print(clean(f"{decision.action} ({decision.mechanism})"), style="bold green")
    if decision.text:
        screen.print(clean(decision.text))
    screen.print()
    screen.print(clean(decision.explanation))
    if decision.posterior is not None:
        screen.print()
        screen.print(shares("intent", "posterior", decision.posterior))
    screen.print()
    screen.print(shares("response", "probability", decision.probabilities))
    if decision.values is not None:
        screen.print()
        screen.print(worths(decision.values, decision.action))
    if decision.action in guard.terms.ending_responses:
        screen.print()
        screen.print(clean(f"{decision.action} ends the conversation."))


def shares(what: str, measure: str, numbers: Mapping[str, float]) -> "Table":
    """Return a table with a bar for each probability."""
    rows = [(name, "█" * round(share * WIDTH), number(share)) for name, share in numbers.items()]
    return grid((what, "", measure), rows, left=2)


def worths(values: Mapping[str, float], chosen: str) -> "Table":
    """Return a table of what each response is worth; bars begin at the least of them, or at 0."""
    best, least = max(values.values()), min(0.0, *values.values())
    span = (max(0.0, best) - least) or 1.0
    rows = [
        (
            f"{name} *" if name == chosen else name,
            "█" * round((value - least) / span * WIDTH),
            number(value),
            number(best - value),
        )
        for name, value in values.items()
    ]
    return grid(("response", "", "value", "below the best"), rows, left=2)


def _row(number: int, turn: Turn) -> tuple[str, ...]:
    decision = turn.decision
    return str(number), turn.ask, turn.signal or "(none)", decision.action, decision.reason


def _numbered(names: Iterable[str]) -> str:
    return "  ".join(f"{k} {name}" for k, name in enumerate(names, 1))


def _picked(typed: str, names: Sequence[str]) -> str:
    """Return the name of that number, or what was typed: the guard says what it makes of it."""
    if typed.isdecimal() and 1 <= int(typed) <= len(names):
        return names[int(typed) - 1]
    return typed


def _line() -> str | None:
    sys.stderr.write("> ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    return line.strip() if line else None


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of a bundle")
    parser.add_argument(
        "--conversation", default="try", metavar="ID", help="the identity that draws stick to"
    )
    parser.add_argument(
        "--secret-file", metavar="FILE", help="a file with the secret that draws are keyed with"
    )
    add_keys(parser)


TRY = Command(
    "try a bundle: pick asks and signals turn by turn, and see what it answers and why",
    ("csa guard try bundle", "csa guard try bundle --json < turns.txt"),
    _arguments,
    attempt,
)
