"""Folders that take the place of others: in one step or two, and what killed processes leave."""

import os
import sys

import pytest

from csa_games import folders
from csa_games.folders import replacing_folder, write_folder

OLD, NEW = {"a": b"old", "b": b"old"}, {"a": b"new"}


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=["swapped", "renamed"])
def way(request, monkeypatch):
    if request.param == "renamed":
        monkeypatch.setattr(folders, "_exchange", lambda first, second: False)
    return request.param


@pytest.fixture
def place(tmp_path):
    write_folder(tmp_path / "b", OLD)
    return tmp_path / "b"


@pytest.mark.usefixtures("way")
def test_a_folder_is_replaced_as_a_whole(place):
    write_folder(place, NEW)
    assert files_of(place) == NEW
    assert list(place.parent.iterdir()) == [place]


@pytest.mark.usefixtures("way")
def test_whoever_has_the_earlier_folder_open_goes_on_reading_it(place):
    with (place / "a").open("rb") as file:
        write_folder(place, NEW)
        assert file.read() == b"old"


@pytest.mark.usefixtures("way")
def test_a_block_that_raises_changes_nothing(place):
    def half():
        with replacing_folder(place) as beside:
            (beside / "a").write_bytes(b"half")
            assert files_of(place) == OLD
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert files_of(place) == OLD
    assert list(place.parent.iterdir()) == [place]


def test_a_second_rename_that_fails_puts_the_first_one_back(place, monkeypatch):
    monkeypatch.setattr(folders, "_exchange", lambda first, second: False)
    real = os.rename

    def rename(source, target):
        if str(source).endswith(".new"):
            raise OSError("refused")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(OSError, match="refused"):
        write_folder(place, NEW)
    assert files_of(place) == OLD
    assert list(place.parent.iterdir()) == [place]


def test_a_system_that_refuses_to_swap_says_why(tmp_path):
    if sys.platform != "linux":
        pytest.skip("only Linux swaps")
    with pytest.raises(FileNotFoundError, match="No such file"):
        folders._exchange(tmp_path / "a", tmp_path / "b")


def leave(folder, files):
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def test_what_killed_processes_left_is_removed(place):
    leave(place.with_name(".b.0011aabb.new"), {"a": b"half"})
    leave(place.with_name(".b.0011aabb.old"), OLD)
    leave(place.with_name(".bc.0011aabb.new"), {"a": b"another's"})
    (place.parent / ".b.notes.new").write_bytes(b"a file")
    write_folder(place, NEW)
    names = sorted(path.name for path in place.parent.iterdir())
    assert names == [".b.notes.new", ".bc.0011aabb.new", "b"]


def test_what_a_killed_process_took_away_is_put_back(place):
    place.rename(place.with_name(".b.0011aabb.old"))
    with replacing_folder(place) as beside:
        (beside / "a").write_bytes(b"new")
        assert files_of(place) == OLD
    assert files_of(place) == NEW


@pytest.mark.skipif(sys.platform == "win32", reason="has no such locks")
def test_several_may_be_at_it_and_the_last_one_wins(place):
    with replacing_folder(place) as first:
        (first / "a").write_bytes(b"first")
        with replacing_folder(place) as second:  # does not take the first one's for a leftover
            (second / "a").write_bytes(b"second")
        assert files_of(place) == {"a": b"second"}
    assert files_of(place) == {"a": b"first"}
    assert list(place.parent.iterdir()) == [place]


def test_an_empty_folder_and_none_are_replaced(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "none", "deep/down"):
        write_folder(tmp_path / name, NEW)
        assert files_of(tmp_path / name) == NEW
