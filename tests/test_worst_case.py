"""Best worst cases by regret minimisation, against exact programs and the normal form."""

import tomllib
from functools import cache

import numpy as np
import pytest
from brute_dialogue import two_turns
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenarios import random_policy, random_scenario
from scipy.optimize import linprog
from test_channels import at_odds, normal_form

import solvers
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT
from csa_games.loading import load
from csa_games.scenario import builtin_scenarios, scenario_from
from solvers import doubt
from solvers.worst_case import ROUNDING, _projected

GUIDANCE = tomllib.loads(builtin_scenarios()["crisis_guidance"].read_text(encoding="utf-8"))


@cache
def guidance():
    return factored_game(scenario_from(two_turns(GUIDANCE), "two turns"))


@pytest.fixture
def large(monkeypatch):
    """Every game counts as too large for the program."""
    monkeypatch.setattr(doubt, "MOST_PAIRS", 0)
    monkeypatch.setattr(doubt, "MOST_PAIRS_DRIFTING", 0)


def both(dialogue, **options):
    """Return what the program finds and what is found without it."""
    ends = {name: options.pop(name) for name in ("target", "max_steps") if name in options}
    exact = solvers.solve(dialogue, "robust", **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doubt, "MOST_PAIRS", 0)
        patch.setattr(doubt, "MOST_PAIRS_DRIFTING", 0)
        bounded = solvers.solve(dialogue, "robust", **options, **ends)
    assert (exact.status, exact.robustness.gap) == ("exact", 0)
    return exact.robustness, bounded


DOUBTS = (
    {"channels": 0.05, "radius": 0.0},
    {"channels": 0.1, "kernels": 0.1, "radius": 0.1},
    {"kernels": 0.1, "radius": 0.05},
    {"channels": 0.05, "radius": 0.1, "weights": {"beta": (0.5, 2.0), "psi": (0.0, 1.0)}},
    {"kernels": 0.2, "channels": 0.0, "radius": 1.0, "weights": {"alpha": (0.5, 1.0)}},
)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(DOUBTS), st.integers(1, 120))
def test_the_exact_value_lies_between_the_bounds_wherever_it_stops(seed, options, steps):
    scenario = random_scenario(seed, security=True)
    if not any(part.kernel and part.prior.value for part in scenario.intents):
        options = options | {"kernels": 0.0, "channels": 0.1}
    exact, solution = both(factored_game(scenario), **options, target=0.0, max_steps=steps)
    found = solution.robustness
    assert solution.steps <= steps
    assert found.gap >= 0
    assert found.value - 1e-9 <= exact.value <= found.value + found.gap + 1e-9
    assert found.value <= found.found + 1e-9
    assert found.nominal <= found.optimum + 1e-9


@pytest.mark.parametrize("options", DOUBTS)
def test_two_turns_have_the_value_of_the_program(options):
    exact, solution = both(guidance(), **options, target=8e-3)
    found = solution.robustness
    assert solution.status == "target"
    assert 0 < found.gap <= 8e-3
    assert exact.value - 8e-3 <= found.value <= exact.value + 1e-9
    assert exact.value <= found.value + found.gap + 1e-9
    assert found.doubts == exact.doubts
    assert found.optimum == exact.optimum


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 2**20),
    st.sampled_from([0.02, 0.1, 0.3]),
    st.sampled_from([("kernel", "kernel"), ("kernel", "adversarial"), ("adversarial",) * 2]),
)
def test_one_turn_has_the_value_of_the_normal_form(seed, radius, behaviours):
    dialogue = factored_game(scenario_from(at_odds(seed, behaviours, 1), "at odds"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doubt, "MOST_PAIRS_DRIFTING", 0)
        found = solvers.solve(
            dialogue, "robust", channels=radius, radius=0.0, target=1e-4, max_steps=2000
        ).robustness
    best = normal_form(at_odds(seed, behaviours, 1), radius)
    assert found.value - 1e-9 <= best <= found.value + found.gap + 1e-9
    assert found.gap <= 2e-3


def test_bounds_close_with_more_steps(large):
    def gap(steps):
        options = {"channels": 0.05, "kernels": 0.05, "target": 0.0, "max_steps": steps}
        return solvers.solve(guidance(), "robust", **options).robustness.gap

    gaps = [gap(steps) for steps in (25, 100, 400)]
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**20), st.integers(1, 9), st.sampled_from([1e-3, 1.0, 100.0]))
def test_projections_are_the_nearest_probabilities(seed, width, scale):
    """By the variational inequality: no feasible point lies further along what is left over."""
    rng = np.random.default_rng(seed)
    middle = rng.dirichlet(np.full(width, 0.5))
    low = middle * rng.random(width) * (rng.random(width) < 0.7)
    high = np.minimum(middle + rng.random(width) * (rng.random(width) < 0.7), 1.0)
    point = scale * rng.normal(size=width)
    near = _projected(point[:, None], low[:, None], high[:, None])[:, 0]
    assert near.sum() == pytest.approx(1, abs=2 * ROUNDING * max(scale, 1))
    assert ((low <= near) & (near <= high)).all()
    further = linprog(
        -(point - near), A_eq=np.ones((1, width)), b_eq=[1.0], bounds=np.stack([low, high], axis=1)
    )
    assert -further.fun <= (point - near) @ near + 1e-7 * max(scale, 1)


def test_what_ends_it(large):
    options = {"channels": 0.05, "radius": 0.0}

    def solve(**ends):
        return solvers.solve(guidance(), "robust", **options, **ends)

    late = solve(seconds=1e-9)
    assert (late.status, late.steps) == ("seconds", 1)
    assert solve(target=0.0, max_steps=3).status == "max_steps"
    seen = []

    def stop(now):
        seen.append(now)
        if len(seen) == 2:
            raise KeyboardInterrupt

    stopped = solve(target=0.0, progress=stop)
    assert stopped.status == "interrupted"
    assert [now.step for now in seen] == [25, 50]
    assert stopped.robustness.gap == pytest.approx(seen[-1].nash_conv, abs=1e-12)
    again = solve(target=0.0, max_steps=50)
    assert again.robustness.value == stopped.robustness.value
    assert (again.policy[ASSISTANT] == stopped.policy[ASSISTANT]).all()


def test_its_policy_is_worth_what_is_said(large):
    """With the priors as they are there is nothing to choose but the users' and nature's picks."""
    solution = solvers.solve(guidance(), "robust", channels=0.04, radius=0.0, target=2e-3)
    found = solution.robustness
    given = doubt.doubted(guidance(), None, 0.04, False, 1)
    payoff = np.asarray(given.game.form.leaves.payoff[ASSISTANT])
    assert given.secures(solution.policy[ASSISTANT], payoff) == pytest.approx(
        found.value, abs=1e-10
    )
    for seed in range(5):
        other = given.secures(random_policy(guidance(), seed)[ASSISTANT], payoff)
        assert other <= found.value + found.gap


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ({"target": -1.0}, "target is -1.0, expected a number that is not negative"),
        ({"target": float("nan")}, "target is nan, expected"),
        ({"max_steps": 0}, "max_steps is 0, expected at least 1"),
        ({"seconds": 0.0}, "seconds is 0.0, expected a positive number"),
    ],
)
def test_ends_that_are_none_are_refused(ends, message):
    with pytest.raises(InputError, match=message):
        solvers.solve(load("csa_oneshot"), "robust", **ends)
