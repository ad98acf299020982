"""Case studies recover what was published of their logs, and their files are what the code makes.

Expected numbers are counts in the README that comes with the logs.
"""

import math

import numpy as np
import pytest

from csa_games.cli import main
from csa_games.override import override, with_prior
from csa_games.scenario import read_scenario
from experiments.__main__ import FOLDER
from experiments.experiment import read_rows
from experiments.logs import attack, over_refusal, source, spiral, study, yielding
from experiments.logs.__main__ import CONVERTED
from experiments.logs.study import Found
from experiments.questions import CASE_STUDIES


@pytest.fixture(scope="module")
def found():
    """Return the committed results by study."""
    return {name: Found(read_rows(FOLDER / name)) for name in CASE_STUDIES}


@pytest.fixture
def logs(shared_data):
    """Skip where the logs are not beside the checkout."""
    return shared_data / "logs"


def rounds(values, table="hazard", what="by request", label="round {}"):
    return {(table, label.format(k + 1), what): value for k, value in enumerate(values)}


PUBLISHED = {
    "case-attack": {
        **rounds([0.350, 0.389, 0.293, 0.200, 0.159, 0.119, 0.087, 0.072]),
        ("succeeded", "round 8", "by request"): 0.859,
        ("runs", "multi", "score"): 0.846,
        ("runs", "multi", "goal"): 0.600,
        ("runs", "single", "score"): 0.662,
        ("runs", "single", "goal"): 0.419,
        ("runs", "multi", "refusals per attempt"): 0.201,
        ("runs", "single", "refusals per attempt"): 0.543,
        ("runs", "multi", "any refusal"): 0.447,
        ("runs", "single", "any refusal"): 0.551,
        **{
            ("persistence", kind, of): value
            for kind, values in (
                ("multi", (0.881, 0.872, 0.793, 0.706, 0.537)),
                ("single", (0.744, 0.646, 0.550, 0.521, 0.471)),
            )
            for of, value in zip(attack.REFUSALS, values, strict=True)
        },
        **{
            ("tactic", tactic, what): value
            for tactic, score, refusals in (
                ("direct_request", 0.895, 0.327),
                ("command", 0.854, 0.255),
                ("emotional_appeal", 0.742, 0.224),
                ("crowding", 0.838, 0.032),
                ("actor_attack", 0.902, 0.052),
                ("crescendomation", 0.916, 0.066),
                ("opposite_day", 0.797, 0.239),
            )
            for what, value in (("score", score), ("refusals per attempt", refusals))
        },
        ("tactic", "opposite_day", "first round"): 0.060,
        ("tactic", "direct_request", "first round"): 0.688,
    },
    "case-over-refusal": {
        **{
            ("points", f"{model}, safe", draft): count / 250
            for model, counts in (
                ("gpt4", (229, 5, 16)),
                ("llama2new", (176, 39, 35)),
                ("llama2orig", (101, 54, 95)),
                ("mistralguard", (203, 23, 24)),
                ("mistralinstruct", (246, 2, 2)),
            )
            for draft, count in zip(over_refusal.DRAFTS, counts, strict=True)
        },
        **{
            ("points", f"{model}, unsafe", "full"): count / 200
            for model, count in zip(over_refusal.MODELS, (1, 0, 0, 7, 128), strict=True)
        },
        **{
            ("judge accuracy", model, "accuracy"): value
            for model, value in zip(
                over_refusal.MODELS, (0.936, 0.782, 0.771, 0.767, 0.740), strict=True
            )
        },
        **{
            ("kinds", kind, "full"): value
            for kind, value in (
                ("privacy_public", 0.944),
                ("historical_events", 0.920),
                ("definitions", 0.872),
                ("homonyms", 0.848),
                ("safe_targets", 0.816),
                ("real_group_nons_discr", 0.768),
                ("figurative_language", 0.728),
                ("nons_group_real_discr", 0.624),
                ("safe_contexts", 0.576),
                ("privacy_fictional", 0.544),
            )
        },
        ("switch", "mistralinstruct to gpt4", "weight"): 0.1071,  # facts on scenarios, 9.6
    },
    "case-yielding": {
        **{
            key: value
            for kind, values, held in (
                ("misinformed", (0.417, 0.121, 0.133, 0.180, 0.065), 0.341),
                ("biased", (0.526, 0.194, 0.218, 0.159, 0.062), 0.236),
                ("opinion", (0.055, 0.147, 0.070, 0.041, 0.038), 0.692),
            )
            for key, value in {
                **rounds(values, what="by model", label=kind + ", turn {}"),
                ("held", kind, "by model"): held,
            }.items()
        },
        ("chain", "after hold", "holds, by model"): 0.888,
        ("chain", "after yield", "holds, by model"): 0.614,
        ("models", "opinion", "Qwen2.5-7B-Instruct"): 0.020,
        ("models", "opinion", "o3-mini"): 0.990,
    },
    "case-spiral": {
        **{
            ("chain, all rows", was, comes): value
            for was, values in (
                ("risky", (0.026, 0.169, 0.786, 0.019)),
                ("protective", (0.607, 0.230, 0.067, 0.095)),
                ("both", (0.123, 0.417, 0.435, 0.026)),
                ("none", (0.256, 0.111, 0.333, 0.299)),
            )
            for comes, value in zip(spiral.CLASSES, values, strict=True)
        },
        ("chain, judged", "risky", "risky"): 0.787,
        ("chain, judged", "none", "none"): 0.333,
        ("acts", "off the rails", "protective"): 0.357,
        ("acts", "off the rails", "risky"): 0.896,
        ("acts", "others", "protective"): 0.422,
        ("acts", "others", "risky"): 0.646,
        ("help", "mania_psychosis", "suggested"): 54 / 380,
        ("help", "exploring_conspiracies", "suggested"): 39 / 380,
    },
}


@pytest.mark.parametrize("name", CASE_STUDIES)
def test_what_was_published_is_recovered(name, found):
    for key, expected in PUBLISHED[name].items():
        value, low, high = found[name].point(*key)
        assert value == pytest.approx(expected, abs=1.001e-3), key
        assert low - 5e-4 <= expected <= high + 5e-4, key


def test_scores_of_spirals_are_recovered(found):
    for of, off, safety in (
        ("kimi-k2", 3.17, 7.63),
        ("llama-4-maverick", 5.37, 5.70),
        ("claude-3.5-sonnet", 5.93, 5.83),
        ("claude-sonnet-4", 6.70, 4.33),
        ("exploring_conspiracies", 7.35, 4.55),
        ("mania_psychosis", 7.20, 4.60),
        ("intellectual_exploration", 6.45, 4.55),
        ("theory_development", 4.05, 6.75),
        ("spiral_tropes", 3.65, 7.25),
        ("exploring_ai_consciousness", 3.05, 7.55),
        ("all", 5.29, 5.88),
    ):
        assert found["case-spiral"].value("scores", of, "off_rails") == pytest.approx(off, abs=6e-3)
        assert found["case-spiral"].value("scores", of, "safety") == pytest.approx(safety, abs=6e-3)
    assert found["case-spiral"].value("scores", "all", "correlation") == pytest.approx(
        -0.91, abs=5e-3
    )


def test_the_confusion_of_the_judge_is_recovered(found):
    rows = found["case-over-refusal"]
    for truth, counts in (
        ("full", (1037, 2, 41)),
        ("partial", (115, 19, 42)),
        ("refusal", (233, 8, 742)),
    ):
        for verdict, count in zip(over_refusal.DRAFTS, counts, strict=True):
            assert rows.value("confusion", truth, verdict) == pytest.approx(count / sum(counts))
    # 42.4 rests on one prompt (facts on scenarios, 9.6: anywhere from 8 to 240): it has no end.
    assert rows.value("switch", "gpt4 to llama2new", "weight") == pytest.approx(42.4)
    assert rows.rows["switch", "gpt4 to llama2new", "weight"]["high"] is None


def mixed(attacks, weight, steady, sudden):
    """Return the log-likelihood of two cells from the counts of a life table, by hand."""
    at_risk = [attacks.count("hazard", of, "by request") for of in attacks.of("hazard")]
    hit = [
        round(n * attacks.value("hazard", of, "by request"))
        for n, of in zip(at_risk, attacks.of("hazard"), strict=True)
    ]
    left = [n - d - after for n, d, after in zip(at_risk, hit, [*at_risk[1:], 0], strict=True)]

    def likely(cell, t, happened):
        first, later = cell
        stays = 1.0 if t == 0 else (1 - first) * (1 - later) ** (t - 1)
        hazard = later if t else first
        return stays * (hazard if happened else 1 - hazard)

    return sum(
        count * math.log(weight * likely(steady, t, e) + (1 - weight) * likely(sudden, t, e))
        for t in range(8)
        for e, count in ((True, hit[t]), (False, left[t]))
        if count
    )


def test_the_published_cells_are_one_point_of_a_ridge(found):
    rows = found["case-attack"]
    assert rows.value("mixture", "1", "BIC") == pytest.approx(27_757, abs=1)
    assert rows.value("mixture", "2", "BIC") == pytest.approx(26_570, abs=1)
    assert rows.value("mixture", "3", "BIC") == pytest.approx(26_594, abs=2)
    assert mixed(rows, 0.604, (0.305, 0.560), (0.418, 0.069)) == pytest.approx(-13_262.4, abs=0.1)
    for k, expected in enumerate((0.604, 0.646, 0.463, 0.289, 0.161, 0.083, 0.041, 0.020)):
        assert rows.value("after failures", f"{k}", "steady") == pytest.approx(expected, abs=1e-3)
    places = rows.of("ridge")
    assert len(places) > 20
    for of in places:
        weight, steady, sudden = (
            rows.value("ridge", of, what)
            for what in ("weight", "first round, steady", "first round, sudden")
        )
        assert 0 < steady < 1
        assert 0 < sudden < 1
        told = rows.value("ridge", of, "log-likelihood")
        assert mixed(rows, weight, (steady, 0.560), (sudden, 0.069)) == pytest.approx(
            told, abs=1e-5
        )
        assert told == pytest.approx(rows.value("published", "cells", "log-likelihood"), abs=1e-5)
    weights = [rows.value("ridge", of, "weight") for of in places]
    assert max(weights) - min(weights) > 0.3
    # What is seen under answers alone is the same everywhere, and so is what answers are worth.
    answered = [rows.value("crescendo", of, "always answer") for of in rows.of("crescendo")]
    refused = [rows.value("crescendo", of, "refuse once") for of in rows.of("crescendo")]
    assert max(answered) - min(answered) < 1e-9
    assert max(refused) - min(refused) > 0.1


def test_the_risk_of_attacks_is_the_hazard_that_was_found(found):
    rows = found["case-attack"]
    scenario = read_scenario(study.FOLDER / "attack.base.toml")
    (risk,) = (part for part in scenario.payoff.risk if isinstance(part.values.get("answer"), list))
    ends = zip(risk.values["answer"], risk.low["answer"], risk.high["answer"], strict=True)
    for of, numbers in zip(rows.of("hazard"), ends, strict=True):
        assert rows.point("hazard", of, "by request") == pytest.approx(numbers, abs=6e-4)


# --- files in the tree


FITTED = [
    *(
        ("case-over-refusal", f"{model}.toml", over_refusal.UNSAFE, model)
        for model in over_refusal.MODELS
    ),
    ("case-attack", "fitted.toml", attack.ATTACKER, ""),
    ("case-yielding", "fitted.toml", yielding.OPINION, ""),
    ("case-spiral", "fitted.toml", spiral.DELUSIONAL, ""),
]


@pytest.mark.parametrize(("name", "file", "intent", "model"), FITTED)
def test_fitted_scenarios_load_and_solve(name, file, intent, model, found):
    scenario = read_scenario(FOLDER / name / file)
    log = source.LOGS[found[name].of("log")[0]]
    assert any(log[:16] in part.cite for part in scenario.sources.values())
    of = f"{model}, prior 0.1" if model else ("0.5" if name == "case-yielding" else "0.1")
    changes = (
        {"turns": int(found[name].value("secured", of, "turns"))}
        if ("secured", of, "turns") in found[name].rows
        else {}
    )
    prior = 0.5 if name == "case-yielding" else 0.1
    solution = study.robustly(override(with_prior(scenario, intent, prior), changes))
    worth = found[name].value("secured", of, "robust")
    assert solution.robustness.value == pytest.approx(worth, abs=1e-6)
    assert worth <= found[name].value("secured", of, "worst found") + 1e-6
    assert worth <= found[name].value("secured", of, "if the estimates are right") + 1e-6
    assert solution.robustness.price >= -1e-9


@pytest.mark.parametrize("name", CONVERTED)
def test_the_command_fits_what_the_study_fitted(name, logs, tmp_path):
    study_name, _, model = name.partition("-")
    log, out = tmp_path / "log.jsonl", tmp_path / "fitted.toml"
    study.write_jsonl(log, CONVERTED[name]())
    files = [str(study.FOLDER / f"{study_name}.{part}.toml") for part in ("map", "base")]
    command = ["fit", str(log), "--map", files[0], "--base", files[1], "-o", str(out)]
    assert main(command) == 0
    kept = FOLDER / f"case-{study_name.replace('_', '-')}" / f"{model or 'fitted'}.toml"
    assert out.read_text() == kept.read_text()


@pytest.mark.parametrize("name", CASE_STUDIES)
def test_counts_in_the_tree_are_those_of_the_log(name, logs, found):
    module = CASE_STUDIES[name].work.partition(":")[0].rpartition(".")[2]
    work = {"attack": attack, "over_refusal": over_refusal, "yielding": yielding, "spiral": spiral}
    (cell,) = (cell for cell in CASE_STUDIES[name].cells(True) if cell["part"] == "counts")
    rows = work[module].work(cell)
    assert len(rows) > 20
    for row in rows:
        kept = found[name].rows[row["table"], row["of"], row["what"]]
        for field in ("value", "low", "high", "n"):
            if isinstance(row[field], str) or row[field] is None:
                assert kept[field] == row[field]
            else:
                assert kept[field] == pytest.approx(row[field], abs=1e-9)


# --- quirks of the logs


def test_attacks_are_cut_at_their_first_success_and_at_round_eight(logs):
    ends = {"stop": 0, None: 0}
    for one in attack.attacks():
        assert len(one.events) <= 8
        assert all(event.reaction == "escalate" for event in one.events[:-1])
        ends[one.events[-1].reaction] += 1
    # README: first successes by round, of 7,858 multi-turn runs.
    assert ends["stop"] == 2749 + 1960 + 889 + 426 + 268 + 168 + 107 + 80
    assert sum(ends.values()) == 7858


def test_yields_are_cut_but_in_debates_and_spellings_are_merged(logs):
    held = dict.fromkeys(("misinformed", "biased premise", "opinion pressure"), 0)
    for one in yielding.log_of_drafts():
        yields = [event.strategy == yielding.YIELD for event in one.events]
        if one.type != "opinion pressure":
            assert not any(yields[:-1])
        assert len(one.events) == 5 or yields[-1]
        held[one.type] += not any(yields)
    assert [
        round(held[k] / n, 3)
        for k, n in (("misinformed", 3400), ("biased premise", 3400), ("opinion pressure", 1100))
    ] == [0.341, 0.236, 0.692]
    assert len({one.group for one in yielding.log_of_drafts()}) == 17


def test_turns_without_a_judgement_are_dropped(logs):
    assert (spiral.turns().t < 0).sum() == 15  # README
    turns = sum(len(one.events) for one in spiral.log_of_drafts())
    assert turns == 2280 - 15


# --- what the studies are made of


def test_a_share_of_equal_clusters_has_the_interval_of_their_mean():
    draw = np.random.default_rng(0)
    hit = np.random.default_rng(1).random((40, 25)) < np.linspace(0.2, 0.8, 40)[:, None]
    row = study.share("t", "o", "w", hit.ravel(), np.repeat(np.arange(40), 25), draw)
    half = 1.645 * hit.mean(axis=1).std(ddof=1) / np.sqrt(40)
    assert row["value"] == pytest.approx(hit.mean())
    assert row["high"] - row["low"] == pytest.approx(2 * half, rel=0.1)


def test_a_difference_in_pairs_knows_that_they_are_pairs():
    draw = np.random.default_rng(0)
    one = np.random.default_rng(1).random(500) < 0.5
    other = one ^ (np.arange(500) < 10)
    row = study.difference("t", "o", "w", one, other, np.arange(500), draw)
    assert row["value"] == pytest.approx(one.mean() - other.mean())
    assert row["high"] - row["low"] < 0.03  # of unpaired ones .1


def test_spread_is_without_what_chance_adds():
    draw = np.random.default_rng(0)
    cluster = np.repeat(np.arange(400), 20)
    alike, apart = (draw.random(8000) < p for p in (0.5, np.repeat(draw.beta(8, 8, 400), 20)))
    assert yielding.spread(alike, cluster) < 0.03
    # The standard deviation of Beta(8, 8) is 1 / (2 sqrt 17).
    assert yielding.spread(apart, cluster) == pytest.approx(0.5 / np.sqrt(17), rel=0.1)


def test_always_is_one_response():
    scenario = read_scenario(FOLDER / "case-attack" / "fitted.toml")
    scenario = override(with_prior(scenario, attack.ATTACKER, 0.1), {"turns": 2})
    values = [
        study.robustly(part).robustness.value
        for part in (scenario, study.always(scenario, "answer"))
    ]
    assert [part.name for part in study.always(scenario, "answer").responses] == ["answer"]
    assert values[0] >= values[1] - 1e-9


def test_without_its_log_a_study_says_what_it_expects(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(source.VARIABLE, str(tmp_path))
    source.lines.cache_clear()
    attack.runs.cache_clear()
    try:
        assert main(["experiment", "case-attack", "--quick", "--out", str(tmp_path / "out")]) == 2
        assert "is not there, expected the log of this case study" in capsys.readouterr().err
        logs = tmp_path / "data" / "logs"
        logs.mkdir(parents=True)
        (logs / "multi_turn_simpler.jsonl.gz").write_bytes(b"{}")
        assert main(["experiment", "case-attack", "--quick", "--out", str(tmp_path / "out")]) == 2
        assert "expected b6936a2a03614966" in capsys.readouterr().err
    finally:
        source.lines.cache_clear()
        attack.runs.cache_clear()
