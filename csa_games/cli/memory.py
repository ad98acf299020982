"""How much memory there is for a game, asked before it is built: of the machine and the container.

A job scheduler or a container gives a process less than the machine has, by a control group (Linux,
cgroups(7)), and ends it without a word when it takes more.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from csa_games.cli.output import size
from csa_games.errors import InputError

ROOT = Path("/")


def require(needed: int, what: str, *, force: bool, root: Path = ROOT) -> None:
    """Raise `InputError` when `what`, such as "solving leduc_poker", does not fit into memory.

    `needed` is in bytes. Nothing is refused with `force`, or where the system does not tell.
    """
    there = available(root)
    if there is not None and needed > there and not force:
        raise InputError(
            f"{what} needs about {size(needed)} of memory, and {size(there)} are available here; "
            "take a smaller game, or try all the same with --force"
        )


def available(root: Path = ROOT) -> int | None:
    """Return how many bytes this process may still take, None where the system does not tell.

    It is the least of what the machine has left and what is left to each control group that the
    process is in. Caches of files count as free, the system gives them up.
    """
    found = [left for left in (_machine(root), *_groups(root)) if left is not None]
    return min(found, default=None)


def _machine(root: Path) -> int | None:
    """Return what the machine has left, or all that it has where that is not told."""
    for line in _lines(root / "proc/meminfo"):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _groups(root: Path) -> Iterator[int | None]:
    """Yield what is left to every control group of this process that has a limit.

    In a container the groups may be mounted from the container's own on while their names are still
    those of the host, so the top of the mount is looked at as well.
    """
    top = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, name = line.split(":", 2)
        if "memory" in controllers.split(","):  # version 1
            for folder in _upwards(top / "memory", name):
                yield _left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes")
        elif not controllers:  # version 2
            for folder in _upwards(top, name):
                yield _left(folder, "memory.max", "memory.current")


def _upwards(top: Path, name: str) -> Iterator[Path]:
    folder = top / name.strip("/")
    while folder != top and top in folder.parents:
        yield folder
        folder = folder.parent
    yield top


def _left(folder: Path, limit: str, used: str) -> int | None:
    """Return how much is left in a control group, None where it has no limit."""
    most, taken = _number(folder / limit), _number(folder / used)
    if most is None or taken is None:
        return None
    caches = ("inactive_file", "total_inactive_file")  # versions 2 and 1, groups below included
    freed = [int(n) for name, n in map(str.split, _lines(folder / "memory.stat")) if name in caches]
    return max(0, most - taken + max(freed, default=0))


def _number(path: Path) -> int | None:
    """Return the number in a file; None where there is no file, or the word max in it."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
