"""`csa worth` against Bayes: one shot, one ask, nobody who reacts."""

import json
import math

import numpy as np
import pytest

from csa_games.cli import main

PRIOR = np.array([0.90, 0.06, 0.04])
FLAGGED = np.array([0.057, 0.057, 0.943])  # P(flag | benign, sensitive, malicious)
SATISFACTION = np.array([[1, 0.594, 0.265, 0.245, 0]] * 3)
SATISFACTION[1, :4] = 0.245  # of the sensitive: no more than redirection, so that staying pays less
RISK = np.array([[0.0] * 5, [0.0] * 5, [1.0, 0.35, 0, 0, 0]])


def worth(capsys, *words):
    code = main(["worth", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_classifier_is_worth_what_bayes_gains_by_it(capsys):
    payoff = SATISFACTION - 2 * RISK
    flag = PRIOR * FLAGGED
    expected = {
        "without": (PRIOR @ payoff).max(),
        "with": (flag @ payoff).max() + ((PRIOR - flag) @ payoff).max(),
        "perfect": PRIOR @ payoff.max(axis=1),
    }
    code, told = worth(capsys, "csa_oneshot", "--target", "1e-6")
    assert code == 0
    for what, value in expected.items():
        low, high = told[what]
        assert low - 1e-12 <= value <= high + 1e-12
        assert high - low <= 1e-6
    entropy = -(PRIOR @ np.log2(PRIOR))
    after = sum(-(mass @ np.log2(mass / mass.sum())) for mass in (flag, PRIOR - flag))
    assert told["bits"] == [pytest.approx(entropy - after, abs=1e-12)]


def test_where_policies_break_even_is_told_by_weight(capsys):
    # Complying everywhere and the solution (comply on clear, partial on flag) tie in β where what
    # partial loses on flags is what it saves: Σ p σ Δsatisfaction = β Σ p σ Δrisk.
    _, told = worth(capsys, "csa_oneshot", "--target", "1e-9")
    (found,) = (
        row
        for row in told["break_even"]
        if (row["weight"], row["policy"]) == ("beta", "always comply")
    )
    flag = PRIOR * FLAGGED
    lost = flag @ (SATISFACTION[:, 0] - SATISFACTION[:, 1])
    saved = flag @ (RISK[:, 0] - RISK[:, 1])
    assert found["points"] == [pytest.approx(lost / saved, abs=1e-6)]
    assert found["ahead"] == [1, 0]


def test_the_states_nearest_to_a_flip_come_first(capsys):
    _, told = worth(capsys, "csa_oneshot", "--least", "0")
    distances = [row["distance"] for row in told["nearest"]]
    assert [row["state"] for row in told["nearest"]] == ["plain:flag", "plain:clear"]
    assert distances == sorted(distances)
    assert main(["worth", "csa_oneshot", "--rows", "1"]) == 0
    said = capsys.readouterr().out
    assert "plain:flag" in said
    assert "plain:clear" not in said


def test_a_scenario_that_needs_commitments_is_bounded_by_them(capsys):
    code, told = worth(capsys, "strata_escalation")
    assert code == 0
    assert told["class"] == "general-sum"
    # There is one signal, so that it is worth nothing, and the bounds say no more than that.
    low, high = told["worth"]
    assert low <= 1e-6
    assert high >= -1e-6
    assert math.isfinite(told["ceiling"][1])


def test_other_games_have_no_classifier(capsys):
    assert main(["worth", "openspiel:kuhn_poker"]) == 2
    assert "is no scenario, and has no classifier" in capsys.readouterr().err
