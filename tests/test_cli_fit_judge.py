"""`csa fit` with labels of a judge that errs: corrected where that is sound, else it is said."""

import json
from dataclasses import replace

import numpy as np
import pytest

from csa_games.calibration.log import write_jsonl
from csa_games.calibration.simulate import conversations, simulate
from csa_games.cli import main
from csa_games.dialogue import tables
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario

MAP = """
format = 1
name = "judged"
cite = "Conversations drawn from crisis_guidance, asks labelled by a judge that errs."
"""
# What the judge says of plain, contextualised and disguised asks.
ASKS = np.array([[0.85, 0.1, 0.05], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]])
# And of benign, distressed and misinformed users.
TYPES = np.array([[0.8, 0.15, 0.05], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
TRIED = 400  # things of each label that it was tried on
PRIORS = {"benign": 0.55, "distressed": 0.35, "misinformed": 0.1, "malicious": 0.0}


@pytest.fixture(scope="module")
def truth():
    crisis = read_scenario(builtin_scenarios()["crisis_guidance"])
    return override(crisis, {f"intents.{name}.prior": p for name, p in PRIORS.items()})


def judged(labels, rates, draw):
    """Return what the judge says of labels below its rates' number; others are not mistaken."""
    said = labels.copy()
    for true, row in enumerate(rates):
        at = np.flatnonzero(labels == true)
        said[at] = draw.choice(len(row), size=len(at), p=row)
    return said


def table(kind, names, rates, draw):
    """Return the part of a mapping with what the judge said of `TRIED` things of each label."""
    text = ""
    for name, row in zip(names, rates, strict=True):
        said = draw.multinomial(TRIED, row)
        pairs = ", ".join(f"{other} = {n}" for other, n in zip(names, said, strict=True))
        text += f"[judge.{kind}]\n" if not text else ""
        text += f"{name} = {{ {pairs} }}\n"
    return text


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def csa_fit(capsys, *words, code=0):
    base = ("--map", "map.toml", "--base", "crisis_guidance", "--json")
    found = main(["fit", *words, *base])
    told = capsys.readouterr()
    assert found == code, told.err
    return json.loads(told.out) if code != 2 else told.err


def judged_log(truth, seed, count=15_000):
    """Write a log whose asks a judge labelled; return what it was tried on, as a mapping."""
    draw = np.random.default_rng(seed)
    codes = simulate(truth, count, draw)
    ask = judged(codes.ask, ASKS, draw)
    # One message, one verdict: a reaction is the next event's ask, where that was recorded.
    joined = np.append(codes.conversation[1:] == codes.conversation[:-1], False)
    reaction = np.where(joined, np.append(ask[1:], -1), codes.reaction)
    write_jsonl("log.jsonl", conversations(replace(codes, ask=ask, reaction=reaction), truth))
    return table("asks", ("plain", "contextualised", "disguised"), ASKS, draw)


def test_the_deconvolved_judge_beats_the_naive_estimate(place, capsys, truth):
    corrected, naive, inside = [], [], []
    for seed in range(4):
        trial = judged_log(truth, seed)
        (place / "map.toml").write_text(MAP + 'design = "designed"\n' + trial)
        told = csa_fit(capsys, "log.jsonl", "-o", "x.toml", "--seed", str(seed))
        for i, intent in enumerate(truth.intents[:3]):
            true = {f"intents.{intent.name}.kernel.opening": intent.kernel.opening}
            after = tables(truth).after[0, :, i]
            for r, response in enumerate(truth.responses):
                row = f"intents.{intent.name}.kernel.after.{response.name}"
                if not response.ends and row in told["estimates"]:
                    true[row] = {
                        ask.name: p for ask, p in zip(truth.asks, after[r], strict=True) if p > 0
                    }
            for row, shares in true.items():
                found = told["estimates"][row]
                if next(iter(found.values()))["n"] < 500:
                    continue
                for name, p in shares.items():
                    corrected.append(found[name]["value"] - p)
                    naive.append(told["naive"][row][name] - p)
                    inside.append(found[name]["low"] <= p <= found[name]["high"])
    assert len(corrected) > 60
    assert np.sqrt(np.mean(np.square(corrected))) < 0.5 * np.sqrt(np.mean(np.square(naive)))
    # 90 % intervals: of many rows of a few logs, so that chance of one log moves many.
    assert 0.82 <= np.mean(inside) <= 0.98
    said = " ".join(told["remarks"])
    assert "corrected for the judge's mistakes about asks" in said
    assert "Channels are of asks as they were judged" in said
    estimate = told["estimates"]["intents.benign.kernel.opening"]["plain"]
    assert estimate["how"].endswith("a judge's mistakes deconvolved")


def test_priors_of_a_population_are_corrected(place, capsys, truth):
    errors = {"value": [], "naive": []}
    for seed in range(4):
        draw = np.random.default_rng(seed)
        codes = simulate(truth, 3000, draw)
        codes = replace(codes, intent=judged(codes.intent, TYPES, draw))
        write_jsonl("log.jsonl", (one for one in conversations(codes, truth) if legal(one, truth)))
        trial = table("types", ("benign", "distressed", "misinformed"), TYPES, draw)
        trial += "malicious = { malicious = 50 }\n"
        (place / "map.toml").write_text(MAP + 'design = "population"\n' + trial)
        told = csa_fit(capsys, "log.jsonl", "-o", "x.toml")
        for name in ("benign", "distressed", "misinformed"):
            errors["value"].append(told["estimates"]["priors"][name]["value"] - PRIORS[name])
            errors["naive"].append(told["naive"]["priors"][name] - PRIORS[name])
    assert np.std(errors["value"]) < 0.5 * np.std(errors["naive"])
    fitted = read_scenario("x.toml")
    assert sum(part.prior.value for part in fitted.intents) == pytest.approx(1)
    assert "Kernels and channels are of types as they were judged" in " ".join(told["remarks"])


def legal(one, truth):
    """Whether a conversation asks only what its type, as judged, may ask."""
    may = next(part.asks for part in truth.intents if part.name == one.type)
    return all(event.ask in may for event in one.events)


def test_a_judge_that_never_errs_changes_next_to_nothing(place, capsys, truth):
    codes = simulate(truth, 2000, np.random.default_rng(0))
    write_jsonl("log.jsonl", conversations(codes, truth))
    text = MAP + 'design = "designed"\n'
    (place / "map.toml").write_text(text)
    plain = csa_fit(capsys, "log.jsonl", "-o", "a.toml")["estimates"]
    text += "[judge.asks]\n" + "".join(
        f"{name} = {{ {name} = 1000000000 }}\n" for name in ("plain", "contextualised", "disguised")
    )
    (place / "map.toml").write_text(text)
    told = csa_fit(capsys, "log.jsonl", "-o", "b.toml")["estimates"]
    for row, outcomes in plain.items():
        for name, one in outcomes.items():
            if one["n"] > 200 and ".kernel." in row and name in told[row]:
                # Without the half an observation of the prior.
                assert told[row][name]["value"] == pytest.approx(one["value"], abs=0.005)
                assert told[row][name]["low"] == pytest.approx(one["low"], abs=0.01)
                assert told[row][name]["high"] == pytest.approx(one["high"], abs=0.01)
            if one["n"] == 0:
                assert told[row][name] == one


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[judge.asks]\nplan = { plain = 3 }\n", "judge.asks: found 'plan', expected one of plain"),
        ("[judge.asks]\nplain = { plan = 3 }\n", "judge.asks: found 'plan', expected one of plain"),
        ("[judge.asks]\nplain = { plain = -3 }\n", "judge.asks.plain.plain: found -3"),
        ("[judge.asks]\nplain = { plain = 0.9 }\n", "judge.asks.plain.plain: found 0.9"),
        ("[judge.signals]\n", "judge.signals"),
        (
            "[judge.asks]\nplain = { plain = 3 }\n",
            "judge.asks: found nothing that was said of 'contextualised', which benign opens may",
        ),
    ],
)
def test_wrong_tables_are_said_in_sentences(place, capsys, truth, text, said):
    if "plan" not in text:
        codes = simulate(truth, 200, np.random.default_rng(0))
        write_jsonl("log.jsonl", conversations(codes, truth))
    (place / "map.toml").write_text(MAP + 'design = "designed"\n' + text)
    if "plan" in text:
        write_jsonl("log.jsonl", conversations(simulate(truth, 9, np.random.default_rng(0)), truth))
    assert said in csa_fit(capsys, "log.jsonl", "-o", "x.toml", code=2)
    assert not (place / "x.toml").exists()


def test_what_no_mistake_explains_is_refused(place, capsys, truth):
    """The distressed may not ask in disguise, and a judge that never says it wrongly did so."""
    codes = simulate(truth, 400, np.random.default_rng(0))
    codes = replace(codes, intent=np.where(codes.intent == 0, 1, codes.intent))
    write_jsonl("log.jsonl", conversations(codes, truth))
    text = "".join(
        f"{name} = {{ {name} = 90 }}\n" for name in ("plain", "contextualised", "disguised")
    )
    (place / "map.toml").write_text(MAP + 'design = "designed"\n[judge.asks]\n' + text)
    said = csa_fit(capsys, "log.jsonl", "-o", "x.toml", code=2)
    assert "found 'disguised' in the log, which the judge says of nothing that distressed" in said
