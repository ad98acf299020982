"""An export that is killed at any moment leaves a whole bundle behind, the old or the new."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bundles import files_of, table

from csa_games import folders
from csa_games.folders import write_folder
from csa_games.guard import Guard, verify
from csa_games.guard.bundle import integrity, read_files

ROOT = Path(__file__).parents[1]
KILLS = 100

WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from csa_games import folders
if sys.argv[4] == "renamed":
    folders._exchange = lambda one, other: False
place = Path(sys.argv[2])
both = [
    {path.name: path.read_bytes() for path in Path(folder).iterdir()} for folder in sys.argv[5:]
]
print(flush=True)
for _ in range(int(sys.argv[3])):
    for content in both:
        folders.write_folder(place, content)
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    place = tmp_path_factory.mktemp("both")
    for sequence in (1, 2):
        table("csa_oneshot").save(place / str(sequence), sequence=sequence)
    return [place / "1", place / "2"]


def killed(place, both, seconds, how):
    """Let a process write both bundles in turns, and kill it `seconds` after it began."""
    words = [str(ROOT), str(place), "100000", how, *map(str, both)]
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", WRITER, *words],
                             stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(seconds)
        assert child.poll() is None, "it must not have ended by itself"
    finally:
        child.kill()
        child.wait(timeout=30)
        child.stdout.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="swaps folders on Linux")
def test_a_killed_export_leaves_the_old_bundle_or_the_new(both, tmp_path):
    place, whole = tmp_path / "b", [files_of(folder) for folder in both]
    write_folder(place, whole[0])
    begun = time.perf_counter()
    write_folder(place, whole[0])
    pace = time.perf_counter() - begun
    draw, unfinished = random.Random(7), 0
    for _ in range(KILLS):
        killed(place, both, draw.uniform(0, 4 * pace), "swapped")
        assert integrity(read_files(place)) == []
        assert files_of(place) in whole
        unfinished += len(list(tmp_path.glob(".b.*.new")))
    assert unfinished > 0  # some were killed in the midst of it
    Guard.load(place)
    assert verify(place).passed
    write_folder(place, whole[0])
    assert files_of(place) == whole[0]
    assert list(tmp_path.iterdir()) == [place]  # and nothing is left of those that were killed


def test_where_folders_are_renamed_the_old_bundle_lies_beside(both, tmp_path):
    place, whole = tmp_path / "b", [files_of(folder) for folder in both]
    draw = random.Random(8)
    for _ in range(20):
        if not place.exists():
            write_folder(place, whole[0])
        killed(place, both, draw.uniform(0, 0.02), "renamed")
        there = [place] if place.exists() else list(tmp_path.glob(".b.*.old"))
        assert any(files_of(folder) in whole for folder in there)


def test_readers_never_find_the_folder_missing(both, tmp_path):
    if not folders._exchange(*(_made(tmp_path / name) for name in "xy")):
        pytest.skip("this file system does not swap folders")
    place, whole = tmp_path / "b", [files_of(folder) for folder in both]
    write_folder(place, whole[0])
    words = [str(ROOT), str(place), "30", "swapped", *map(str, both)]
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", WRITER, *words])
    seen = 0
    while child.poll() is None:
        seen += os.stat(place).st_nlink > 0
    assert child.returncode == 0
    assert seen > 10


def _made(path):
    path.mkdir()
    return path
