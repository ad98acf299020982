"""Runs on disk: exact, standing alone, never half there, and refused in sentences when damaged."""

import json
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import csa_games
import solvers
from csa_games import folders, runs
from csa_games import provenance as provenance_module
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.game import Game, Solution
from csa_games.interop.efg_read import read_efg
from csa_games.interop.efg_write import write_efg
from csa_games.override import override
from csa_games.provenance import provenance
from csa_games.runs import check_place, read_run, save_run
from csa_games.scenario import builtin_scenarios, read_scenario

ONESHOT = dialogue_game(
    override(read_scenario(builtin_scenarios()["csa_oneshot"]), {"weights.beta": 2.5})
)
SOLVED = solvers.solve(ONESHOT, target=1e-2)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a saved run of csa_oneshot with β = 2.5."""
    return save_run(
        tmp_path / "run", ONESHOT, SOLVED, source="csa_oneshot", options={"target": 1e-2}
    )


def same(found: Solution, expected: Solution) -> None:
    """Check that two solutions are equal, arrays bit for bit."""
    for player in (0, 1):
        np.testing.assert_array_equal(found.policy[player], np.asarray(expected.policy[player]))
    np.testing.assert_array_equal(found.value, expected.value)
    np.testing.assert_array_equal(found.gap, expected.gap)
    for field in fields(Solution):
        if field.name not in ("policy", "value", "gap"):
            assert getattr(found, field.name) == getattr(expected, field.name)


def test_a_run_comes_back_bit_for_bit(run):
    read = read_run(run)
    same(read.solution, SOLVED)
    assert len(read.solution.history) > 1
    assert read.game.scenario == ONESHOT.scenario
    assert read.game.game_class == "security"
    assert read.source == "csa_oneshot"
    assert read.options == {"target": 1e-2}
    assert solvers.gap(read.game, read.solution.policy) == pytest.approx(SOLVED.gap, abs=1e-15)


def test_a_run_of_a_scenario_file_stands_alone(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(builtin_scenarios()["csa_oneshot"].read_bytes())
    game = csa_games.load(path)
    solution = solvers.solve(game, target=1e-2)
    folder = save_run(tmp_path / "run", game, solution, source="mine.toml")
    path.unlink()
    same(read_run(folder).solution, solution)


def test_a_run_of_an_openspiel_game_is_loaded_by_name(tmp_path):
    game = csa_games.load("openspiel:kuhn_poker")
    solution = solvers.solve(game, "cfr+", max_steps=20, target=0.0)
    folder = save_run(tmp_path / "run", game, solution, source="openspiel:kuhn_poker")
    same(read_run(folder).solution, solution)


def test_a_run_of_an_efg_file_keeps_the_file(tmp_path):
    path = tmp_path / "oneshot.efg"
    write_efg(ONESHOT, path)
    game = replace(read_efg(path), name="a name that the file does not have")
    solution = solvers.solve(game, "lp")
    folder = save_run(
        tmp_path / "run", game, solution, source="oneshot.efg", tree=path.read_bytes()
    )
    path.unlink()
    same(read_run(folder).solution, solution)


def test_a_run_names_no_machine_and_no_path(run, tmp_path):
    text = "".join(path.read_text(errors="replace") for path in sorted(run.iterdir()))
    assert str(tmp_path) not in text
    assert str(Path.home()) not in text
    assert platform.node() not in text


def test_the_record_is_for_people_too(run):
    record = json.loads((run / "run.json").read_text())
    assert record["solution"]["nash_conv"] == SOLVED.nash_conv
    assert record["solution"]["class"] == "security"
    assert record["solution"]["status"] == "target"
    assert record["game"]["scenario"]["weights"]["beta"]["value"] == 2.5
    assert record["provenance"]["packages"]["numpy"] == np.__version__
    lines = (run / "history.csv").read_text().splitlines()
    assert lines[0] == "step,seconds,nash_conv"
    assert len(lines) == 1 + len(SOLVED.history)


def test_saving_again_replaces_the_run_and_leaves_nothing_beside(run):
    other = solvers.solve(ONESHOT, "cfr", max_steps=3, target=0.0)
    save_run(run, ONESHOT, other, source="csa_oneshot")
    same(read_run(run).solution, other)
    assert [path.name for path in run.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 2])
def test_a_save_that_fails_keeps_the_earlier_run(run, monkeypatch, error, after):
    calls = iter([None] * after + [error] * 9)

    def full(file: int) -> None:
        if failure := next(calls):
            raise failure

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(type(error)):
        save_run(run, ONESHOT, replace(SOLVED, method="other"), source="csa_oneshot")
    same(read_run(run).solution, SOLVED)
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_a_save_that_fails_at_the_last_rename_keeps_the_earlier_run(run, monkeypatch):
    rename = Path.rename

    def fails_once(path: Path, target: Path) -> Path:
        if path.name.endswith(".new"):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(folders, "_exchange", lambda first, second: False)  # as beyond Linux
    monkeypatch.setattr(Path, "rename", fails_once)
    with pytest.raises(OSError, match="Input/output error"):
        save_run(run, ONESHOT, SOLVED, source="csa_oneshot")
    same(read_run(run).solution, SOLVED)
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_only_a_run_or_nothing_is_written_over(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (run / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="file is a file, expected a folder"):
        check_place(tmp_path / "file")
    with pytest.raises(InputError, match=r"run holds notes\.txt, which are not parts of a run"):
        check_place(run)
    with pytest.raises(InputError, match="cannot be written: File exists"):
        check_place(tmp_path / "file" / "run")
    save_run(tmp_path / "empty", ONESHOT, SOLVED, source="csa_oneshot")
    same(read_run(tmp_path / "empty").solution, SOLVED)
    save_run(tmp_path / "new" / "deep", ONESHOT, SOLVED, source="csa_oneshot")
    same(read_run(tmp_path / "new" / "deep").solution, SOLVED)


def test_a_link_to_a_run_is_followed(run, tmp_path):
    (tmp_path / "latest").symlink_to(run)
    save_run(tmp_path / "latest", ONESHOT, replace(SOLVED, method="x"), source="csa_oneshot")
    assert read_run(run).solution.method == "x"
    assert (tmp_path / "latest").is_symlink()


def arrays(**changes: np.ndarray) -> Callable[[Path], None]:
    """Return a function that saves solution.npz with `changes`; None leaves an array out."""

    def damage(run: Path) -> None:
        with np.load(run / "solution.npz") as file:
            content = dict(file) | changes
        np.savez(run / "solution.npz", **{k: v for k, v in content.items() if v is not None})

    return damage


def record(**changes: object) -> Callable[[Path], None]:
    """Return a function that edits run.json; `a__b=c` sets a.b."""

    def damage(run: Path) -> None:
        content = json.loads((run / "run.json").read_text())
        for path, value in changes.items():
            *above, last = path.split("__")
            part = content
            for name in above:
                part = part[name]
            part[last] = value
        (run / "run.json").write_text(json.dumps(content))

    return damage


def text(name: str, content: str | bytes) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content
    return lambda run: (run / name).write_bytes(data) and None


UNIFORM = np.full((2, 5), 0.2)
DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no record": (lambda run: (run / "run.json").unlink(), r"is no run: it has no run\.json"),
    "no arrays": (lambda run: (run / "solution.npz").unlink(), r"solution\.npz cannot be read"),
    "no history": (lambda run: (run / "history.csv").unlink(), r"history\.csv cannot be read"),
    "not JSON": (text("run.json", "{"), r"run\.json: not a JSON file"),
    "not UTF-8": (text("run.json", b"\xff\xfe{"), r"run\.json: not a JSON file"),
    "deep JSON": (text("run.json", "[" * 100_000), r"run\.json: not a JSON file"),
    "a list": (text("run.json", "[]"), r"run\.json: the file: "),
    "another program's": (text("run.json", '{"format": "x"}'), r"run\.json: format: "),
    "unknown status": (record(solution__status="fine"), r"run\.json: solution\.status: "),
    "wrong type": (record(solution__steps="12"), r"run\.json: solution\.steps: "),
    "nan": (record(solution__seconds=float("nan")), r"run\.json: solution\.seconds: "),
    "one value": (record(solution__value=[1.0]), r"run\.json: solution\.value"),
    "unknown field": (record(more=1), r"run\.json: more: "),
    "scenario edited": (
        record(game__scenario__weights__beta__value=3.0),
        "the scenario is not the one that was solved",
    ),
    "no scenario": (record(game__scenario={}), "the scenario is not the one that was solved"),
    "another class": (record(solution__class="general-sum"), "the class is 'general-sum'"),
    "no zip": (text("solution.npz", "hello"), r"solution\.npz cannot be read"),
    "empty arrays": (text("solution.npz", ""), r"solution\.npz cannot be read"),
    "array missing": (arrays(gap=None), r"solution\.npz cannot be read: .*gap"),
    "pickled": (arrays(value=np.array([{}, 1], object)), r"solution\.npz cannot be read: .*pickle"),
    "float32": (arrays(value=np.zeros(2, np.float32)), "value is float32 of the shape"),
    "nan in array": (arrays(gap=np.array([0, np.nan])), "gap is float64 of the shape"),
    "three values": (arrays(value=np.zeros(3)), r"value has the shape \(3,\), expected \(2,\)"),
    "another shape": (
        arrays(policy_1=np.full((3, 5), 0.2)),
        r"policy_1 has the shape \(3, 5\), but csa_oneshot has 2 infosets and 5 actions",
    ),
    "not summing to 1": (arrays(policy_1=UNIFORM * 0.9), "policy_1 at infoset 'plain:clear' is "),
    "negative": (
        arrays(policy_1=np.array([[1, 0, 0, 0, 0], [2, -1, 0, 0, 0]], np.float64)),
        "policy_1 at infoset 'plain:flag' is ",
    ),
    "another policy": (arrays(policy_1=UNIFORM), "the policies are worth .* but .* is recorded"),
    "no columns": (text("history.csv", "a,b\n"), r"history\.csv: line 1: expected the columns"),
    "empty history": (text("history.csv", ""), r"history\.csv: line 1: expected the columns"),
    "bad row": (
        text("history.csv", "step,seconds,nash_conv\n0,0.5,1\n1,x,1\n"),
        r"history\.csv: line 3: found \['1', 'x', '1'\], expected",
    ),
    "binary history": (text("history.csv", b"\xff\xfe\x00"), r"history\.csv: not a CSV file"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_runs_are_refused_in_a_sentence(run, kind):
    damage, sentence = DAMAGE[kind]
    damage(run)
    with pytest.raises(InputError, match=sentence):
        read_run(run)


def test_folders_that_are_no_runs_are_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "missing", Path(__file__)):
        with pytest.raises(InputError, match="is no run"):
            read_run(folder)


def test_arrays_with_any_byte_changed_never_go_unnoticed_or_raise_anything_else(run):
    """A flipped byte is caught, or is one that no array depends on (zip has some to spare)."""
    whole = (run / "solution.npz").read_bytes()
    refused = 0
    for at in range(0, len(whole), 31):
        (run / "solution.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            read = read_run(run)
        except InputError:
            refused += 1
        else:
            same(read.solution, SOLVED)
    assert refused > len(whole) // 31 // 3
    for length in range(0, len(whole), 97):
        (run / "solution.npz").write_bytes(whole[:length])
        with pytest.raises(InputError, match="cannot be read"):
            read_run(run)


def test_provenance_is_json_and_survives_without_git(monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = provenance()
    assert json.loads(json.dumps(found)) == found
    assert found["git"] is None
    assert found["python"] == platform.python_version()
    assert found["devices"]  # this process has imported JAX
    assert found["time"].endswith("+00:00")


def test_the_commit_is_that_of_the_package_and_of_nothing_around_it(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    inside = tmp_path / "csa_games" / "provenance.py"
    installed = tmp_path / "lib" / "csa_games" / "provenance.py"
    for path in (inside, installed):
        path.parent.mkdir(parents=True)
        path.write_text("")
    git("init", "-q")
    git("add", "csa_games")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")

    monkeypatch.setattr(provenance_module, "__file__", str(inside))
    assert provenance()["git"] == {"commit": commit, "dirty": False}  # lib is not tracked
    inside.write_text("changed")
    assert provenance()["git"] == {"commit": commit, "dirty": True}
    monkeypatch.setattr(provenance_module, "__file__", str(installed))
    assert provenance()["git"] is None


def test_an_unbuildable_record_names_the_file(run):
    content = json.loads((run / "run.json").read_text())
    scenario = content["game"]["scenario"] | {"turns": 0}
    content["game"] |= {"scenario": scenario, "scenario_sha256": runs._hash(scenario)}
    (run / "run.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"run\.json: game\.scenario: turns: found 0"):
        read_run(run)


def test_games_of_the_same_shape_are_told_apart(tmp_path):
    game: Game = csa_games.load("openspiel:kuhn_poker")
    solution = solvers.solve(game, max_steps=5, target=0.0)
    wrong = replace(solution, value=solution.value + 0.1)
    folder = save_run(tmp_path / "run", game, wrong, source="openspiel:kuhn_poker")
    with pytest.raises(InputError, match="the game is not the one that was solved"):
        read_run(folder)
