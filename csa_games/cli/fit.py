"""`csa fit`: a scenario with what labelled logs tell in the place of what it assumed."""

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
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
    from csa_games.calibration.codes import Codes
    from csa_games.calibration.fitted import Fitted
    from csa_games.calibration.fitted_quantal import Chosen
    from csa_games.calibration.hazard import Hazards
    from csa_games.scenario import Scenario

    Found = dict[str, dict[str, Hazards]]


def fit_logs(args: argparse.Namespace) -> Outcome:
    """Fit a scenario to logs and write it, or only say what is in them."""
    import numpy as np

    from csa_games.calibration.check import check, surveyed
    from csa_games.calibration.codes import coder
    from csa_games.calibration.fitted import fit, fittable, fitted_toml
    from csa_games.calibration.fitted_quantal import Gathered, chosen, with_chosen
    from csa_games.calibration.identify import identify
    from csa_games.calibration.judged import corrected
    from csa_games.calibration.latent import Shown, compared, contexts, told
    from csa_games.calibration.mapping import read_mapping
    from csa_games.calibration.onset import Onsets
    from csa_games.calibration.split import split
    from csa_games.files import write_file

    if not args.check and args.out is None:
        raise InputError("-o: is missing, expected the file to write the fitted scenario to")
    if not 0 < args.level < 1:
        raise InputError(
            f"--level: found the level {args.level:g}, expected a number between 0 and 1"
        )
    reading, base = read_mapping(args.map), base_scenario(args.base)
    wanted = fittable(base, reading)
    codes = coder(reading, base)
    gathered = Shown(contexts(base, wanted, reading.latent)) if reading.latent else None
    quantal, onsets = Gathered(base, reading), Onsets(base, args.hazard)
    parts = [quantal.add, onsets.add]
    if gathered is not None and not args.check:
        parts.append(gathered.add)

    def each(piece: "Codes") -> None:
        for add in parts:
            add(piece)

    keep = None if args.train is None else split(args.train, args.seed, reading).trains
    with reading_logs() as progress:
        survey, counts = surveyed(args.logs, codes, wanted, progress, each, keep)
    hazards = onsets.hazards(np.random.default_rng([args.seed, 3]), level=args.level)
    if args.check:
        choices = {name: part.n for name, part in quantal.choices.items()}
        data = asdict(survey) | {"choices": choices, "hazards": _hazards(hazards)}
        code = FAILED_CHECK if survey.faults else DONE

        def show(console: "Console") -> None:
            _show_survey(console, survey, choices)
            _show_hazards(console, hazards, args.level)

        return Outcome(data | {"ok": not survey.faults}, show, code)
    check(survey)
    latent = None
    if gathered is not None and survey.conversations:
        with waiting(f"telling {' and '.join(reading.latent)} apart"):
            draw = np.random.default_rng(args.seed)
            latent = told(base, wanted, gathered, draw)
            latent = replace(latent, criteria=compared(gathered, draw))
    folder, draw = Path(args.map).parent, np.random.default_rng([args.seed, 1])
    choosing = chosen(base, reading, quantal, folder, draw, level=args.level)
    drawn = np.random.default_rng([args.seed, 2])
    fitted = fit(
        base,
        reading,
        wanted,
        counts,
        level=args.level,
        latent=latent,
        told=choosing.told,
        correct=partial(corrected, base, reading, wanted, draw=drawn),
        said=choosing.said,
    )
    untold = identify(fitted, reading, latent)
    fitted = with_chosen(fitted, reading, choosing)
    write_file(args.out, fitted_toml(fitted).encode())
    data = {"scenario": args.out, "conversations": survey.conversations, "events": survey.events}

    def show_all(console: "Console") -> None:
        _show_fitted(console, fitted, choosing)
        show_untold(console, untold)
        _show_hazards(console, hazards, args.level)
        _show_saved(console, args.out)

    numbers = _numbers(fitted) | {"choosing": _choosing(choosing), "hazards": _hazards(hazards)}
    return Outcome(data | numbers | {"untold": untold_numbers(untold)}, show_all)


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
        "naive": fitted.naive,
        "remarks": fitted.remarks,
    }


def _choosing(chosen: "Chosen") -> dict[str, Any]:
    """Return what `--json` says of each quantal intent."""
    told: dict[str, Any] = {name: {"choices": n} for name, n in chosen.choices.items()}
    for name, found in chosen.fits.items():
        numbers = {"rationality": found.rationality} | found.weights
        told[name] |= {what: asdict(one) for what, one in numbers.items() if one is not None}
        told[name]["log_likelihood"] = {
            "fitted": found.log_likelihood,
            "even": found.even,
            "base": found.base,
            "frequencies": found.frequencies,
        }
    return told


def _hazards(hazards: "Found") -> dict[str, Any]:
    """Return what `--json` says of hazards: lists by turn, by name and intent."""
    return {
        name: {intent: asdict(found) for intent, found in by_intent.items()}
        for name, by_intent in hazards.items()
    }


def _show_hazards(console: "Console", hazards: "Found", level: float) -> None:
    for name, by_intent in hazards.items():
        rows = [
            (
                intent if t == 0 else "",
                whole(t + 1),
                whole(int(found.at_risk[t])),
                whole(int(found.happened[t])),
                number(float(found.hazard[t])),
                f"{number(float(found.hazard_low[t]))} to {number(float(found.hazard_high[t]))}",
                number(float(found.survival[t])),
                f"{number(float(found.survival_low[t]))} to "
                f"{number(float(found.survival_high[t]))}",
            )
            for intent, found in by_intent.items()
            for t in range(len(found.hazard))
        ]
        interval = f"{level:.0%} interval"
        headings = ("intent", "turn", "at risk", "first", "hazard", interval, "not yet", interval)
        console.print()
        console.print(grid(headings, rows, title=f"When {name} first comes"))


def _show_survey(console: "Console", survey: "Survey", choices: dict[str, int]) -> None:
    missing = ", ".join(f"{name} {whole(count)}" for name, count in survey.missing.items() if count)
    rows = [
        ("conversations", whole(survey.conversations)),
        ("events", whole(survey.events)),
        ("not recorded", missing or "nothing"),
    ]
    rows += [(f"choices of {name}", whole(n)) for name, n in choices.items()]
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


def _show_fitted(console: "Console", fitted: "Fitted", chosen: "Chosen") -> None:
    from csa_games.calibration.fitted import listed

    rows = []
    for row, estimates in zip(fitted.rows, listed(fitted).values(), strict=True):
        told = [row.label, *[""] * len(estimates)]
        for label, (name, found) in zip(told, estimates.items(), strict=False):
            interval = f"{number(found.low)} to {number(found.high)}"
            rows.append((label, name, number(found.value), interval, whole(int(found.n))))
    for name, choosing in chosen.fits.items():
        numbers = {"λ": choosing.rationality} | {
            f"weight of {what}": one for what, one in choosing.weights.items()
        }
        rows += [
            (
                f"{name} chooses" if what == "λ" else "",
                what,
                number(one.value),
                f"{number(one.low)} to {number(one.high)}",
                whole(int(one.n)),
            )
            for what, one in numbers.items()
            if one is not None
        ]
    level = f"{fitted.estimates.level:.0%} interval"
    console.print(grid(["row", "outcome", "estimate", level, "n"], rows, left=2))
    console.print()
    for remark in fitted.remarks:
        console.print(clean(remark))


def _show_saved(console: "Console", out: str) -> None:
    console.print(
        f"\nsaved {clean(out)}\nNext: csa solve {clean(shlex.quote(out))} --method robust\n"
        f"      csa doubt {clean(shlex.quote(out))}",
        soft_wrap=True,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "logs",
        nargs="+",
        metavar="LOG",
        help="JSON lines, one conversation each, plain or gzip; or Parquet",
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
        "--hazard",
        action="append",
        default=[],
        metavar="NAME",
        help="also say in which turn an ask or response of the scenario first comes, by intent",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of all that is drawn at random: starts, what intervals are drawn from, --train (0)",
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
        "csa fit log.jsonl --map map.toml --base crisis_guidance --check --hazard leave",
        "csa fit log.jsonl.gz --map map.toml --base mine.toml -o fitted.toml --json",
    ),
    _arguments,
    fit_logs,
)
