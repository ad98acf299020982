"""What the rows play, in an order in which one read finds it: all that deciding reads.

Finding a row in SQLite and taking it apart would be most of a decision, which needs little of it.
That little is in a file of its own, as records of one size:

    header    "CSAPLAY1", the number of responses (uint32), of bits (uint32), of records (uint64)
    buckets   the position of the first record of each of 2^bits buckets, and the number of records
              (uint32): a bucket is what begins with the same bits of the hash
    records   BLAKE2b of the key, of 128 bits, in whose order they are; the own reach, NaN where it
              is missing, and the probability of each response (float64); the mark, a position in
              `TRUST` (uint8)

Numbers are little-endian, and float64 those of the row, bit for bit.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import weakref
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from io import BufferedIOBase
from itertools import accumulate
from math import isfinite, nan
from typing import Any, NamedTuple

from csa_games.guard.bundle import PLAYS
from csa_games.guard.content import BundleError, Content, OnDisk

TRUSTED, REFINED, NOISE = "trusted", "refined", "noise"
DEVIATION, COARSE = "deviation", "coarse"
TRUST = (TRUSTED, REFINED, NOISE, DEVIATION, COARSE)
"""How far a row can be trusted: csa_games.table says when it is which."""

MAGIC, HEADER = b"CSAPLAY1", struct.Struct("<8sIIQ")

IN_BUCKET = 6  # records on average, up to twice as many: a read of 1 kB or less
MOST_IN_BUCKET = 64  # that are read; hashes put more into one with a probability below 1e-20


class Play(NamedTuple):
    """What deciding needs of a row."""

    key: str
    trust: str
    own_reach: float | None
    probabilities: tuple[float, ...]


def digest_of(key: str) -> bytes:
    """Return the hash by which the play of `key` is found."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def pack_plays(
    file: BufferedIOBase, responses: int, count: int, rows: Iterable[Sequence[Any]]
) -> None:
    """Write the plays of `count` rows to `file`, an empty one; the same rows give the same bytes.

    A row is the digest of its key, its trust, its own reach and its probabilities; they are taken
    one by one, in the order of digests. Raises `ValueError` where two have the same digest, which
    no keys are known to have, or are out of order.
    """
    bits = max(0, (count // IN_BUCKET).bit_length() - 1)
    starts, record = array("I", bytes(4 * (2**bits + 1))), _record(responses)
    file.write(HEADER.pack(MAGIC, responses, bits, count))
    file.write(starts.tobytes())
    before = b""
    for digest, trust, own_reach, *probabilities in rows:
        if digest <= before:
            raise ValueError(f"found the hash {digest.hex()} after {before.hex()} of other rows")
        before = digest
        starts[_bucket(digest, bits) + 1] += 1
        own = nan if own_reach is None else own_reach
        file.write(record.pack(digest, own, *probabilities, TRUST.index(trust)))
    file.seek(HEADER.size)
    file.write(_little_endian(array("I", accumulate(starts))).tobytes())


class Plays:
    """The plays in `content`, what `pack_plays` writes; threads may share it, and need no lock.

    A file may say anything while its hash is right. What is no play is not found, whatever else is
    in there, and takes no longer. Bytes are copied; `OnDisk` is read in place, as
    `csa_games.guard.content` says, and the buckets alone are in memory. `count` is how many plays
    there are. Raises `BundleError` when the file is not of so many `responses`, or of another size
    than it says.
    """

    def __init__(self, content: Content, responses: int) -> None:
        self._read = self._reader(content)
        head = self._read(HEADER.size, 0)
        if len(head) < HEADER.size or not head.startswith(MAGIC):
            raise BundleError(f"{PLAYS}: found {head[:8]!r}, expected {MAGIC!r} and a header")
        _, found, self._bits, self.count = HEADER.unpack(head)
        if found != responses or self._bits > 32:
            raise BundleError(
                f"{PLAYS}: found plays of {found} responses, in 2^{self._bits} buckets, expected "
                f"{responses} responses, and 2^32 buckets or fewer"
            )
        self._record = _record(responses)
        self._begin = HEADER.size + 4 * (2**self._bits + 1)
        size = self._begin + self.count * self._record.size
        if len(content) != size:
            raise BundleError(
                f"{PLAYS}: found {len(content)} bytes, expected {size} for {self.count} plays"
            )
        starts = array("I")
        starts.frombytes(self._read(self._begin - HEADER.size, HEADER.size))
        self._starts = _little_endian(starts)

    def find(self, key: str) -> Play | None:
        """Return what the row of `key` plays; None where there is none, or what is there is none.

        That is where a number is not finite, the mark none, or noise without an own reach.
        """
        digest, record = digest_of(key), self._record
        bucket, size = _bucket(digest, self._bits), record.size
        first = self._starts[bucket]
        count = self._starts[bucket + 1] - first
        if not 0 < count <= MOST_IN_BUCKET:
            return None
        try:
            records = self._read(count * size, self._begin + first * size)
        except (OSError, OverflowError):
            return None
        at = records.find(digest)
        while at > 0 and at % size:  # in the midst of a record, where chance does not put it
            at = records.find(digest, at + 1)
        if at < 0 or at + size > len(records):
            return None
        cells = record.unpack_from(records, at)
        own_reach, probabilities, mark = cells[1], cells[2:-1], cells[-1]
        if own_reach != own_reach:
            own_reach = None
        # A sum of numbers is not finite where one of them is not.
        if mark >= len(TRUST) or not isfinite(sum(probabilities) + (own_reach or 0.0)):
            return None
        trust = TRUST[mark]
        if trust == NOISE and own_reach is None:
            return None
        return Play(key, trust, own_reach, probabilities)

    def _reader(self, content: Content) -> Callable[[int, int], bytes]:
        """Return what reads so many bytes from a position on; its file closes with the plays."""
        if not isinstance(content, OnDisk):
            return lambda size, at: content[at : at + size]
        try:
            file = os.open(content.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise BundleError(f"{PLAYS}: cannot be read: {error.strerror or error}") from None
        weakref.finalize(self, os.close, file)
        content.check()  # it is open now
        if hasattr(os, "pread"):
            return partial(os.pread, file)
        lock = threading.Lock()

        def read(size: int, at: int) -> bytes:
            with lock:
                os.lseek(file, at, os.SEEK_SET)
                return os.read(file, size)

        return read


def _record(responses: int) -> struct.Struct:
    return struct.Struct(f"<16s{1 + responses}dB")


def _bucket(digest: bytes, bits: int) -> int:
    return int.from_bytes(digest[:4], "big") >> (32 - bits)


def _little_endian(numbers: array[int]) -> array[int]:
    """Return `numbers` as they are in a file, or those of a file, in place."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
