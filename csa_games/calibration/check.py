"""What is in a log: counts, what is missing, what is wrong; and the log counted on the way."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from csa_games.calibration import codes
from csa_games.calibration.codes import Coder, Codes, Fault
from csa_games.calibration.counts import Counts, closed, count, merged, nothing
from csa_games.calibration.log import Conversation, Progress, lines
from csa_games.calibration.rows import Layout
from csa_games.errors import InputError

PIECE = 20_000  # conversations that are counted at a time
MOST_FAULTS = 20  # further ones are counted, not listed


@dataclass(frozen=True)
class Survey:
    """What is in a log: how much of what, how often nothing was recorded, what is wrong."""

    conversations: int
    events: int
    missing: dict[str, int]  # field -> events, or conversations, without it
    faults: tuple[str, ...]  # the first ones, file and line named
    more_faults: int
    unknown: dict[str, dict[str, int]]  # field -> label that nothing maps -> times
    repeated: int  # conversations with the id of an earlier one


@dataclass
class _Found:
    """What `surveyed` has found so far."""

    file: str = ""
    conversations: int = 0
    events: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    more_faults: int = 0
    unknown: dict[str, Counter[str]] = field(default_factory=dict)
    ids: set[int] = field(default_factory=set)

    def fault(self, sentence: str) -> None:
        """Note a fault, or that there are more than are listed."""
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(sentence)
        else:
            self.more_faults += 1


def surveyed(
    paths: Sequence[Path | str],
    coder: Coder,
    layout: Layout,
    progress: Progress | None = None,
    each: Callable[[Codes], None] | None = None,
    keep: Callable[[Conversation], bool] | None = None,
) -> tuple[Survey, Counts]:
    """Return what is in the logs at `paths`, and their counts, closed; `each` takes the pieces.

    With `keep`, conversations that it says no to are passed over.

    One pass, in the memory of `PIECE` conversations. What is wrong is not counted, but for
    conversations with a label that nothing maps: all else in them is.
    """
    found, total = _Found(), nothing(layout)
    for path in paths:
        for piece in pieces(path, coder, found, progress, keep):
            total = merged(total, count(piece, layout))
            if each is not None:
                each(piece)
    survey = Survey(
        found.conversations,
        found.events,
        {name: found.missing[name] for name in codes.FIELDS},
        tuple(found.faults),
        found.more_faults,
        {name: dict(labels.most_common()) for name, labels in found.unknown.items()},
        found.conversations - len(found.ids),
    )
    return survey, closed(total)


def check(survey: Survey) -> None:
    """Raise `InputError` with the faults of a survey, if it has any."""
    _raise(survey.faults, survey.more_faults)


def sound(
    paths: Sequence[Path | str], coder: Coder, progress: Progress | None = None
) -> Iterator[tuple[list[Conversation], Codes]]:
    """Yield the logs at `paths` piece by piece, as they are and as numbers.

    Raises `InputError` with all their faults once they are read, and if they hold no conversation.
    """
    found = _Found()
    for path in paths:
        found.file = str(path)
        stream = _sound(lines(path, progress), found, None)
        while piece := list(islice(stream, PIECE)):
            numbers, faults = codes.encode(coder, piece)
            for fault in faults:
                _note(found, fault)
            found.conversations += len(piece)
            yield [one for _, one in piece], numbers
    _raise(found.faults, found.more_faults)
    if not found.conversations:
        raise InputError(f"found no conversation in {', '.join(map(str, paths))}, expected some")


def _raise(faults: Sequence[str], more: int) -> None:
    if faults:
        raise InputError(*faults, *([f"and {more:,} further faults"] if more else []))


def pieces(
    path: Path | str,
    coder: Coder,
    found: _Found,
    progress: Progress | None,
    keep: Callable[[Conversation], bool] | None = None,
) -> Iterator[Codes]:
    """Yield the log at `path` as numbers, piece by piece, noting on the way what is in it."""
    found.file = str(path)
    stream = _sound(lines(path, progress), found, keep)
    while True:
        piece, faults = codes.encode(coder, islice(stream, PIECE))
        if not len(piece.intent):
            return
        for fault in faults:
            _note(found, fault)
        found.conversations += len(piece.intent)
        found.events += len(piece.turn)
        counted = zip(
            codes.FIELDS,
            (piece.intent, piece.ask, piece.signal, piece.response, piece.reaction),
            strict=True,
        )
        for name, number in counted:
            found.missing[name] += int((number < 0).sum())
        yield piece


def _sound(
    numbered: Iterable[tuple[int, Conversation | str]],
    found: _Found,
    keep: Callable[[Conversation], bool] | None,
) -> Iterator[tuple[int, Conversation]]:
    """Yield the lines that hold a conversation to keep, and note the faults of the others."""
    for line, one in numbered:
        if isinstance(one, str):
            found.fault(one)
        elif keep is None or keep(one):
            found.ids.add(hash(one.id))
            yield line, one


def _note(found: _Found, fault: Fault) -> None:
    """Note a fault; of a label that nothing maps, only where it is first."""
    if fault.label:
        labels = found.unknown.setdefault(fault.field, Counter())
        labels[fault.label] += 1
        if labels[fault.label] > 1:
            return
    found.fault(f"{found.file}, line {fault.line}: {fault.sentence}")
