"""`csa fit`: a scenario with what labelled logs tell in the place of what it assumed."""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import DONE, FAILED_CHECK, Command, Outcome
from csa_games.cli.output import clean, facts, grid, number, whole
from csa_games.cli.progress import SECONDS_BETWEEN_LINES, waiting
from csa_games.cli.untold import show_untold, untold_numbers
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.calibration.check import Survey
    from csa_games.calibration.fitted import Fitted
    from csa_games.calibration.identify import Identifiability
    from csa_games.scenario import Scenario


def fit_logs(args: argparse.Namespace) -> Outcome:
    """Fit a scenario to logs and write it, or only say what is in them."""
    import numpy as np

    from csa_games.calibration.check import check, surveyed
    from csa_games.calibration.codes import coder
    from csa_games.calibration.fitted import fit, fittable, fitted_toml
    from csa_games.calibration.identify import identify
    from csa_games.calibration.latent import Shown, compared, contexts, told
    from csa_games.calibration.mapping import read_mapping
    from csa_games.calibration.split import split
    from csa_games.files import write_file

    if not args.check and args.out is None:
        raise InputError("-o: is missing, expected the file to write the fitted scenario to")
    reading, base = read_mapping(args.map), base_scenario(args.base)
    wanted = fittable(base, reading)
    codes = coder(reading, base)
    gathered = Shown(contexts(base, wanted, reading.latent)) if reading.latent else None
    each = None if gathered is None or args.check else gathered.add
    keep = None if args.train is None else split(args.train, args.seed, reading).trains
    with reading_logs() as progress:
        survey, counts = surveyed(args.logs, codes, wanted, progress, each, keep)
    if args.check:
        data = asdict(survey) | {"ok": not survey.faults}
        code = FAILED_CHECK if survey.faults else DONE
        return Outcome(data, lambda console: _show_survey(console, survey), code)
    check(survey)
    latent = None
    if gathered is not None and survey.conversations:
        with waiting(f"telling {' and '.join(reading.latent)} apart"):
            draw = np.random.default_rng(args.seed)
            latent = told(base, wanted, gathered, draw)
            latent = replace(latent, criteria=compared(gathered, draw))
    fitted = fit(base, reading, wanted, counts, level=args.level, latent=latent)
    untold = identify(fitted, reading, latent)
    write_file(args.out, fitted_toml(fitted).encode())
    data = {"scenario": args.out, "conversations": survey.conversations, "events": survey.events}
    return Outcome(
        data | _numbers(fitted) | {"untold": untold_numbers(untold)},
        lambda console: _show_fitted(console, fitted, untold, args.out, survey),
    )


def base_scenario(asked: str) -> "Scenario":
    """Return the scenario of that name or in that file."""
    from csa_games.scenario import builtin_scenarios, read_scenario

    return read_scenario(builtin_scenarios().get(asked, Path(asked)))


@contextmanager
def reading_logs() -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how far a log is read: a bar, or a line now and then."""
    if sys.stderr.isatty():
        from csa_games.cli.progress import counting

        with counting("reading, bytes") as show:
            yield show
        return
    last = perf_counter()

    def tell(done: int, count: int) -> None:
        nonlocal last
        if perf_counter() - last > SECONDS_BETWEEN_LINES:
            last = perf_counter()
            sys.stderr.write(f"reading: {done:,} of {count:,} bytes\n")
            sys.stderr.flush()

    yield tell


def _numbers(fitted: "Fitted") -> dict[str, Any]:
    """Return what `--json` says of a fit."""
    from csa_games.calibration.fitted import listed

    rows = {
        field: {name: asdict(estimate) for name, estimate in row.items()}
        for field, row in listed(fitted).items()
    }
    return {
        "estimates": rows,
        "remarks": fitted.remarks,
    }


def _show_survey(console: "Console", survey: "Survey") -> None:
    missing = ", ".join(f"{name} {whole(count)}" for name, count in survey.missing.items() if count)
    rows = [
        ("conversations", whole(survey.conversations)),
        ("events", whole(survey.events)),
        ("not recorded", missing or "nothing"),
    ]
    if survey.repeated:
        rows.append(("repeated", f"{whole(survey.repeated)} ids that came before"))
    for field, labels in survey.unknown.items():
        named = ", ".join(f"{label!r} {whole(count)}" for label, count in labels.items())
        rows.append((f"unknown {field}", named))
    console.print(facts(rows))
    for fault in survey.faults:
        console.print(clean(fault), soft_wrap=True)
    if survey.more_faults:
        console.print(f"and {whole(survey.more_faults)} further faults")


def _show_fitted(
    console: "Console", fitted: "Fitted", untold: "Identifiability", out: str, survey: "Survey"
) -> None:
    from csa_games.calibration.fitted import listed

    rows = []
    for row, estimates in zip(fitted.rows, listed(fitted).values(), strict=True):
        told = [row.label, *[""] * len(estimates)]
        for label, (name, found) in zip(told, estimates.items(), strict=False):
            interval = f"{number(found.low)} to {number(found.high)}"
            rows.append((label, name, number(found.value), interval, whole(int(found.n))))
    level = f"{fitted.estimates.level:.0%} interval"
    console.print(grid(["row", "outcome", "estimate", level, "n"], rows, left=2))
    console.print()
    for remark in fitted.remarks:
        console.print(clean(remark))
    show_untold(console, untold)
    console.print(
        f"\nsaved {clean(out)}\nNext: csa solve {clean(shlex.quote(out))} --method robust\n"
        f"      csa doubt {clean(shlex.quote(out))}",
        soft_wrap=True,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "logs", nargs="+", metavar="LOG", help="JSON lines, one conversation each, plain or gzip"
    )
    parser.add_argument(
        "--map", required=True, metavar="MAP", help="the mapping file (TOML) of the logs' labels"
    )
    parser.add_argument(
        "--base",
        required=True,
        metavar="SCENARIO",
        help="the scenario, built-in or a file, for all that the logs do not tell",
    )
    parser.add_argument("-o", "--out", metavar="FILE", help="the fitted scenario, x.toml")
    parser.add_argument(
        "--check", action="store_true", help="only say what is in the logs, and what is wrong"
    )
    parser.add_argument(
        "--level", type=float, default=0.9, metavar="P", help="of the intervals (0.9)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the random starts that tell latent intents apart, and of --train (0)",
    )
    add_train(parser, "fit to this share of the conversations; csa evaluate takes the others")


def add_train(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --train, which fitting and evaluating share with --seed."""
    parser.add_argument("--train", type=float, metavar="SHARE", help=what)


FIT = Command(
    "fit a scenario to labelled logs of conversations, with intervals",
    (
        "csa fit log.jsonl.gz --map map.toml --base crisis_guidance --check",
        "csa fit log.jsonl.gz --map map.toml --base crisis_guidance -o fitted.toml",
        "csa fit log.jsonl.gz --map map.toml --base mine.toml -o fitted.toml --json",
    ),
    _arguments,
    fit_logs,
)
