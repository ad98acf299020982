"""The factored layout against the explicit one, which enumerates every history."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenarios import random_scenario
from tabled import payoff_of, plan_of

import csa_games
from csa_games import evaluate
from csa_games.dialogue import dialogue_game
from csa_games.factored import factored_game
from csa_games.fold import legal_mask, table_of
from csa_games.game import Game, Policy
from csa_games.grid import largest_block
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario
from csa_games.table import tabulate
from solvers import cfr, lp
from solvers.regret import VARIANTS
from solvers.response import certify
from solvers.sequence import payoff_matrix, payoff_scale

seeds = st.integers(0, 2**20)


def random_policy(game: Game, seed: int) -> Policy:
    """Return a policy with zeros in it, the same at every infoset whatever the layout."""
    tables = []
    for player, treeplex in enumerate(game.form.treeplex):
        legal = legal_mask(treeplex)
        table = np.zeros(legal.shape)
        for i, key in enumerate(game.names.infosets[player]):
            draw = np.random.default_rng([seed, player, *key.encode()])
            weights = draw.integers(0, 4, legal[i].sum()) + draw.integers(0, 2)
            weights[draw.integers(len(weights))] += 1
            table[i, : len(weights)] = weights / weights.sum()
        tables.append(table)
    return tables[0], tables[1]


def same_infosets(explicit: Game, factored: Game, player: int) -> list[int]:
    """Return where the infosets of the explicit layout are in the factored one."""
    place = {key: i for i, key in enumerate(factored.names.infosets[player])}
    assert len(place) == factored.form.treeplex[player].infosets
    return [place[key] for key in explicit.names.infosets[player]]


def walked(game: Game, *, block: int) -> Game:
    """Return `game` with its last level visited in blocks of at most `block` rows."""
    user, assistant = game.form.treeplex
    *above, last = assistant.levels
    looped = replace(last, block=largest_block(last, block), looped=True)
    form = replace(game.form, treeplex=(user, replace(assistant, levels=(*above, looped))))
    return replace(game, form=form)


@settings(max_examples=60, deadline=None)
@given(seeds, seeds)
def test_values_gaps_and_gradients_are_those_of_the_explicit_layout(seed, play):
    """The width may be larger: an intent of prior 0 has infosets in the factored layout only."""
    scenario = random_scenario(seed)
    explicit, factored = dialogue_game(scenario), factored_game(scenario)
    policy, same = random_policy(explicit, play), random_policy(factored, play)
    for ours, theirs in zip(
        evaluate.value_and_gap(factored.form, same),
        evaluate.value_and_gap(explicit.form, policy),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)
    for player in (0, 1):
        root, rows = payoff_of(explicit.form, player, policy[1 - player])
        mine, grid = payoff_of(factored.form, player, same[1 - player])
        expected = table_of(explicit.form.treeplex[player], rows)
        where, width = same_infosets(explicit, factored, player), expected.shape[1]
        found = table_of(factored.form.treeplex[player], grid)[:, :width]
        np.testing.assert_allclose(mine, root, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(found[where], expected, rtol=1e-10, atol=1e-10)
        elsewhere = np.delete(found, where, axis=0)  # what no intent can lead to
        np.testing.assert_array_equal(elsewhere, 0)


def numbers(game: Game, player: int, policy: Policy) -> list[np.ndarray]:
    """Return own reach [I], counterfactual reach [I] and action values [I, A]."""
    return [
        *evaluate.infoset_reach(game, player, policy),
        evaluate.action_values(game, player, policy),
    ]


@settings(max_examples=40, deadline=None)
@given(seeds, seeds)
def test_everything_evaluated_is_that_of_the_explicit_layout(seed, play):
    scenario = random_scenario(seed)
    explicit, factored = dialogue_game(scenario), factored_game(scenario)
    policy, same = random_policy(explicit, play), random_policy(factored, play)
    assert np.isclose(evaluate.leaf_probabilities(factored, same).sum(), 1, rtol=0, atol=1e-12)
    for player in (0, 1):
        where = same_infosets(explicit, factored, player)
        for ours, theirs in zip(
            numbers(factored, player, same), numbers(explicit, player, policy), strict=True
        ):
            mine = ours[where][..., : theirs.shape[-1]] if ours.ndim == 2 else ours[where]
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-10)
    where = same_infosets(explicit, factored, 1)
    ours, theirs = evaluate.posterior(factored, same)[where], evaluate.posterior(explicit, policy)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)
    for intent, row in evaluate.response_use(explicit, policy).items():
        found = evaluate.response_use(factored, same)[intent]
        np.testing.assert_allclose(list(found.values()), list(row.values()), rtol=1e-10, atol=1e-12)
    for name, measure in evaluate.MEASURES.items():
        ours, theirs = measure(factored, same), measure(explicit, policy)
        assert list(ours) == list(theirs)
        np.testing.assert_allclose(
            list(ours.values()), list(theirs.values()), rtol=1e-10, atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize("seed", range(12))
def test_tables_are_those_of_the_explicit_layout(seed):
    """Row by row, whatever their order; infosets that no intent can lead to have no row."""
    scenario = random_scenario(seed)
    tables = []
    for game in (dialogue_game(scenario), factored_game(scenario)):
        solution = certify(
            game, random_policy(game, seed), method="random", steps=0, seconds=0.0, status="exact"
        )
        tables.append(tabulate(game, solution))
    explicit, factored = tables
    np.testing.assert_allclose(factored.served, explicit.served, rtol=1e-10, atol=1e-10)
    for ours, theirs in ((factored.exact, explicit.exact), (factored.coarse, explicit.coarse)):
        assert sorted(ours.keys) == sorted(theirs.keys)
        place = {key: n for n, key in enumerate(ours.keys)}
        where = [place[key] for key in theirs.keys]
        assert tuple(ours.trust[n] for n in where) == theirs.trust
        for name in ("own_reach", "reach", "probabilities", "posterior", "values"):
            mine = getattr(ours, name)[where]
            np.testing.assert_allclose(mine, getattr(theirs, name), rtol=1e-9, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(seeds, seeds)
def test_payoff_matrices_are_those_of_the_explicit_layout(seed, play):
    scenario = random_scenario(seed)
    explicit, factored = dialogue_game(scenario), factored_game(scenario)
    assert payoff_scale(factored.form) == pytest.approx(payoff_scale(explicit.form), rel=1e-12)
    for player in (0, 1):
        ours, theirs = (payoff_matrix(game.form, player) for game in (factored, explicit))
        np.testing.assert_allclose(abs(ours).sum(), abs(theirs).sum(), rtol=1e-12)
        plans = [
            plan_of(*pair)
            for pair in zip(factored.form.treeplex, random_policy(factored, play), strict=True)
        ]
        value, _ = evaluate.value_and_gap(factored.form, random_policy(factored, play))
        assert plans[0] @ ours @ plans[1] == pytest.approx(value[player], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_exact_values_are_those_of_the_explicit_layout(seed):
    scenario = random_scenario(seed, security=True)
    ours, theirs = (lp.solve(build(scenario)) for build in (factored_game, dialogue_game))
    np.testing.assert_allclose(ours.value, theirs.value, rtol=1e-9, atol=1e-9)
    assert ours.nash_conv < 1e-7


def crisis(turns: int) -> Game:
    scenario = read_scenario(builtin_scenarios()["crisis_guidance"])
    return factored_game(override(scenario, {"turns": turns}))


def after(game: Game, variant: str, steps: int) -> cfr.State:
    with jax.enable_x64(True):
        state = cfr.init(game.form)
        state = cfr.run(game.form, VARIANTS[variant], state, steps, horizon=100.0, dead_zone=1e-8)
        return jax.device_get(state)


@pytest.mark.parametrize("name", ["cfr+", "pcfr+", "dcfr"])
def test_runs_are_those_of_the_explicit_layout(name):
    scenario = override(read_scenario(builtin_scenarios()["crisis_guidance"]), {"turns": 2})
    explicit, factored = dialogue_game(scenario), factored_game(scenario)
    for player in (0, 1):
        ours, theirs = (
            cfr.average(game.form, after(game, name, 30))[player] for game in (factored, explicit)
        )
        where = same_infosets(explicit, factored, player)
        np.testing.assert_allclose(np.asarray(ours)[where], theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("block", "blocks"), [(1, 45), (300, 9)])
def test_how_a_level_is_walked_changes_no_number(block, blocks):
    whole = crisis(2)
    game = walked(whole, block=block)
    assert game.form.treeplex[1].levels[-1].rows[0] == blocks
    ours, theirs = (cfr.average(g.form, after(g, "pcfr+", 20)) for g in (game, whole))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-11)
    for mine, other in zip(
        evaluate.value_and_gap(game.form, ours),
        evaluate.value_and_gap(whole.form, theirs),
        strict=True,
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-10)


def test_two_runs_have_the_same_bits():
    game = walked(crisis(2), block=300)
    first, second = (after(game, "pcfr+", 50) for _ in range(2))
    for ours, theirs in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_load_picks_the_factored_layout_for_scenarios():
    assert csa_games.load("csa_oneshot").form.signal is not None
    assert csa_games.load("openspiel:kuhn_poker").form.signal is None
