"""`csa report`, `csa export` and `csa verify`: what is made of a run, and checked afterwards."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from csa_games.cli.command import DONE, FAILED_VERIFICATION, Command, Outcome
from csa_games.cli.compare import beside_baselines
from csa_games.cli.keys import add_keys
from csa_games.cli.output import clean, facts
from csa_games.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console


def write_report(args: argparse.Namespace) -> Outcome:
    """Write the report of a run or of an experiment as one HTML file."""
    from csa_games.files import write_file
    from csa_games.report import experiment_report, is_experiment, report
    from csa_games.runs import read_run

    says = _says(f"the report is {args.out}")
    if is_experiment(args.run):
        write_file(args.out, experiment_report(args.run).encode())
        return Outcome({"experiment": args.run, "page": args.out}, says)
    run = read_run(args.run)
    origin = {"game": run.source, **run.options, **run.provenance}
    rows = None if run.game.scenario is None else beside_baselines(run.game, run.solution)
    page = report(run.game, run.solution, provenance=origin, comparison=rows)
    write_file(args.out, page.encode())
    return Outcome({"run": args.run, "page": args.out}, says)


def export(args: argparse.Namespace) -> Outcome:
    """Write a run's table, as a bundle or in another format."""
    from csa_games.runs import read_run
    from csa_games.table import EXPORTERS, tabulate

    if args.to not in EXPORTERS:
        raise InputError(f"--to: there is no format {args.to!r}; there are {', '.join(EXPORTERS)}")
    for option in ("sequence", "not_after", "sign") if args.to != "bundle" else ():
        if getattr(args, option) is not None:
            spelled = option.replace("_", "-")
            raise InputError(f"--{spelled}: only bundles have one, not {args.to}")
    run = read_run(args.run)
    table = tabulate(run.game, run.solution)
    data: dict[str, Any] = {"run": args.run, "to": args.to, "out": args.out}
    if args.to == "bundle":
        data["sequence"] = 1 if args.sequence is None else args.sequence
        data["revision"] = table.save(
            args.out,
            sequence=data["sequence"],
            created=run.provenance.get("time"),  # the run's: it gives the same bundle every time
            provenance=run.provenance,
            not_after=args.not_after,
            sign=args.sign,
        )
    else:
        EXPORTERS[args.to](table, args.out)
    revision = f", revision {data['revision']}" if args.to == "bundle" else ""
    return Outcome(data, _says(f"the table is in {args.out}{revision}"))


def verify(args: argparse.Namespace) -> Outcome:
    """Check a bundle against its own files and its own scenario."""
    from csa_games.guard.verify import SIGNATURES, verify

    found = verify(args.bundle, keys=args.keys)
    data = {"bundle": args.bundle, **found.as_dict()}

    def show(console: "Console") -> None:
        for fault in found.faults:
            console.print(clean(fault), soft_wrap=True)
        console.print(clean(f"{args.bundle}: {'verified' if found.passed else 'not verified'}"))
        rows = [("revision", found.revision or "unknown")]
        for name, what in (("", found.certificate), ("served ", found.served)):
            if what is not None:
                rows += [(f"{name}value", _pair(what.value)), (f"{name}gap", _pair(what.gap))]
        by = f", by {', '.join(found.signed_by)}" if found.signed_by else ""
        rows.append(("signature", f"{found.signature}{by}: {SIGNATURES[found.signature]}"))
        console.print(facts(rows))

    return Outcome(data, show, DONE if found.passed else FAILED_VERIFICATION)


def _pair(numbers: Sequence[float]) -> str:
    """Return the user's and the assistant's number, recomputed."""
    return f"assistant {numbers[1]:.6g}, user {numbers[0]:.6g}"


def _says(sentence: str) -> Any:
    return lambda console: console.print(clean(sentence), soft_wrap=True)


def _run_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the folder of a run, which csa solve saved")


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run",
        metavar="RUN",
        help="the folder of a run, which csa solve saved, or of an experiment, by csa experiment",
    )
    parser.add_argument("-o", "--out", required=True, metavar="PAGE", help="the file to write")


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    parser.add_argument("out", metavar="BUNDLE", help="the folder or file to write")
    parser.add_argument(
        "--to",
        default="bundle",
        metavar="FORMAT",
        help="bundle (the default), which a guard loads; csv or jsonl, for other programs",
    )
    parser.add_argument(
        "--sequence",
        type=int,
        metavar="N",
        help="the number of the bundle in its deployment, counting upwards (1)",
    )
    parser.add_argument(
        "--not-after",
        metavar="DATE",
        help="the last day on which the bundle is meant to serve, such as 2027-03-31, in UTC, or a "
        "moment, such as 2027-03-31T12:00:00Z",
    )
    parser.add_argument("--sign", metavar="KEYFILE", help="a secret key file to sign the bundle by")


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder of a bundle")
    add_keys(parser)


REPORT = Command(
    "write the report of a run or an experiment, one HTML page that stands alone",
    (
        "csa report runs/crisis_guidance-pcfr+ -o page.html",
        "csa report runs/horizon-quick -o horizon.html",
    ),
    _report_arguments,
    write_report,
)

EXPORT = Command(
    "write a run's response-strategy table as a bundle for the guard, or as CSV or JSON lines",
    (
        "csa export runs/crisis_guidance-pcfr+ bundle",
        "csa export runs/crisis_guidance-pcfr+ bundle --not-after 2027-03-31",
        "csa export runs/crisis_guidance-pcfr+ bundle --sign keys/2026.secret.json",
        "csa export runs/crisis_guidance-pcfr+ table.csv --to csv",
    ),
    _export_arguments,
    export,
)

VERIFY = Command(
    "recompute a bundle's hashes, value and gap from its own files; exit 3 if they differ",
    ("csa verify bundle", "csa verify bundle --keys keys --json"),
    _verify_arguments,
    verify,
)
