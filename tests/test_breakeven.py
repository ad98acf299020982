"""Break-even weights, against a grid of games that are each built and compared on their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenarios import random_policy, random_scenario

import csa_games
import solvers
from csa_games.baselines import BASELINES
from csa_games.build import build
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, Game
from csa_games.override import override
from csa_games.rules import Terminal
from csa_games.scenario import Scenario, builtin_scenarios, read_scenario
from solvers.breakeven import break_even
from solvers.compare import compare
from solvers.reaction import answered

seeds = st.integers(0, 2**20)
WEIGHTS = ("alpha", "beta", "gamma", "psi")


def differences(
    scenario: Scenario, policies: list[np.ndarray], weight: str, at: list[float]
) -> list:
    """Return how far the first policy is ahead of the second with the weight at each value."""
    found = []
    for value in at:
        game = factored_game(override(scenario, {f"weights.{weight}": float(value)}))
        first, second = (
            solvers.value(game, answered(game, ASSISTANT, policy, "against"))[ASSISTANT]
            for policy in policies
        )
        found.append(first - second)
    return found


def ahead_at(found, value: float) -> int | None:
    return found.ahead[int(np.searchsorted(found.points, value))]


@settings(max_examples=8, deadline=None)
@given(seeds, seeds, st.sampled_from(WEIGHTS), st.booleans())
def test_random_scenarios_on_a_grid(seed, play, weight, security):
    scenario = random_scenario(seed, security=security)
    game = factored_game(scenario)
    policies = [random_policy(game, play + k)[ASSISTANT] for k in (0, 1)]
    found = break_even(game, *policies, weight)
    assert list(found.points) == sorted(found.points)
    assert len(found.ahead) == len(found.points) + 1
    assert all(a != b for a, b in zip(found.ahead, found.ahead[1:], strict=False))
    grid = np.array([0.0, 0.4, 1.0, 2.2, 10.0, 1e3])
    for value, difference in zip(
        grid, differences(scenario, policies, weight, grid.tolist()), strict=True
    ):
        if abs(difference) > 1e-8:
            assert ahead_at(found, value) == int(difference < 0), (value, difference)
    near = [point for point in found.points if point < 1e5]
    for difference in differences(scenario, policies, weight, near):
        assert difference == pytest.approx(0, abs=1e-6)


def guidance(**changes: object) -> tuple[Scenario, Game]:
    scenario = read_scenario(builtin_scenarios()["crisis_guidance"])
    changed = override(scenario, {k.replace("__", "."): v for k, v in changes.items()})
    return changed, factored_game(changed)


def test_refusing_is_right_only_if_migrating_costs_less():
    """Two turns of crisis_guidance at a high β: refusing everything against complying on clear.

    Migrations are by kernels alone (malicious users displace nothing), so that the difference is
    linear in ψ and the break-even point is a ratio of two outcomes.
    """
    _, game = guidance(turns=2, weights__beta=8.0)
    refuse, threshold = (BASELINES[name](game) for name in ("always refuse", "threshold"))
    found = break_even(game, refuse, threshold, "psi")
    first, second = compare(game, {"refuse": refuse, "threshold": threshold})
    prior = {part.name: part.prior.value for part in game.scenario.intents}
    away = [
        sum(prior[i] * row.outcomes["displacement"][i] for i in prior) for row in (first, second)
    ]
    ratio = 1.0 + (first.value - second.value) / (away[0] - away[1])  # the scenario's ψ is 1
    assert ratio > 0
    assert found.points == pytest.approx((ratio,), rel=1e-9)
    assert found.ahead == (0, 1)


def test_kinks_are_found_where_adversarial_users_change_what_they_ask():
    """Against policies that treat asks differently, malicious users choose by β which to send."""
    scenario, game = guidance(turns=2)
    solution = solvers.solve(game, "lp")
    for name in ("myopic Bayes", "always comply"):
        other = BASELINES[name](game)
        for weight in ("beta", "psi"):
            found = break_even(game, solution.policy[ASSISTANT], other, weight)
            grid = np.geomspace(0.03, 30, 7)
            apart = differences(
                scenario, [solution.policy[ASSISTANT], other], weight, grid.tolist()
            )
            for value, difference in zip(grid, apart, strict=True):
                if abs(difference) > 1e-7:
                    assert ahead_at(found, value) == int(difference < 0), (name, weight, value)


def test_a_policy_ties_with_itself():
    game = csa_games.load("csa_oneshot")
    policy = BASELINES["threshold"](game)
    found = break_even(game, policy, policy, "beta")
    assert (found.points, found.ahead) == ((), (None,))


def test_a_dearer_policy_never_catches_up():
    """In csa_oneshot complying and refusing cost the same: γ changes nothing."""
    game = csa_games.load("csa_oneshot")
    comply, refuse = BASELINES["always comply"](game), BASELINES["always refuse"](game)
    assert break_even(game, comply, refuse, "gamma").points == ()
    # By hand: satisfaction of 0.9 + 0.06 * 0.245 + 0.04 against a risk of 0.04.
    found = break_even(game, comply, refuse, "beta")
    assert found.points == pytest.approx(((0.9 + 0.06 * 0.245 + 0.04) / 0.04,), rel=1e-9)
    assert found.ahead == (0, 1)


def test_what_is_refused():
    game = csa_games.load("csa_oneshot")
    policy = BASELINES["threshold"](game)
    with pytest.raises(InputError, match="found the weight 'delta', expected one of alpha, beta"):
        break_even(game, policy, policy, "delta")
    with pytest.raises(InputError, match="has the shape"):
        break_even(game, policy[:1], policy[:1])
    with pytest.raises(InputError, match="a leaf: found a game without intents"):
        break_even(build(lambda: Terminal((1.0, -1.0)), "a leaf"), policy, policy)
