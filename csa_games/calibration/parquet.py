"""Logs in Parquet: a row per conversation, its `events` a list of structs.

Columns have the names of the fields of a line of JSON (`csa_games.calibration.log`). Others, texts
among them, are not even read. Needs pyarrow, the extra `parquet`.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from csa_games.calibration.log import Conversation, Event, Progress
from csa_games.errors import InputError
from csa_games.files import replacing

ROWS = 1000  # that are in memory at a time
BUFFER = 2**20  # bytes of a column that are read at a time, however large its row groups
LABELS = ("ask", "signal", "strategy", "reaction")


def rows(
    file: IO[bytes], name: str, size: int, progress: Progress | None = None
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yield (row number from 1, row) for every row of a Parquet file, a log of `size` bytes.

    A row with bytes that are no UTF-8 text is a sentence. In memory are `ROWS` rows, and nothing of
    the other columns. Raises `InputError` where pyarrow is not installed, for a file that is
    damaged, and for one without the columns of a log.
    """
    arrow, parquet = _pyarrow(name)
    number = 0
    try:
        # Without buffering ahead, so that row groups need not fit into memory.
        opened = parquet.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
        batches = opened.iter_batches(ROWS, columns=_columns(opened, name), use_threads=False)
        total = max(opened.metadata.num_rows, 1)
        for batch in batches:
            for row in _plain(batch):
                number += 1
                if isinstance(row, UnicodeDecodeError):
                    yield number, f"found byte {row.start} of a text that is not UTF-8"
                else:
                    yield number, row
            if progress is not None:
                progress(size * number // total, size)
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise InputError(
            f"{name}: damaged after row {number}, or no Parquet file ({first})"
        ) from None


def write_parquet(path: Path | str, conversations: Iterable[Conversation]) -> None:
    """Write a log in Parquet, without `fine` and `outcome`, which have no type of their own.

    It replaces what is there when all of it is written. The same conversations, written by the same
    pyarrow, give the same bytes.
    """
    arrow, parquet = _pyarrow(str(path))
    text = arrow.string()
    event = [("t", arrow.int64()), *((label, text) for label in LABELS)]
    schema = arrow.schema(
        [
            ("id", text),
            ("group", text),
            ("type", text),
            ("events", arrow.list_(arrow.struct(event))),
        ]
    )
    rest = (one.model_dump(include={*schema.names}) for one in conversations)
    with replacing(path) as file, parquet.ParquetWriter(file, schema) as writer:
        while some := list(islice(rest, 20 * ROWS)):
            writer.write_table(arrow.Table.from_pylist(some, schema))


def _pyarrow(name: str) -> tuple[Any, Any]:
    """Return the modules, which few need."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise InputError(
            f"{name}: is a Parquet file, but the package pyarrow is not installed; "
            "pip install 'csa-games[parquet]' adds it"
        ) from None
    return pyarrow, pyarrow.parquet


def _columns(opened: Any, name: str) -> list[str]:
    """Return the paths of the columns that a log has: `id`, or `events.list.element.ask`."""
    paths = [opened.schema.column(k).path for k in range(len(opened.schema))]
    found = sorted({path.partition(".")[0] for path in paths})
    if not {"id", "events"} <= set(found):
        listed = ", ".join(found[:12]) + (", ..." if len(found) > 12 else "")
        raise InputError(f"{name}: found the columns {listed or 'none'}, expected id and events")
    known = [path for path in paths if _known(path.split("."))]
    if not any(path.partition(".")[0] == "events" for path in known):
        fields = ", ".join(Event.model_fields)
        raise InputError(f"{name}: events: found none of the fields {fields}, expected some")
    return known


def _known(path: list[str]) -> bool:
    """Return whether a log has such a column; what is no list of structs is told row by row."""
    if path[0] != "events" or len(path) < 4:
        return path[0] in Conversation.model_fields
    return path[3] in Event.model_fields


def _plain(batch: Any) -> Iterator[dict[str, Any] | UnicodeDecodeError]:
    """Yield the rows of a batch as Python has them."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:  # one of them is not text
        for k in range(len(batch)):
            try:
                yield from batch.slice(k, 1).to_pylist()
            except UnicodeDecodeError as error:
                yield error
