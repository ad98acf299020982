"""Gradient, reach and backup against walks of the tree that share nothing with them."""

import jax
import numpy as np
from exact import best_response_value, infosets, random_policy, value
from hypothesis import given, settings
from hypothesis import strategies as st
from known_games import KUHN, LEDUC, arrays_of, game
from random_games import roots
from tabled import flat, gradient_of, payoff_of, plan_of, values_of

from csa_games.build import build
from csa_games.fold import (
    backup,
    expectation,
    gradient,
    legal_mask,
    legal_rows,
    mean_of,
    reach,
    rows_of,
    table_of,
    uniform,
)
from csa_games.rules import Chance, Decision, Terminal

seeds = st.integers(0, 2**20)


def own_reach_by_walk(root, player, policy):
    """Return the product of the player's own choices up to each (infoset, action)."""
    found = {}
    stack = [(root(), 1.0)]
    while stack:
        node, own = stack.pop()
        if isinstance(node, Terminal):
            continue
        for k in range(len(node.actions)):
            after = own
            if isinstance(node, Decision) and node.player == player:
                after = own * float(policy[player, node.infoset][k])
                found[node.infoset, k] = after
            stack.append((node.child(k), after))
    return found


def counterfactual_by_walk(root, player, policy):
    """Return the counterfactual value of each of the player's (infoset, action), Zinkevich 2007."""
    found = {}

    def walk(node, weight):
        """Return the player's expected payoff below, everybody playing `policy`."""
        if isinstance(node, Terminal):
            return float(node.payoffs[player])
        if isinstance(node, Chance):
            return sum(
                float(p) * walk(node.child(k), weight * float(p))
                for k, p in enumerate(node.probabilities)
            )
        probabilities = [float(p) for p in policy[node.player, node.infoset]]
        if node.player != player:
            return sum(p * walk(node.child(k), weight * p) for k, p in enumerate(probabilities))
        below = [walk(node.child(k), weight) for k in range(len(probabilities))]
        for k, worth in enumerate(below):
            key = node.infoset, k
            found[key] = found.get(key, 0.0) + weight * worth
        return sum(p * worth for p, worth in zip(probabilities, below, strict=True))

    walk(root(), 1.0)
    return found


@settings(deadline=None, max_examples=60)
@given(roots(), seeds)
def test_reach_is_the_product_of_own_choices(root, seed):
    ours, policy = build(root, "random"), random_policy(root, seed)
    for player, rows in enumerate(arrays_of(ours, policy)):
        treeplex = ours.form.treeplex[player]
        weights = table_of(treeplex, reach(treeplex, rows_of(treeplex, rows)))
        by_walk = own_reach_by_walk(root, player, policy)
        for i, label in enumerate(ours.names.infosets[player]):
            for k in range(len(ours.names.actions[player][i])):
                assert np.isclose(weights[i, k], by_walk[label, k], rtol=1e-12, atol=0)


@settings(deadline=None, max_examples=60)
@given(roots(), seeds)
def test_backup_of_means_is_counterfactual_values(root, seed):
    ours, policy = build(root, "random"), random_policy(root, seed)
    rows = arrays_of(ours, policy)
    for player in (0, 1):
        q, root_value = values_of(ours.form, player, rows[player], rows[1 - player])
        by_walk = counterfactual_by_walk(root, player, policy)
        for i, label in enumerate(ours.names.infosets[player]):
            for k in range(len(ours.names.actions[player][i])):
                assert np.isclose(q[i, k], by_walk[label, k], rtol=1e-12, atol=1e-12)
        assert np.isclose(root_value, float(value(root, policy)[player]), rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(roots(), seeds)
def test_plan_times_gradient_is_the_value(root, seed):
    ours, policy = build(root, "random"), random_policy(root, seed)
    rows = arrays_of(ours, policy)
    for player, treeplex in enumerate(ours.form.treeplex):
        worth = plan_of(treeplex, rows[player]) @ gradient_of(ours.form, player, rows[1 - player])
        assert np.isclose(worth, float(value(root, policy)[player]), rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(roots(), seeds)
def test_leaf_probabilities_sum_to_1(root, seed):
    ours = build(root, "random")
    rows = arrays_of(ours, random_policy(root, seed))
    plans = [reach(t, rows_of(t, p)) for t, p in zip(ours.form.treeplex, rows, strict=True)]
    ones = np.ones_like(ours.form.leaves.chance)
    for player in (0, 1):
        number = expectation(ours.form, player, ones, plans[1 - player])
        total = flat(1.0, plans[player]) @ flat(*number)
        assert np.isclose(total, 1, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(roots(), seeds)
def test_backup_of_maxima_is_the_best_response_value(root, seed):
    ours, policy = build(root, "random"), random_policy(root, seed)
    rows = arrays_of(ours, policy)
    for player, treeplex in enumerate(ours.form.treeplex):
        legal = legal_rows(treeplex)
        maximum = lambda q, k, legal=legal: np.where(legal[k], q, -np.inf).max(axis=-2)
        _, best = backup(treeplex, payoff_of(ours.form, player, rows[1 - player]), maximum)
        expected = float(best_response_value(root, player, policy))
        assert np.isclose(best, expected, rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(roots())
def test_uniform_and_legal_mask_follow_the_action_counts(root):
    ours = build(root, "random")
    counts = infosets(root)
    for player, treeplex in enumerate(ours.form.treeplex):
        expected = [counts[player, label] for label in ours.names.infosets[player]]
        np.testing.assert_array_equal(legal_mask(treeplex).sum(axis=-1), expected)
        rows = uniform(treeplex)
        assert rows.shape == (len(expected), treeplex.width)
        for row, count in zip(rows, expected, strict=True):
            np.testing.assert_array_equal(row[:count], 1 / count)
            np.testing.assert_array_equal(row[count:], 0)


def test_numpy_and_jax_agree():
    ours = game(LEDUC)
    for player, treeplex in enumerate(ours.form.treeplex):
        other = ours.form.treeplex[1 - player]

        def values(form, mine, theirs, player=player, treeplex=treeplex, other=other):
            return backup(treeplex, gradient(form, player, reach(other, theirs)), mean_of(mine))

        mine, theirs = (rows_of(t, uniform(t)) for t in (treeplex, other))
        expected, root_value = values(ours.form, mine, theirs)
        with jax.enable_x64(True):
            q, on_device = jax.jit(values)(*jax.device_put((ours.form, mine, theirs)))
            assert {part.dtype for part in q} == {np.dtype(np.float64)}
        for part, same in zip(q, expected, strict=True):
            np.testing.assert_allclose(part, same, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(on_device, root_value, rtol=1e-12)


def test_float32_stays_float32():
    form = game(KUHN).form
    narrow = jax.tree.map(lambda x: x.astype(np.float32) if x.dtype == np.float64 else x, form)
    own, other = (rows_of(t, uniform(t).astype(np.float32)) for t in form.treeplex)
    payoff = gradient(narrow, 0, reach(form.treeplex[1], other))
    q, _ = backup(form.treeplex[0], payoff, mean_of(own))
    assert {part.dtype for part in (payoff[0], *payoff[1], *q)} == {np.dtype(np.float32)}
