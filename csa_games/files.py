"""Files that are written entirely or not at all: beside their place, then renamed."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write_file(path: Path | str, data: bytes, beside: Path | str | None = None) -> None:
    """Write `data` to `path`; what was there before stays until all of it is on the disk.

    `beside` is as in `replacing`.
    """
    with replacing(path, beside) as file:
        file.write(data)


def write_new(path: Path | str, data: bytes, mode: int) -> None:
    """Write `data` to `path`, where nothing may be yet, readable as `mode` says from the start.

    Raises `FileExistsError`. A process that is killed leaves the file whole, empty or not there.
    """
    path = Path(path).resolve()
    # Taking the name first works where hard links do not, as on the sticks that keys travel on.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        with replacing(path, mode=mode) as file:
            file.write(data)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def replacing(
    path: Path | str, beside: Path | str | None = None, mode: int = 0o666
) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of `path` when the block ends, unless it raises.

    What was there before stays until all of the new file is on the disk. It grows in the folder
    `beside`, on the same disk, by default the folder of `path`. `mode` is cut by the umask.
    """
    path = Path(path).resolve()
    folder = path.parent if beside is None else Path(beside).resolve()
    unfinished = folder / f".{path.name}.{secrets.token_hex(4)}.new"
    try:
        with _synced(unfinished, mode) as file:
            yield file
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
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
def _synced(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a file that was not there before; when the block ends, all of it is on the disk."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
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
