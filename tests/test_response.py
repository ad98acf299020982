"""Values, best responses and gaps against exact rationals and against OpenSpiel."""

from dataclasses import replace
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pyspiel
import pytest
from exact import best_response_value, random_policy, value
from hypothesis import given, settings
from hypothesis import strategies as st
from known_games import GOOFSPIEL_3, KUHN, LEDUC, LIARS_DICE_3, arrays_of, game, play_in_openspiel
from random_games import Stage, roots, unfold
from transform import with_actions_reversed, with_payoffs

import csa_games
import solvers
from csa_games.build import build
from csa_games.errors import InputError
from csa_games.fold import uniform
from csa_games.rules import Decision, Terminal

seeds = st.integers(0, 2**20)


def close(ours, exact):
    return np.isclose(ours, float(exact), rtol=1e-12, atol=1e-12)


def uniform_profile(ours):
    return uniform(ours.form.treeplex[0]), uniform(ours.form.treeplex[1])


@settings(deadline=None, max_examples=80)
@given(roots(), seeds)
def test_values_and_best_responses_equal_exact_rationals(root, seed):
    ours, policy = build(root, "random"), random_policy(root, seed)
    rows = arrays_of(ours, policy)
    worth, gained = solvers.value(ours, rows), solvers.gap(ours, rows)
    for player, exact in enumerate(value(root, policy)):
        best = best_response_value(root, player, policy)
        assert close(worth[player], exact)
        assert close(gained[player], best - exact)
        assert close(solvers.best_response(ours, player, rows)[1], best)


@settings(deadline=None, max_examples=60)
@given(roots(), seeds)
def test_a_best_response_is_pure_and_earns_its_value(root, seed):
    ours = build(root, "random")
    rows = arrays_of(ours, random_policy(root, seed))
    for player in (0, 1):
        best, worth = solvers.best_response(ours, player, rows)
        assert set(np.unique(best)) <= {0, 1}
        played = (best, rows[1]) if player == 0 else (rows[0], best)
        assert close(solvers.value(ours, played)[player], worth)


@settings(deadline=None, max_examples=60)
@given(roots(), seeds, st.lists(seeds, min_size=5, max_size=5))
def test_no_policy_earns_more_than_a_best_response(root, seed, others):
    ours = build(root, "random")
    rows = arrays_of(ours, random_policy(root, seed))
    scale = max(np.abs(ours.form.leaves.payoff).max(), 1)
    assert (solvers.gap(ours, rows) >= -1e-12 * scale).all()
    for player in (0, 1):
        _, best = solvers.best_response(ours, player, rows)
        for other in others:
            sampled = arrays_of(ours, random_policy(root, other))[player]
            played = (sampled, rows[1]) if player == 0 else (rows[0], sampled)
            assert solvers.value(ours, played)[player] <= best + 1e-12 * scale


@settings(deadline=None, max_examples=40)
@given(roots(), seeds, st.integers(0, 1), st.fractions(-50, 50, max_denominator=4))
def test_shifting_a_payoff_shifts_its_value_and_no_gap(root, seed, player, shift):
    move = (shift, Fraction(0)) if player == 0 else (Fraction(0), shift)
    shifted = build(with_payoffs(root, lambda u: (u[0] + move[0], u[1] + move[1])), "shifted")
    ours = build(root, "random")
    rows = arrays_of(ours, random_policy(root, seed))
    expected = solvers.value(ours, rows) + np.array([float(m) for m in move])
    np.testing.assert_allclose(solvers.value(shifted, rows), expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(
        solvers.gap(shifted, rows), solvers.gap(ours, rows), rtol=0, atol=1e-11
    )


@settings(deadline=None, max_examples=40)
@given(roots(), seeds, st.fractions(Fraction(1, 100), 100, max_denominator=100))
def test_scaling_payoffs_scales_values_and_gaps(root, seed, factor):
    ours = build(root, "random")
    scaled = build(with_payoffs(root, lambda u: (u[0] * factor, u[1] * factor)), "scaled")
    rows = arrays_of(ours, random_policy(root, seed))
    for measure in (solvers.value, solvers.gap):
        np.testing.assert_allclose(
            measure(scaled, rows), float(factor) * measure(ours, rows), rtol=1e-11, atol=1e-11
        )


@settings(deadline=None, max_examples=40)
@given(roots(), seeds)
def test_the_order_of_actions_does_not_matter(root, seed):
    policy = random_policy(root, seed)
    backwards = {where: row[::-1] for where, row in policy.items()}
    ours, turned = build(root, "random"), build(with_actions_reversed(root), "reversed")
    rows, turned_rows = arrays_of(ours, policy), arrays_of(turned, backwards)
    for measure in (solvers.value, solvers.gap):
        np.testing.assert_allclose(
            measure(turned, turned_rows), measure(ours, rows), rtol=0, atol=1e-11
        )


@pytest.mark.parametrize(
    "load_string",
    [
        KUHN,
        LEDUC,
        LIARS_DICE_3,
        GOOFSPIEL_3,
        "dark_hex(board_size=2,gameversion=adh)",
        "tiny_hanabi",  # common payoffs
        "sheriff(item_penalty=1.0,max_items=2,max_bribe=2,num_rounds=1)",  # general-sum
    ],
)
@pytest.mark.parametrize("seed", [1, 2])
def test_nash_conv_is_that_of_openspiel(load_string, seed):
    ours = game(load_string)
    rng = np.random.default_rng(seed)
    rows = [rng.uniform(size=p.shape) * (p > 0) for p in uniform_profile(ours)]
    policy = tuple(r / r.sum(axis=-1, keepdims=True) for r in rows)
    theirs = pyspiel.nash_conv(pyspiel.load_game(load_string), play_in_openspiel(ours, policy))
    assert solvers.gap(ours, policy).sum() == pytest.approx(theirs, rel=1e-10, abs=1e-10)


def test_uniform_profiles():
    # OpenSpiel, exploitability_test.py and nash_conv_test.py: 11/12 and 4.747222...
    kuhn, leduc = game(KUHN), game(LEDUC)
    assert solvers.gap(kuhn, uniform_profile(kuhn)).sum() == pytest.approx(11 / 12, abs=1e-14)
    uniform_leduc = solvers.gap(leduc, uniform_profile(leduc)).sum()
    assert uniform_leduc == pytest.approx(4.747222222222222, abs=1e-13)


def test_never_betting_in_kuhn():
    # OpenSpiel, exploitability_test.py: always folding has NashConv 2.
    ours = game(KUHN)
    fold = np.tile([1.0, 0.0], (6, 1))
    np.testing.assert_allclose(solvers.gap(ours, (fold, fold)), [1, 1], rtol=0, atol=1e-14)


def test_a_player_without_decisions():
    root = unfold((Stage(0, (True, True), 3, False), Stage(None, (True, True), 2, False)), 3, True)
    ours = build(root, "alone")
    policy = uniform_profile(ours)
    assert policy[1].shape[0] == 0
    assert solvers.gap(ours, policy)[1] == 0
    best, worth = solvers.best_response(ours, 1, policy)
    assert best.shape == policy[1].shape
    assert worth == pytest.approx(solvers.value(ours, policy)[1], abs=1e-14)


def test_nobody_decides():
    ours = build(lambda: Terminal((2.0, 3.0)), "over")
    policy = uniform_profile(ours)
    np.testing.assert_array_equal(solvers.value(ours, policy), [2, 3])
    np.testing.assert_array_equal(solvers.gap(ours, policy), [0, 0])


def test_single_action_infosets_leave_no_gap():
    def after(player, left):
        if not left:
            return Terminal((Fraction(1, 3), 5.0))
        return Decision(player, f"{left}", ("on",), lambda k: after(1 - player, left - 1))

    ours = build(lambda: after(0, 4), "forced")
    np.testing.assert_array_equal(solvers.gap(ours, uniform_profile(ours)), [0, 0])


def test_any_array_is_welcome_and_computed_in_float64():
    ours = game(KUHN)
    narrow = tuple(jnp.asarray(rows, jnp.float32) for rows in uniform_profile(ours))
    gained = solvers.gap(ours, narrow)
    assert gained.dtype == np.float64
    assert gained.sum() == pytest.approx(11 / 12, abs=1e-14)  # one half is exact in float32


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([0.5, 0.4], "[0.5, 0.4]"),
        ([1.5, -0.5], "[1.5, -0.5]"),
        ([float("nan"), 1.0], "[nan, 1.0]"),
    ],
)
def test_rows_that_are_no_probabilities_are_refused(row, said):
    ours = game(KUHN)
    first, second = uniform_profile(ours)
    second = second.copy()
    second[3] = row
    for measure in (solvers.gap, solvers.value):
        with pytest.raises(InputError) as caught:
            measure(ours, (first, second))
        (fault,) = caught.value.faults
        assert said in fault
        assert "player 1" in fault
        assert repr(ours.names.infosets[1][3]) in fault


def test_probability_on_an_action_that_does_not_exist_is_refused():
    ours = game(LEDUC)  # two or three actions
    first, second = uniform_profile(ours)
    ragged = int(np.flatnonzero(first[:, 2] == 0)[0])
    first = first.copy()
    first[ragged] = [0.5, 0.25, 0.25]
    with pytest.raises(InputError, match="its 2 actions"):
        solvers.best_response(ours, 1, (first, second))


def test_every_wrong_shape_is_named():
    ours = game(KUHN)
    with pytest.raises(InputError) as caught:
        solvers.gap(ours, (np.ones((6, 3)), np.ones((5, 2))))
    assert [("(6, 3)" in fault, "(5, 2)" in fault) for fault in caught.value.faults] == [
        (True, False),
        (False, True),
    ]


def test_quantal_users_are_refused_by_solvers_of_equilibria():
    ours = csa_games.load("csa_oneshot")
    scenario = ours.scenario
    first = scenario.intents[0].model_copy(update={"behaviour": "quantal"})
    quantal = scenario.model_copy(update={"intents": [first, *scenario.intents[1:]]})
    for method in (*solvers.VARIANTS, "lp", "commitment-milp"):
        with pytest.raises(InputError, match=f"{first.name}.*quantal"):
            solvers.solve(replace(ours, scenario=quantal), method)
