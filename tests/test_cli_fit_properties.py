"""What must hold of any fit, through the command: order, repetition, and what was never seen."""

import json

import numpy as np
import pytest
from scipy.stats import beta

from csa_games.calibration.log import read, write_jsonl
from csa_games.calibration.simulate import conversations, simulate
from csa_games.cli import main
from csa_games.scenario import builtin_scenarios, read_scenario

MAP = """
format = 1
name = "drawn"
cite = "Conversations drawn from crisis_guidance."
"""
JUDGE = """
[judge.asks]
plain = { plain = 80, contextualised = 15, disguised = 5 }
contextualised = { plain = 10, contextualised = 85, disguised = 5 }
disguised = { plain = 5, contextualised = 15, disguised = 80 }
"""
MAPS = {
    "plain": 'design = "designed"\n',
    "population": 'design = "population"\n',
    "groups": 'design = "designed"\ncluster = "group"\n',
    "latent": 'design = "designed"\nlatent = ["benign", "distressed"]\n',
    "judge": 'design = "designed"\n' + JUDGE,
}
"""What a mapping may ask for, by name."""


@pytest.fixture(scope="module")
def crisis():
    return read_scenario(builtin_scenarios()["crisis_guidance"])


@pytest.fixture
def place(tmp_path, monkeypatch, crisis):
    """Return a folder with a log in 30 groups, every third conversation without its type."""
    monkeypatch.chdir(tmp_path)
    drawn = conversations(simulate(crisis, 900, np.random.default_rng(0)), crisis)
    write_jsonl(
        "log.jsonl",
        (
            one.model_copy(
                update={
                    "group": f"g{k * k % 30}",
                    "type": None
                    if k % 3 == 0 and one.type in ("benign", "distressed")
                    else one.type,
                }
            )
            for k, one in enumerate(drawn)
        ),
    )
    return tmp_path


def csa_fit(capsys, *words):
    assert main(["fit", *words, "--map", "map.toml", "--base", "crisis_guidance", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", MAPS)
def test_permuting_conversations_changes_no_bit(place, capsys, kind):
    (place / "map.toml").write_text(MAP + MAPS[kind])
    lines = (place / "log.jsonl").read_text().splitlines(keepends=True)
    order = np.random.default_rng(1).permutation(len(lines))
    (place / "shuffled.jsonl").write_text("".join(lines[k] for k in order))
    told = []
    for log, out in (("log.jsonl", "a.toml"), ("shuffled.jsonl", "b.toml")):
        told.append(csa_fit(capsys, log, "-o", out, "--hazard", "leave"))
        del told[-1]["scenario"]
    assert told[0] == told[1]
    assert (place / "a.toml").read_bytes() == (place / "b.toml").read_bytes()


def test_duplicating_the_log_halves_the_variance(place, capsys):
    (place / "map.toml").write_text(MAP + MAPS["plain"])
    once = csa_fit(capsys, "log.jsonl", "-o", "a.toml")["estimates"]
    twice = csa_fit(capsys, "log.jsonl", "log.jsonl", "-o", "b.toml")["estimates"]
    compared = 0
    for row, outcomes in once.items():
        for name, one in outcomes.items():
            two = twice[row][name]
            assert two["n"] == 2 * one["n"]
            if one["n"] > 100:  # fewer clusters have wider tails
                assert two["effective"] == pytest.approx(2 * one["effective"], rel=0.04)
            if one["n"] > 100 and 0.1 < one["value"] < 0.9:  # else intervals are skew
                ratio = (two["high"] - two["low"]) / (one["high"] - one["low"])
                assert ratio**2 == pytest.approx(0.5, rel=0.06)
                compared += 1
    assert compared > 15


@pytest.mark.parametrize("kind", ["plain", "groups", "judge"])
def test_a_response_never_seen_stays_at_its_prior_with_its_interval(place, capsys, crisis, kind):
    (place / "map.toml").write_text(MAP + MAPS[kind])
    kept = [
        one for one in read("log.jsonl") if all(event.strategy != "guide" for event in one.events)
    ]
    assert 100 < len(kept) < 900
    write_jsonl("kept.jsonl", kept)
    told = csa_fit(capsys, "kept.jsonl", "-o", "x.toml")["estimates"]
    fitted = read_scenario("x.toml")
    for i, intent in enumerate(crisis.intents[:3]):
        before = intent.kernel.after["guide"]
        assert fitted.intents[i].kernel.after["guide"] == before
        row = told[f"intents.{intent.name}.kernel.after.guide"]
        possible = [p for p in before.values() if p > 0]
        # Jeffreys' prior, half an observation of each possible outcome, of which no data are.
        low, high = beta(0.5, 0.5 * (len(possible) - 1)).interval(0.9)
        for name, one in row.items():
            assert one["value"] == before[name]
            assert one["n"] == 0
            assert one["low"] == pytest.approx(min(low, before[name]))
            assert one["high"] == pytest.approx(max(high, before[name]))
