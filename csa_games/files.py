"""Files and folders that are written entirely or not at all: beside their place, then renamed."""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_file(path: Path | str, data: bytes) -> None:
    """Write `data` to `path`; what was there before stays until all of it is on the disk."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: Path | str) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of `path` when the block ends, unless it raises.

    What was there before stays until all of the new file is on the disk.
    """
    path = Path(path).resolve()
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        with _synced(beside) as file:
            yield file
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    _sync_folder(path.parent)


def remove_unfinished(path: Path | str) -> None:
    """Remove what processes that were killed while replacing `path` have left beside it.

    Nobody else may be replacing it at the same time.
    """
    path = Path(path).resolve()
    for beside in path.parent.iterdir():
        if beside.name.startswith(f".{path.name}.") and beside.suffix == ".new":
            beside.unlink(missing_ok=True)


def write_folder(folder: Path | str, files: Mapping[str, bytes]) -> None:
    """Make `folder` one that holds exactly `files`, name -> content, in place of what is there.

    No reader ever sees some files of one and some of the other in the same folder. No system can
    swap two folders in one portable step, so there is an instant without either between two
    renames: whatever stops this function there is undone, but for a power cut, after which the
    earlier folder lies beside, whole, as `.NAME.*.old`.
    """
    folder = Path(folder).resolve()
    mark = secrets.token_hex(4)
    beside = folder.with_name(f".{folder.name}.{mark}.new")
    earlier = folder.with_name(f".{folder.name}.{mark}.old")
    try:
        beside.mkdir(parents=True)
        for name, data in files.items():
            _write(beside / name, data)
        _sync_folder(beside)
        if folder.exists():
            folder.rename(earlier)
        beside.rename(folder)
    except BaseException:  # Ctrl-C too
        if earlier.exists() and not folder.exists():
            earlier.rename(folder)
        shutil.rmtree(beside, ignore_errors=True)
        raise
    try:
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(earlier, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with _synced(path) as file:
        file.write(data)


@contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that was not there before; when the block ends, all of it is on the disk."""
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk, where the system can (Windows cannot)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
