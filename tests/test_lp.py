"""The sequence-form LP against published values and exact rationals."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import scipy.optimize
from exact import infosets
from hypothesis import given, settings
from hypothesis import strategies as st
from known_games import BATTLESHIP_2, GOOFSPIEL_3, KUHN, LEDUC, LIARS_DICE_3, game
from random_games import Stage, roots, unfold
from tabled import plan_of
from transform import with_payoffs

import solvers
from csa_games.build import build
from csa_games.errors import InputError
from csa_games.fold import legal_mask, reach, rows_of, table_of, uniform
from csa_games.rules import Decision, Terminal
from solvers import lp
from solvers.sequence import behavioural, payoff_matrix, payoff_scale


@pytest.mark.parametrize(
    ("load_string", "value"),
    [
        (KUHN, -1 / 18),  # Kuhn 1950
        (LEDUC, -0.085606424078),  # noregret pins -0.08560642407800
        (LIARS_DICE_3, 1 / 9),
        (BATTLESHIP_2, 0.625),
        (GOOFSPIEL_3, 0.0),  # by symmetry
    ],
)
def test_published_values(load_string, value):
    solution = lp.solve(game(load_string))
    assert solution.value[0] == pytest.approx(value, abs=5e-13)
    assert solution.value.sum() == pytest.approx(0, abs=1e-14)
    assert solution.nash_conv == pytest.approx(0, abs=1e-12)
    assert (solution.status, solution.method) == ("exact", "lp")


@settings(deadline=None, max_examples=80)
@given(roots(zero_sum=True))
def test_random_games_are_solved_to_rounding(root):
    ours = build(root, "random")
    solution = lp.solve(ours)
    assert abs(solution.nash_conv) <= 1e-10 * max(np.abs(ours.form.leaves.payoff).max(), 1)


def test_payoffs_that_sum_to_a_constant():
    root = game(KUHN).root
    ours = build(with_payoffs(root, lambda u: (u[0] + 1.0, u[1] + 2.0)), "shifted")
    assert ours.game_class == "zero-sum"
    solution = lp.solve(ours)
    np.testing.assert_allclose(solution.value, [1 - 1 / 18, 2 + 1 / 18], rtol=0, atol=1e-12)
    assert solution.nash_conv == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_the_unit_of_payoffs_does_not_matter(factor):
    scaled = build(with_payoffs(game(KUHN).root, lambda u: (u[0] * factor, u[1] * factor)), "s")
    solution = lp.solve(scaled)
    assert solution.value[0] == pytest.approx(-factor / 18, rel=1e-11)
    assert solution.nash_conv == pytest.approx(0, abs=1e-12 * factor)


@pytest.mark.parametrize("mover", [0, 1])
def test_one_player_decides_alone(mover):
    root = unfold(
        (Stage(mover, (True, True), 3, False), Stage(None, (True, True), 2, False)), 8, True
    )
    ours = build(root, "alone")
    assert len(infosets(root)) == 1
    solution = lp.solve(ours)
    assert solution.nash_conv == pytest.approx(0, abs=1e-12)


def test_nobody_decides():
    solution = lp.solve(build(lambda: Terminal((2.0, -2.0)), "over"))
    np.testing.assert_array_equal(solution.value, [2, -2])


def test_all_payoffs_zero():
    ours = build(with_payoffs(game(KUHN).root, lambda u: (0.0, 0.0)), "nothing")
    np.testing.assert_array_equal(lp.solve(ours).gap, [0, 0])


def test_uniform_where_the_own_plan_never_leads():
    def second(k):
        if k == 0:
            return Terminal((5.0, -5.0))
        return Decision(0, "after a mistake", ("x", "y"), lambda a: Terminal((1.0 * a, -1.0 * a)))

    ours = build(lambda: Decision(0, "start", ("take", "leave"), second), "mistake")
    solution = lp.solve(ours)
    rows = dict(zip(ours.names.infosets[0], solution.policy[0].tolist(), strict=True))
    assert rows == {"start": [1.0, 0.0], "after a mistake": [0.5, 0.5]}


def test_general_sum_games_are_refused():
    ours = game("sheriff(item_penalty=1.0,max_items=1,max_bribe=1,num_rounds=1)")
    assert ours.game_class == "general-sum"
    with pytest.raises(InputError, match="zero-sum games only"):
        lp.solve(ours)


def test_options_are_refused_by_name():
    with pytest.raises(InputError, match="takes no target and no max_steps; it takes no options"):
        solvers.solve(game(KUHN), "lp", target=1e-3, max_steps=10)


def test_failure_of_the_solver_is_said(monkeypatch):
    def fail(**arguments):
        return scipy.optimize.OptimizeResult(status=1, message="Iteration limit reached.")

    monkeypatch.setattr(scipy.optimize, "linprog", fail)
    with pytest.raises(InputError, match=r"kuhn_poker: Iteration limit reached\."):
        lp.solve(game(KUHN))


@settings(deadline=None, max_examples=60)
@given(roots(), st.integers(0, 2**32 - 1))
def test_plans_are_what_the_constraints_describe(root, seed):
    """Every policy's plan satisfies E x = e, and no plan with one weight changed does."""
    rng = np.random.default_rng(seed)
    for treeplex in build(root, "random").form.treeplex:
        rows = rng.uniform(0.1, 1, uniform(treeplex).shape) * (uniform(treeplex) > 0)
        policy = rows / rows.sum(axis=-1, keepdims=True)
        plan = plan_of(treeplex, policy)
        matrix = lp.constraints(treeplex)
        expected = np.zeros(1 + treeplex.infosets)
        expected[0] = 1
        np.testing.assert_allclose(matrix @ plan, expected, rtol=0, atol=1e-12)
        assert (abs(matrix).sum(axis=0) > 0).sum() == 1 + legal_mask(treeplex).sum()
        back = behavioural(treeplex, reach(treeplex, rows_of(treeplex, policy)))
        np.testing.assert_allclose(table_of(treeplex, back), policy, rtol=1e-12)


def test_an_empty_plan_is_uniform():
    treeplex = game(LEDUC).form.treeplex[0]
    nothing = rows_of(treeplex, np.zeros((treeplex.infosets, treeplex.width)))
    policy = behavioural(treeplex, nothing)
    np.testing.assert_array_equal(table_of(treeplex, policy), uniform(treeplex))


def test_payoff_matrices_merge_leaves_by_sequence_pair():
    # facts of these games: the largest chance-weighted payoff per pair of sequences.
    assert payoff_scale(game(KUHN).form) == pytest.approx(1 / 3, rel=1e-14)
    assert payoff_scale(game(LEDUC).form) == pytest.approx(13 * Fraction(1, 120), rel=1e-14)
    assert payoff_scale(game(BATTLESHIP_2).form) == 2
    ours = game(KUHN)
    plans = [plan_of(t, uniform(t)) for t in ours.form.treeplex]
    for player, worth in ((0, 1 / 8), (1, -1 / 8)):
        value = plans[0] @ payoff_matrix(ours.form, player) @ plans[1]
        assert value == pytest.approx(worth, abs=1e-15)


def test_the_class_in_the_result_is_that_of_the_game():
    security = replace(game(KUHN), game_class="security")
    assert lp.solve(security).game_class == "security"
