"""Doing the cells of a sweep that are not finished yet."""

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from csa_games.errors import InputError
from csa_games.provenance import provenance
from csa_games.sweeps.cells import Cell, Finished, Sweep, finished, keep, key, prepare, rows_of
from csa_games.sweeps.executors import EXECUTORS


def run(
    sweep: Sweep,
    folder: Path | str,
    *,
    executor: str = "local",
    workers: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> list[Finished]:
    """Return what every cell of `sweep` came to, in their order, doing those that are not done.

    Finished cells are kept in `folder`: whatever stops this function, another call goes on where
    it was, and what it returns does not depend on who did which cell when. Cells that another
    version has made are done again. `executor` is a name in EXECUTORS and `workers` how many cells
    it may do at once; `progress` is told how many are done of how many.

    Raises `InputError` for no cells, unknown executors, fewer than one worker, and a folder that is
    not that of this sweep; whatever a cell raises is raised.
    """
    if not sweep.cells:
        raise InputError(f"{sweep.name}: found no cells to do, expected one at least")
    if executor not in EXECUTORS:
        raise InputError(f"found the executor {executor!r}, expected one of {', '.join(EXECUTORS)}")
    if workers < 1:
        raise InputError(f"found {workers} workers, expected one at least")
    folder = Path(folder).resolve()
    prepare(folder, sweep)
    here = provenance()
    names = [key(sweep, cell) for cell in sweep.cells]
    found = {name: finished(folder, name, here) for name in dict.fromkeys(names)}
    cells = dict(zip(names, sweep.cells, strict=True))
    open_ = [name for name, done in found.items() if done is None]

    def show() -> None:
        if progress is not None:
            progress(len(found) - sum(done is None for done in found.values()), len(found))

    show()
    calls = [(sweep.work, sweep.told(cells[name])) for name in open_]
    for k, done in EXECUTORS[executor](
        do, calls, min(workers, max(len(open_), 1)), folder / "logs"
    ):
        keep(folder, open_[k], done)
        found[open_[k]] = done
        show()
    every = [found[name] for name in names]
    return [done for done in every if done is not None]


def do(work: str, cell: Cell) -> Finished:
    """Return what `cell` comes to in this process."""
    began = perf_counter()
    rows = rows_of(work, cell)
    return Finished(rows, perf_counter() - began, provenance())
