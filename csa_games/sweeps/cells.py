"""The cells of a sweep, and the folder that keeps those that are finished.

    sweep.json      what the sweep is: the same in every process that works on it
    cells/KEY.json  a finished cell: its rows, how long it took, and where it was made

A cell is a unit of work of a few seconds or more, described by JSON values alone, so that any
process anywhere can do it; what can be solved together in one compiled program is one cell.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from csa_games.errors import InputError
from csa_games.files import write_file
from csa_games.guard.bundle import canonical, parse, sha256

Row = dict[str, str | float | int | bool | None]
"""A line of the results, by column."""

Cell = Mapping[str, Any]
"""What a cell's work is told: JSON values by name."""

CONFIG, CELLS = "sweep.json", "cells"


@dataclass(frozen=True)
class Sweep:
    """Cells, what is the same in all of them, and the function that turns each into rows.

    `work` is "module:name"; the function is told what is common and what is the cell's own.
    """

    name: str
    work: str
    cells: Sequence[Cell]
    common: Cell = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """What the sweep is, as JSON values."""
        return {
            "name": self.name,
            "work": self.work,
            "common": dict(self.common),
            "cells": [dict(cell) for cell in self.cells],
        }

    def told(self, cell: Cell) -> dict[str, Any]:
        """Return what the function is told of `cell`."""
        return {**self.common, **cell}


@dataclass(frozen=True)
class Finished:
    """A finished cell: its rows, the seconds it took, and the provenance of the process."""

    rows: list[Row]
    seconds: float
    provenance: Mapping[str, Any]


def rows_of(work: str, cell: Cell) -> list[Row]:
    """Return the rows of `cell`, made by the function that `work` names; what is nan is None."""
    module, _, name = work.partition(":")
    found: list[Row] = getattr(import_module(module), name)(cell)
    return [{column: _defined(value) for column, value in row.items()} for row in found]


def key(sweep: Sweep, cell: Cell) -> str:
    """Return the name of the file of `cell`."""
    return sha256(canonical({"work": sweep.work, "cell": sweep.told(cell)}))[:24]


def prepare(folder: Path, sweep: Sweep) -> None:
    """Make `folder` that of `sweep`, or check that it is.

    Raises `InputError` for a folder of another sweep, or of something else, which is left as it is.
    """
    config, content = folder / CONFIG, canonical(sweep.config)
    if config.exists():
        if _read(config) != parse(content):
            raise InputError(
                f"{folder} holds another sweep than {sweep.name} as it is asked for now, expected "
                "the same, which would be gone on with, or a new folder"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"{folder} holds files and is no sweep, expected a new folder, an empty one or that of "
            "the same sweep"
        )
    (folder / CELLS).mkdir(parents=True, exist_ok=True)
    if not config.exists():
        write_file(config, content + b"\n")


def finished(folder: Path, name: str, provenance: Mapping[str, Any]) -> Finished | None:
    """Return the finished cell of that `name`, None where it has to be done.

    It has to be done again where another version made it: `csa-games` of another version, or a
    checkout at another commit. Raises `InputError` for a file that is no finished cell.
    """
    path = folder / CELLS / f"{name}.json"
    if not path.exists():
        return None
    content = _read(path)
    try:
        found = Finished(list(content["rows"]), float(content["seconds"]), content["provenance"])
        same = _version(found.provenance) == _version(provenance)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path}: found no finished cell ({type(error).__name__}: {error}); remove the file to "
            "have the cell done again"
        ) from None
    return found if same else None


def keep(folder: Path, name: str, done: Finished) -> None:
    """Write a finished cell, all of it or nothing."""
    content = {"rows": done.rows, "seconds": done.seconds, "provenance": dict(done.provenance)}
    # Not canonical: rows keep the order of their columns.
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    write_file(folder / CELLS / f"{name}.json", text.encode() + b"\n")


def _defined(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _version(provenance: Mapping[str, Any]) -> tuple[Any, Any]:
    git = provenance["git"]
    return provenance["packages"]["csa-games"], None if git is None else git["commit"]


def _read(path: Path) -> Any:
    try:
        return parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
