"""Rows that are too many for memory: served from their file, and only as long as it is that."""

import hashlib
import os
import shutil
import tracemalloc

import pytest
from bundles import files_of, sealed, sql, unsolved, write

from csa_games.guard import BundleError, Guard, content, verify
from csa_games.guard.bundle import GOLDEN, ROWS, read_files
from csa_games.guard.content import OnDisk
from csa_games.guard.keys import turns_of
from csa_games.guard.store import Store

SECRET = b"a secret of the tests"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("bundles") / "crisis"
    unsolved().save(place)
    return place


@pytest.fixture
def place(folder, tmp_path):
    return write(tmp_path / "b", files_of(folder))


@pytest.fixture
def on_disk(monkeypatch):
    """Hold every file to be too large for memory."""
    monkeypatch.setattr(content, "MOST_COPIED", 0)


def test_rows_on_disk_decide_as_those_in_memory_do(folder, monkeypatch):
    copied = Guard.load(folder, SECRET)
    monkeypatch.setattr(content, "MOST_COPIED", 0)
    assert isinstance(read_files(folder)[ROWS], OnDisk)
    served = Guard.load(folder, SECRET)
    for key in unsolved().exact.keys:
        first, second = (guard.decide(turns_of(key), "c1").as_dict() for guard in (copied, served))
        assert first == second
    assert verify(folder).passed


def test_an_export_of_many_rows_has_the_same_bytes(folder, tmp_path, on_disk):
    unsolved().save(tmp_path / "b")
    assert files_of(tmp_path / "b") == files_of(folder)


@pytest.mark.usefixtures("on_disk")
def test_a_bundle_that_is_replaced_is_served_to_the_end(place, tmp_path):
    guard = Guard.load(place, SECRET)
    keys = unsolved().exact.keys
    before = [guard.decide(turns_of(key), "c1").as_dict() for key in keys]
    unsolved().save(place, sequence=2)
    assert Guard.load(place).revision != guard.revision
    assert [guard.decide(turns_of(key), "c1").as_dict() for key in keys] == before
    shutil.rmtree(place)
    assert [guard.decide(turns_of(key), "c1").as_dict() for key in keys] == before


@pytest.mark.usefixtures("on_disk")
def test_a_file_that_is_replaced_while_it_is_checked_is_refused(place, tmp_path):
    rows = read_files(place)[ROWS]
    data = (place / ROWS).read_bytes()
    assert rows.sha256() == hashlib.sha256(data).hexdigest()
    (tmp_path / "other").write_bytes(data)  # even by the very same bytes
    os.replace(tmp_path / "other", place / ROWS)
    with pytest.raises(BundleError, match=r"policy.sqlite: was changed or replaced while it was"):
        rows.sha256()
    with pytest.raises(BundleError, match=r"policy.sqlite: was changed or replaced while it was"):
        Store(rows, b"", Guard.load(place).terms)


@pytest.mark.usefixtures("on_disk")
def test_a_file_that_goes_away_is_refused(place):
    rows = read_files(place)[ROWS]
    terms = Guard.load(place).terms
    (place / ROWS).unlink()
    for use in (rows.sha256, lambda: Store(rows, b"", terms), rows.check):
        with pytest.raises(BundleError, match=r"policy.sqlite: "):
            use()


@pytest.mark.parametrize("most", [0, 2**30])
def test_without_checking_nothing_is_hashed_or_probed(place, monkeypatch, most):
    monkeypatch.setattr(content, "MOST_COPIED", most)
    change = "UPDATE assistant SET probability_comply = probability_comply / 2"
    changed = sql(files_of(place), change)
    assert len(changed[ROWS]) == (place / ROWS).stat().st_size
    (place / ROWS).write_bytes(changed[ROWS])
    with pytest.raises(BundleError, match=r"policy.sqlite: found the SHA-256"):
        Guard.load(place, SECRET)
    assert Guard.load(place, SECRET, check=False).decide([("plain", "flag")], "c1").rung == 0


def test_without_checking_sizes_count(place):
    with (place / GOLDEN).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(BundleError, match=r"golden.jsonl: found \d+ bytes, expected \d+"):
        Guard.load(place, check=False)
    (place / GOLDEN).unlink()
    with pytest.raises(BundleError, match=r"golden.jsonl: is missing"):
        Guard.load(place, check=False)


def test_probes_are_asked_when_checking(folder):
    changed = sql(files_of(folder), "UPDATE assistant SET probability_comply = 0.123")
    write(folder.with_name("changed"), sealed(changed))
    with pytest.raises(BundleError, match=r"golden.jsonl: line \d+: probabilities"):
        Guard.load(folder.with_name("changed"))
    Guard.load(folder.with_name("changed"), check=False)


@pytest.mark.usefixtures("on_disk")
def test_hashing_holds_a_piece_of_the_file(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(50 * 2**20)
    tracemalloc.start()
    try:
        found = content.sha256(content.read(path))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == hashlib.sha256(bytes(50 * 2**20)).hexdigest()
    assert most < 2 * 2**20
