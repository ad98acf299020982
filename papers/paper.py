"""A published result checked again: what it claims, and the README that says whether it holds.

Every number in a README comes from `results.json` or, where it is somebody else's, from the code
with its source. Nothing is typed into a README.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csa_games.errors import InputError
from csa_games.files import write_file
from csa_games.provenance import provenance

FOLDER = Path(__file__).parent

Measured = Mapping[str, Any]
"""What a paper's own measurement found, as JSON values."""


class MissingDataError(InputError):
    """Published data that a measurement compares with is not on this machine."""


@dataclass(frozen=True)
class Claim:
    """A number that was stated before, beside ours.

    They agree when they differ by no more than `tolerance`, which is in the number's own unit.
    `reason` is why they differ where that is known; numbers that agree need none.
    """

    statement: str
    where: str
    theirs: float
    ours: float
    tolerance: float
    reason: str = ""
    digits: str = ".4g"

    @property
    def agrees(self) -> bool:
        """Whether both numbers are the same within the tolerance; false where one is nan."""
        return abs(self.ours - self.theirs) <= self.tolerance

    @property
    def explained(self) -> bool:
        """Whether both agree, or it is known why they do not."""
        return self.agrees or bool(self.reason)


@dataclass(frozen=True)
class Paper:
    """A published result: how it is measured again, and what is written about it.

    `measure` takes whether to be quick, which means fewer steps and no numbers to keep. `claims`,
    `remarks` (Markdown) and `pictures` (file name -> SVG, or the CSV beside it) are pure functions
    of what it found.
    """

    name: str
    title: str
    about: str
    sources: tuple[str, ...]
    measure: Callable[[bool], Measured]
    claims: Callable[[Measured], Sequence[Claim]]
    remarks: Callable[[Measured], str]
    pictures: Callable[[Measured], Mapping[str, str]] = lambda measured: {}

    @property
    def command(self) -> str:
        """The command that makes the results."""
        return f"python -m papers.{self.name}"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def claims_table(claims: Sequence[Claim]) -> str:
    """Return `claims` as a table in Markdown, with a verdict computed for each."""
    rows = [
        (
            claim.statement,
            claim.where,
            f"{claim.theirs:{claim.digits}}",
            f"{claim.ours:{claim.digits}}",
            f"±{claim.tolerance:.2g}",
            "yes" if claim.agrees else "**no**",
        )
        for claim in claims
    ]
    return table(("claim", "where", "theirs", "ours", "tolerance", "agree"), rows)


def readme(paper: Paper, results: Mapping[str, Any]) -> str:
    """Return the README of `paper`, in Markdown."""
    measured = results["measured"]
    claims = paper.claims(measured)
    parts = [
        f"# {paper.title}",
        paper.about,
        "\n".join(f"- {source}" for source in paper.sources),
        f"## Claims\n\nOurs is made by `{results['command']}`. Where says where theirs stands, or "
        "how it was found without the solvers.",
        claims_table(claims),
    ]
    if differing := [claim for claim in claims if not claim.agrees]:
        reasons: dict[str, list[str]] = {}
        for claim in differing:
            reasons.setdefault(claim.reason or "Not explained.", []).append(claim.statement)
        parts.append("Why some differ:")
        parts.append("\n".join(f"- {'; '.join(of)}: {why}" for why, of in reasons.items()))
    for name in paper.pictures(measured):
        if name.endswith(".svg"):
            stem = name.removesuffix(".svg")
            parts.append(f"![{stem.replace('_', ' ')}]({name})\n\nData: [{stem}.csv]({stem}.csv)")
    parts += [paper.remarks(measured), made_by(results)]
    return "\n\n".join(parts) + "\n"


def made_by(results: Mapping[str, Any]) -> str:
    """Return the sentence that says how the results were made."""
    made = results["provenance"]
    git = made["git"] or {"commit": "unknown", "dirty": False}
    packages = ", ".join(f"{k} {v}" for k, v in made["packages"].items() if v is not None)
    seed = "nothing is drawn at random" if results["seed"] is None else f"seed {results['seed']}"
    return (
        f"Measured at commit `{git['commit'][:10]}`{' with changes' if git['dirty'] else ''} on "
        f"{made['cores']} cores of {made['cpu']} ({made['platform']}), Python {made['python']}, "
        f"{packages}, {made['time']}; {seed}."
    )


def files(paper: Paper, results: Mapping[str, Any]) -> dict[str, bytes]:
    """Return what is made from `results`: the README, the pictures and their data."""
    made = {"README.md": readme(paper, results), **paper.pictures(results["measured"])}
    return {name: text.encode() for name, text in made.items()}


def measure(paper: Paper, quick: bool) -> dict[str, Any]:
    """Return the results of `paper`; raises `MissingDataError` without the data it needs."""
    measured = paper.measure(quick)
    return {
        "command": paper.command,
        "seed": None,
        "provenance": provenance(),
        "measured": measured,
    }


def read(paper: Paper) -> dict[str, Any]:
    """Return the results of `paper` in the tree."""
    path = FOLDER / paper.name / "results.json"
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return results


def write(paper: Paper, results: Mapping[str, Any]) -> None:
    """Write the results of `paper` and all that is made from them."""
    folder = FOLDER / paper.name
    folder.mkdir(exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    write_file(folder / "results.json", text.encode() + b"\n")
    write_report(paper, results)


def write_report(paper: Paper, results: Mapping[str, Any]) -> None:
    """Write what is made from `results`."""
    for name, content in files(paper, results).items():
        write_file(FOLDER / paper.name / name, content)


def faults(paper: Paper) -> list[str]:
    """Return what is wrong in the folder of `paper`, a sentence each.

    Text has to be what is made from the results in the tree, byte by byte. Pictures only have to be
    there: another version of the plotting library draws them differently, and their data is text.
    """
    folder = FOLDER / paper.name
    try:
        results = read(paper)
    except (OSError, json.JSONDecodeError):
        return [f"{paper.name}/results.json is missing or is not JSON; make it: {paper.command}"]
    found = []
    for name, content in files(paper, results).items():
        path = folder / name
        if not path.is_file():
            found.append(f"{paper.name}/{name} is missing")
        elif not name.endswith(".svg") and path.read_bytes() != content:
            found.append(f"{paper.name}/{name} is not what the results in the tree give")
    return found + [
        f"{paper.name}: {claim.statement}: found {claim.ours!r}, expected {claim.theirs!r}"
        for claim in paper.claims(results["measured"])
        if not claim.explained
    ]


def run(papers: Sequence[Paper], arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for with `papers`, and return the exit code.

    Nothing is written before everything is measured, so that all results are of one commit.
    """
    parser = argparse.ArgumentParser(
        prog=papers[0].command if len(papers) == 1 else "python -m papers"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--quick", action="store_true", help="measure a little and write nothing")
    what.add_argument("--report", action="store_true", help="measure nothing, write the README")
    what.add_argument("--check", action="store_true", help="say what disagrees with the results")
    args = parser.parse_args(arguments)
    if args.check:
        found = [fault for paper in papers for fault in faults(paper)]
        sys.stdout.writelines(f"{fault}\n" for fault in found)
        return int(bool(found))
    if args.report:
        for paper in papers:
            write_report(paper, read(paper))
        return 0
    done: list[tuple[Paper, dict[str, Any]]] = []
    for paper in papers:
        try:
            done.append((paper, measure(paper, args.quick)))
        except MissingDataError as error:
            sys.stderr.write(f"{paper.name} is skipped: {error}\n")
            continue
        sys.stderr.write(f"{paper.name} is measured\n")
    for paper, results in done:
        if args.quick:
            sys.stdout.write(f"{claims_table(paper.claims(results['measured']))}\n")
        else:
            write(paper, results)
    return 0
