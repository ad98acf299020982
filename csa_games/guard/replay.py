"""Replay an audit log: check its chain, and compute every decision in it again.

Read line by line, so that a log of any size needs the memory of one line.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from csa_games.errors import InputError
from csa_games.guard.audit import (
    MOST_LINE,
    LineError,
    checked_header,
    is_header,
    mac_key,
    opened,
)
from csa_games.guard.bundle import expiry, pairs, sha256
from csa_games.guard.decide import ERROR, STALE, Guard
from csa_games.guard.deployment import PASS, SHADOW
from csa_games.guard.ladder import UNKNOWN
from csa_games.guard.sampling import pick

TOLD = 20  # faults told in full; further ones are counted
SLACK = 60.0  # seconds around the end of a bundle's time in which either reason is right
OFTEN = 500  # lines between two reports of progress


class Fault(NamedTuple):
    """What is wrong with a line, from 1, of a file; line 0 is the file itself."""

    file: str
    line: int
    says: str

    def __str__(self) -> str:
        """Return the fault as a sentence."""
        return f"{self.file}: {f'line {self.line}: ' if self.line else ''}{self.says}"


@dataclass(frozen=True)
class Chain:
    """What one log holds: files, decisions, and its `anchor`, the hash of its last line.

    `torn` are the bytes that crashes left at the ends of files, `lost` the decisions that the log
    itself says it could not record.
    """

    log: str
    files: int
    decisions: int
    begins: str
    anchor: str
    torn: int
    lost: int


@dataclass(frozen=True)
class Replayed:
    """What `replay` found.

    `faults` are the first of `wrong` things; `gaps` say what could not be checked. `recomputed` of
    the `decisions` were computed again, bit for bit. `counts` are decisions by verdict, by reason
    and by revision.
    """

    logs: tuple[Chain, ...]
    decisions: int
    recomputed: int
    wrong: int
    faults: tuple[Fault, ...]
    gaps: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong; what could not be checked is in `gaps`."""
        return self.wrong == 0

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        faults = [fault._asdict() for fault in self.faults]
        return {"passed": self.passed, **asdict(self), "faults": faults}


def replay(
    paths: Iterable[Path | str],
    guards: Iterable[Guard],
    secret: bytes | None = None,
    *,
    anchors: Iterable[str] = (),
    seen: Callable[[int, int], object] = lambda done, size: None,
) -> Replayed:
    """Return what is wrong with the logs in the files `paths`, in any order, and what they hold.

    Every line is checked to be one that the log wrote, at its place in the chain, and every
    decision is computed again with that of the `guards` whose revision it names: state, row, rung,
    probabilities, draw, verdict, reason and, by the mode, what was enforced. `secret` is that of
    the log, and of the draws of guards without one: with it, every line must have its code. Each of
    `anchors`, kept from earlier, must be the hash of a line. `seen` is told how many bytes have
    been read, and of how many. Raises `InputError` for a file that cannot be read.
    """
    known = {guard.revision: replace(guard, secret=guard.secret or secret) for guard in guards}
    return _Replay(known, mac_key(secret)).run([Path(path) for path in paths], set(anchors), seen)


def entries(paths: Iterable[Path | str]) -> Iterator[dict[str, Any]]:
    """Yield what the decisions in the files of logs say, several logs merged by time.

    Nothing is checked, which is what `replay` is for: what is no line of a log is left out.
    """
    logs: dict[str, list[_File]] = {}
    for file in _ordered([Path(path) for path in paths], lambda path, says: None):
        logs.setdefault(file.header["log"], []).append(file)

    def decisions(files: Sequence[_File]) -> Iterator[dict[str, Any]]:
        for file in files:
            for _, line, _ in _lines(file.path, None):
                try:
                    entry = opened(line, None)
                except LineError:
                    continue
                if not is_header(entry):
                    yield entry

    return heapq.merge(*map(decisions, logs.values()), key=lambda entry: str(entry.get("time")))


class _File(NamedTuple):
    path: Path
    header: dict[str, Any]
    size: int


@dataclass
class _Place:
    """How far the chain of a log has been followed: the line expected next, and the hash before it.

    The hash is None where the line before cannot tell it.
    """

    log: str
    begins: str
    files: int = 0
    decisions: int = 0
    line: int = 0
    before: str | None = None
    anchor: str = ""
    torn: int = 0
    lost: int = 0

    def chain(self) -> Chain:
        return Chain(
            log=self.log,
            files=self.files,
            decisions=self.decisions,
            begins=self.begins,
            anchor=self.anchor,
            torn=self.torn,
            lost=self.lost,
        )


@dataclass
class _Replay:
    """A replay under way."""

    guards: Mapping[str, Guard]
    key: bytes | None
    faults: list[Fault] = field(default_factory=list)
    wrong: int = 0
    decisions: int = 0
    recomputed: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    undrawn: int = 0
    torn: list[str] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(
        default_factory=lambda: {what: Counter() for what in ("verdict", "reason", "revision")}
    )

    def run(
        self, paths: Sequence[Path], anchors: set[str], seen: Callable[[int, int], object]
    ) -> Replayed:
        files = _ordered(paths, lambda path, says: self._wrong(path, 0, says))
        total = sum(file.size for file in files)
        missing, done, chains = set(anchors), 0, []
        for log, group in groupby(files, key=lambda file: str(file.header["log"])):
            own = list(group)
            place = _Place(log, str(own[0].header.get("time")))
            for file, following in pairs(own, [*own[1:], None]):
                self._begin(file, place)
                torn = None if following is None else following.header.get("torn")
                end = self._end(file, torn, place)
                for number, line, whole in _lines(file.path, end):
                    done += len(line) + 1
                    if whole:
                        self._line(file, number, line, place)
                        missing.discard(place.anchor)
                    else:
                        self._cut(file, number, len(line), following is None, place)
                    if number % OFTEN == 0:
                        seen(done, total)
            chains.append(place.chain())
        seen(total, total)
        for anchor in sorted(missing):
            found = ", ".join(chain.anchor for chain in chains) or "none"
            self._wrong(
                Path("anchor"),
                0,
                f"no line has the hash {anchor}: lines were cut off, or the log was written anew; "
                f"the last lines have the hashes {found}",
            )
        return Replayed(
            logs=tuple(chains),
            decisions=self.decisions,
            recomputed=self.recomputed,
            wrong=self.wrong,
            faults=tuple(self.faults),
            gaps=tuple(self._gaps()),
            counts={what: dict(sorted(count.items())) for what, count in self.counts.items()},
        )

    def _gaps(self) -> Iterator[str]:
        for revision, count in sorted(self.unknown.items()):
            if not revision:
                yield (
                    f"{count} decisions were made without a bundle: they are the host's own "
                    "constant response, which only its configuration can confirm"
                )
                continue
            yield (
                f"{count} decisions were made under the revision {revision}, whose bundle is not "
                "at hand; they were not computed again"
            )
        if self.undrawn:
            yield (
                f"{self.undrawn} draws are keyed with a secret that was not given; their numbers "
                "were taken as they are"
            )
        yield from self.torn

    def _wrong(self, path: Path, line: int, says: str) -> None:
        self.wrong += 1
        if len(self.faults) < TOLD:
            self.faults.append(Fault(str(path), line, says))

    def _end(self, file: _File, torn: Any, place: _Place) -> int:
        """Return where the lines of a file end, by what the next file says of it."""
        if torn is None:
            return file.size
        length = torn.get("bytes") if isinstance(torn, dict) else None
        if type(length) is not int or not 0 < length < file.size:
            self._wrong(file.path, 0, "the next file says of its end what cannot be")
            return file.size
        place.torn += length
        digest = hashlib.sha256()
        with file.path.open("rb") as stream:
            stream.seek(file.size - length)
            for part in iter(lambda: stream.read(MOST_LINE), b""):
                digest.update(part)
        if digest.hexdigest() != torn.get("sha256"):
            self._wrong(
                file.path,
                0,
                f"its last {length} bytes have the SHA-256 {digest.hexdigest()}, the next file "
                f"expects the torn line {torn.get('sha256')}",
            )
        return file.size - length

    def _begin(self, file: _File, place: _Place) -> None:
        place.files += 1
        found = file.header["file"]
        if found != place.files:
            self._wrong(
                file.path,
                1,
                f"begins the file {found} of the log, expected the file {place.files}: "
                + ("it is given twice" if found < place.files else "what is between is missing"),
            )
            place.files = found

    def _cut(self, file: _File, number: int, length: int, last: bool, place: _Place) -> None:
        if last:  # as a crash leaves it, before the log is opened again
            place.torn += length
            self.torn.append(
                f"{file.path}: line {number}: the log ends in the middle of a line, {length} bytes "
                "of it, as a crash leaves it, or a cut"
            )
        else:
            self._wrong(file.path, number, "ends in the middle of a line: the file was cut")

    def _line(self, file: _File, number: int, line: bytes, place: _Place) -> None:
        """Check a line at its place in the chain, and the decision in it."""
        trusted = True
        try:
            entry = opened(line, self.key)
        except LineError as error:
            self._wrong(file.path, number, str(error))
            trusted = False
            try:
                entry = opened(line, None)
            except LineError:  # it is some line: which, nobody can tell
                place.line += 1
                place.before = None
                return
        found, before = entry["line"], entry["previous"]
        if found < place.line:
            self._wrong(
                file.path,
                number,
                f"is the line {found} of the log, expected the line {place.line}: it is repeated "
                "or out of order",
            )
            return
        if found > place.line:
            self._wrong(
                file.path,
                number,
                f"is the line {found} of the log, expected the line {place.line}: what is between "
                "is missing or comes later",
            )
        elif place.before is not None and before != place.before:
            self._wrong(
                file.path,
                number,
                f"says that the line before it has the hash {before}, found {place.before}: that "
                "line was changed, or this one",
            )
        elif found == 0 and before is not None:
            self._wrong(file.path, number, f"is the first, but says that {before} came before it")
        place.line = found + 1
        place.anchor = sha256(line)
        place.before = place.anchor if trusted else None
        if is_header(entry):
            if number > 1:
                self._wrong(file.path, number, "is the header of another file")
        elif number == 1:
            pass  # `_ordered` has told
        else:
            self._decision(file, number, entry, place)

    def _decision(self, file: _File, number: int, entry: dict[str, Any], place: _Place) -> None:
        self.decisions += 1
        place.decisions += 1
        lost = entry.get("lost", 0)
        place.lost += lost if type(lost) is int else 0
        for what, count in self.counts.items():
            count[str(entry.get(what))] += 1
        revision = entry.get("revision")
        guard = self.guards.get(revision) if isinstance(revision, str) else None
        if guard is None:
            self.unknown[str(revision)] += 1
            return
        undrawn = entry.get("keyed") is True and guard.secret is None
        self.undrawn += undrawn
        for says in _differences(guard, entry, undrawn):
            self._wrong(file.path, number, says)
        self.recomputed += 1


def _differences(guard: Guard, entry: Mapping[str, Any], undrawn: bool) -> Iterator[str]:
    """Yield where `entry` is not what the guard decides; `undrawn` if its draw is believed."""
    reason, u = entry.get("reason"), entry.get("u")
    if u == 0.0 and reason != ERROR:  # no draw in 10^19 is 0
        guard = replace(guard, argmax=True)
    # Whatever an error was, its answer is that to no history.
    history = None if reason == ERROR else _history(entry, guard.terms.turns)
    decision = guard.decide_in(history, entry.get("scope"))
    verdict = decision.action
    drawn = decision.u
    if undrawn and isinstance(u, float) and 0 <= u < 1:
        names = list(decision.probabilities)
        drawn, verdict = u, names[pick(list(decision.probabilities.values()), u)]
    expected: dict[str, Any] = {
        "key": decision.key,
        "key_used": decision.key_used,
        "rung": decision.rung,
        "probabilities": decision.probabilities,
        "u": drawn,
        "verdict": verdict,
        "reason": _reason(guard, entry, decision.reason),
        "keyed": undrawn or decision.keyed,
        "sequence": guard.terms.sequence,
    }
    if entry.get("mode") == SHADOW:
        expected |= {"enforced": PASS, "mechanism": PASS}
    elif reason != ERROR:  # then the host's own rule may hold
        expected |= {"enforced": verdict, "mechanism": guard.responses[verdict]["mechanism"]}
    for what, right in expected.items():
        found = entry.get(what, "nothing")
        if found != right or type(found) is not type(right):
            yield f"{what}: found {found!r}, computed again it is {right!r}"


def _reason(guard: Guard, entry: Mapping[str, Any], reason: str) -> str:
    """Return the reason that a deployment gave: the row's own, or that the bundle is past its time.

    The line is a little later than the decision, whose clock it has not seen.
    """
    not_after, found = guard.terms.not_after, entry.get("reason")
    if not_after is None or reason == ERROR:
        return reason
    try:
        time = datetime.strptime(str(entry.get("time")), "%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError:
        return reason
    past = (time.replace(tzinfo=timezone.utc) - expiry(not_after)).total_seconds()  # noqa: UP017
    near = -SLACK <= past <= SLACK
    return STALE if (past >= 0 and not near) or (near and found == STALE) else reason


def _history(entry: Mapping[str, Any], turns: int) -> Any:
    """Return the history that was decided, with unknown turns for those that the log left out."""
    history, turn = entry.get("history"), entry.get("turn")
    if not isinstance(history, list) or type(turn) is not int or entry.get("key") is not None:
        return history
    left_out = min(turn - len(history), turns)  # more make no difference
    return [[None, None, UNKNOWN]] * left_out + history


def _ordered(paths: Sequence[Path], wrong: Callable[[Path, str], object]) -> list[_File]:
    """Return the files of logs in their order; of those that are none, `wrong` is told why."""
    files = []
    for path in paths:
        try:
            with path.open("rb") as stream:
                first = stream.readline(MOST_LINE)
                header = checked_header(opened(first[:-1], None))
                files.append(_File(path, header, stream.seek(0, 2)))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
        except LineError as error:
            wrong(path, f"nothing in it was checked: its first line {error}")
    return sorted(files, key=lambda file: (file.header["log"], file.header["file"]))


def _lines(path: Path, end: int | None) -> Iterator[tuple[int, bytes, bool]]:
    """Yield each line of a file up to `end`: its number from 1, its bytes, and whether it ends.

    Of a line that is longer than any of a log only the beginning is told.
    """
    with path.open("rb") as stream:
        number, at = 0, 0
        while end is None or at < end:
            line = stream.readline(MOST_LINE + 1 if end is None else min(MOST_LINE + 1, end - at))
            if not line:
                return
            number += 1
            at += len(line)
            whole = line.endswith(b"\n")
            if not whole and len(line) > MOST_LINE:
                skipped, whole = _skip(stream)
                at += skipped
            yield number, line[:-1] if line.endswith(b"\n") else line, whole


def _skip(stream: BinaryIO) -> tuple[int, bool]:
    """Read on to the end of a line, and return how far that was and whether it had an end."""
    skipped = 0
    while True:
        part = stream.readline(MOST_LINE)
        skipped += len(part)
        if not part or part.endswith(b"\n"):
            return skipped, bool(part)
