"""Checkpoints: a run that was stopped goes on with the same bits, or is refused in a sentence."""

import hashlib
import json
import math
import multiprocessing
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import jax
import killable
import numpy as np
import pytest
from known_games import KUHN, LEDUC, LIARS_DICE_3, game

import solvers
from csa_games import files
from csa_games.errors import InputError
from csa_games.game import Solution
from solvers import checkpoint, driver
from solvers.regret import VARIANTS

NAME = "checkpoint.csa"
KILLS = 20
LIMITS = {"target": 0.0, "max_steps": 100}


def same(found: Solution, expected: Solution) -> None:
    """Check that two runs came to the same end, bit for bit; only their seconds may differ."""
    for rows, exact in zip(found.policy, expected.policy, strict=True):
        np.testing.assert_array_equal(rows, exact)
        assert rows.dtype == exact.dtype == np.float64
    for name in ("value", "gap"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name in ("game", "method", "steps", "status", "game_class", "dead_zone"):
        assert getattr(found, name) == getattr(expected, name), name
    assert checks(found) == checks(expected)


def checks(solution: Solution) -> list[tuple[int, float]]:
    return [(check.step, check.nash_conv) for check in solution.history]


def stopped(step: int, *arguments: object, **options: object) -> Solution:
    """Return what `solvers.solve` returns when it is interrupted at iteration `step`."""

    def stop(now):
        if now.step >= step:
            raise KeyboardInterrupt

    solution = solvers.solve(*arguments, progress=stop, **options)
    assert solution.status == "interrupted"
    return solution


def content(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Return the header and the arrays of a checkpoint, read as the format is described."""
    data = path.read_bytes()
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]
    with path.open("rb") as file:
        assert file.readline() == b"csa-games checkpoint 2\n"
        header = json.loads(file.readline())
        arrays = {name: np.load(file, allow_pickle=False) for name in header["arrays"]}
        assert len(file.read()) == 32
    return header, arrays


def test_a_run_killed_twenty_times_ends_with_the_same_bits(tmp_path):
    """Each process goes on from the checkpoint that the one before was killed at."""
    whole = solvers.solve(killable.OURS, "pcfr+", target=0.0, max_steps=killable.STEPS)
    folder = tmp_path / "checkpoint"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killable"])
    rng = random.Random(0)
    moments = sorted(int(killable.STEPS ** rng.random()) for _ in range(KILLS))
    last = 0
    for moment in moments:
        told, tell = context.Pipe(duplex=False)
        process = context.Process(target=killable.solve, args=(folder, tmp_path / "cache", tell))
        process.start()
        tell.close()
        while told.recv() < moment:
            pass
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.join()
        told.close()
        assert process.exitcode == -signal.SIGKILL

        header, arrays = content(folder / NAME)
        found = [(step, nash_conv) for step, _, nash_conv in header["history"]]
        assert found == checks(whole)[: len(found)]
        t = int(arrays["state.t"])
        assert max(last, found[-1][0]) <= t
        last = t
    assert last > moments[KILLS // 2]
    ended = solvers.solve(
        killable.OURS, "pcfr+", target=0.0, max_steps=killable.STEPS, checkpoint=folder
    )
    same(ended, whole)
    assert ended.seconds > 0
    assert [path.name for path in folder.iterdir()] == [NAME]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_goes_on_where_it_was_stopped(name, tmp_path):
    ours = game(KUHN)
    whole = solvers.solve(ours, name, **LIMITS)
    for step in (0, 1, 8, 40):
        stopped(step, ours, name, checkpoint=tmp_path, **LIMITS)
    same(solvers.solve(ours, name, checkpoint=tmp_path, **LIMITS), whole)


@pytest.mark.parametrize(
    "options", [{"dtype": "float32"}, {"simultaneous": True}, {"dead_zone": 0.0}]
)
def test_the_options_of_a_run_are_kept(options, tmp_path):
    ours = game(LIARS_DICE_3)
    whole = solvers.solve(ours, "cfr+", **LIMITS, **options)
    stopped(30, ours, "cfr+", checkpoint=tmp_path, **LIMITS, **options)
    same(solvers.solve(ours, "cfr+", checkpoint=tmp_path, **LIMITS, **options), whole)


def test_a_run_stopped_between_checks_goes_on_there(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "PIECE_SECONDS", 1e-9)
    ours = game(KUHN)
    stopped(90, ours, "cfr", checkpoint=tmp_path, **LIMITS)
    header, arrays = content(tmp_path / NAME)
    assert header["history"][-1][0] == 78
    assert arrays["state.t"] == 90
    seen = []
    options = {"checkpoint": tmp_path, "progress": seen.append}
    same(solvers.solve(ours, "cfr", **LIMITS, **options), solvers.solve(ours, "cfr", **LIMITS))
    steps = [report.step for report in seen]
    before = [step for step in driver.check_steps(100) if step < 90]
    assert steps == [*before, *range(91, 101)]
    assert [report.seconds for report in seen] == sorted(report.seconds for report in seen)


def test_checkpoints_are_written_between_checks_when_they_are_due(tmp_path, monkeypatch):
    written = []
    write = checkpoint.write

    def noted(folder, run, reached):
        written.append(int(reached.state.t))  # now: the state is iterated in its own memory
        write(folder, run, reached)

    monkeypatch.setattr(driver, "write", noted)
    monkeypatch.setattr(driver, "PIECE_SECONDS", 1e-9)
    options = {"target": 0.0, "max_steps": 12}
    solvers.solve(game(KUHN), "cfr", checkpoint=tmp_path / "a", **options)
    assert written == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12]  # the checks
    written.clear()
    monkeypatch.setattr(driver, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(driver, "CHECKPOINT_SHARE", math.inf)
    solvers.solve(game(KUHN), "cfr", checkpoint=tmp_path / "b", **options)
    assert written == list(range(13))


def test_a_run_that_has_ended_is_returned_at_once(tmp_path, monkeypatch):
    ours = game(KUHN)
    for name, options in (("a", LIMITS), ("b", {"target": 1e-2})):
        solution = solvers.solve(ours, checkpoint=tmp_path / name, **options)
        before = (tmp_path / name / NAME).read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(driver, "run_in_place", lambda *_, **__: pytest.fail("went on"))
            again = solvers.solve(ours, checkpoint=tmp_path / name, **options)
        same(again, solution)
        assert again.history == solution.history
        assert again.seconds > solution.history[-1].seconds
        assert (tmp_path / name / NAME).read_bytes() == before


def test_the_time_limit_is_that_of_all_processes_together(tmp_path, monkeypatch):
    """A check that the clock brought about is not in the schedule, and must not stay."""
    ours = game(LEDUC)
    limits = {"target": 0.0, "max_steps": 400}
    whole = solvers.solve(ours, "pcfr+", **limits)
    monkeypatch.setattr(driver, "PIECE_SECONDS", 1e-9)
    now = [0.0]
    monkeypatch.setattr(driver, "perf_counter", lambda: now[0])

    def tick(report):
        now[0] += 1.0

    options = {"checkpoint": tmp_path, "progress": tick, **limits}
    first = solvers.solve(ours, "pcfr+", seconds=170.0, **options)
    assert first.status == "seconds"
    assert first.history[-1].step not in driver.check_steps(400)
    assert first.seconds == 170
    again = solvers.solve(ours, "pcfr+", seconds=170.0, checkpoint=tmp_path, **limits)
    same(again, first)
    ended = solvers.solve(ours, "pcfr+", **options)
    same(ended, whole)
    assert ended.seconds > 400


def test_another_target_goes_on_from_where_the_last_was_met(tmp_path):
    ours = game(KUHN)
    near = solvers.solve(ours, target=1e-2, checkpoint=tmp_path)
    far = solvers.solve(ours, target=1e-4, checkpoint=tmp_path)
    assert near.status == far.status == "target"
    same(far, solvers.solve(ours, target=1e-4))
    assert solvers.solve(ours, target=1e-2, checkpoint=tmp_path).steps == far.steps > near.steps


def test_a_run_that_overflows_does_so_again(tmp_path):
    leaves = game(KUHN).form.leaves
    payoff = (leaves.payoff[0] * 8e307, leaves.payoff[1] * 8e307)
    form = replace(game(KUHN).form, leaves=replace(leaves, payoff=payoff))
    huge = replace(game(KUHN), form=form)
    first, second = (solvers.solve(huge, "cfr", checkpoint=tmp_path, **LIMITS) for _ in range(2))
    assert first.status == "nonfinite"
    same(second, first)


# Refused


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Return the checkpoint of a run on Kuhn that was stopped."""
    folder = tmp_path_factory.mktemp("written")
    stopped(30, game(KUHN), "cfr+", checkpoint=folder, **LIMITS)
    return folder / NAME


def refused(folder: Path, sentence: str, ours=None, name: str = "cfr+", **options: object) -> None:
    """Check that the checkpoint in `folder` is refused with `sentence` and left as it is."""
    before = (folder / NAME).read_bytes()
    with pytest.raises(InputError, match=sentence):
        solvers.solve(ours or game(KUHN), name, checkpoint=folder, **(LIMITS | options))
    assert (folder / NAME).read_bytes() == before


def test_a_checkpoint_cut_short_anywhere_is_refused(written, tmp_path):
    data = written.read_bytes()
    lengths = {0, 1, 20, 22, 23, 24, 60, len(data) - 33, len(data) - 32, len(data) - 1}
    for length in sorted(lengths | set(range(100, len(data), 997))):
        (tmp_path / NAME).write_bytes(data[:length])
        refused(tmp_path, "no checkpoint|damaged")
    (tmp_path / NAME).write_bytes(data + b"\0")
    refused(tmp_path, "damaged or cut short")


def test_a_checkpoint_with_a_changed_byte_is_refused(written, tmp_path):
    data = written.read_bytes()
    for place in [*range(24), *range(24, len(data), 499), len(data) - 32, len(data) - 1]:
        changed = bytearray(data)
        changed[place] ^= 1
        (tmp_path / NAME).write_bytes(changed)
        refused(tmp_path, "no checkpoint|damaged")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / NAME).write_bytes(b"PK\x03\x04 and so on\n")
    refused(tmp_path, "is no checkpoint: it begins with")
    (tmp_path / NAME).write_bytes(b"csa-games checkpoint 1\n{}\n")
    refused(tmp_path, "written by another version of csa-games")
    taken = tmp_path / "taken"
    taken.touch()
    with pytest.raises(InputError, match="taken is a file, expected a folder"):
        solvers.solve(game(KUHN), checkpoint=taken)


def test_checkpoints_of_other_runs_are_refused(written):
    leaves = game(KUHN).form.leaves
    other = [np.array(payoff) for payoff in leaves.payoff]
    other[1][7] = np.nextafter(other[1][7], 9)
    form = replace(game(KUHN).form, leaves=replace(leaves, payoff=tuple(other)))
    folder = written.parent
    refused(folder, "its game, by its tree and payoffs", replace(game(KUHN), form=form))
    refused(folder, "its game is 'kuhn_poker', that of this run is 'leduc_poker'", game(LEDUC))
    refused(folder, r"its method is 'cfr\+', that of this run is 'pcfr\+'", name="pcfr+")
    refused(folder, "its max_steps, the horizon, is 100, that of this run is 99", max_steps=99)
    refused(folder, "its dead zone is .*, that of this run is 0.0", dead_zone=0.0)
    refused(folder, "its dtype is 'float64', that of this run is 'float32'", dtype="float32")
    refused(folder, "its simultaneous is False, that of this run is True", simultaneous=True)


def test_other_software_and_other_machines_are_refused(written, monkeypatch):
    """Their last bits may differ, and regret matching makes other policies of those."""
    here = checkpoint.provenance()
    for change, sentence in (
        ({"packages": here["packages"] | {"jax": "9.9"}}, "its software is .*'jax': '9.9'"),
        ({"cpu": "another"}, "its processor is .*, that of this run is 'another'"),
        ({"cores": 77}, "its number of cores is"),
        ({"devices": ["cuda: H100"]}, "its devices is"),
    ):
        monkeypatch.setattr(checkpoint, "provenance", lambda change=change: here | change)
        refused(written.parent, sentence)
    # What leaves the bits alone is not compared.
    monkeypatch.setattr(checkpoint, "provenance", lambda: here | {"time": "later", "git": None})
    copy = solvers.solve(game(KUHN), "cfr+", checkpoint=written.parent, **LIMITS)
    same(copy, solvers.solve(game(KUHN), "cfr+", **LIMITS))


def test_a_state_of_other_shapes_is_refused(written, monkeypatch):
    """As by a later version of the solver that forgot to say so."""
    beginning = driver.beginning
    with jax.enable_x64(True):
        monkeypatch.setattr(
            driver, "beginning", lambda form: beginning(form)._replace(t=np.zeros(1))
        )
        refused(written.parent, "arrays of other shapes")


def test_fingerprints_tell_games_apart():
    def changed(leaf: int) -> str:
        leaves, structure = jax.tree.flatten(game(KUHN).form)
        leaves[leaf] = np.array(leaves[leaf])
        leaves[leaf].flat[-1] = not leaves[leaf].flat[-1]
        return checkpoint.fingerprint(jax.tree.unflatten(structure, leaves))

    form = game(KUHN).form
    count = len(jax.tree.leaves(form))
    prints = {checkpoint.fingerprint(form), *map(changed, range(count))}
    assert len(prints) == 1 + count
    wider = replace(form, treeplex=(replace(form.treeplex[0], width=3), form.treeplex[1]))
    assert checkpoint.fingerprint(wider) not in prints
    game.cache_clear()
    assert checkpoint.fingerprint(game(KUHN).form) in prints


# Written whole or not at all


def test_a_checkpoint_stays_until_the_next_is_complete(tmp_path, monkeypatch):
    ours = game(KUHN)
    stopped(8, ours, "cfr+", checkpoint=tmp_path, **LIMITS)
    before = (tmp_path / NAME).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            solvers.solve(ours, "cfr+", checkpoint=tmp_path, **LIMITS)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == before
    same(
        solvers.solve(ours, "cfr+", checkpoint=tmp_path, **LIMITS),
        solvers.solve(ours, "cfr+", **LIMITS),
    )


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    half, others = tmp_path / f".{NAME}.01234567.new", tmp_path / "mine.new"
    for path in (half, others):
        path.write_bytes(b"csa-games")
    solvers.solve(game(KUHN), checkpoint=tmp_path, max_steps=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, "mine.new"]
    half.write_bytes(b"csa-games")
    solvers.solve(game(KUHN), checkpoint=tmp_path, max_steps=3)
    assert not half.exists()
