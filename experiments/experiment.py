"""What an experiment is, and the folder that one leaves.

    sweep.json      what was done, as `csa_games.sweeps` keeps it, with the finished cells
    results.csv     every row, in the order of the cells
    figures/        each chart as SVG and PNG, with its numbers as CSV
    report.md       the question and the answer in words
    *.toml          the scenarios that were fitted, where any were
    provenance.json the command, versions, hardware, seed, and what each cell took

All but the last depend on the sweep and the versions alone, not on who did which cell when.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from csa_games.charts import Chart, save
from csa_games.csv_text import csv_text
from csa_games.files import write_file
from csa_games.sweeps import Cell, Row, Sweep
from csa_games.sweeps import run as run_sweep
from csa_games.sweeps.cells import Finished

RESULTS, PROVENANCE = "results.csv", "provenance.json"
SEED = 0
"""Of everything random in an experiment; cells that draw are told it."""


@dataclass(frozen=True)
class Experiment:
    """A question, the cells of work that answer it, and the answer.

    `cells` takes whether the experiment is to be quick; `work` names the function of a cell,
    "module:name"; `answer` returns paragraphs of Markdown and `charts` pictures by name, both of
    all rows. Every number in an answer comes from the rows. `files` returns what else is made, text
    by name, and takes whether the experiment is to be quick.
    """

    question: str
    cells: Callable[[bool], Sequence[Cell]]
    work: str
    answer: Callable[[Sequence[Row]], Sequence[str]]
    charts: Callable[[Sequence[Row]], Mapping[str, Chart]]
    files: Callable[[bool], Mapping[str, str]] = lambda quick: {}


def run(
    name: str,
    experiment: Experiment,
    folder: Path,
    *,
    quick: bool = False,
    executor: str = "local",
    workers: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> list[Row]:
    """Return the rows of `experiment` and write its folder; errors as `csa_games.sweeps.run`."""
    sweep = Sweep(name, experiment.work, experiment.cells(quick))
    found = run_sweep(sweep, folder, executor=executor, workers=workers, progress=progress)
    rows = [row for done in found for row in done.rows]
    write_file(folder / RESULTS, csv_text(rows).encode())
    for made, text in experiment.files(quick).items():
        write_file(folder / made, text.encode())
    told = _provenance(name, quick, executor, workers, found)
    write_file(folder / PROVENANCE, json.dumps(told, indent=1).encode() + b"\n")
    tell(experiment, folder)
    return rows


def tell(experiment: Experiment, folder: Path) -> None:
    """Write the report and the charts of `experiment` from the rows in `folder`."""
    rows = read_rows(folder)
    made = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    charts = experiment.charts(rows)
    for label, chart in charts.items():
        save(folder / "figures", label, chart)
    text = report(made["experiment"], experiment, rows, charts, made["quick"])
    write_file(folder / "report.md", text.encode())


def read_rows(folder: Path) -> list[Row]:
    """Return the rows in `folder`; numbers are floats, whole or not."""
    with (folder / RESULTS).open(newline="", encoding="utf-8") as file:
        return [{k: _typed(cell) for k, cell in row.items()} for row in csv.DictReader(file)]


def _typed(cell: str) -> str | float | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell


def report(
    name: str,
    experiment: Experiment,
    rows: Sequence[Row],
    charts: Mapping[str, Chart],
    quick: bool,
) -> str:
    """Return the question and the answer in Markdown."""
    command = f"csa experiment {name}{' --quick' if quick else ''}"
    paragraphs = [
        f"# {experiment.question}",
        f"Made by `{command}`; every number below is in `results.csv`, and where it was made in "
        "`provenance.json`.",
        *experiment.answer(rows),
        *(f"![{chart.said}](figures/{label}.svg)" for label, chart in charts.items()),
    ]
    return "\n\n".join(paragraphs) + "\n"


def real(row: Row, column: str) -> float:
    """Return the number in a `column` of `row`."""
    value = row[column]
    if not isinstance(value, (int, float)):
        raise TypeError(f"{column}: found {value!r}, expected a number")
    return float(value)


def _provenance(
    name: str, quick: bool, executor: str, workers: int, found: Sequence[Finished]
) -> dict[str, object]:
    machines: list[dict[str, object]] = []
    for done in found:
        made = {key: value for key, value in done.provenance.items() if key != "time"}
        if made not in machines:
            machines.append(made)
    return {
        "experiment": name,
        "quick": quick,
        "seed": SEED,
        "executor": executor,
        "workers": workers,
        "from": min(str(done.provenance["time"]) for done in found),
        "to": max(str(done.provenance["time"]) for done in found),
        "seconds of each cell": [round(done.seconds, 2) for done in found],
        "made on": machines,
    }
