"""The file that decisions read: what is in it, and that everything in it is found."""

import gc
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from io import BytesIO

import pytest
from bundles import files_of, store_of, unsolved, write

from csa_games.guard import Guard, content
from csa_games.guard.bundle import PLAYS, read_files
from csa_games.guard.content import BundleError, OnDisk
from csa_games.guard.plays import TRUST, Plays, pack_plays

R = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("bundles") / "b"
    unsolved().save(place)
    return place


@pytest.fixture(params=["in memory", "on disk", "on disk, without pread"])
def plays(request, folder, monkeypatch):
    """Return the plays of a bundle, however they are read."""
    if request.param != "in memory":
        monkeypatch.setattr(content, "MOST_COPIED", 0)
    if request.param == "on disk, without pread":
        monkeypatch.delattr(os, "pread")
    return Plays(read_files(folder)[PLAYS], R)


def test_every_row_is_found_and_nothing_else(plays, folder):
    rows = list(store_of(files_of(folder)).assistant())
    assert plays.count == len(rows)
    for row in rows:
        assert plays.find(row.key) == (row.key, row.trust, row.own_reach, row.probabilities)
        assert plays.find(row.key + " ") is None
    assert plays.find("") is plays.find("\ud800") is None


def test_threads_share_plays(plays, folder):
    keys = [row.key for row in store_of(files_of(folder)).assistant()] * 5
    with ThreadPoolExecutor(8) as pool:
        assert [play.key for play in pool.map(plays.find, keys)] == keys


def test_records_are_in_the_order_of_hashes_and_buckets_say_where(folder):
    data, store = (folder / PLAYS).read_bytes(), store_of(files_of(folder))
    magic, responses, bits, count = struct.unpack_from("<8sIIQ", data)
    starts = struct.unpack_from(f"<{2**bits + 1}I", data, 24)
    records = list(struct.iter_unpack("<16s7dB", data[24 + 4 * len(starts) :]))
    assert (magic, responses, count) == (b"CSAPLAY1", R, len(records))
    assert [record[0] for record in records] == sorted(
        blake2b(row.key.encode(), digest_size=16).digest() for row in store.assistant()
    )
    assert {TRUST[record[-1]] for record in records} == {row.trust for row in store.assistant()}
    assert 3 * 2**bits <= count <= 12 * 2**bits
    for bucket in range(2**bits):
        for record in records[starts[bucket] : starts[bucket + 1]]:
            assert format(int.from_bytes(record[0], "big"), "0128b")[:bits] == format(
                bucket, f"0{bits}b"
            )
    assert (starts[0], starts[-1]) == (0, count)


@pytest.mark.parametrize("count", [0, 1, 5, 11, 12, 1000])
def test_any_number_of_rows_is_found(count):
    rows = sorted(
        (blake2b(b"%d" % n, digest_size=16).digest(), TRUST[n % 5], n / 7, n / 3)
        for n in range(count)
    )
    file = BytesIO()
    pack_plays(file, 1, count, rows)
    plays = Plays(file.getvalue(), 1)
    for n in range(count):
        assert plays.find(f"{n}") == (f"{n}", TRUST[n % 5], n / 7, (n / 3,))
    assert plays.find(f"{count}") is None


def test_rows_out_of_order_are_refused():
    rows = [(bytes([n] * 16), "trusted", 1.0, 1.0) for n in (2, 1)]
    with pytest.raises(ValueError, match=r"found the hash 0101.* after 0202"):
        pack_plays(BytesIO(), 1, 2, rows)


def test_a_file_that_is_cut_off_while_it_is_served_loses_plays(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(content, "MOST_COPIED", 0)
    place = write(tmp_path / "b", files_of(folder))
    plays = Plays(read_files(place)[PLAYS], R)
    keys = [row.key for row in store_of(files_of(folder)).assistant()]
    os.truncate(place / PLAYS, (place / PLAYS).stat().st_size // 2)
    found = [plays.find(key) for key in keys]
    assert 0 < found.count(None) < len(keys)


def test_a_file_that_goes_away_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(content, "MOST_COPIED", 0)
    place = write(tmp_path / "b", files_of(folder))
    found = read_files(place)[PLAYS]
    assert isinstance(found, OnDisk)
    (place / PLAYS).unlink()
    with pytest.raises(BundleError, match=r"plays.bin: cannot be read: No such file"):
        Plays(found, R)


def test_a_guard_that_nobody_uses_closes_its_plays(folder, monkeypatch):
    monkeypatch.setattr(content, "MOST_COPIED", 0)
    guard = Guard.load(folder)
    guard.decide([("plain", "flag")], "c1")
    read = guard.store.plays._read
    assert len(read(1, 0)) == 1
    gc.disable()
    try:
        del guard
        with pytest.raises(OSError, match="Bad file descriptor"):
            read(1, 0)
    finally:
        gc.enable()
