"""When something first happened: hazards by turn and intent, through the command."""

import json

import numpy as np
import pytest

from csa_games.calibration.hazard import clustered, tallied
from csa_games.calibration.log import read, write_jsonl
from csa_games.calibration.onset import NO_TYPE
from csa_games.calibration.simulate import conversations, simulate
from csa_games.cli import main
from csa_games.scenario import builtin_scenarios, read_scenario

MAP = """
format = 1
name = "drawn"
cite = "Conversations drawn from crisis_guidance."
design = "designed"
"""
COUNT = 800


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return a folder with a log in which a type or a strategy is missing here and there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    crisis = read_scenario(builtin_scenarios()["crisis_guidance"])
    draw = np.random.default_rng(0)
    drawn = conversations(simulate(crisis, COUNT, draw), crisis)

    def holes(one, k):
        events = tuple(
            event.model_copy(
                update={"strategy": None} if draw.random() < 0.05 else {"ask": event.ask}
            )
            for event in one.events
        )
        return one.model_copy(
            update={
                "events": events,
                "group": f"g{k % 40}",
                "type": None if k % 7 == 0 else one.type,
            }
        )

    write_jsonl("log.jsonl", (holes(one, k) for k, one in enumerate(drawn)))
    (tmp_path / "map.toml").write_text(MAP)
    return tmp_path


def csa_fit(capsys, *words, code=0, json_too=True):
    base = ("--map", "map.toml", "--base", "crisis_guidance", *(["--json"] if json_too else []))
    found = main(["fit", "log.jsonl", *words, *base])
    told = capsys.readouterr()
    assert found == code, told.err
    return json.loads(told.out) if json_too and code == 0 else told.out + told.err


def by_hand(log, name, intent):
    """Return (at risk, happened) by turn, one conversation at a time."""
    at_risk, happened = [0] * 4, [0] * 4
    for one in log:
        if (one.type or NO_TYPE) != intent:
            continue
        if name == "leave":
            seen = [event.ask for event in one.events] + [one.events[-1].reaction]
        else:
            seen = [event.strategy for event in one.events]
        for t, what in enumerate(seen):
            if what is None:
                break
            at_risk[t] += 1
            happened[t] += what == name
            if what == name:
                break
    return at_risk, happened


@pytest.mark.parametrize("words", [("--check",), ("-o", "x.toml")])
def test_hazards_are_those_of_the_product_limit(place, capsys, words):
    told = csa_fit(capsys, *words, "--hazard", "leave", "--hazard", "refuse")["hazards"]
    log = list(read("log.jsonl"))
    assert set(told) == {"leave", "refuse"}
    for name, intents in told.items():
        assert set(intents) == {"benign", "distressed", "misinformed", "malicious", NO_TYPE}
        for intent, found in intents.items():
            at_risk, happened = by_hand(log, name, intent)
            length = len(found["hazard"])
            assert found["at_risk"] == at_risk[:length]
            assert found["happened"] == happened[:length]
            assert sum(at_risk[length:]) == 0
            share = 1.0
            for t in range(length):
                hazard = happened[t] / max(at_risk[t], 1)
                share *= 1 - hazard
                assert found["hazard"][t] == pytest.approx(hazard)
                assert found["survival"][t] == pytest.approx(share)
                assert found["hazard_low"][t] <= hazard <= found["hazard_high"][t]
                assert found["survival_low"][t] <= share <= found["survival_high"][t]


def test_hazards_are_shown(place, capsys):
    told = csa_fit(capsys, "--check", "--hazard", "leave", json_too=False)
    assert "When leave first comes" in told
    assert "without a type" in told
    told = csa_fit(capsys, "-o", "x.toml", "--hazard", "leave", json_too=False)
    assert told.index("When leave first comes") < told.index("saved x.toml")
    assert "first comes" not in csa_fit(capsys, "--check", json_too=False)


def test_names_that_are_none_are_refused(place, capsys):
    told = csa_fit(capsys, "--check", "--hazard", "go", code=2)
    assert "--hazard: found 'go', which is neither; expected one ask or response of" in told
    assert "found the level 90" in csa_fit(
        capsys, "--check", "--hazard", "leave", "--level", "90", code=2
    )


def test_groups_that_differ_make_intervals_wider(place, capsys):
    """In half of the groups everybody leaves at once, in half nobody does."""
    lines = []
    for k in range(400):
        reaction = "leave" if k % 40 < 20 else "plain"
        event = {"ask": "plain", "strategy": "clarify", "reaction": reaction}
        lines.append({"id": str(k), "group": f"g{k % 40}", "type": "benign", "events": [event]})
    (place / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def width():
        found = csa_fit(capsys, "--check", "--hazard", "leave")["hazards"]["leave"]["benign"]
        assert found["hazard"] == [0.0, 0.5]
        return found["hazard_high"][1] - found["hazard_low"][1]

    alone = width()
    (place / "map.toml").write_text(MAP + 'cluster = "group"\n')
    # 40 groups tell as much as 40 conversations, not 400: the square root of 10 times as wide.
    assert width() == pytest.approx(np.sqrt(10) * alone, rel=0.15)


def test_the_order_of_clusters_does_not_matter():
    draw = np.random.default_rng(0)
    last = draw.integers(0, 9, size=(30, 4))
    happened = np.minimum(draw.integers(0, 3, size=(30, 3)), last[:, :3])
    order = draw.permutation(30)
    one = clustered(happened, last, np.random.default_rng(1))
    two = clustered(happened[order], last[order], np.random.default_rng(1))
    for name in vars(one):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    alone = tallied(happened.sum(axis=0), last.sum(axis=0))
    assert np.array_equal(one.hazard, alone.hazard)
    assert np.array_equal(one.survival, alone.survival)
