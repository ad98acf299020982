"""What is in a file of a bundle: its bytes or, where they are many, the file itself.

Bytes that were read and checked are what is served, whatever becomes of the file. Rows may be more
than a process should hold; they are read where they lie, and what then holds is: the file that was
hashed is the very one that is served (same device, inode, size and times of change, before hashing,
after it, and once it is open for serving). Replacing the file or its folder, as an export does,
changes nothing for whoever has it open. Writing into the file does: the standard library cannot
lock a file against its owner, so whoever may write there is trusted for as long as it is served.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from csa_games.errors import InputError

MOST_COPIED = 16 * 2**20
"""The largest file, in bytes, that is read into memory."""

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, and when content and inode changed, in nanoseconds."""


class BundleError(InputError):
    """A bundle that must not be served. `faults` lists what is wrong, one sentence each."""


@dataclass(frozen=True)
class OnDisk:
    """A file that is read where it lies, and the stamp that it must go on having.

    Its methods raise `BundleError` when it has another by now, or cannot be read.
    """

    path: Path
    stamp: Stamp

    @classmethod
    def at(cls, path: Path | str) -> OnDisk:
        """Return the file that is at `path` now; links are followed once."""
        path = Path(path).resolve()
        return cls(path, _stamp(os.stat(path)))

    def __len__(self) -> int:
        return self.stamp[2]

    def check(self) -> None:
        """Raise unless the file at the path is still the one it was."""
        try:
            self._check(os.stat(self.path))
        except OSError as error:
            raise self._unreadable(error) from None

    def sha256(self) -> str:
        """Return the SHA-256 of the content in hexadecimal; takes 1 MiB of memory."""
        sha, buffer = hashlib.sha256(), bytearray(2**20)
        try:
            with self.path.open("rb", buffering=0) as file:
                self._check(os.fstat(file.fileno()))
                while count := file.readinto(buffer):
                    sha.update(memoryview(buffer)[:count])
                self._check(os.fstat(file.fileno()))
        except OSError as error:
            raise self._unreadable(error) from None
        return sha.hexdigest()

    def _unreadable(self, error: OSError) -> BundleError:
        return BundleError(f"{self.path.name}: cannot be read: {error.strerror or error}")

    def _check(self, found: os.stat_result) -> None:
        if _stamp(found) != self.stamp:
            raise BundleError(f"{self.path.name}: was changed or replaced while it was read")


Content = Union[bytes, OnDisk]  # noqa: UP007 - evaluated when imported, also by Python 3.9


def read(path: Path) -> Content:
    """Return the content of the file at `path`. Raises OSError."""
    found = OnDisk.at(path)
    return found if len(found) > MOST_COPIED else path.read_bytes()


def sha256(content: Content) -> str:
    """Return the SHA-256 of `content` in hexadecimal; `BundleError` for a file that changes."""
    return content.sha256() if isinstance(content, OnDisk) else hashlib.sha256(content).hexdigest()


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
