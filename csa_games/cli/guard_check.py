"""`csa guard check`: whether a bundle would go into service, and what would happen then."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import DONE, FAILED_CHECK, Command, Outcome, UnverifiedError
from csa_games.cli.keys import add_keys
from csa_games.cli.output import clean, facts, grid, number, whole
from csa_games.cli.secret import secret_in

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.guard.decide import Guard


def check(args: argparse.Namespace) -> Outcome:
    """Load a bundle as production does, and return what a deployment of it would do."""
    from csa_games.guard import BundleError, Deployment
    from csa_games.guard.bundle import SCENARIO, expiry, parse
    from csa_games.guard.deployment import MODES, ON_ERROR
    from csa_games.guard.explain import reader_in_words
    from csa_games.guard.overview import coverage, likeliest

    secret = secret_in(args.secret_file)
    try:
        deployment = Deployment(
            args.bundle, secret=secret, keys=args.keys, least_sequence=args.least_sequence
        )
    except BundleError as error:
        raise UnverifiedError(*error.faults) from None
    guard = deployment.guard
    assert guard is not None, "a deployment without the host's own response has a bundle"
    terms, shares = guard.terms, coverage(guard)
    expired = terms.not_after is not None and datetime.now(UTC) >= expiry(terms.not_after)
    certificate = None
    if args.argmax:
        scenario = parse((Path(args.bundle) / SCENARIO).read_bytes())
        certificate = likeliest(guard, scenario)
    data: dict[str, Any] = {
        "bundle": args.bundle,
        "name": terms.name,
        "revision": guard.revision,
        "sequence": terms.sequence,
        "not_after": terms.not_after,
        "expired": expired,
        "signature_checked": args.keys is not None,
        "keyed": secret is not None,
        "rows": {trust: share._asdict() for trust, share in shares.items()},
        "readers": {
            reader.name: {
                "gives": reader.gives,
                "kind": reader.kind,
                "reads": reader_in_words(reader),
            }
            for reader in terms.readers.values()
        },
        "without_signal": _without(guard, "signal"),
        "without_ask": _without(guard, "ask"),
        "modes": MODES,
        "on_error": {**ON_ERROR, "fallback": f"{ON_ERROR['fallback']}, {terms.default}"},
        "argmax": None if certificate is None else certificate._asdict(),
    }

    def show(console: "Console") -> None:
        until = "no end" if terms.not_after is None else terms.not_after
        rows = [
            ("policy", f"{terms.name} by {terms.method}"),
            ("revision", guard.revision),
            ("sequence", f"{terms.sequence}"),
            (
                "serves until",
                f"{until}{', which has passed: every reason is STALE' if expired else ''}",
            ),
            ("signature", "checked" if args.keys else "not checked: no keys were given"),
            ("draws", "keyed" if secret else "predictable: no secret was given"),
            ("without a signal", data["without_signal"]),
            ("without an ask", data["without_ask"]),
        ]
        if certificate is not None:
            rows += [
                ("argmax value", _pair(certificate.value)),
                ("argmax gap", _pair(certificate.gap)),
            ]
        console.print(facts(rows), "")
        marks = [
            (trust, whole(share.rows), number(share.decisions)) for trust, share in shares.items()
        ]
        console.print(grid(("row", "rows", "share of decisions"), marks), "")
        if terms.readers:
            readers = [(name, it["gives"], it["reads"]) for name, it in data["readers"].items()]
            console.print(grid(("reader", "gives", "reads"), readers, left=3), "")
        console.print(grid(("mode", ""), list(MODES.items()), left=2), "")
        console.print(grid(("on error", ""), list(data["on_error"].items()), left=2))

    return Outcome(data, show, FAILED_CHECK if expired else DONE)


def _without(guard: "Guard", feature: str) -> str:
    """Return in words what decides where an ask or a signal is missing."""
    from csa_games.guard.overview import rung_without

    rung = rung_without(guard, feature)
    if rung is None:
        return f"the constant response {guard.terms.default}"
    return f"the coarser row by {' and '.join(rung)}"


def _pair(numbers: tuple[float, float]) -> str:
    return clean(f"assistant {numbers[1]:.6g}, user {numbers[0]:.6g}")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of a bundle")
    parser.add_argument(
        "--secret-file",
        metavar="FILE",
        help="a file whose bytes are the secret that draws from mixed rows are keyed with",
    )
    add_keys(parser)
    parser.add_argument(
        "--least-sequence",
        type=int,
        default=0,
        metavar="N",
        help="refuse bundles with a lower sequence, as the deployment would",
    )
    parser.add_argument(
        "--argmax",
        action="store_true",
        help="also compute value and gap of playing the likeliest response of each row instead",
    )


CHECK = Command(
    "load a bundle as production would, and say what it would do; exit 3 if it would not activate",
    (
        "csa guard check bundle",
        "csa guard check bundle --secret-file secret --keys keys --least-sequence 7",
        "csa guard check bundle --argmax --json",
    ),
    _arguments,
    check,
)
