"""`csa diff`: what another bundle would do otherwise, where, and to whom."""

import argparse
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import Command, Outcome, UnverifiedError
from csa_games.cli.output import clean, grid, number
from csa_games.cli.progress import waiting
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.diff import Change, Difference, Measured, Moved

Table = Mapping[str, Mapping[str, tuple[float, float]]]

MOST_CHANGES = 20  # that people are shown; programs get all
SEEN = 5e-5  # changes below it are 0.0000 on the screen


def diff(args: argparse.Namespace) -> Outcome:
    """Compare two bundles; that they differ is a result, and no failure."""
    from csa_games.diff import difference, measured, open_side, too_large, write_rows
    from csa_games.guard import BundleError

    if args.top < 0:
        raise InputError(f"--top: found {args.top}, expected 0 or more")
    try:
        a, b = open_side(args.a), open_side(args.b)
    except BundleError as error:
        raise UnverifiedError(*error.faults) from None
    with waiting("reading both tables"):
        found = difference(a, b, args.top)
        if args.out is not None:
            write_rows(a, b, args.out)
    remarks = [] if args.out is None else [f"The rows that differ are in {args.out}."]
    left_out = too_large(a, b)
    if left_out:
        remarks.append(left_out)
        game = None
    else:
        with waiting("what both are worth"):
            game = measured(a, b)
    return Outcome(
        _data(found, game, remarks), lambda console: _show(console, found, game, remarks)
    )


def _data(found: "Difference", game: "Measured | None", remarks: list[str]) -> dict[str, Any]:
    names = found.a.guard.terms.responses
    sides = {
        name: {
            "bundle": side.folder,
            "name": side.manifest["name"],
            "revision": side.guard.revision,
            "sequence": side.manifest["sequence"],
        }
        for name, side in (("a", found.a), ("b", found.b))
    }
    return {
        **sides,
        "identical": found.identical,
        "same_rows": _same_rows(found),
        "manifest": [change._asdict() for change in found.manifest],
        "scenario": [change._asdict() for change in found.scenario],
        "rows": found.rows,
        "share_moved": _pair(found.share),
        "top": [
            {
                "key": state.key,
                "moved": state.moved,
                "weight": state.weight,
                "reach": _pair(state.reach),
                "trust": _pair(state.trust),
                "probabilities": _pair(
                    [dict(zip(names, row, strict=True)) for row in (state.a, state.b)]
                ),
            }
            for state in found.top
        ],
        "responses": _pairs(found.responses),
        "outcomes": None if game is None else _pairs(game.outcomes),
        "worth": None if game is None else [worth._asdict() for worth in game.worth],
        "remarks": remarks,
    }


def _pair(both: Any) -> dict[str, Any]:
    return {"a": both[0], "b": both[1]}


def _pairs(table: Table) -> dict[str, Any]:
    return {name: {key: _pair(both) for key, both in row.items()} for name, row in table.items()}


def _same_rows(found: "Difference") -> bool:
    a, b = (side.manifest["rows"]["digest"] for side in (found.a, found.b))
    return bool(a == b)


def _show(
    console: "Console", found: "Difference", game: "Measured | None", remarks: list[str]
) -> None:
    fields = ("name", "sequence", "created", "not_after")
    rows = [("bundle", found.a.folder, found.b.folder)]
    rows.append(("revision", found.a.guard.revision[:12], found.b.guard.revision[:12]))
    for field in fields:
        one, other = (str(side.manifest.get(field) or "–") for side in (found.a, found.b))
        rows.append((field, one, other))
    console.print(grid(("", "A", "B"), rows, left=3))
    console.print()
    if found.identical:
        console.print("The two are identical: the same revision.")
        return
    if _same_rows(found):
        console.print("The rows are the same, bit for bit.")
    _show_changes(console, "scenario", found.scenario)
    hidden = ("files.", "provenance.", "rows.")
    plain = [change for change in found.manifest if not change.path.startswith(hidden)]
    plain = [change for change in plain if change.path not in fields]
    _show_changes(console, "manifest", plain)
    _show_rows(console, found)
    turned = {
        response: {intent: row[response] for intent, row in found.responses.items()}
        for response in found.a.guard.terms.responses
    }
    _show_table(console, "answers per conversation", turned)
    if game is not None:
        _show_table(console, "outcomes, each in its own scenario", game.outcomes)
        _show_worth(console, game)
    for remark in remarks:
        console.print(clean(remark), soft_wrap=True)


def _show_changes(
    console: "Console", what: str, found: "list[Change] | tuple[Change, ...]"
) -> None:
    if not found:
        console.print(f"The {what} is the same.")
        return
    rows = [(change.path, _spelled(change.a), _spelled(change.b)) for change in found]
    console.print(grid((f"{what}, changed", "A", "B"), rows[:MOST_CHANGES], left=3))
    if len(rows) > MOST_CHANGES:
        console.print(f"and {len(rows) - MOST_CHANGES} more; --json has all of them")
    console.print()


def _spelled(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.12g}"
    text = ", ".join(map(_spelled, value)) if isinstance(value, tuple | list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _show_rows(console: "Console", found: "Difference") -> None:
    count = found.rows
    one, other = (f"{share:.2%}" for share in found.share)
    console.print(
        f"{count['both']:,} states have a row in both, {count['only_a']:,} only in A, "
        f"{count['only_b']:,} only in B. What is served moves in {count['moved']:,}: {one} of the "
        f"answers by the reach of A, {other} by that of B."
    )
    if not found.top:
        console.print()
        return
    console.print()
    rows = [
        (state.key, _changed(found, state), *map(_small, state.reach), number(state.moved))
        for state in found.top
    ]
    title = "what moves most, weighted by reach"
    console.print(
        grid(("state", "A → B", "reach A", "reach B", "moved"), rows, left=2, title=title)
    )
    console.print()


def _changed(found: "Difference", state: "Moved") -> str:
    """Return the responses that change, those that lose first."""
    names = found.a.guard.terms.responses
    parts = sorted(zip(names, state.a, state.b, strict=True), key=lambda part: part[2] - part[1])
    told = [f"{name} {p:.3f} → {q:.3f}" for name, p, q in parts if abs(q - p) >= 5e-4]
    where = {
        (True, False): " (no row in A)",
        (False, True): " (no row in B)",
    }.get((state.trust[0] is None, state.trust[1] is None), "")
    return ", ".join(told) + where


def _small(reach: float) -> str:
    return number(reach) if reach >= 1e-3 or reach == 0 else f"{reach:.1e}"


def _show_table(console: "Console", title: str, table: Table) -> None:
    """Show by how much numbers change from A to B, by intent; what stays is left out."""
    intents = list(next(iter(table.values())))
    changes = {
        name: [row[intent][1] - row[intent][0] for intent in intents] for name, row in table.items()
    }
    rows = [
        (name, *("–" if math.isnan(change) else f"{change:+.4f}" for change in row))
        for name, row in changes.items()
        if any(abs(change) >= SEEN for change in row)
    ]
    if rows:
        console.print(grid(("", *intents), rows, title=f"change from A to B: {title}"))
    else:
        console.print(f"No change by {SEEN} or more: {title}.")
    console.print()


def _show_worth(console: "Console", game: "Measured") -> None:
    rows = [
        (
            f"{worth.policy.upper()} in the scenario of {worth.scenario.upper()}",
            number(worth.value),
            number(worth.gain),
            number(math.nan if worth.guaranteed is None else worth.guaranteed),
        )
        for worth in game.worth
    ]
    headings = ("policy", "value", "users could gain", "guaranteed")
    console.print(grid(headings, rows, title="the assistant's payoff, against the bundle's users"))


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="the folder of a bundle")
    parser.add_argument("b", metavar="B", help="the folder of another, of a compatible scenario")
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="how many states to show (10)"
    )
    parser.add_argument(
        "-o", "--out", metavar="TABLE.csv", help="write every state that differs as CSV"
    )


DIFF = Command(
    "compare two bundles: numbers of the scenario, what is served where, and what that changes for "
    "whom; exit 0 whether or not they differ",
    ("csa diff old new", "csa diff old new --top 50 -o moved.csv", "csa diff old new --json"),
    _arguments,
    diff,
)
