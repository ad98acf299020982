"""Folders that are written entirely or not at all: beside their place, then swapped with it."""

import ctypes
import errno
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from csa_games.files import sync_folder

if sys.platform != "win32":
    import fcntl


@contextmanager
def replacing_folder(folder: Path | str) -> Iterator[Path]:
    """Yield a new, empty folder that takes the place of `folder` when the block ends, if it does.

    No reader ever sees some files of one and some of the other in the same folder. On Linux the two
    are swapped in one step (renameat2 with RENAME_EXCHANGE, where the file system has it): whenever
    the process is killed, the earlier folder or the new one is whole at its name. Elsewhere there
    is an instant without either between two renames; whatever stops the process there but SIGKILL
    or a power cut is undone, and after these the earlier folder lies beside, whole, as
    `.NAME.*.old`, until the next call puts it back. What killed processes leave beside is removed
    by the next call; several may be at the same folder at once, and the last one wins.
    """
    folder = Path(folder).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _clean(folder)
    beside, lock = _locked(folder)
    try:
        yield beside
        for path in beside.iterdir():
            with path.open("r+b") as file:
                os.fsync(file.fileno())
        sync_folder(beside)
        _swap(beside, folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def write_folder(folder: Path | str, files: Mapping[str, bytes]) -> None:
    """Make `folder` one that holds exactly `files`, name -> content, as `replacing_folder` does."""
    with replacing_folder(folder) as beside:
        for name, data in files.items():
            (beside / name).write_bytes(data)


def _swap(beside: Path, folder: Path) -> None:
    """Put `beside` in the place of `folder`; what was there is beside then, or gone."""
    if not folder.exists():
        beside.rename(folder)
    elif not _exchange(beside, folder):
        earlier = beside.with_suffix(".old")
        folder.rename(earlier)
        try:
            beside.rename(folder)
        except BaseException:  # Ctrl-C too
            earlier.rename(folder)
            raise
        shutil.rmtree(earlier, ignore_errors=True)


AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def _exchange(first: Path, second: Path) -> bool:
    """Swap what two names stand for in one step, or return False where the system cannot."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):  # glibc before 2.28
        return False
    names = os.fsencode(first), os.fsencode(second)
    if library.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # not by this kernel or file system
        return False
    raise OSError(code, os.strerror(code), str(second))


def _locked(folder: Path) -> tuple[Path, int | None]:
    """Return a new folder beside `folder`, and the lock that says that somebody is at it.

    The lock goes when the process does, however it ends.
    """
    while True:
        beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")
        beside.mkdir()
        lock = _lock(beside)
        if beside.exists():
            return beside, lock
        if lock is not None:  # another has taken it for a leftover before it was locked
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Return a lock on `folder`, or None where another has it, or the system has no such locks."""
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _clean(folder: Path) -> None:
    """Remove what killed processes have left beside `folder`, and put back what they took away."""
    for beside in sorted(folder.parent.iterdir()):
        if not (beside.name.startswith(f".{folder.name}.") and beside.is_dir()):
            continue
        if beside.suffix == ".old" and not folder.exists():
            beside.rename(folder)
        elif beside.suffix == ".old":
            shutil.rmtree(beside, ignore_errors=True)
        elif beside.suffix == ".new" and (lock := _lock(beside)) is not None:
            shutil.rmtree(beside, ignore_errors=True)
            os.close(lock)
