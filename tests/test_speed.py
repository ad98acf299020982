"""The speed experiment: its games, its racers, its arithmetic, and `csa bench` end to end.

What is raced has to do the same work, so all engines that are always installed must agree on what
their averages are worth; how fast they are is nothing to assert.
"""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from csa_games.cli import main
from csa_games.dialogue import dialogue_game, in_security_class, sizes
from csa_games.evidence import sourced, totals
from csa_games.rules import Decision, Terminal, walk
from experiments.speed import batch, gpu, measure, race, results
from experiments.speed.bar import bar
from experiments.speed.games import (
    DIALOGUES,
    INTENTS,
    OPENSPIEL,
    Shape,
    dialogue,
    dialogue_of,
    payoff_range,
)
from experiments.speed.job import Job
from experiments.speed.measure import gap, speed
from experiments.speed.racers import ENGINES, PEERS, Engine, Track
from experiments.speed.report import batch_table, extrapolated, files, roofline_table, speed_table
from experiments.speed.worker import KINDS
from solvers import cfr, together
from solvers.regret import VARIANTS

ROOT = Path(__file__).parents[1]
SMALL = Shape(2, 2, 2, 3)


def histories(shape: Shape) -> int:
    """Count complete histories by hand: what an intent may do does not depend on the past.

    But kernels do not leave or migrate before their first ask.
    """
    asked = shape.asks * shape.signals
    going = asked * (shape.responses - 1)
    every = sum(
        going**t * (2 + asked * (1 if t + 1 < shape.turns else shape.responses))
        for t in range(shape.turns)
    )
    kernels = sum(not adversarial for _, _, adversarial in INTENTS.values())
    return len(INTENTS) * every - 2 * kernels


@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogues_are_as_large_as_their_names_say(name):
    scenario = dialogue(name)
    count = sizes(scenario).histories
    assert count == histories(DIALOGUES[name])
    assert 0.9 <= count / float(name.removeprefix("dialogue_")) <= 1.5
    assert in_security_class(scenario)
    found = totals(sourced(scenario))
    assert found["assumption"] > 100
    assert found["measured"] == found["derived"] == 0, "the numbers are made up"


def test_a_dialogue_has_kernels_and_adversaries_and_ways_to_end():
    scenario = dialogue_of(SMALL)
    assert {intent.behaviour for intent in scenario.intents} == {"kernel", "adversarial"}
    assert {ask.ends for ask in scenario.asks} == {None, "leave", "migrate"}
    assert [response.ends for response in scenario.responses] == [False, False, True]
    leaves = [node for _, _, node in walk(dialogue_game(scenario).root) if node_is_leaf(node)]
    assert len(leaves) == histories(SMALL)
    payoffs = [leaf.payoffs[1] for leaf in leaves]
    assert payoff_range(scenario) == pytest.approx(max(payoffs) - min(payoffs), abs=1e-12)


def node_is_leaf(node):
    return isinstance(node, Terminal)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory) -> dict[str, Track]:
    folder = tmp_path_factory.mktemp("speed")
    efg = race.write_dialogue("dialogue_1e4", folder)
    return {
        "kuhn": race.track_of("kuhn"),
        "leduc": race.track_of("leduc"),
        "dialogue_1e4": replace(race.track_of("dialogue_1e4"), efg=str(efg)),
    }


# After 100 iterations, DDCFR's repository at commit 0e4de9b: CFR+ with linear averaging.
PUBLISHED = {"kuhn": 1.194e-3, "leduc": 1.342e-2}


@pytest.mark.parametrize("game", ["kuhn", "leduc", "dialogue_1e4"])
def test_engines_agree_on_what_their_averages_are_worth(game, tracks):
    """Same order of updates, same averaging: they may differ by the order of summation alone."""
    reference = ENGINES["scipy"].start(tracks[game])
    others = [ENGINES[name].start(tracks[game]) for name in ("csa", "openspiel")]
    for steps in (1, 4, 25):  # 30 in all
        reference.iterate(steps)
        for other in others:
            other.iterate(steps)
            assert other.nash_conv() == pytest.approx(reference.nash_conv(), rel=1e-8)
    if game in PUBLISHED:
        reference.iterate(70)
        assert reference.nash_conv() / 2 == pytest.approx(PUBLISHED[game], rel=1e-3)


@pytest.mark.parametrize("name", ["csa", "csa-float32", "csa-pcfr+", "openspiel", "scipy"])
def test_a_racer_that_restarts_does_the_same_again(name, tracks):
    racer = ENGINES[name].start(tracks["kuhn"])
    racer.iterate(7)
    first = racer.nash_conv()
    racer.iterate(20)
    assert racer.nash_conv() < first
    racer.restart()
    racer.iterate(3)
    racer.iterate(4)
    assert racer.nash_conv() == pytest.approx(first, rel=1e-12)


def test_single_precision_is_single(tracks):
    double, single = (ENGINES[name].start(tracks["leduc"]) for name in ("csa", "csa-float32"))
    for racer in (double, single):
        racer.iterate(20)
    assert single.facts()["state_bytes"] < double.facts()["state_bytes"]
    assert single.nash_conv() == pytest.approx(double.nash_conv(), rel=1e-3)


def test_peers_read_the_dialogue_that_we_solve(tracks):
    import pyspiel

    from experiments.speed.reference import walk as walk_openspiel

    there = pyspiel.load_game("efg_game", {"filename": tracks["dialogue_1e4"].efg})
    game = dialogue_game(dialogue("dialogue_1e4"))
    form = walk_openspiel(there)
    infosets = [
        len({n.infoset for _, _, n in walk(game.root) if isinstance(n, Decision) and n.player == p})
        for p in (0, 1)
    ]
    assert [len(part.count) for part in form.decisions] == infosets
    assert tuple(infosets) == sizes(dialogue("dialogue_1e4")).infosets


class Counter:
    """A racer that only counts; its NashConv is one over the iterations."""

    def __init__(self, track: Track) -> None:
        self.t = 0

    def iterate(self, steps: int) -> None:
        """Count."""
        self.t += steps

    def restart(self) -> None:
        """Count anew."""
        self.t = 0

    def nash_conv(self) -> float:
        """Return less and less."""
        return 1 / self.t

    def facts(self) -> dict:
        """Return something."""
        return {"device": "none"}


@pytest.fixture
def counted(monkeypatch):
    """Let "scipy" be a racer that counts, and return a function that does a job with it."""
    made = []

    def start(track):
        made.append(Counter(track))
        return made[-1]

    monkeypatch.setitem(ENGINES, "scipy", Engine("numpy", "numpy", "counts", start))

    def do(function, **parts):
        job = Job("scipy", "kuhn", "-", race.track_of("kuhn"), 0.05, 10.0, (0,), **parts)
        found = {}
        function(job, found.update)
        return found, made[-1]

    return do


def test_the_gap_is_followed_from_iteration_0_to_the_target(counted):
    found, racer = counted(gap, target=0.1)
    steps = [t for t, _, _ in found["history"]]
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert [value for _, _, value in found["history"]] == [1 / t for t in steps]
    assert racer.t == 10
    seconds = [s for _, s, _ in found["history"]]
    assert seconds == sorted(seconds)


def test_windows_cover_the_iterations_that_are_named(counted, monkeypatch):
    monkeypatch.setattr(measure, "WINDOW", 1e-6)
    found, racer = counted(speed)
    first, last = found["iterations"]
    assert last == racer.t
    assert 1 < len(found["windows"]) <= measure.WINDOWS
    assert (last - first + 1) % len(found["windows"]) == 0
    assert found["ms_least"] == min(found["windows"]) <= found["ms"]
    assert found["nash_conv"] == 1 / last


def test_jobs_survive_json():
    for job in results.all_jobs():
        assert Job.read(job.json()) == job
        assert job.kind in KINDS
        assert job.engine in ENGINES
    assert len(set(results.all_jobs())) == len(list(results.all_jobs()))


def test_whatever_goes_wrong_is_a_record(tmp_path):
    good = next(results.speed_jobs(["kuhn"], ["scipy"], 0.1))
    wrong = replace(good, track=Track(openspiel="no_such_game"))
    failed = race.run(wrong, tmp_path)
    assert failed["status"].startswith("failed: ")
    assert "no_such_game" in failed["status"]
    slow = race.run(replace(good, seconds=60.0, limit=0.1), tmp_path)
    assert slow["status"] == "stopped after 0 s"
    assert "ms" not in failed
    assert "ms" not in slow


def test_engines_that_are_not_installed_are_listed(monkeypatch, tmp_path):
    monkeypatch.setitem(ENGINES, "scipy", replace(ENGINES["scipy"], package="no_such_package"))
    assert race.missing(["csa", "scipy"]) == ["scipy"]
    (job,) = results.speed_jobs(["kuhn"], ["scipy"], 0.1)
    assert race.run(job, tmp_path) == {"status": "not installed: make peers"}


def test_peers_are_not_given_what_no_file_can_hold():
    jobs = results.speed_jobs(["dialogue_2e8"], PEERS, 0.1)
    statuses = {record["status"] for record in race.race(jobs)}
    assert statuses == {"too large: a file with 2.51e+08 histories"}


@pytest.fixture
def made_up() -> dict:
    """Return results of round numbers: what the report makes of them can be worked out by hand."""

    def timed(game, engine, ms, **more):
        return {
            "game": game,
            "engine": engine,
            "kind": "speed",
            "status": "ok",
            "ms": ms,
            "ms_least": ms / 2,
            "device": "cpu: cpu",
            "peak_bytes": 2e9,
            "loop_peak_bytes": 1e9,
            **more,
        }

    large = {"state_bytes": 3 * 10**9, "game_bytes": 10**9}
    return {
        "command": "made up",
        "provenance": {
            "time": "now",
            "python": "3",
            "packages": {"numpy": "2", "jax": None},
            "git": None,
            "platform": "none",
            "cpu": "none",
            "cores": 2,
        },
        "cores": [0, 1],
        "bandwidth": {
            "copy": 10e9,
            "copy_one_thread": 5e9,
            "triad": 8e9,
            "cache_copy": 100e9,
            "operations": 50e9,
            "device": "cpu: cpu",
            "device_copy": 7e9,
        },
        "games": {
            "leduc": {},
            "dialogue_5e5": {"histories": 500_000},
            "dialogue_2e8": {"histories": 200_000_000},
        },
        "records": [
            timed("leduc", "csa", 0.5),
            timed("leduc", "openspiel", 200.0),
            timed("leduc", "liteefg", 20.0),
            timed("leduc", "liteefg-2-threads", 10.0),
            timed("dialogue_5e5", "csa", 1.0, state_bytes=10**6, game_bytes=10**6),
            timed("dialogue_5e5", "openspiel", 900.0),
            timed("dialogue_2e8", "csa", 1400.0, **large),
            {
                "game": "dialogue_2e8",
                "engine": "openspiel",
                "kind": "speed",
                "status": "too large",
            },
            {"game": "leduc", "engine": "noregret", "kind": "speed", "status": "failed: oh no"},
            {
                "game": "leduc",
                "engine": "csa",
                "kind": "gap",
                "status": "ok",
                "target": 1e-3,
                "history": [[1, 0.1, 1.0], [2, 0.25, 1e-4]],
            },
            {
                "game": "leduc",
                "engine": "csa-pcfr+",
                "kind": "solve",
                "status": "ok",
                "target": 2e-3,
                "setup_seconds": 1.0,
                "first_run": {"seconds": 3.0, "steps": 9, "nash_conv": 2e-3, "status": "target"},
                "second_run": {"seconds": 0.05, "steps": 9, "nash_conv": 2e-3, "status": "target"},
            },
            {
                "game": "dialogue_1e4",
                "engine": "csa",
                "kind": "batch",
                "status": "ok",
                "batch": 256,
                "one_ms": 2.0,
                "batch_ms": 62.0,
                "state_bytes": 10**6,
                "game_bytes": 5 * 10**5,
                "operations": 1e6,
            },
        ],
    }


def test_the_bar_divides_the_right_numbers(made_up):
    rows = {row.what: row for row in bar(made_up)}
    assert rows["leduc, per iteration, against OpenSpiel C++"].measured == "400x"
    assert rows["leduc, per iteration, against OpenSpiel C++"].met is True
    assert "200x by the least" in rows["leduc, per iteration, against OpenSpiel C++"].remark
    assert rows["leduc, per iteration, against LiteEFG"].measured == "20x"  # the faster of two
    assert rows["leduc, per iteration, against LiteEFG"].met is False
    assert rows["dialogue_5e5, per iteration, against OpenSpiel C++"].measured == "900x"
    assert rows["dialogue_5e5, per iteration, against OpenSpiel C++"].met is False
    assert rows["liars_dice_6, per iteration, against LiteEFG"].met is None
    # 1400 ms over 2e8 histories
    assert rows["dialogue_2e8, per history and iteration"].measured == "7 ns"
    assert rows["dialogue_2e8, peak memory"].measured == "1 GB"
    assert rows["dialogue_2e8, peak memory"].met is True
    assert rows["leduc to exploitability 0.001, after compilation"].measured == "0.05 s"
    assert rows["256 priors of dialogue_1e4 by vmap"].measured == "31x"
    assert rows["256 priors of dialogue_1e4 by vmap"].met is False
    assert rows["leduc on a GPU, per iteration"].met is None


def test_on_a_gpu_the_gpu_rows_are_measured(made_up):
    for record in made_up["records"]:
        record["device"] = "gpu: something"
    made_up["games"]["dialogue_1e10"] = {"histories": 10**10}
    made_up["records"][6]["game"] = "dialogue_1e10"
    rows = {row.what: row for row in bar(made_up)}
    assert rows["leduc on a GPU, per iteration"].measured == "0.5 ms"
    assert rows["leduc on a GPU, per iteration"].met is False
    # 7 GB in 1.4 s, of 7 GB/s
    huge = rows["dialogue_1e10 on a GPU, share of the measured copy bandwidth"]
    assert (huge.measured, huge.met) == ("71%", True)


def test_what_a_peer_cannot_hold_is_extrapolated_and_marked(made_up):
    assert extrapolated(made_up, "dialogue_2e8", "openspiel") == pytest.approx(900 * 400)
    assert extrapolated(made_up, "dialogue_2e8", "scipy") is None
    assert extrapolated(made_up, "leduc", "openspiel") is None
    headings, rows = speed_table(made_up)
    cells = {row[0]: dict(zip(headings, row, strict=True)) for row in rows}
    assert cells["dialogue_2e8"]["openspiel"] == "≈ 360,000"
    assert cells["leduc"]["noregret"] == "failed: oh no"
    assert cells["leduc"]["GPU-CFR, A100 †"] == "0.304"  # arXiv 2609.11923v1, Table 3


def test_the_roofline_counts_bytes(made_up):
    headings, rows = roofline_table(made_up)
    row = next(dict(zip(headings, r, strict=True)) for r in rows if r[0] == "dialogue_2e8")
    assert row["least bytes, MB"] == "7000"  # twice 3 GB of state, and 1 GB of game
    assert row["least time, ms"] == "700"  # at 10 GB/s
    assert row["share"] == "50%"


def test_a_batch_is_held_against_memory_cache_and_arithmetic(made_up):
    headings, rows = batch_table(made_up)
    found = [dict(zip(headings, row, strict=True)) for row in rows]
    # 256 times 2.5 MB at 10 and at 100 GB/s, and 256 million operations at 50 a nanosecond.
    assert [row["least time, ms"] for row in found] == ["64", "6.4", "5.12"]
    assert [row["times one"] for row in found] == ["32x", "3.2x", "2.56x"]
    assert found[1]["share of the time measured"] == "10%"


def test_the_report_says_everything_and_is_the_same_twice(made_up):
    written = files(made_up)
    page = written["speed.md"].decode()
    for word in ("failed: oh no", "≈ 360,000", "NO", "†", "31x"):
        assert word in page
    pictures = {name for name in written if name.endswith(".svg")}
    assert pictures == {"speed.svg", "gap_leduc.svg"}
    assert b"openspiel, extrapolated" in written["speed.svg"]
    assert files(json.loads(json.dumps(made_up))) == written


def test_many_priors_at_once_are_what_they_are_one_by_one(monkeypatch):
    monkeypatch.setitem(DIALOGUES, "small", SMALL)
    forms = [game.form for game in batch.prior_sweep(Track(dialogue="small"), 3)]

    with jax.enable_x64(True):
        options = {"horizon": 1.0, "dead_zone": 1e-9}
        alone = [
            cfr.average(form, cfr.run(form, VARIANTS["cfr+"], cfr.init(form), 20, **options))
            for form in forms
        ]
    assert not np.allclose(alone[0][1], alone[2][1])
    for most, batches in ((10**9, 1), (1, 3)):
        monkeypatch.setattr(together, "BATCH_BYTES", most)
        more, states = together.runs(forms, [VARIANTS["cfr+"]] * 3, [1e-9] * 3, horizon=1.0)
        assert len(states) == batches
        found = jax.device_get(more(more(states, 12), 8))
        for k, form in enumerate(forms):
            mine = cfr.average(form, together.run_of(found, k))
            for player in (0, 1):
                np.testing.assert_allclose(mine[player], alone[k][player], rtol=0, atol=1e-9)


def test_bench_end_to_end(tmp_path, capsys):
    out = tmp_path / "bench"
    words = ["bench", "kuhn", "--quick", "--engines", "csa,openspiel,scipy", "--out", str(out)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [r["engine"] for r in found["records"]] == ["csa", "openspiel", "scipy"]
    for record in found["records"]:
        assert record["status"] == "ok"
        assert 0 < record["ms_least"] <= record["ms"]
        assert 0 < record["nash_conv"] < 0.01
        assert record["setup_seconds"] > 0
        assert record["loop_peak_bytes"] > 1e7  # Python alone has as much
    assert json.loads((out / "results.json").read_text())["records"] == found["records"]
    assert {"speed.md", "speed.csv", "speed.svg"} <= {path.name for path in out.iterdir()}


def test_bench_prints_a_table(capsys, monkeypatch):
    record = {"engine": "csa", "game": "kuhn", "kind": "speed", "status": "ok", "ms": 0.25}
    monkeypatch.setattr(race, "missing", lambda engines: ["noregret"])
    monkeypatch.setattr(results, "race", lambda jobs, say: [record for _ in jobs][:1])
    assert main(["bench", "kuhn"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^engine +kuhn$", shown, re.MULTILINE)
    assert re.search(r"^csa +0\.25$", shown, re.MULTILINE)
    assert "Not installed: noregret. To add: make peers" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", "poker"], "there is no game 'poker' to race; the games are kuhn, leduc"),
        (["bench", "--engines", "csa,abacus"], "there is no engine 'abacus' to race"),
    ],
)
def test_bench_refuses_what_it_does_not_know(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_bench_needs_a_source_checkout(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "experiments", None)
    for name in [name for name in sys.modules if name.startswith("experiments.")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["bench"]) == 2
    assert "csa bench needs a source checkout of csa-games" in capsys.readouterr().err


def test_every_package_of_the_peers_has_one_version():
    def lines(path):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert "://" not in text
        return [line for line in text.splitlines() if line and not line.startswith("#")]

    constrained = {re.split("[=<> ]", line)[0] for line in lines("constraints.txt")}
    for line in lines("experiments/speed/peers.txt"):
        name, _, version = line.partition("==")
        assert bool(version) != (name in constrained), line


def test_games_are_named_once():
    assert not set(OPENSPIEL) & set(DIALOGUES)
    assert set(results.ON_CPU) < set(results.GAMES)


def test_the_command_for_a_gpu_runs_without_one(tmp_path, capsys):
    assert gpu.main(["--quick", "--games", "kuhn", "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "results.json").read_text())
    assert [r["engine"] for r in written["records"]] == ["csa", "csa-float32"]
    assert {r["status"] for r in written["records"]} == {"ok"}
    (said,) = written["checks"]
    assert "kuhn: two runs on cpu have the same bits" in said
    assert said in capsys.readouterr().err
    assert "no GPU in this run" in (tmp_path / "speed.md").read_text()
