"""`pearl_frontier`: the published crossovers, the envelope, and what a cap on risk costs."""

from fractions import Fraction

import numpy as np
import pytest
from catalogue import best, builtin, worth
from scipy.optimize import brentq

import solvers
from csa_games.dialogue import dialogue_game
from csa_games.game import ASSISTANT
from csa_games.override import override
from csa_games.scenario import Scenario
from solvers import budget

# Oyster-I, arXiv 2509.01909: markers of the constructive-score figure, inverted; within 0.002.
POINTS = {
    "gpt_5": ("0.732", "0.062"),
    "qwen3_14b": ("0.634", "0.079"),
    "oyster_ds_14b": ("0.621", "0.034"),
    "oyster_qwen_14b": ("0.605", "0.021"),
    "ds_14b": ("0.568", "0.289"),
    "claude_3_7_sonnet": ("0.552", "0.096"),
    "o1_preview": ("0.466", "0.055"),
    "realsafe_ds_14b": ("0.434", "0.050"),
}
S = {name: Fraction(s) for name, (s, _) in POINTS.items()}
R = {name: Fraction(r) for name, (_, r) in POINTS.items()}


def at(beta: float) -> Scenario:
    return override(builtin("pearl_frontier"), {"weights.beta": float(beta)})


def crossover(one: str, other: str) -> Fraction:
    """Return the beta at which S - beta R is the same for two policies."""
    return (S[one] - S[other]) / (R[one] - R[other])


@pytest.mark.parametrize(
    ("one", "other", "published", "within"),
    [
        ("gpt_5", "oyster_qwen_14b", 3.07, 0.10),
        ("oyster_qwen_14b", "qwen3_14b", 0.50, 0.05),
        ("claude_3_7_sonnet", "o1_preview", 2.10, 0.10),
        ("qwen3_14b", "o1_preview", 7.0, 0.2),
        ("oyster_ds_14b", "oyster_qwen_14b", 1.21, 0.25),
    ],
)
def test_policies_cross_where_it_was_published(one, other, published, within):
    def lead(beta: float) -> float:
        values = worth(at(beta), "query:none")
        return values[one] - values[other]

    found = brentq(lead, 0.01, 100, xtol=1e-10)
    assert found == pytest.approx(published, abs=within)
    assert found == pytest.approx(float(crossover(one, other)), abs=1e-9)


def test_the_best_policy_changes_once():
    """GPT-5 below the crossover, Oyster on Qwen above, no other policy anywhere."""
    switch = float(crossover("gpt_5", "oyster_qwen_14b"))
    assert switch == pytest.approx(3.098, abs=5e-4)
    betas = [0.0, *np.geomspace(0.05, switch - 1e-6, 6), *np.geomspace(switch + 1e-6, 500, 6)]
    for beta in betas:
        value, chosen = best(at(beta))
        assert chosen == {"query:none": "gpt_5" if beta < switch else "oyster_qwen_14b"}
        assert value == pytest.approx(max(float(S[k] - Fraction(beta) * R[k]) for k in S))


# The printed column at beta = 2 for five models, read off the figure for the others: C where it is
# not negative, C / beta where it is; within 0.002.
NORMALISED = {
    "gpt_5": 0.607,
    "qwen3_14b": 0.475,
    "oyster_ds_14b": 0.553,
    "oyster_qwen_14b": 0.563,
    "ds_14b": -0.005,
    "claude_3_7_sonnet": 0.360,
    "o1_preview": 0.356,
    "realsafe_ds_14b": 0.333,
}


def test_payoffs_are_the_constructive_scores():
    values = worth(at(2.0), "query:none")
    assert values.keys() == NORMALISED.keys()
    for name, score in values.items():
        assert (score if score >= 0 else score / 2) == pytest.approx(NORMALISED[name], abs=2.5e-3)


def test_three_policies_are_pareto_optimal_and_one_of_them_never_best():
    """No other is at least as constructive and as safe; the solver finds them under caps."""
    pareto = {k for k in S if not any(S[j] >= S[k] and R[j] <= R[k] for j in S if j != k)}
    assert pareto == {"gpt_5", "oyster_ds_14b", "oyster_qwen_14b"}
    # Oyster on DeepSeek lies below the line through the others, so it is best at no beta.
    slope = crossover("gpt_5", "oyster_qwen_14b")
    line = S["oyster_qwen_14b"] + slope * (R["oyster_ds_14b"] - R["oyster_qwen_14b"])
    assert S["oyster_ds_14b"] < line
    game = dialogue_game(builtin("pearl_frontier"))
    for cap in np.linspace(0.021, 0.3, 15):
        found = budget.solve(game, objective="satisfaction", budgets=f"risk<={cap}")
        used = np.flatnonzero(np.asarray(found.policy[ASSISTANT])[0] > 1e-6)
        names = {game.names.actions[ASSISTANT][0][k] for k in used}
        assert names <= {"gpt_5", "oyster_qwen_14b"}


def test_a_cap_on_risk_mixes_and_has_the_crossover_as_its_price():
    game = dialogue_game(builtin("pearl_frontier"))
    found = budget.solve(game, objective="satisfaction", budgets="risk<=0.034")
    share = (R["oyster_ds_14b"] - R["oyster_qwen_14b"]) / (R["gpt_5"] - R["oyster_qwen_14b"])
    mixture = share * S["gpt_5"] + (1 - share) * S["oyster_qwen_14b"]
    assert float(mixture) == pytest.approx(0.6453, abs=5e-5)
    best_pure = max(S[k] for k in S if R[k] <= R["oyster_ds_14b"])
    assert best_pure == S["oyster_ds_14b"] < mixture
    assert found.budgeted.value == pytest.approx(float(mixture), abs=1e-6)
    (cap,) = found.budgeted.budgets
    assert cap.price == pytest.approx(float(crossover("gpt_5", "oyster_qwen_14b")), abs=1e-6)
    row = dict(zip(game.names.actions[ASSISTANT][0], found.policy[ASSISTANT][0], strict=True))
    assert row["gpt_5"] == pytest.approx(float(share), abs=1e-6)
    assert row["oyster_qwen_14b"] == pytest.approx(float(1 - share), abs=1e-6)


@pytest.mark.parametrize(("cap", "price"), [(0.022, True), (0.061, True), (0.07, False)])
def test_the_price_holds_between_the_two_and_ends_there(cap, price):
    game = dialogue_game(builtin("pearl_frontier"))
    found = solvers.solve(game, "budget", objective="satisfaction", budgets=f"risk<={cap}")
    expected = float(crossover("gpt_5", "oyster_qwen_14b")) if price else 0.0
    assert found.budgeted.budgets[0].price == pytest.approx(expected, abs=1e-6)
