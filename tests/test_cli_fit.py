"""`csa fit`: from a log to a scenario that the robust solver takes; what it says of wrong input."""

import json

import numpy as np
import pytest

from csa_games.calibration.log import write_jsonl
from csa_games.calibration.simulate import conversations, simulate
from csa_games.cli import main
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario

MAP = """
format = 1
name = "simulated"
cite = "Conversations drawn from crisis_guidance."
design = "designed"
"""
LINE = {"id": "c1", "type": "benign", "events": [{"ask": "plain", "strategy": "comply"}]}


@pytest.fixture(scope="module")
def crisis():
    return read_scenario(builtin_scenarios()["crisis_guidance"])


@pytest.fixture
def place(tmp_path, monkeypatch, crisis):
    """Return a folder with a log of 2,000 conversations and its mapping."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    drawn = simulate(crisis, 2000, np.random.default_rng(0))
    write_jsonl("log.jsonl.gz", conversations(drawn, crisis))
    (tmp_path / "map.toml").write_text(MAP)
    return tmp_path


def csa_fit(capsys, *words, code=0, json_too=False):
    base = ("--map", "map.toml", "--base", "crisis_guidance")
    found = main(["fit", *words, *base, *(["--json"] if json_too else [])])
    told = capsys.readouterr()
    assert found == code, told.err
    return json.loads(told.out) if json_too else told.out + told.err


def test_a_fitted_scenario_is_solved_robustly(place, capsys, crisis):
    told = csa_fit(capsys, "log.jsonl.gz", "-o", "fitted.toml", json_too=True)
    assert told["conversations"] == 2000
    fitted = read_scenario("fitted.toml")
    for i, intent in enumerate(crisis.intents[:3]):
        for ask, p in intent.kernel.opening.items():
            again = fitted.intents[i].kernel.opening[ask]
            row = told["estimates"][f"intents.{intent.name}.kernel.opening"][ask]
            assert row["value"] == pytest.approx(again, abs=1e-5)
            sd = np.sqrt(p * (1 - p) / row["n"])
            assert again == pytest.approx(p, abs=4.5 * sd + 1 / row["n"])
    # One turn: nature picks nothing but openings and signals anew.
    code = main(["solve", "fitted.toml", "--method", "robust", "--set", "turns=1", "--json"])
    solved = json.loads(capsys.readouterr().out)
    assert code == 0
    assert solved["status"] == "exact"
    assert solved["robustness"]["value"] < solved["robustness"]["nominal"]


def test_what_was_fitted_is_shown(place, capsys):
    told = csa_fit(capsys, "log.jsonl.gz", "-o", "fitted.toml")
    assert "benign after comply" in told
    assert "Priors are those of crisis_guidance: the log is designed" in told
    assert "csa solve fitted.toml --method robust\n" in told


def test_intervals_of_rows_are_shown_with_the_scenario(place, capsys, monkeypatch):
    csa_fit(capsys, "log.jsonl.gz", "-o", "fitted.toml")
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["show", "fitted.toml"]) == 0
    shown = capsys.readouterr().out
    kernel = read_scenario("fitted.toml").intents[0].kernel
    ends = (kernel.low.after["guide"]["leave"], kernel.high.after["guide"]["leave"])
    low, high = (f"{end:.3g}" for end in ends)
    (line,) = (line for line in shown.splitlines() if line.startswith("benign: after guide"))
    assert f"{kernel.after['guide']['leave']:.3g} [{low}, {high}]" in line
    signals = read_scenario("fitted.toml").channel[0]
    assert f"[{signals.low['clear']:.3g}, {signals.high['clear']:.3g}]" in shown


def test_logs_may_be_several(place, capsys):
    one = csa_fit(capsys, "log.jsonl.gz", "-o", "a.toml", json_too=True)
    two = csa_fit(capsys, "log.jsonl.gz", "log.jsonl.gz", "-o", "b.toml", json_too=True)
    assert two["conversations"] == 2 * one["conversations"]
    row = "intents.benign.kernel.opening"
    assert two["estimates"][row]["plain"]["n"] == 2 * one["estimates"][row]["plain"]["n"]


def test_a_check_counts_and_writes_nothing(place, capsys):
    before = sorted(place.iterdir())
    told = csa_fit(capsys, "log.jsonl.gz", "--check", json_too=True)
    assert told["ok"]
    assert told["conversations"] == 2000
    assert told["missing"]["type"] == 0
    assert "conversations" in csa_fit(capsys, "log.jsonl.gz", "--check")
    assert sorted(place.iterdir()) == before


def test_a_check_that_finds_something_fails(place, capsys):
    (place / "bad.jsonl").write_text(json.dumps(LINE | {"type": "who"}) + "\n{\n")
    told = csa_fit(capsys, "bad.jsonl", "--check", code=1, json_too=True)
    assert told["unknown"] == {"type": {"who": 1}}
    assert len(told["faults"]) == 2
    shown = csa_fit(capsys, "bad.jsonl", "--check", code=1)
    assert "unknown type" in shown
    assert "bad.jsonl, line 2: not JSON" in shown


@pytest.mark.parametrize(
    ("files", "words", "said"),
    [
        ({}, ["no.jsonl", "-o", "x.toml"], "no.jsonl: cannot be read"),
        ({}, ["log.jsonl.gz"], "-o: is missing"),
        ({}, ["log.jsonl.gz", "-o", "x.toml", "--level", "90"], "found the level 90"),
        ({"empty": ""}, ["empty", "-o", "x.toml"], "found no conversation"),
        ({"bad": "{\n"}, ["bad", "-o", "x.toml"], "bad, line 1: not JSON"),
        (
            {"bad": json.dumps(LINE | {"type": "who"})},
            ["bad", "-o", "x.toml"],
            "bad, line 1: type: found 'who', expected one of benign",
        ),
        (
            {"map.toml": MAP.replace("design", "desing")},
            ["log.jsonl.gz", "-o", "x.toml"],
            "design: is missing, expected: How conversations came to be",
        ),
        ({}, ["log.jsonl.gz", "-o", "nowhere/x.toml"], "nowhere"),
    ],
)
def test_wrong_input_is_said_in_sentences(place, capsys, files, words, said):
    for name, text in files.items():
        (place / name).write_text(text)
    assert said in csa_fit(capsys, *words, code=2)
    assert not (place / "x.toml").exists()
    assert not list(place.glob(".*"))


def test_what_was_there_stays_if_a_fit_is_killed(place, capsys, monkeypatch):
    (place / "x.toml").write_text("as it was")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("csa_games.files.os.replace", killed)
    csa_fit(capsys, "log.jsonl.gz", "-o", "x.toml", code=130)
    assert (place / "x.toml").read_text() == "as it was"
    assert not list(place.glob(".*"))


def test_latent_intents_are_said_to_be(place, capsys, crisis):
    halves = {"benign": 0.6, "distressed": 0.4, "misinformed": 0.0, "malicious": 0.0}
    base = override(crisis, {f"intents.{name}.prior": p for name, p in halves.items()})
    drawn = simulate(base, 800, np.random.default_rng(0))
    write_jsonl("untyped.jsonl", conversations(drawn, base, typed=False))
    (place / "map.toml").write_text(MAP + 'latent = ["benign", "distressed"]\n')
    told = csa_fit(capsys, "untyped.jsonl", "-o", "a.toml", json_too=True)
    said = " ".join(told["remarks"])
    assert "Told apart without labels, by a mixture of 800 conversations: benign 0." in said
    assert "Kinds, on part of the conversations: 1: BIC " in said
    again = csa_fit(capsys, "untyped.jsonl", "-o", "b.toml", json_too=True)
    assert again["estimates"] == told["estimates"]  # the same seed
