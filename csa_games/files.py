"""Files and folders that are written entirely or not at all: beside their place, then renamed."""

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path


def write_file(path: Path | str, data: bytes) -> None:
    """Write `data` to `path`; what was there before stays until all of it is on the disk."""
    path = Path(path).resolve()
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        _write(beside, data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    _sync_folder(path.parent)


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
    with path.open("xb") as file:
        file.write(data)
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
