"""The rows of a bundle: two tables in one SQLite file, and beside it what they play.

    assistant   a row per information set, and coarser rows whose keys begin with "~"
    user        the policy of each strategic intent at each of its information sets, so that the
                certificate can be recomputed; it serves nothing

SQLite keeps a float64 bit for bit and has a missing value for what is undefined, such as the
posterior where nobody can be. Its files name the version that wrote them, so `digest`, over the
ordered rows, is what "the same policy" means. Deciding reads the other file alone
(`csa_games.guard.plays`), which repeats of the assistant's rows what they play.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, Union

from csa_games.guard.bundle import PLAYS, ROWS, Terms, pairs
from csa_games.guard.content import BundleError, Content, OnDisk
from csa_games.guard.plays import NOISE, REFINED, TRUST, Plays, digest_of, pack_plays

CACHED = 8 * 2**20
"""What is kept in memory of a file that is read in place, or written, in bytes."""

REMEMBERED = 4096
"""The rows that a store remembers, those that were asked for last; some 2 MiB."""

MISSING = ("own_reach", "margin", "loss", "posterior_", "value_")
"""How columns begin whose cells may be missing."""

Cell = Union[str, float, None]  # noqa: UP007 - evaluated when imported, also by Python 3.9


class Row(NamedTuple):
    """A row of the table. What is None is undefined there.

    `probabilities` and `values` are by response, `posterior` by intent. A coarser row stands for
    many states: its numbers are means over them, its `reach` their sum, and it has no `own_reach`.
    `loss` is what the row gives away when hands tremble, None where nobody examined the policy.
    """

    key: str
    trust: str
    own_reach: float | None
    reach: float
    margin: float | None
    loss: float | None
    probabilities: tuple[float, ...]
    posterior: tuple[float, ...] | None
    values: tuple[float, ...] | None


def margin_of(values: Sequence[float | None] | None) -> float | None:
    """Return how far the best response is above the second best; None where there are not two."""
    found = [value for value in values or () if value is not None]  # some are, in damaged rows
    if len(found) < 2:
        return None
    second, best = sorted(found)[-2:]
    return best - second


def assistant_columns(responses: Iterable[str], intents: Iterable[str]) -> list[str]:
    """Return the names of the columns of the assistant's table: the cells of a row, in order."""
    responses = list(responses)
    return [
        *("key", "trust", "own_reach", "reach", "margin", "loss"),
        *("probability_" + name for name in responses),
        *("posterior_" + name for name in intents),
        *("value_" + name for name in responses),
    ]


def user_columns(asks: Iterable[str]) -> list[str]:
    """Return the names of the columns of the user's table."""
    return ["key", *("probability_" + name for name in asks)]


def pack(
    folder: Path,
    terms: Terms,
    assistant: Iterable[Sequence[Cell]],
    user: Iterable[Sequence[Cell]],
) -> None:
    """Write these rows, each table's in the order of their keys, and their plays, to `folder`.

    The same rows and SQLite give the same bytes. Rows are taken one by one, and what is held of
    them is `CACHED` bytes: SQLite orders plays in a temporary file, of their size, that goes
    when the process does. Raises `sqlite3.Error` for keys that are there twice, and `ValueError`
    for such as are out of order.
    """
    with closing(sqlite3.connect(folder / ROWS, isolation_level=None)) as connection:
        # Whoever is interrupted starts anew, so nothing is kept to undo or to survive a power cut.
        for setting in ("page_size = 4096", "journal_mode = OFF", "synchronous = OFF"):
            connection.execute(f"PRAGMA {setting}")
        connection.execute(f"PRAGMA cache_size = -{CACHED // 1024}")
        for (table, statement), rows in pairs(_schema(terms).items(), (assistant, user)):
            connection.execute(statement)
            marks = ", ".join("?" * len(_columns(terms)[table]))
            connection.execute("BEGIN")
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", _ordered(rows))
            connection.execute("COMMIT")
        with (folder / PLAYS).open("wb") as file:
            pack_plays(file, len(terms.responses), *_plays(connection, terms))


def _plays(connection: sqlite3.Connection, terms: Terms) -> tuple[int, Iterable[Sequence[Cell]]]:
    """Return how many rows there are, and what `pack_plays` needs of each, in its order."""
    connection.create_function("digest_of", 1, digest_of)
    (count,) = connection.execute("SELECT count(*) FROM assistant").fetchone()
    shares = ", ".join(f"probability_{name}" for name in terms.responses)
    query = f"SELECT digest_of(key), trust, own_reach, {shares} FROM assistant ORDER BY 1"
    return count, connection.execute(query)


def _ordered(rows: Iterable[Sequence[Cell]]) -> Iterator[Sequence[Cell]]:
    """Yield `rows`; in the order of their keys they fill pages one after the other."""
    before = ""
    for cells in rows:
        key = str(cells[0])
        if key < before:
            raise ValueError(f"found the row {key} after {before}, expected rows ordered by key")
        before = key
        yield cells


class Store:
    """The rows in `content`, a SQLite file, and their `plays`; safe to share between threads.

    A file may say anything while its hash is right. A row with a cell that is not of its type, or
    no finite number, is damaged: by its key it is not found, though `holds` knows of it. That
    `plays` and rows say the same is for `csa_games.guard.verify` to find out: `play` knows nothing
    of the rows, so that `get` may lack one that it plays.

    Bytes are copied; `OnDisk` is read in place, as `csa_games.guard.content` says, through a page
    cache of `CACHED` bytes. `play(key)` is what the assistant's row of `key` plays, or None; it
    remembers, because conversations start in few states. Raises `BundleError` when the files are
    not such as `pack` writes.
    """

    def __init__(self, content: Content, plays: Content, terms: Terms) -> None:
        self._terms = terms
        if len(content) == 0:
            raise BundleError(f"{ROWS}: found an empty file, expected rows")
        self._lock = threading.Lock()
        try:
            self._connection = _connection(content)
            weakref.finalize(self, self._connection.close)
            self._connection.execute("PRAGMA query_only = ON")
            found = dict(self._connection.execute("SELECT name, sql FROM sqlite_master"))
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise BundleError(f"{ROWS}: cannot be read: {error}") from None
        if isinstance(content, OnDisk):
            content.check()  # it is open now
        # Nothing else may be in there: a view or a trigger would run as we read.
        expected = _schema(terms)
        if found != expected:
            raise BundleError(
                f"{ROWS}: found the tables {found}, expected {', '.join(expected.values())}"
            )
        self.plays = Plays(plays, len(terms.responses))
        self.play = lru_cache(maxsize=REMEMBERED)(self.plays.find)

    def get(self, key: str) -> Row | None:
        """Return the assistant's row of `key`; None where it is not there, damaged or unreadable.

        Decisions that have been made ask for it to explain themselves, which must not fail.
        """
        query = "SELECT * FROM assistant WHERE key = ?"
        try:
            with self._lock:
                cells = self._connection.execute(query, (key,)).fetchone()
        except sqlite3.Error:
            return None
        sound = cells is not None and _sound(cells, len(self._terms.responses))
        return self._row(cells) if sound else None

    def holds(self, key: str) -> bool:
        """Return whether the assistant has a row of `key`, damaged or not."""
        with self._lock:
            query = "SELECT 1 FROM assistant WHERE key = ?"
            return self._connection.execute(query, (key,)).fetchone() is not None

    def assistant(self) -> Iterator[Row]:
        """Yield every row of the assistant, ordered by key."""
        return map(self._row, self._all("assistant"))

    def user(self) -> dict[str, tuple[float, ...]]:
        """Return the probability of each ask, by key of the users' information sets."""
        return {key: tuple(row) for key, *row in self._all("user")}

    def digest(self) -> str:
        """Return the SHA-256 over both tables' columns and rows in the order of their keys.

        Texts are UTF-8 and end with a zero byte, numbers are big-endian float64, and what is
        missing is the NaN 7ff8000000000000.
        """
        sha = hashlib.sha256()
        for table, names in _columns(self._terms).items():
            sha.update("\0".join([table, *names, ""]).encode())
            texts = 2 if table == "assistant" else 1
            numbers = struct.Struct(f">{len(names) - texts}d")
            for cells in self._all(table):
                sha.update("\0".join([*cells[:texts], ""]).encode())
                sha.update(numbers.pack(*(NAN if cell is None else cell for cell in cells[texts:])))
        return sha.hexdigest()

    def strange(self, most: int) -> list[str]:
        """Return a sentence for each of the first `most` rows with cells of another kind.

        SQLite keeps whatever a file says, numbers where texts should be and the other way round.
        """
        found = []
        for table, names in _columns(self._terms).items():
            texts = 2 if table == "assistant" else 1
            kinds = [
                f"typeof({name}) != '{'text' if k < texts else 'real'}'"
                + (f" AND {name} IS NOT NULL" if name.startswith(MISSING) else "")
                for k, name in enumerate(names)
            ]
            marks = ", ".join(
                f"CASE WHEN {kind} THEN '{name}' END" for kind, name in pairs(kinds, names)
            )
            query = f"SELECT key, {marks} FROM {table} WHERE {' OR '.join(kinds)} LIMIT {most}"
            with self._lock:
                rows = self._connection.execute(query).fetchall()
            for key, *columns in rows:
                named = ", ".join(filter(None, columns))
                found.append(
                    f"{ROWS}: the {table} row {key!r}: {named}: found a cell that is no "
                    "number, or no text, as it should be"
                )
        return found[:most]

    def _all(self, table: str) -> Iterator[tuple[Any, ...]]:
        with self._lock:
            cursor = self._connection.execute(f"SELECT * FROM {table} ORDER BY key")
        while True:
            with self._lock:
                rows = cursor.fetchmany(1000)
            if not rows:
                return
            yield from rows

    def _row(self, cells: tuple[Any, ...]) -> Row:
        R = len(self._terms.responses)
        key, trust, own_reach, reach, margin, loss = cells[:6]
        probabilities, posterior, values = cells[6 : 6 + R], cells[6 + R : -R], cells[-R:]
        return Row(
            key,
            trust,
            own_reach,
            reach,
            margin,
            loss,
            probabilities,
            None if posterior[0] is None else posterior,
            None if values[0] is None else values,
        )


NAN = struct.unpack(">d", bytes.fromhex("7ff8000000000000"))[0]


def _sound(cells: Sequence[Any], responses: int) -> bool:
    """Return whether the cells of a row are of their types, and its numbers finite."""
    trust, own_reach, reach, _, loss = cells[1:6]
    required = (reach, *cells[6 : 6 + responses])
    posterior, values = cells[6 + responses : -responses], cells[-responses:]
    return (
        trust in TRUST
        and all(type(cell) is float for cell in required)
        and all(cell is None or (type(cell) is float and isfinite(cell)) for cell in cells[2:])
        # Of these all are missing, or none.
        and all(part.count(None) in (0, len(part)) for part in (posterior, values))
        # What is told of these rows.
        and not (trust == NOISE and own_reach is None)
        and not (trust == REFINED and loss is None)
    )


def _columns(terms: Terms) -> dict[str, list[str]]:
    return {
        "assistant": assistant_columns(terms.responses, terms.intents),
        "user": user_columns(terms.asks),
    }


def _schema(terms: Terms) -> dict[str, str]:
    """Return the statement that creates each table."""
    assistant, user = _columns(terms).values()
    cells = [
        f"{name} REAL" if name.startswith(MISSING) else f"{name} REAL NOT NULL"
        for name in assistant[2:]
    ]
    return {
        "assistant": "CREATE TABLE assistant (key TEXT PRIMARY KEY, trust TEXT NOT NULL, "
        + ", ".join(cells)
        + ") WITHOUT ROWID",
        "user": "CREATE TABLE user (key TEXT PRIMARY KEY, "
        + ", ".join(f"{name} REAL NOT NULL" for name in user[1:])
        + ") WITHOUT ROWID",
    }


def _connection(content: Content) -> sqlite3.Connection:
    """Return a connection to the rows; `Store` takes care that threads use it in turn."""
    if isinstance(content, OnDisk):
        name = content.path.as_uri() + "?mode=ro&immutable=1"
        connection = sqlite3.connect(name, uri=True, check_same_thread=False)
        connection.execute(f"PRAGMA cache_size = -{CACHED // 1024}")
    else:
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        _fill(connection, content)
    return connection


def _fill(connection: sqlite3.Connection, data: bytes) -> None:
    """Make the database in memory the one in `data`."""
    if hasattr(connection, "deserialize"):  # Python 3.11, unless SQLite was built without it
        connection.deserialize(data)
    else:
        _fill_from_file(connection, data)


def _fill_from_file(connection: sqlite3.Connection, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, ROWS)
        path.write_bytes(data)
        source = sqlite3.connect(path.as_uri() + "?mode=ro&immutable=1", uri=True)
        try:
            source.backup(connection)
        finally:
            source.close()
