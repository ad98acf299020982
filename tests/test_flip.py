"""Distances to flip, against bisection, linear programs and conversations listed one by one."""

import tomllib
from collections import defaultdict

import numpy as np
import pytest
from brute_dialogue import Brute, discounted_and_per_turn
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenarios import random_policy, random_scenario
from scipy.optimize import linprog

from csa_games.errors import InputError
from csa_games.evaluate import action_values, posterior
from csa_games.factored import factored_game
from csa_games.flip import distance_to_flip, values_by_intent
from csa_games.game import ASSISTANT
from csa_games.override import with_prior
from csa_games.scenario import builtin_scenarios, read_scenario, scenario_from

seeds = st.integers(0, 2**20)


def rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random beliefs and values, some of them 0, impossible or tied."""
    draw = np.random.default_rng(seed)
    infosets, intents, responses = 12, draw.integers(1, 5), draw.integers(1, 5)
    belief = draw.exponential(size=(infosets, intents)) * draw.integers(0, 2, (infosets, intents))
    belief[:, 0] += 0.1
    values = draw.integers(-3, 4, (infosets, intents, responses)) / 2
    values[(belief == 0) & (draw.random(belief.shape) < 0.5)] = np.nan
    return belief / belief.sum(axis=1, keepdims=True), values


def leads(belief: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return how far the response that is best at the first belief is ahead, at each belief."""
    known = np.nan_to_num(values)
    worth = belief @ known
    best = worth[0].argmax()
    return worth[:, best] - np.delete(worth, best, axis=1).max(axis=1, initial=-np.inf)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_toward_an_intent_it_is_where_bisection_ends(seed):
    beliefs, values = rows(seed)
    for j in range(beliefs.shape[1]):
        found = distance_to_flip(beliefs, values, toward=j)
        for belief, value, distance in zip(beliefs, values, found, strict=True):
            there = np.eye(len(belief))[j]
            ahead = lambda e, b=belief, v=value, t=there: leads(
                np.stack([b, (1 - e) * b + e * t]), v
            )[1]
            if ahead(0.0) <= 1e-14:  # of values up to 2, so that it is rounding
                assert distance == 0
                continue
            if np.isnan(value[j]).any() or ahead(1.0) > 1e-12:
                assert distance == np.inf
                continue
            low, high = 0.0, 1.0
            for _ in range(60):
                middle = (low + high) / 2
                low, high = (middle, high) if ahead(middle) > 1e-13 else (low, middle)
            assert distance == pytest.approx(high * (1 - belief[j]), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_the_nearest_belief_is_that_of_a_linear_program(seed):
    """The least ½ Σ|ν − μ| over beliefs ν at which another response is as good, by programs."""
    beliefs, values = rows(seed)
    found = distance_to_flip(beliefs, values)
    for belief, value, distance in zip(beliefs, values, found, strict=True):
        can = ~np.isnan(value).any(axis=1)
        mu, q = belief[can], value[can]
        n, best = len(mu), int((mu @ q).argmax())
        nearest = np.inf
        for other in range(q.shape[1]):
            if other == best:
                continue
            eye = np.eye(n)
            ended = linprog(
                np.concatenate([np.zeros(n), np.full(n, 0.5)]),
                A_ub=np.block([[eye, -eye], [-eye, -eye], [q[:, best] - q[:, other], np.zeros(n)]]),
                b_ub=np.concatenate([mu, -mu, [0.0]]),
                A_eq=np.concatenate([np.ones(n), np.zeros(n)])[None],
                b_eq=[1.0],
            )
            if ended.status == 0:
                nearest = min(nearest, ended.fun)
        assert distance == pytest.approx(nearest, abs=1e-8)
        towards = [distance_to_flip(beliefs, values, toward=j) for j in range(len(belief))]
    assert (found <= np.min(towards, axis=0) + 1e-12).all()


def test_the_prior_of_malice_at_which_one_shot_flips():
    """`csa_oneshot` by hand: from the row's distance to the prior at which its answer changes."""
    scenario = read_scenario(builtin_scenarios()["csa_oneshot"])
    game = factored_game(scenario)
    policy = random_policy(game, 0)  # in a single turn later play does not matter
    beliefs = posterior(game, policy)
    values = values_by_intent(game, policy)
    j = [part.name for part in scenario.intents].index("malicious")
    moved = distance_to_flip(beliefs, values, toward=j)
    sigma = np.array([[0.943, 0.057], [0.943, 0.057], [0.057, 0.943]])
    columns = {}
    for i, key in enumerate(game.names.infosets[ASSISTANT]):
        signal = ("clear", "flag").index(key.split(":")[1])
        assert 0 < moved[i] < 1
        share = beliefs[i, j] + moved[i]
        odds = share / (1 - share)
        others = [part.prior.value for part in scenario.intents[:j]]
        likely = np.dot(others, sigma[:2, signal]) / sum(others) / sigma[2, signal]
        prior = odds * likely / (1 + odds * likely)
        for side in (-1e-6, 1e-6):
            near = factored_game(with_prior(scenario, "malicious", prior + side))
            best = action_values(near, ASSISTANT, random_policy(near, 0))[i].argmax()
            columns[i, side] = best
        assert columns[i, -1e-6] != columns[i, 1e-6]


@pytest.mark.parametrize("name", ["crisis_guidance", "csa_oneshot"])
def test_values_by_intent_are_those_of_every_conversation(name):
    content = tomllib.loads(builtin_scenarios()[name].read_text(encoding="utf-8"))
    if name == "crisis_guidance":
        content = discounted_and_per_turn(content)
    game = factored_game(scenario_from(content, name))
    policy = random_policy(game, 3)
    play = {
        (player, label): dict(zip(names, policy[player][i].tolist(), strict=False))
        for player in (0, 1)
        for i, (label, names) in enumerate(
            zip(game.names.infosets[player], game.names.actions[player], strict=True)
        )
    }
    mass: dict = defaultdict(float)
    worth: dict = defaultdict(float)
    for talk in Brute(content).conversations():
        for k, (player, label, action) in enumerate(talk.choices):
            if player == ASSISTANT:
                others = [c for m, c in enumerate(talk.choices) if m > k or c[0] != ASSISTANT]
                weight = talk.chance * np.prod([play[p, h][a] for p, h, a in others])
                mass[label, talk.intent, action] += weight
                worth[label, talk.intent, action] += weight * talk.payoffs[ASSISTANT]
    found = values_by_intent(game, policy)
    for i, label in enumerate(game.names.infosets[ASSISTANT]):
        for t, intent in enumerate(part["name"] for part in content["intents"]):
            for a, action in enumerate(game.names.actions[ASSISTANT][i]):
                expected = worth[label, intent, action] / (mass[label, intent, action] or np.nan)
                assert found[i, t, a] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@settings(max_examples=25, deadline=None)
@given(seeds, seeds)
def test_action_values_are_the_posterior_mean_of_values_by_intent(seed, play):
    game = factored_game(random_scenario(seed))
    policy = random_policy(game, play)
    beliefs, values = posterior(game, policy), values_by_intent(game, policy)
    mean = np.einsum("it,ita->ia", beliefs, np.nan_to_num(values))
    np.testing.assert_allclose(mean, action_values(game, ASSISTANT, policy), atol=1e-10)


def test_rows_without_a_rival_without_users_and_without_the_intent():
    with pytest.raises(InputError, match="found the intent 3, expected a number from 0 to 2"):
        distance_to_flip(np.ones((1, 3)) / 3, np.zeros((1, 3, 2)), toward=3)
    beliefs = np.array([[1.0, 0.0], [np.nan, np.nan], [1.0, 0.0]])
    values = np.array([[[1.0], [0.0]], [[np.nan], [np.nan]], [[1.0], [np.nan]]])
    np.testing.assert_array_equal(distance_to_flip(beliefs, values), [np.inf, np.nan, np.inf])
