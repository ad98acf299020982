"""The log format: one JSON object per conversation and line, labels and numbers only.

    {"id": "c1", "group": "model-a", "type": "benign", "events": [
        {"t": 0, "ask": "plain", "signal": "clear", "strategy": "comply", "reaction": "leave"}]}

An event is one turn: what the user asked, what the classifier said, how the assistant answered and
what the user did next. All labels are those of the source; a mapping file gives them the names of a
scenario. Whatever else a line holds is skipped and not kept, and a label longer than
`LONGEST_LABEL` is an error, so that no text of a conversation slips in. Parquet with columns of
these names is read as well (`csa_games.calibration.parquet`): its rows count as lines.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from csa_games.errors import InputError
from csa_games.files import replacing
from csa_games.scenario_errors import Expected, sentences, shown

LONGEST_LABEL = 200  # characters
LONGEST_LINE = 10_000_000  # bytes
MOST_EVENTS = 10_000
MOST_COVARIATES = 100

Label = Annotated[
    str,
    Field(min_length=1, max_length=LONGEST_LABEL),
    Expected(f"a label of 1 to {LONGEST_LABEL} characters: logs hold no text"),
]

Covariates = Annotated[
    dict[
        Label,
        Annotated[
            bool | FiniteFloat | Label,
            Expected(f"a number, true or false, or a label of 1 to {LONGEST_LABEL} characters"),
        ],
    ],
    Field(max_length=MOST_COVARIATES),
]

Progress = Callable[[int, int], None]
"""Takes how many bytes of a file have been read, and how many there are."""


class _Part(BaseModel):
    # Strict: nothing is coerced. What a source keeps besides is skipped.
    model_config = ConfigDict(
        extra="ignore", frozen=True, strict=True, use_attribute_docstrings=True
    )


class Event(_Part):
    """A turn of a conversation; null, or left out, is whatever was not recorded."""

    t: Annotated[int, Field(ge=0)] | None = None
    """The turn, for logs with gaps: where t does not follow that of the event before, nothing is
    taken from one event to the other."""
    ask: Label | None = None
    """What the user asked; where it is null, the reaction of the event before."""
    signal: Label | None = None
    """What the classifier said of the ask."""
    strategy: Label | None = None
    """How the assistant answered; null if the ask ended the conversation."""
    fine: JsonValue = None
    """A finer label or score of the answer."""
    reaction: Label | None = None
    """What the user did next; where it is null, the ask of the next event."""
    propensity: Annotated[float, Field(gt=0, le=1)] | None = None
    """With what probability the assistant answered as it did, where it drew its answers."""
    covariates: Covariates | None = None
    """Numbers or labels that were known before the assistant answered, by name."""


class Conversation(_Part):
    """A conversation, as one line of a log holds it."""

    id: Annotated[str, Field(max_length=LONGEST_LABEL)]
    """What the source calls the conversation."""
    group: Label | None = None
    """What conversations have in common that makes them depend on each other: a model, a prompt."""
    type: Label | None = None
    """The intent of the user, where it is known."""
    events: Annotated[tuple[Event, ...], Field(max_length=MOST_EVENTS)]
    """The turns in order."""
    outcome: JsonValue = None
    """What came of it, as the source has it."""
    covariates: Covariates | None = None
    """Numbers or labels that were known before the conversation began, by name."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a line of a log."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Conversation.model_json_schema(),
    }


def read(path: Path | str) -> Iterator[Conversation]:
    """Yield the conversations of the log at `path`; raise `InputError` at the first wrong line."""
    for _, found in lines(path):
        if isinstance(found, str):
            raise InputError(found)
        yield found


def lines(
    path: Path | str, progress: Progress | None = None
) -> Iterator[tuple[int, Conversation | str]]:
    """Yield (line number, conversation) for every line of a log that is not blank.

    For a line that holds no conversation its fault is yielded instead, a sentence. Gzip and Parquet
    are told by content. One line is in memory at a time, or some rows. Raises `InputError` for a
    file that cannot be read to its end, or is no text in UTF-8 from the first byte on.
    """
    name, number = str(path), 0
    try:
        with open(path, "rb") as raw, _unpacked(raw) as stream:
            size = Path(path).stat().st_size
            if stream.peek(4)[:4] == b"PAR1":
                yield from _rows(stream, raw, name, size, progress)
                return
            _check_beginning(stream.peek(4)[:4], name)
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if len(line) > LONGEST_LINE:
                    raise InputError(
                        f"{name}, line {number}: found more than {LONGEST_LINE:,} bytes, expected "
                        "one conversation per line (JSON lines)"
                    )
                if line.strip():
                    yield number, _conversation(line, f"{name}, line {number}")
                if progress is not None and number % 5000 == 0:
                    progress(raw.tell(), size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{name}: broken off or damaged after line {number} ({error})") from None
    except OSError as error:
        raise InputError(
            f"{name}: cannot be read ({error.strerror or error}), expected a log"
        ) from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name!r}: is not the name of a file") from None


def write_jsonl(path: Path | str, conversations: Iterable[Conversation]) -> None:
    """Write a log, with gzip if the name ends in .gz; what is not recorded is left out.

    It replaces what is there when all of it is written. The same conversations give the same bytes.
    """
    with replacing(path) as file:
        packed = gzip.GzipFile("", "wb", 6, file, mtime=0) if str(path).endswith(".gz") else None
        for conversation in conversations:
            line = conversation.model_dump_json(exclude_none=True).encode() + b"\n"
            (packed or file).write(line)
        if packed is not None:
            packed.close()


def _unpacked(raw: IO[bytes]) -> BufferedReader:
    """Return what is in `raw`, unpacked if it is gzip."""
    reader = cast("BufferedReader", raw)
    if reader.peek(2)[:2] == b"\x1f\x8b":
        return BufferedReader(cast("Any", gzip.GzipFile(fileobj=reader)), 1 << 17)
    return reader


def _check_beginning(first: bytes, name: str) -> None:
    """Raise `InputError` for what is no text in UTF-8 at all."""
    if first[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in first:
        raise InputError(f"{name}: found text in UTF-16 or binary data, expected JSON in UTF-8")


def _rows(
    stream: BufferedReader, raw: IO[bytes], name: str, size: int, progress: Progress | None
) -> Iterator[tuple[int, Conversation | str]]:
    """Yield (row number, conversation) for every row of a Parquet file, as `lines` does."""
    from csa_games.calibration.parquet import rows

    if stream is not raw:
        raise InputError(f"{name}: found a Parquet file within gzip, expected it unpacked")
    for number, row in rows(raw, name, size, progress):
        where = f"{name}, row {number}"
        if isinstance(row, str):
            yield number, f"{where}: {row}"
            continue
        events = row["events"]
        try:
            # A list is no tuple to a strict model, unless it comes as JSON.
            strict = row | {"events": tuple(events)} if isinstance(events, list) else row
            yield number, Conversation.model_validate(strict)
        except ValidationError as error:
            yield number, _fault(error, row, where)


def _conversation(line: bytes, where: str) -> Conversation | str:
    """Return the conversation in `line`, or what is wrong with it."""
    try:
        return Conversation.model_validate_json(line)
    except ValidationError as error:
        try:
            content = json.loads(line)
        except UnicodeDecodeError as fault:
            return f"{where}: found byte {fault.start} that is not UTF-8 text, expected JSON"
        except (ValueError, RecursionError) as fault:
            return f"{where}: not JSON: {fault}"
        if not isinstance(content, dict):
            return f"{where}: found {shown(content)}, expected a JSON object, a conversation"
        return _fault(error, content, where)


def _fault(error: ValidationError, content: object, where: str) -> str:
    first, *more = list(sentences(error, content, Conversation))
    return f"{where}: {first}" + (f" (and {len(more)} further faults)" if more else "")
