"""Files and folders that are written entirely or not at all: beside their place, then renamed."""

import ctypes
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
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

    No reader ever sees some files of one and some of the other in the same folder. Linux swaps two
    folders in one step. Elsewhere there is an instant without either, between two renames: whatever
    stops this function there is undone, but for a kill and a power cut, after which the earlier
    folder lies beside, whole, as `.NAME.*.old`. A process that is killed may leave an unfinished
    folder beside, `.NAME.*.new`, which nobody reads.
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
        if folder.exists() and _swapped(beside, folder):
            earlier = beside
        else:
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


def _swapped(one: Path, other: Path) -> bool:
    """Swap two names in one step and return True; False where the system cannot.

    renameat2(2) with RENAME_EXCHANGE: Linux 3.15, on most of its file systems.
    """
    if not sys.platform.startswith("linux"):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        rename = ctypes.CDLL(None).renameat2
    except AttributeError:  # a C library before glibc 2.28 or musl 1.2.6
        return False
    done: int = rename(here, os.fsencode(one), here, os.fsencode(other), exchange)
    return done == 0


def _write(path: Path, data: bytes) -> None:
    with _synced(path) as file:
        file.write(data)


@contextmanager
def _synced(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a file that was not there before; when the block ends, all of it is on the disk."""
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
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
