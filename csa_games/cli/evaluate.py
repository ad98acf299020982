"""`csa evaluate`: a fitted scenario, and a solved policy, on conversations held out of the fit."""

import argparse
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import DONE, FAILED_CHECK, Command, Outcome
from csa_games.cli.fit import add_train, base_scenario, reading_logs
from csa_games.cli.output import clean, facts, grid, number, whole
from csa_games.cli.progress import waiting
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from csa_games.calibration.estimates import Estimate
    from csa_games.calibration.evaluate import Evaluation
    from csa_games.calibration.offpolicy import OffPolicy


def evaluate_logs(args: argparse.Namespace) -> Outcome:
    """Evaluate a scenario, and a policy if one is named, on the held-out part of logs."""
    from csa_games.calibration.codes import coder
    from csa_games.calibration.evaluate import evaluate
    from csa_games.calibration.logged import read_logged
    from csa_games.calibration.mapping import read_mapping
    from csa_games.calibration.policies import MOST_STATES, home, read_policy
    from csa_games.calibration.split import split
    from csa_games.cli.memory import require
    from csa_games.dialogue import sizes

    if not 0 < args.level < 1:
        raise InputError(f"--level: found {args.level}, expected a number between 0 and 1")
    if args.recorded is not None and args.policy is None:
        raise InputError("--recorded: is for the value of a policy, expected --policy as well")
    reading, scenario = read_mapping(args.map), base_scenario(args.scenario)
    others = {asked: base_scenario(asked) for asked in args.base}
    divided = None if args.train is None else split(args.train, args.seed, reading)
    with reading_logs() as progress:
        train, log = read_logged(
            args.logs, coder(reading, scenario), divided, progress, args.recorded or ""
        )
    place, policy, remarks = None, None, [_held_out(args, len(log.cluster), train)]
    size = sizes(scenario)
    if args.policy is not None or size.infosets[1] <= MOST_STATES:
        require(size.bytes, f"building {scenario.name}", force=args.force)
        with waiting(f"building {scenario.name}"):
            place = home(scenario)
    else:
        remarks.append(
            f"{scenario.name} has {size.infosets[1]:,} states, more than {MOST_STATES:,}: policies "
            "are not valued in it."
        )
    if args.policy is not None and place is not None:
        policy = read_policy(args.policy, place)
    with waiting("evaluating"):
        found = evaluate(
            scenario,
            log,
            reading,
            train=train,
            others=others,
            home=place,
            policy=policy,
            typed=not args.untyped,
            recorded=args.recorded is not None,
            least_effective=args.least_effective,
            level=args.level,
        )
    remarks += found.remarks
    if args.plots is not None:
        _draw(Path(args.plots), found)
    data = {"conversations": len(log.cluster), "events": len(log.codes.turn)} | asdict(found)
    refused = found.off_policy is not None and bool(found.off_policy.refused)
    return Outcome(
        data | {"remarks": remarks},
        lambda console: _show(console, found, remarks, args),
        FAILED_CHECK if refused else DONE,
    )


def _held_out(args: argparse.Namespace, kept: int, train: object) -> str:
    """Return on what was evaluated."""
    if train is None:
        return (
            f"Evaluated on all {kept:,} conversations: nothing here tells whether the scenario was "
            "fitted to them. csa fit --train SHARE keeps some for csa evaluate --train SHARE."
        )
    return (
        f"Evaluated on the {kept:,} conversations that csa fit --train {args.train:g} --seed "
        f"{args.seed} leaves out."
    )


def _draw(folder: Path, found: "Evaluation") -> None:
    """Write a reliability diagram for each kind of prediction."""
    from csa_games.charts import save
    from csa_games.reliability_chart import reliability_chart

    for kind, group in groupby(found.reliabilities, key=lambda one: one.kind):
        save(folder, f"reliability-{kind}", reliability_chart(list(group)))


def _show(
    console: "Console", found: "Evaluation", remarks: list[str], args: argparse.Namespace
) -> None:
    kinds = list(found.likelihoods[0].by_kind)
    impossible = any(one.impossible for one in found.likelihoods)
    rows = [
        (
            one.account,
            number(one.per_event.value),
            *(number(one.by_kind[kind]) for kind in kinds),
            "" if one.less is None else _spelled(one.less),
            *([whole(one.impossible)] if impossible else []),
        )
        for one in found.likelihoods
    ]
    level = f"{args.level:.0%}"
    console.print("log-likelihood per event, and by how much that of the scenario is higher")
    last = ["impossible"] if impossible else []
    console.print(grid(["", "all", *kinds, f"by, {level}", *last], rows))
    console.print()
    rows = [
        (
            one.kind,
            one.event,
            number(one.brier),
            number(one.error),
            _spelled(one.excess),
            f"{sum(part.holds for part in one.bins)} of {len(one.bins)}",
        )
        for one in found.reliabilities
    ]
    headings = ["predicted", "event", "Brier", "error", f"came more by, {level}", "bins hold"]
    console.print(grid(headings, rows, left=2))
    if found.seen:
        console.print()
        rows = [
            (
                one.name,
                whole(one.answers),
                number(one.value),
                number(one.guaranteed),
                *([] if args.policy is None else [number(one.less), number(one.distance)]),
                "–" if one.observed is None else _spelled(one.observed),
            )
            for one in found.seen
        ]
        headings = ["policy of", "answers", "value", "guaranteed"]
        headings += [] if args.policy is None else ["solved by", "differs"]
        console.print(grid([*headings, f"observed, {level}"], rows))
    if found.off_policy is not None:
        console.print()
        _show_value(console, found.off_policy, level)
    console.print()
    for remark in remarks:
        console.print(clean(remark))
    if args.plots is not None:
        console.print(f"saved reliability diagrams in {clean(args.plots)}")


def _show_value(console: "Console", found: "OffPolicy", level: str) -> None:
    weights = found.weights
    console.print(
        facts(
            [
                ("value on the log", f"{whole(found.conversations)} conversations"),
                ("propensities", found.propensities),
                ("outcome", found.outcome),
                (
                    "effective number",
                    f"{weights.effective:,.1f} ({weights.clusters:,.1f} clusters)",
                ),
                ("largest weight", f"{weights.largest:.2%} of all; largest 1 %: {weights.top:.2%}"),
                ("mean weight", _spelled(weights.mean)),
                ("never seen in the log", f"{weights.unseen:.2%} of the policy's conversations"),
                ("as they went", _spelled(found.observed)),
            ]
        )
    )
    if found.refused:
        console.print("\nNo value is given:")
        for reason in found.refused:
            console.print(clean(reason))
        return
    console.print()
    columns = {"all": found.values, **found.by_intent}
    rows = [
        (method, *(_spelled(values[method]) for values in columns.values()))
        for method in found.values
    ]
    console.print(grid([f"worth, {level}", *columns], rows))


def _spelled(estimate: "Estimate") -> str:
    return f"{number(estimate.value)} ± {number((estimate.high - estimate.low) / 2)}"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "logs", nargs="+", metavar="LOG", help="JSON lines, one conversation each, plain or gzip"
    )
    required: Any = {"required": True}
    parser.add_argument("--map", metavar="MAP", help="the mapping file of the logs", **required)
    parser.add_argument(
        "--scenario", metavar="SCENARIO", help="the scenario to evaluate, a fitted one", **required
    )
    parser.add_argument(
        "--base",
        action="append",
        default=[],
        metavar="SCENARIO",
        help="another scenario to compare its likelihood with; may be given several times",
    )
    parser.add_argument(
        "--policy", metavar="FOLDER", help="a run or a bundle: the policy to value on the log"
    )
    add_train(parser, "the share that csa fit was given: take the conversations that it left")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="that of csa fit (0)")
    parser.add_argument("--plots", metavar="FOLDER", help="where to write reliability diagrams")
    parser.add_argument(
        "--untyped",
        action="store_true",
        help="predict as if no type were recorded, as an assistant has to",
    )
    parser.add_argument(
        "--recorded",
        nargs="?",
        const="",
        metavar="FIELD",
        help="a conversation is worth its recorded outcome, or that field of it, not what the "
        "scenario says",
    )
    parser.add_argument(
        "--least-effective",
        type=float,
        default=100.0,
        metavar="N",
        help="refuse a value that fewer effective conversations tell (100)",
    )
    parser.add_argument(
        "--level", type=float, default=0.9, metavar="P", help="of the intervals (0.9)"
    )
    parser.add_argument(
        "--force", action="store_true", help="go on with a game that may not fit into memory"
    )


EVALUATE = Command(
    "evaluate a fitted scenario, and a solved policy, on held-out conversations",
    (
        "csa evaluate log.jsonl --map map.toml --scenario fitted.toml --train 0.7",
        "csa evaluate log.jsonl --map map.toml --scenario fitted.toml --policy run",
        "csa evaluate log.jsonl --map map.toml --scenario fitted.toml --plots plots",
    ),
    _arguments,
    evaluate_logs,
)
