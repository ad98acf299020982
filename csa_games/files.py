"""Files that are written entirely or not at all: beside their place, then renamed."""

import os
import secrets
from collections.abc import Iterator
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
    sync_folder(path.parent)


def remove_unfinished(path: Path | str) -> None:
    """Remove what processes that were killed while replacing `path` have left beside it.

    Nobody else may be replacing it at the same time.
    """
    path = Path(path).resolve()
    for beside in path.parent.iterdir():
        if beside.name.startswith(f".{path.name}.") and beside.suffix == ".new":
            beside.unlink(missing_ok=True)


@contextmanager
def _synced(path: Path) -> Iterator[BinaryIO]:
    """Yield a file that was not there before; when the block ends, all of it is on the disk."""
    with path.open("xb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk, where the system can (Windows cannot)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
