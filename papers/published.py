"""Published data that is not part of the project: where it lies, and how its files are read.

The folder is `shared/data` beside this checkout, or in the folder that `CSA_SHARED` names.
"""

import csv
import os
from pathlib import Path

from papers.paper import MissingDataError

SHARED = Path(os.environ.get("CSA_SHARED", Path(__file__).resolve().parents[2] / "shared"))

CURVE_STEPS = 1000


def folder(name: str) -> Path:
    """Return the folder of published data called `name`; raises `MissingDataError` without it."""
    found = SHARED / "data" / name
    if not found.is_dir():
        raise MissingDataError(
            f"it compares with published data, and there is no folder {name} in shared/data beside "
            "this checkout"
        )
    return found


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, by column."""
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def ddcfr_columns(curves: Path, algorithm: str, game: str, *columns: str) -> list[list[float]]:
    """Return columns of a curve of the DDCFR repository, each from iteration 1 to 1000.

    They are rpSebastian/DDCFR at 0e4de9b, results/ALGORITHM/GAME/data.csv: "conv" is the
    exploitability of the average policy; "alpha", "beta" and "gamma" are there for DDCFR.
    """
    found = rows(curves / f"{algorithm}__{game}.csv")[1:]
    if [int(row["step"]) for row in found] != list(range(1, CURVE_STEPS + 1)):
        raise MissingDataError(
            f"{algorithm}__{game}.csv is not a curve of {CURVE_STEPS} iterations"
        )
    return [[float(row[f"{game}/{column}"]) for row in found] for column in columns]
