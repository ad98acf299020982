"""`csa guard replay` and `csa guard drift`: what audit logs prove, and what they tell of users."""

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

    from csa_games.drift import Test
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
                    (what, name[:16], whole(count))
                    for what, counts in found.counts.items()
                    for name, count in counts.items()
                ],
                left=2,
            )
        )

    code = FAILED_CHECK if found.gaps else DONE
    return Outcome(found.as_dict(), show, code if found.passed else FAILED_VERIFICATION)


def drift(args: argparse.Namespace) -> Outcome:
    """Return whether what logs show is what the scenario of a bundle predicts."""
    from csa_games.drift import DRIFT, TOO_FEW, Prediction, drift, observe
    from csa_games.guard.bundle import SCENARIO, parse
    from csa_games.guard.certificate import dialogue_from
    from csa_games.guard.replay import entries

    guard = _loaded(args.policy, None, args.keys)
    scenario = parse((Path(args.policy) / SCENARIO).read_bytes())
    observed = observe(entries(args.log), guard.terms, guard.revision, args.since, args.until)
    prediction = Prediction(dialogue_from(scenario), guard.store.user())
    found = drift(
        observed, prediction, guard.revision, level=args.level, effect=args.effect, seed=args.seed
    )
    if args.plot is not None:
        from csa_games.charts import save
        from csa_games.drift_chart import drift_chart

        path = Path(args.plot)
        save(path.parent, path.name, drift_chart(found))
    verdicts = {
        DRIFT: "drift: what came is not what the scenario predicts",
        TOO_FEW: f"too few conversations to conclude anything about a shift of {args.effect:g}",
    }

    def show(console: "Console") -> None:
        console.print(
            f"{whole(observed.conversations)} conversations, {found.fallbacks:.1%} of the "
            f"decisions fell back: {verdicts.get(found.finding, found.finding)}",
            style="bold",
        )
        console.print()
        columns = ("turn", "what", "n", "enough", "w", "p", "finding")
        console.print(grid(columns, map(_row, found.tests), left=2))
        console.print()
        rows = [
            (f"{test.turn or 'all'}", _what(test), cell.name, f"{cell.expected:.1f}", cell.observed)
            for test in found.tests
            for cell in test.cells
        ]
        shown = [(*row[:4], whole(row[4])) for row in rows]
        console.print(grid(("turn", "what", "", "expected", "observed"), shown, left=3))
        if observed.left_out:
            console.print()
            left_out = [(why, whole(count)) for why, count in sorted(observed.left_out.items())]
            console.print(grid(("turns left out", ""), left_out))

    return Outcome(found.as_dict(), show, FAILED_CHECK if found.finding == DRIFT else DONE)


def _row(test: "Test") -> tuple[str, ...]:
    return (
        str(test.turn or "all"),
        _what(test),
        whole(test.conversations),
        whole(test.enough),
        f"{test.effect:.3f}",
        f"{test.adjusted:.2g}",
        test.finding,
    )


def _what(test: "Test") -> str:
    return test.what if test.ask is None else f"{test.what} of {test.ask}"


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
        "csa guard replay audit.jsonl --policy old new --anchor 3fa1c0 --json",
    ),
    _replay_arguments,
    replay,
)


def _drift_arguments(parser: argparse.ArgumentParser) -> None:
    _logs(parser)
    parser.add_argument("--policy", required=True, metavar="BUNDLE", help="the bundle that decided")
    parser.add_argument(
        "--since",
        default="",
        metavar="TIME",
        help="test decisions from then on, as in 2026-11-22 or 2026-11-22T21:40, in UTC",
    )
    parser.add_argument(
        "--until", default="9999", metavar="TIME", help="test decisions before then"
    )
    parser.add_argument(
        "--level",
        type=float,
        default=0.01,
        metavar="P",
        help="the chance of any false alarm, over all tests together; default 0.01",
    )
    parser.add_argument(
        "--effect",
        type=float,
        default=0.1,
        metavar="W",
        help="the smallest shift worth knowing, as Cohen's w, which says how many conversations "
        "are enough; default 0.1",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the simulations where few are expected; default 0"
    )
    parser.add_argument(
        "--plot",
        metavar="NAME",
        help="draw observed against expected, as NAME.svg, NAME.png and NAME.csv",
    )
    add_keys(parser)


DRIFT = Command(
    "test what users ask and what the classifier says of it against the scenario's own prediction; "
    "exit 1 where they drift, 0 where they do not or where there are too few conversations to tell",
    (
        "csa guard drift audit.jsonl* --policy bundle --since 2026-11-01",
        "csa guard drift audit.jsonl* --policy bundle --json --plot drift",
    ),
    _drift_arguments,
    drift,
)
