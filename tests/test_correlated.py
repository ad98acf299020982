"""Coarse correlated equilibria against OpenSpiel and games that can be done by hand."""

from fractions import Fraction

import jax
import numpy as np
import pyspiel
import pytest
from exact import random_policy
from general_sum import bagwell, matrix_game
from known_games import GOOFSPIEL_3, KUHN, arrays_of, game, play_in_openspiel
from random_scenarios import random_scenario

import solvers
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.factored import factored_game
from solvers import cfr, correlated
from solvers.driver import default_dead_zone
from solvers.regret import VARIANTS

SHERIFF = "sheriff(item_penalty=1.0,max_items=1,max_bribe=1,num_rounds=1)"

# Shapley 1964, with unequal prizes: his own has its equilibrium where regret matching starts.
PRIZES = ([[0, 3, 0], [0, 0, 1], [1, 0, 0]], [[0, 0, 1], [2, 0, 0], [0, 1, 0]])


def pure(rows, columns, cells):
    """Return a matrix game and the device of {(row, column): probability}."""
    shape = (len(rows), len(rows[0]))
    device = [
        (float(weight), (np.eye(shape[0])[[row]], np.eye(shape[1])[[column]]))
        for (row, column), weight in cells.items()
    ]
    return matrix_game(rows, columns), device


SHAPLEY = ([[0, 1, 0], [0, 0, 1], [1, 0, 0]], [[0, 0, 1], [1, 0, 0], [0, 1, 0]])


def test_shapley():
    everywhere = {(i, j): Fraction(1, 9) for i in range(3) for j in range(3)}
    value, gap = correlated.coarse_gap(*pure(*SHAPLEY, everywhere))
    np.testing.assert_allclose(value, [1 / 3, 1 / 3], rtol=0, atol=1e-15)
    np.testing.assert_allclose(gap, [0, 0], rtol=0, atol=1e-15)
    somebody_wins = {(i, j): Fraction(1, 6) for i in range(3) for j in range(3) if i != j}
    value, gap = correlated.coarse_gap(*pure(*SHAPLEY, somebody_wins))
    np.testing.assert_allclose(value, [1 / 2, 1 / 2], rtol=0, atol=1e-15)
    # Who refuses wins against one of the three.
    np.testing.assert_allclose(gap, [-1 / 6, -1 / 6], rtol=0, atol=1e-15)


def test_chicken_and_gibson():
    # OpenSpiel's corr_dist_test: a correlated equilibrium of chicken; Gibson's game, where the
    # device is a coarse one only, and refusing is worth exactly as much.
    chicken = ([[0, 7], [2, 6]], [[0, 2], [7, 6]])
    value, gap = correlated.coarse_gap(*pure(*chicken, {(1, 1): 0.5, (1, 0): 0.25, (0, 1): 0.25}))
    np.testing.assert_allclose(value, [5.25, 5.25], rtol=0, atol=1e-15)
    # The other dares with 1/4: daring is worth 3/4 of 7, chickening 1/4 of 2 and 3/4 of 6.
    np.testing.assert_allclose(gap, [5.25 - 5.25, 5.25 - 5.25], rtol=0, atol=1e-15)
    gibson = ([[1, 0], [0, 2], [-1, 1]], [[0, 0], [0, 0], [0, 0]])
    value, gap = correlated.coarse_gap(*pure(*gibson, {(0, 0): 0.5, (1, 1): 0.25, (2, 1): 0.25}))
    np.testing.assert_allclose(gap, [1 - 1.25, 0], rtol=0, atol=1e-15)


@pytest.mark.parametrize("load_string", [KUHN, GOOFSPIEL_3, SHERIFF])
@pytest.mark.parametrize("seed", range(3))
def test_gaps_are_those_of_openspiel(load_string, seed):
    ours, spiel = game(load_string), pyspiel.load_game(load_string)
    policies = [arrays_of(ours, random_policy(ours.root, 10 * seed + k)) for k in range(4)]
    weights = np.random.default_rng(seed).dirichlet(np.ones(4)).tolist()
    value, gap = correlated.coarse_gap(ours, list(zip(weights, policies, strict=True)))
    theirs = pyspiel.cce_dist(
        spiel,
        [(w, play_in_openspiel(ours, policy)) for w, policy in zip(weights, policies, strict=True)],
    )
    np.testing.assert_allclose(value, theirs.on_policy_values, rtol=0, atol=1e-12)
    best = np.array(theirs.best_response_values)
    np.testing.assert_allclose(gap, best - theirs.on_policy_values, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "ours",
    [
        game(KUHN),
        bagwell(),
        matrix_game(*PRIZES),
        dialogue_game(random_scenario(3, security=True)),
        factored_game(random_scenario(3, security=True)),
    ],
    ids=["kuhn", "bagwell", "prizes", "explicit", "factored"],
)
def test_the_result_is_the_device_of_the_iterates(ours):
    found = correlated.solve(ours, variant="cfr", max_steps=9)
    policies = []
    with jax.enable_x64(True):
        state = cfr.init(ours.form)
        for _ in range(9):
            policies.append(
                tuple(
                    np.asarray(cfr.table_of(treeplex, jax.device_get(rows)))
                    for treeplex, rows in zip(ours.form.treeplex, state.policy, strict=True)
                )
            )
            state = cfr.run(
                ours.form,
                VARIANTS["cfr"],
                state,
                1,
                horizon=9.0,
                dead_zone=default_dead_zone(ours.form),
                simultaneous=True,
            )
    value, gap = correlated.coarse_gap(ours, [(1 / 9, policy) for policy in policies])
    np.testing.assert_allclose(found.value, value, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.gap, gap, rtol=0, atol=1e-12)
    assert found.leaves.sum() == pytest.approx(1, abs=1e-12)
    assert found.steps == 9


def test_the_product_of_averages_is_no_equilibrium():
    ours = matrix_game(*PRIZES)
    found = correlated.solve(ours, variant="cfr", max_steps=20_000)
    assert found.gap.max() <= 2e-3
    # As independent policies the averages are far from any equilibrium, coarse ones included, of
    # which products of policies are the Nash equilibria.
    assert solvers.gap(ours, found.marginal).sum() > 0.2
    # Leaves are cells: their joint distribution is not that of independent players.
    joint = found.leaves.reshape(3, 3)
    rows, columns = (part[0] for part in found.marginal)
    np.testing.assert_allclose(joint.sum(axis=1), rows, rtol=0, atol=1e-12)
    np.testing.assert_allclose(joint.sum(axis=0), columns, rtol=0, atol=1e-12)
    assert abs(joint - np.outer(rows, columns)).max() > 0.05


@pytest.mark.parametrize("variant", ["cfr", "cfr+"])
@pytest.mark.parametrize("load_string", [SHERIFF, GOOFSPIEL_3])
def test_gaps_shrink_as_the_regret_bound_says(variant, load_string):
    ours = game(load_string)
    few, many = (
        correlated.solve(ours, variant=variant, max_steps=steps).gap.max() for steps in (50, 800)
    )
    assert many <= few / 4 * 1.5  # 1 / sqrt(steps), and slack for the constant
    assert many > 0


def test_in_zero_sum_games_both_gaps_are_those_of_the_averages():
    found = correlated.solve(game(KUHN), max_steps=200)
    gap = solvers.gap(game(KUHN), found.marginal)
    assert found.gap.sum() == pytest.approx(gap.sum(), abs=1e-12)


def test_what_is_refused():
    with pytest.raises(InputError, match="no variant 'cfrr'"):
        correlated.solve(game(KUHN), variant="cfrr")
    with pytest.raises(InputError, match="max_steps is 0"):
        correlated.solve(game(KUHN), max_steps=0)
    ours, device = pure(*SHAPLEY, {(0, 0): 0.5, (1, 1): 0.6})
    with pytest.raises(InputError, match=r"device are \[0.5, 0.6\]"):
        correlated.coarse_gap(ours, device)
    quantal = next(
        scenario
        for scenario in map(random_scenario, range(50))
        if any(intent.behaviour == "quantal" for intent in scenario.intents)
    )
    with pytest.raises(InputError, match="are quantal"):
        correlated.solve(dialogue_game(quantal))
