"""How rows are written, and read back by their keys."""

import gc
import sqlite3

import pytest
from bundles import files_of, store_of, unsolved

from csa_games.guard import Guard
from csa_games.guard.bundle import MANIFEST, ROWS, parse, terms_of
from csa_games.guard.store import REMEMBERED, pack


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("bundles") / "b"
    unsolved().save(place)
    return place


@pytest.fixture(scope="module")
def terms(folder):
    return terms_of(parse((folder / MANIFEST).read_bytes()))


def user_rows(terms, *keys):
    return [(key, *(1.0 / len(terms.asks) for _ in terms.asks)) for key in keys]


def test_rows_out_of_order_are_refused(tmp_path, terms):
    with pytest.raises(ValueError, match=r"the row a\| after b\|, expected rows ordered by key"):
        pack(tmp_path, terms, (), user_rows(terms, "b|", "a|"))


def test_rows_that_are_there_twice_are_refused(tmp_path, terms):
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        pack(tmp_path, terms, (), user_rows(terms, "a|", "a|"))


def test_rows_are_taken_as_they_come(tmp_path, terms):
    place = tmp_path / ROWS
    sizes = set()

    def rows():
        for n in range(150_000):
            if n % 10_000 == 0:
                sizes.add(place.stat().st_size)
            yield f"{n:0100}", *shares

    (_, *shares), *_ = user_rows(terms, "")
    pack(tmp_path, terms, (), rows())
    # What does not fit into the cache is in the file before the last row is there.
    assert len(sizes) > 3


def test_what_is_played_is_what_the_row_says(folder):
    store = store_of(files_of(folder))
    for row in store.assistant():
        for _ in range(2):  # the second is remembered
            play = store.play(row.key)
            assert play == (row.key, row.trust, row.own_reach, row.probabilities)
        assert store.get(row.key) == row
    assert store.play("no such key") is store.get("no such key") is None


def test_a_store_remembers_so_many_rows(folder):
    store = store_of(files_of(folder))
    for n in range(REMEMBERED + 10):
        store.play(f"no such key {n}")
    assert store.play.cache_info().currsize == REMEMBERED


def test_a_guard_that_nobody_uses_closes_its_rows(folder):
    guard = Guard.load(folder)
    guard.decide([("plain", "flag")], "c1")
    connection = guard.store._connection
    gc.disable()
    try:
        del guard
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
    finally:
        gc.enable()
