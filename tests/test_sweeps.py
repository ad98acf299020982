"""Sweeps do every cell once, whoever does it, and come to the same whatever stopped them."""

import csv
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from csa_games.cli import main
from csa_games.csv_text import csv_text
from csa_games.errors import InputError
from csa_games.sweeps import EXECUTORS, Sweep, run
from csa_games.sweeps.executors import on_slurm

ROOT = Path(__file__).parents[1]


def squares(count=4, **common):
    return Sweep("squares", "sweep_work:square", [{"x": x} for x in range(count)], common)


def rows(found):
    return [row for done in found for row in done.rows]


EXPECTED = [row for x in range(4) for row in ({"x": x, "square": x * x}, {"x": x, "nothing": None})]


@pytest.fixture
def executors(monkeypatch):
    # Slurm itself cannot run here: submitit's processes on this machine take the same path.
    monkeypatch.setitem(EXECUTORS, "slurm", partial(on_slurm, cluster="local"))
    paths = [str(Path(__file__).parent), str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


@pytest.mark.parametrize(
    ("executor", "workers"), [("local", 1), ("local", 2), ("slurm", 2), ("ray", 2)]
)
def test_every_executor_comes_to_the_same_in_the_order_of_the_cells(
    executor, workers, tmp_path, executors
):
    if executor == "ray":
        pytest.importorskip("ray")
    told = []
    found = run(
        squares(),
        tmp_path / "s",
        executor=executor,
        workers=workers,
        progress=lambda *now: told.append(now),
    )
    assert rows(found) == EXPECTED
    assert told == [(done, 4) for done in range(5)]
    assert {done.provenance["packages"]["numpy"] for done in found} != {None}


def test_finished_cells_are_not_done_again(tmp_path):
    log = tmp_path / "log"
    first = run(squares(log=str(log)), tmp_path / "s")
    (gone, *_) = sorted((tmp_path / "s" / "cells").iterdir())
    gone.unlink()
    again = run(squares(log=str(log)), tmp_path / "s")
    assert rows(again) == rows(first) == EXPECTED
    done = [line.split()[0] for line in log.read_text().splitlines()]
    assert sorted(done[:4]) == ["0", "1", "2", "3"]
    assert len(done) == 5
    # What was read back is what was made, to the bit and to the order of the columns.
    assert csv_text(rows(again)) == csv_text(rows(first))


def test_cells_of_another_version_are_done_again(tmp_path):
    log = tmp_path / "log"
    run(squares(log=str(log)), tmp_path / "s")
    cell = min((tmp_path / "s" / "cells").iterdir())
    content = json.loads(cell.read_text())
    content["provenance"]["packages"]["csa-games"] = "0.0.1"
    cell.write_text(json.dumps(content))
    run(squares(log=str(log)), tmp_path / "s")
    assert len(log.read_text().splitlines()) == 5


KILLED = """
import sys
from sweep_work import square
from csa_games.sweeps import Sweep, run
log, folder = sys.argv[1:]
cells = [{"x": x} for x in range(4)]
run(Sweep("squares", "sweep_work:square", cells, {"log": log, "seconds": 0.3}), folder)
"""


def test_a_killed_sweep_goes_on_and_equals_one_that_was_not(tmp_path):
    log, folder = tmp_path / "log", tmp_path / "s"
    words = [sys.executable, "-c", KILLED, str(log), str(folder)]
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": paths})
    while not list(folder.glob("cells/*.json")):
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(list(folder.glob("cells/*.json")))
    assert 1 <= kept < 4
    found = run(squares(log=str(log), seconds=0.3), folder)
    assert rows(found) == EXPECTED
    here = [line for line in log.read_text().splitlines() if line.endswith(f" {os.getpid()}")]
    assert len(here) == 4 - kept


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_cell_raises_is_raised_and_what_is_done_is_kept(workers, tmp_path):
    failing = Sweep("fails", "sweep_work:fails", [{"x": x} for x in range(3)])
    with pytest.raises(ValueError, match="one is no number"):
        run(failing, tmp_path / "s", workers=workers)
    if workers == 1:
        assert len(list((tmp_path / "s" / "cells").iterdir())) == 1


def test_other_folders_are_left_as_they_are(tmp_path):
    run(squares(), tmp_path / "s")
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="holds another sweep than squares"):
        run(squares(5), tmp_path / "s")
    assert before == {
        path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()
    }
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files and is no sweep"):
        run(squares(), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_damaged_cell_is_told(tmp_path):
    run(squares(), tmp_path / "s")
    cell = min((tmp_path / "s" / "cells").iterdir())
    cell.write_text("{}")
    with pytest.raises(InputError, match=r"found no finished cell .* remove the file"):
        run(squares(), tmp_path / "s")
    cell.write_text('{"rows": [')
    with pytest.raises(InputError, match="cannot be read"):
        run(squares(), tmp_path / "s")


@pytest.mark.parametrize(
    ("sweep", "options", "message"),
    [
        (squares(0), {}, "found no cells to do"),
        (squares(), {"executor": "cloud"}, "found the executor 'cloud', expected one of local"),
        (squares(), {"workers": 0}, "found 0 workers"),
    ],
)
def test_what_cannot_be_run_is_refused(sweep, options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run(sweep, tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("executor", "package", "extra"), [("ray", "ray", "ray"), ("slurm", "submitit", "slurm")]
)
def test_a_missing_extra_is_told(executor, package, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}.*csa-games\[{extra}\]"):
        run(squares(), tmp_path / "s", executor=executor)


def test_without_slurm_its_executor_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="found no srun"):
        run(squares(), tmp_path / "s", executor="slurm")


def test_csv_has_every_column_in_order_and_reads_back_bit_for_bit():
    table = [{"b": 0.1 + 0.2, "a": "x,y"}, {"c": math.nan, "a": None, "b": True}]
    header, *lines = csv.reader(io.StringIO(csv_text(table)))
    assert header == ["b", "a", "c"]
    assert float(lines[0][0]) == 0.1 + 0.2
    assert lines == [["0.30000000000000004", "x,y", ""], ["True", "", ""]]


# The command.


def swept(tmp_path, *words):
    return main(["sweep", "csa_oneshot", *words, "--out", str(tmp_path / "s"), "--json"])


def test_a_sweep_over_numbers_of_a_scenario_solves_every_combination(tmp_path, capsys):
    over = ("--over", "weights.beta=1,2,5", "--over", "intents.malicious.prior=0.01:0.2:2")
    assert swept(tmp_path, *over) == 0
    told = json.loads(capsys.readouterr().out)["rows"]
    places = [(row["weights.beta"], row["intents.malicious.prior"]) for row in told]
    assert places == [(b, p) for b in (1, 2, 5) for p in (0.01, 0.2)]
    # The last of them alone, the priors .90 and .06 of the others scaled by .80 / .96.
    changes = ("--set", "weights.beta=5", "--set", "intents.malicious.prior=0.2")
    priors = ("--set", "intents.benign.prior=0.75", "--set", "intents.sensitive.prior=0.05")
    alone = ["solve", "csa_oneshot", *changes, *priors, "--json", "--out", str(tmp_path / "run")]
    assert main(alone) == 0
    solved = json.loads(capsys.readouterr().out)
    assert math.isclose(told[-1]["value"], solved["value"][1], abs_tol=2e-4)
    with (tmp_path / "s" / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6


def test_a_sweep_by_a_method_of_its_own_solves_one_by_one(tmp_path, capsys):
    over = ("--over", "weights.beta=1,2", "--method", "lp")
    assert swept(tmp_path, *over) == 0
    told = json.loads(capsys.readouterr().out)["rows"]
    assert [row["status"] for row in told] == ["exact", "exact"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--over", "weights.beta"), "expected PATH=VALUES"),
        (("--over", "weights.delta=1,2"), "a scenario has no 'delta' there"),
        (("--over", "weights.beta=one"), "expected numbers such as"),
        (("--over", "weights.beta=1,2", "--method", "auto"), "expected one and the same"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_the_work(words, message, tmp_path, capsys):
    assert swept(tmp_path, *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s").exists()
