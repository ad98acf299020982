"""The audit log: what was decided, one line of JSON each, chained by hashes.

A line holds names of the scenario and keyed hashes of conversations, never a text or an id, and
everything that `csa_games.guard.replay` needs to compute the decision again. Every line but the
first of a log holds the SHA-256 of the line before it, over its bytes without the line end:

- changed, missing, repeated and exchanged lines break the chain, and anybody can see that, with
  `sha256sum` alone;
- whoever can write the log could still compute all hashes after a change anew. With a `secret`,
  every line ends with a code that only its holders can make (HMAC-SHA256), so that they alone can;
- neither shows that the *last* lines were cut off. What does is the `anchor`, the hash of the last
  line, kept elsewhere: later it is still the hash of some line.

A log is a file NAME that is written to and, once that has grown, NAME.000001, NAME.000002, ...
which are not touched again. Every file begins with a header that names the log, when the file was
started, and the hash of the last line of the file before it.

A line goes out in one write. A crash may leave a part of one: the file stays as it is and is put
aside like a grown one, and the header of the next says how many bytes at its end are no line, and
their SHA-256. So every file is JSON lines up to its last line end, and no byte is ever taken back.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from csa_games.errors import InputError
from csa_games.guard.bundle import canonical, parse, sha256
from csa_games.guard.keys import Turn

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SCHEMA = "csa-games/audit"
FORMAT = 1
SYNCS = ("rotation", "line")
MOST_LINE = 1 << 20  # bytes; what is longer is no line of a log
MOST_TURNS = 64  # turns kept of a state without a key, which only its last turn matters to
RETRY = 1_000_000_000  # nanoseconds until a log that could not be written is tried again

_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode  # as `canonical`, made once


class LineError(ValueError):
    """What was read is no line of an audit log."""


class Torn(NamedTuple):
    """What is at the end of a file and no line: its bytes, and their SHA-256."""

    bytes: int
    sha256: str


class AuditLog:
    """An audit log, open to record decisions; threads may share it, processes may not.

    `most_bytes` is the size that a file may grow to. `sync` says when what was written is forced
    to the disk: at every "line", which costs what the disk takes, or at "rotation", and when the
    log is closed. A crash of the process loses nothing either way; one of the machine may lose what
    the system had not written yet, and the chain then goes on from the last line that is there.
    `clock` gives nanoseconds since 1970. The same `secret` opens a log again: it may be the one
    that draws are keyed with.

    What stands at `path` is continued. Raises `InputError` for what is no audit log or of another
    secret, where another process has it open, and where nothing can be written.

    Once open it never raises. A decision that cannot be recorded, as the disk is full, is counted
    in `lost`, and `fault` says why; a second later at the earliest it is tried again, and the next
    line that gets through says how many are missing before it.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        secret: bytes | None = None,
        most_bytes: int | None = None,
        sync: str = "rotation",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if secret is not None and not (isinstance(secret, bytes) and secret):
            raise InputError(f"the secret is {type(secret).__name__}, expected bytes, at least one")
        if most_bytes is not None and most_bytes < 1:
            raise InputError(f"most_bytes: found {most_bytes}, expected a number from 1")
        if sync not in SYNCS:
            raise InputError(f"sync: found {sync!r}, expected one of {', '.join(SYNCS)}")
        self.path = Path(path).absolute()
        self.lost = 0
        self.fault: str | None = None
        self._key = mac_key(secret)
        self._most_bytes = most_bytes
        self._sync_lines = sync == "line"
        self._clock = clock
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._unsaid = 0  # lost ones that no line tells of yet
        self._again = 0  # not before, by the clock, a log that failed is tried again
        self._failed = False
        self._descriptor = -1
        self._claim = -1
        self._log, self._file, self._line, self._previous = secrets.token_hex(16), 0, -1, ""
        self._size = 0
        try:
            self._claim = _claimed(self.path)
            self._open()
        except OSError as error:
            self.close()
            raise InputError(f"{self.path}: cannot be written: {error.strerror or error}") from None
        except InputError:
            self.close()
            raise

    @property
    def anchor(self) -> str:
        """The SHA-256 of the last line: kept elsewhere, it shows whether the log was cut."""
        return self._previous

    def record(self, ruling: Any, turns: Sequence[Any]) -> bool:
        """Append a line about `ruling`, and return whether it is in the log; never raises.

        `turns` are those that it was made for, from `Guard.observed`: names of the scenario, none
        where there was no history. Nothing else is taken for turns, lest a text get into the log.
        """
        with self._lock:
            now = 0
            try:
                if os.getpid() != self._process:
                    raise OSError("this process is a fork of the one that opened the log")
                now = self._clock()
                if self._failed:
                    if now < self._again:
                        return self._miss()
                    self._recover(now)
                if self._most_bytes is not None and self._size >= self._most_bytes:
                    self._rotate(now)
                self._append(entry_of(ruling, turns), now)
            except Exception as error:  # a decision must not fail because it cannot be told
                self._fail(error, now)
                return self._miss()
            self._unsaid = 0
            return True

    def close(self) -> None:
        """Force what was written to the disk and close the log; what comes later is lost."""
        with self._lock:
            for descriptor in (self._descriptor, self._claim):
                if descriptor >= 0:
                    with contextlib.suppress(OSError):
                        os.fsync(descriptor)
                    os.close(descriptor)
            self._descriptor = self._claim = -1

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _fail(self, error: Exception, now: int) -> None:
        self.fault = f"{type(error).__name__}: {error}"
        self._failed = True
        self._again = now + RETRY

    def _miss(self) -> bool:
        self.lost += 1
        self._unsaid += 1
        return False

    def _append(self, entry: dict[str, Any], now: int) -> None:
        if self._unsaid:
            entry["lost"] = self._unsaid
        entry["line"] = self._line + 1
        entry["previous"] = self._previous
        entry["time"] = told_time(now)
        line = sealed(entry, self._key)
        written = os.write(self._descriptor, line + b"\n")
        if written <= len(line):
            raise OSError(f"only {written} of {len(line) + 1} bytes could be written")
        if self._sync_lines:
            os.fsync(self._descriptor)
        self._size += written
        self._line += 1
        self._previous = sha256(line)

    def _open(self) -> None:
        """Go on with what stands at the path, or start a log."""
        earlier = numbered(self.path)
        here = self.path.exists() and self.path.stat().st_size > 0
        last = self.path if here else earlier[-1] if earlier else None
        if last is None:
            self._start(None, self._clock())
            return
        header, end = _ends(last, self._key)
        self._log, self._file = header["log"], header["file"]
        self._line, self._previous = end.line, end.previous
        if not here:  # it was put aside, and then came the crash
            self._start(end.torn, self._clock())
            return
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND)
        self._size = os.fstat(self._descriptor).st_size
        if end.torn is not None:
            self._put_aside(end.torn, self._clock())

    def _recover(self, now: int) -> None:
        """Make the file one that can be appended to again, after something failed."""
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        if end > self._size:
            os.lseek(self._descriptor, self._size, os.SEEK_SET)
            rest = os.read(self._descriptor, end - self._size)
            self._put_aside(Torn(len(rest), sha256(rest)), now)
        self._failed = False

    def _rotate(self, now: int) -> None:
        """Begin the next file; if that fails this one grows on, and it is tried again later."""
        if now < self._again:
            return
        try:
            os.fsync(self._descriptor)
            self._put_aside(None, now)
        except OSError as error:
            self.fault = f"{type(error).__name__}: {error}"
            self._again = now + RETRY

    def _put_aside(self, torn: Torn | None, now: int) -> None:
        """Give the file its number, unless it is gone from the path already, and start the next."""
        if self.path.exists():
            aside = self.path.with_name(f"{self.path.name}.{self._file:06d}")
            if aside.exists():
                raise OSError(f"{aside} is there already")
            self.path.rename(aside)
        self._start(torn, now)

    def _start(self, torn: Torn | None, now: int) -> None:
        """Put a file with a header, whole or not at all, at the path."""
        header = {
            "schema": SCHEMA,
            "format": FORMAT,
            "log": self._log,
            "file": self._file + 1,
            "line": self._line + 1,
            "previous": self._previous or None,
            "time": told_time(now),
            "torn": None if torn is None else torn._asdict(),
        }
        line = sealed(header, self._key)
        beside = self.path.with_name(f".{self.path.name}.new")
        descriptor = os.open(beside, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            if os.write(descriptor, line + b"\n") <= len(line):
                raise OSError("the header could not be written")
            os.fsync(descriptor)
            beside.replace(self.path)
        except BaseException:
            os.close(descriptor)
            raise
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = descriptor
        self._file += 1
        self._line += 1
        self._previous = sha256(line)
        self._size = len(line) + 1
        with contextlib.suppress(OSError):
            _sync_folder(self.path.parent)


def entry_of(ruling: Any, turns: Sequence[Any]) -> dict[str, Any]:
    """Return what a line says about `ruling`, but for its place in the log."""
    decision = ruling.decision
    return {
        "arm": ruling.arm,
        "enforced": ruling.enforced,
        "history": _history(decision.key, turns),
        "id": ruling.id,
        "key": decision.key,
        "key_used": decision.key_used,
        "keyed": decision.keyed,
        "latency_ns": ruling.latency_ns,
        "mechanism": ruling.mechanism,
        "mode": ruling.mode,
        "probabilities": decision.probabilities,
        "reason": decision.reason,
        "revision": decision.revision,
        "rung": decision.rung,
        "scope": decision.scope,
        "sequence": ruling.sequence,
        "turn": ruling.turn,
        "u": decision.u,
        "verdict": decision.action,
    }


def _history(key: str | None, turns: Sequence[Any]) -> list[list[str | None]] | None:
    """Return the turns as lists, None where there are none."""
    if not turns:
        return None
    if key is None:
        turns = turns[-MOST_TURNS:]
    if not all(type(turn) is Turn for turn in turns):
        raise TypeError("found turns of other types, expected those of Guard.observed")
    return [list(turn if turn.response is not None else turn[:2]) for turn in turns]


# Lines.


def mac_key(secret: bytes | None) -> bytes | None:
    """Return the key of the codes of lines: one of its own, as `secret` also keys draws."""
    return None if secret is None else hmac.digest(secret, b"csa-games audit log", "sha256")


def sealed(entry: dict[str, Any], key: bytes | None) -> bytes:
    """Return the line of `entry`: canonical JSON, with a key its code as the last field."""
    body = _encode(entry).encode()
    if key is None:
        return body
    return b'%b,"mac":"%b"}' % (body[:-1], hmac.digest(key, body, "sha256").hex().encode())


def opened(line: bytes, key: bytes | None) -> dict[str, Any]:
    """Return the entry of a line; raises `LineError` for what `sealed` does not make.

    Without a key the code of a line, if it has one, is not checked.
    """
    try:
        entry = parse(line)
    except ValueError:
        raise LineError("is no line of JSON") from None
    if not isinstance(entry, dict):
        raise LineError("is no object of JSON")
    code = entry.pop("mac", None)
    body = canonical(entry)
    if code is None:
        if body != line:
            raise LineError("is not canonical JSON, which every line is as it is written")
        if key is not None:
            raise LineError("has no code, expected one made with the secret")
    else:
        if b'%b,"mac":%b}' % (body[:-1], canonical(code)) != line:
            raise LineError("is not canonical JSON with its code last")
        if key is not None:
            right = hmac.digest(key, body, "sha256").hex()
            if not (isinstance(code, str) and hmac.compare_digest(code.encode(), right.encode())):
                raise LineError(
                    "was not written with this secret: its code is not that of what it says"
                )
    if type(entry.get("line")) is not int or "previous" not in entry:
        raise LineError("has no number or no hash of the line before it")
    return entry


def is_header(entry: dict[str, Any]) -> bool:
    """Return whether a line begins a file."""
    return entry.get("schema") == SCHEMA


def checked_header(entry: dict[str, Any]) -> dict[str, Any]:
    """Return `entry`, the first line of a file; raises `LineError` if it is no header."""
    right = (
        is_header(entry)
        and entry.get("format") == FORMAT
        and isinstance(entry.get("log"), str)
        and type(entry.get("file")) is int
    )
    if not right:
        raise LineError(f"is not the header of a file of an audit log, {SCHEMA} format {FORMAT}")
    return entry


def told_time(nanoseconds: int) -> str:
    """Return a time in UTC, 2026-11-22T21:40:53.123456Z, of nanoseconds since 1970."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"


def numbered(path: Path) -> list[Path]:
    """Return the files of the log at `path` that were put aside, the oldest first."""
    pattern = re.compile(re.escape(path.name) + r"\.[0-9]{6,}")
    if not path.parent.is_dir():
        return []
    found = [other for other in path.parent.iterdir() if pattern.fullmatch(other.name)]
    return sorted(found, key=lambda other: int(other.name.rpartition(".")[2]))


class _End(NamedTuple):
    """Where a file ends: the number of its last line, its hash, and what follows it."""

    line: int
    previous: str
    torn: Torn | None


def _ends(path: Path, key: bytes | None) -> tuple[dict[str, Any], _End]:
    """Return the header of a file of a log, and how it ends.

    The last line is the last that can be read. Raises `InputError` where there is none, and for one
    of another secret.
    """
    with path.open("rb") as file:
        first = file.readline(MOST_LINE)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 2 * MOST_LINE))
        tail = file.read()
    try:
        header = checked_header(opened(first[:-1], None))
    except LineError as error:
        raise InputError(f"{path}: its first line {error}") from None
    end = len(tail)
    for begin, line in _backwards(tail):
        try:
            opened(line, None)
        except LineError:
            continue
        end = begin + len(line) + 1
        try:
            entry = opened(line, key)
        except LineError as error:
            raise InputError(
                f"{path}: its last line {error}; a log is continued with the secret that it was "
                "written with, and one that was changed is not continued"
            ) from None
        rest = tail[end:]
        torn = Torn(len(rest), sha256(rest)) if rest else None
        return header, _End(entry["line"], sha256(line), torn)
    raise InputError(f"{path}: found no line of an audit log in its last {end} bytes")


def _backwards(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of `data` that have an end, the last first, with where they begin."""
    end = data.rfind(b"\n")
    while end >= 0:
        begin = data.rfind(b"\n", 0, end) + 1
        yield begin, data[begin:end]
        end = begin - 1


def _claimed(path: Path) -> int:
    """Return the descriptor of a file beside `path` whose lock says that a process writes it.

    The system drops the lock when the process ends, however it does.
    """
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    if fcntl is not None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise InputError(
                f"{path}: is being written already; every process needs a log of its own"
            ) from None
    return descriptor


def _sync_folder(folder: Path) -> None:
    """Put the names in `folder` on the disk, where the system can (Windows cannot)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
