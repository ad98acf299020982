"""`csa effect`: what a response does to what happens next, by labelled logs of conversations."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from csa_games.cli.command import Command, Outcome
from csa_games.cli.fit import base_scenario, reading_logs
from csa_games.cli.output import clean, facts, grid, number, whole
from csa_games.cli.progress import waiting
from csa_games.errors import InputError
from csa_games.words import join

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float
    from rich.console import Console

    from csa_games.calibration.decisions import Decisions
    from csa_games.calibration.effect import Effect
    from csa_games.calibration.estimates import Estimate
    from csa_games.scenario import Scenario

ASSUMPTIONS = (
    "nothing that is not among the covariates moves both the response and what follows (no log can "
    "tell; the E-value says what it would take)",
    "either response may be given at all covariates (the log tells: see the propensities)",
    "a label means the same wherever it stands, and a response acts on its own conversation alone "
    "(no log can tell)",
)
"""Under which a difference is the effect of the response."""


@dataclass(frozen=True)
class _Question:
    """What is compared, in words, and on which of the turns of a log."""

    of: str
    against: str
    what: str  # what may come of it
    y: "Float[np.ndarray, ' D']"
    a: "Bool[np.ndarray, ' D']"
    kept: "Bool[np.ndarray, ' D']"  # turns with either response whose outcome was recorded
    unseen: int  # turns with either response whose outcome was not


def effect(args: argparse.Namespace) -> Outcome:
    """Estimate the effect of a response, with what would overturn it."""
    from csa_games.calibration.codes import coder
    from csa_games.calibration.decisions import decisions, matrix
    from csa_games.calibration.effect import LEARNERS, doubly_robust
    from csa_games.calibration.mapping import read_mapping

    reading, base = read_mapping(args.map), base_scenario(args.base)
    with reading_logs() as progress:
        seen = decisions(
            args.logs, coder(reading, base), base, outcome=args.outcome, progress=progress
        )
    asked = _asked(args, seen, base)
    # Whoever is in a group that was left out of a fit has nothing to learn from the group's label.
    usual = [name for name in seen.covariates if name != "group" or reading.cluster != "group"]
    names = usual if args.given is None else _words(args.given)
    kept = asked.kept
    columns = {name: values[kept] for name, values in seen.covariates.items()}
    x, labels = matrix(columns, names)
    learner = LEARNERS[args.model]
    with waiting(f"the effect of {asked.of} against {asked.against}"):
        found = doubly_robust(
            asked.y[kept],
            asked.a[kept],
            x,
            seen.cluster[kept],
            seed=args.seed,
            level=args.level,
            propensity=learner,
            outcome=learner,
        )
    if args.plot is not None:
        _draw(Path(args.plot), found, asked)
    data = {
        "of": asked.of,
        "against": asked.against,
        "outcome": asked.what,
        "turns": int(kept.sum()),
        "turns_given": int(asked.a[kept].sum()),
        "not_recorded": asked.unseen,
        "covariates": names,
        "columns": len(labels),
        "model": args.model,
        "cluster": reading.cluster,
        "assumptions": ASSUMPTIONS,
        **asdict(found),
    }
    return Outcome(
        data,
        lambda console: _show(console, found, asked, names, reading.cluster),
    )


def _asked(args: argparse.Namespace, seen: "Decisions", base: "Scenario") -> _Question:
    import numpy as np

    responses = [part.name for part in base.responses]
    of = _numbers("--of", args.of, responses, base.name)
    rest = [k for k in range(len(responses)) if k not in of]
    against = rest
    if args.against is not None:
        against = _numbers("--against", args.against, responses, base.name)
        if twice := [responses[k] for k in against if k in of]:
            raise InputError(f"--against: found {', '.join(twice)}, which --of has too")
    if args.outcome is not None:
        y, known, what = seen.outcome, np.isfinite(seen.outcome), f"the mean {args.outcome}"
    elif args.then is not None:
        then = _numbers("--then", args.then, responses, base.name)
        y, known = np.isin(seen.following, then), seen.following >= 0
        what = f"how often {_named(responses, then)} follows"
    else:
        asks = [part.name for part in base.asks]
        ending = [b for b, part in enumerate(base.asks) if part.ends is not None]
        on = ending if args.on is None else _numbers("--on", args.on, asks, base.name)
        if not on:
            raise InputError(f"--on: is missing, and no ask of {base.name} ends the conversation")
        y, known = np.isin(seen.reaction, on), seen.reaction >= 0
        what = f"how often users {_named(asks, on)}"
    if not known.any():
        raise InputError(f"no turn of the log tells {what}: nothing of the kind was recorded")
    a = np.isin(seen.response, of)
    either = a | np.isin(seen.response, against)
    return _Question(
        _named(responses, of),
        "any other response" if args.against is None else _named(responses, against),
        what,
        y.astype(np.float64),
        a,
        either & known,
        int((either & ~known).sum()),
    )


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(option: str, text: str, names: Sequence[str], scenario: str) -> list[int]:
    words = _words(text)
    if not words or any(word not in names for word in words):
        raise InputError(
            f"{option}: found {text!r}, expected one or more of {scenario}'s {', '.join(names)}, "
            "with commas between them"
        )
    return [names.index(word) for word in words]


def _named(names: Sequence[str], numbers: Sequence[int]) -> str:
    return join([names[k] for k in numbers], "or")


def _draw(path: Path, found: "Effect", asked: _Question) -> None:
    from csa_games.calibration.effect import BINS
    from csa_games.charts import curves, save

    middles = [(k + 0.5) / BINS for k in range(BINS)]
    seen = {asked.of: found.overlap.given, asked.against: found.overlap.other}
    series = {
        f"{name} given": list(zip(middles, (counts / counts.sum()).tolist(), strict=True))
        for name, counts in seen.items()
    }
    across = f"probability of {asked.of}, given what was known"
    save(path.parent, path.name, curves(series, across, "share of turns"))


def _show(
    console: "Console", found: "Effect", asked: _Question, names: Sequence[str], cluster: str
) -> None:
    level = f"{found.difference.level:.0%} interval"
    rows = [
        ("difference as seen", found.naive),
        ("difference, adjusted", found.difference),
        (f"  all given {asked.of}", found.given),
        (f"  all given {asked.against}", found.other),
    ]
    if found.ratio is not None:
        rows.append(("ratio" if found.ratio.how != "exp(0.91 d)" else "ratio, about", found.ratio))
    told = [(label, number(e.value), f"{number(e.low)} to {number(e.high)}") for label, e in rows]
    title = clean(f"{asked.what[0].upper()}{asked.what[1:]}, by response")
    console.print(grid(("", "estimate", level), told, title=title))
    overlap = found.overlap
    turns = (int(overlap.given.sum()), int(overlap.other.sum()))
    lines = [
        (
            "turns",
            f"{whole(turns[0])} given {asked.of}, {whole(turns[1])} given {asked.against}; "
            f"{whole(found.clusters)} clusters ({cluster})"
            + (f"; {whole(asked.unseen)} left out, their outcome unknown" if asked.unseen else ""),
        ),
        ("covariates", ", ".join(names) or "none"),
        (
            "propensities",
            f"{overlap.lowest:.3f} to {overlap.highest:.3f}, {overlap.clipped:.1%} clipped",
        ),
        (
            "turns are worth",
            f"{overlap.effective_given:,.0f} and {overlap.effective_other:,.0f}, once weighted",
        ),
        (
            "imbalance",
            f"{overlap.imbalance:.2f} before weighting, {overlap.imbalance_weighted:.2f} after "
            "(largest of a covariate, in standard deviations)",
        ),
    ]
    console.print()
    console.print(facts(lines))
    console.print()
    for sentence in answer(found, asked):
        console.print(clean(sentence))
    console.print("It is the effect of the response if")
    for assumption in ASSUMPTIONS:
        console.print(f"- {assumption}")


def answer(found: "Effect", asked: _Question) -> list[str]:
    """Return what was found, in sentences."""
    change = found.difference
    how = f"{_signed(change)} ({_ends(change)}); without adjustment it seems {_signed(found.naive)}"
    first = f"Giving {asked.of} instead of {asked.against} changes {asked.what} by {how}."
    if change.low <= 0 <= change.high:
        first += " The interval has no effect in it."
    if found.ratio is None or found.e_value is None or found.e_value_limit is None:
        return [first, "There is no E-value: a mean is not above 0."]
    second = (
        f"To explain it away, a cause left out would have to go with both the response and the "
        f"outcome by a ratio of {found.e_value:.2f}"
    )
    if found.e_value_limit > 1:
        second += f", and to bring the interval to no effect by {found.e_value_limit:.2f}"
    return [first, f"{second} (E-value)."]


def _signed(found: "Estimate") -> str:
    return f"{found.value:+.4f}"


def _ends(found: "Estimate") -> str:
    return f"{found.low:+.4f} to {found.high:+.4f}"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "logs", nargs="+", metavar="LOG", help="JSON lines, one conversation each, plain or gzip"
    )
    parser.add_argument(
        "--map", required=True, metavar="MAP", help="the mapping file (TOML) of the logs' labels"
    )
    parser.add_argument(
        "--base", required=True, metavar="SCENARIO", help="the scenario whose names are used"
    )
    parser.add_argument(
        "--of", required=True, metavar="RESPONSES", help="whose effect, with commas between them"
    )
    parser.add_argument(
        "--against", metavar="RESPONSES", help="what it is compared with (any other response)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--on", metavar="ASKS", help="how often users react so (with what ends the conversation)"
    )
    what.add_argument(
        "--then", metavar="RESPONSES", help="how often the assistant answers so in the next turn"
    )
    what.add_argument(
        "--outcome", metavar="NAME", help="the mean of that number in the conversations' outcome"
    )
    parser.add_argument(
        "--given",
        metavar="NAMES",
        help="covariates (turn, ask, signal, before, type, group and those of the log)",
    )
    parser.add_argument(
        "--model",
        choices=("linear", "trees"),
        default="linear",
        help="what propensities and outcomes are fitted by (linear)",
    )
    parser.add_argument(
        "--plot", metavar="NAME", help="draw the propensities as NAME.svg, NAME.png and NAME.csv"
    )
    parser.add_argument(
        "--level", type=float, default=0.9, metavar="P", help="of the intervals (0.9)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the folds for cross-fitting (0)"
    )


EFFECT = Command(
    "the effect of a response on what happens next, by labelled logs of conversations",
    (
        "csa effect log.jsonl.gz --map map.toml --base crisis_guidance --of refuse",
        "csa effect log.jsonl --map map.toml --base mine.toml --of refuse \\\n"
        "    --against partial --on leave,migrate",
        "csa effect log.jsonl --map map.toml --base mine.toml --of guide \\\n"
        "    --outcome safety --given type,turn --plot overlap",
    ),
    _arguments,
    effect,
)
