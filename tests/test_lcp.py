"""Equilibria of general-sum games against the literature and enumeration of supports."""

from itertools import combinations, product

import numpy as np
import pytest
from general_sum import (
    MATRICES,
    bagwell,
    forges,
    guess_the_ace,
    matrix_game,
    stripped_poker,
    watson,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from known_games import KUHN, LEDUC, game
from random_games import roots
from random_scenarios import random_scenario

import solvers
from csa_games.build import build
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.fold import legal_mask
from solvers import commitment, lcp

LITERATURE = {
    # All payoffs in equilibria: Bagwell 1995 at noise 1/100; von Stengel & Forges 2008, figure 1;
    # Reiley, Urbancic & Walker 2008; Watson 2013, exercise 29.6.
    "bagwell": (bagwell, {(4, 4), (393 / 98, 397 / 100), (489 / 98, 201 / 100)}),
    "forges": (forges, {(0, 6)}),
    "stripped_poker": (stripped_poker, {(1 / 3, -1 / 3)}),
    "watson": (watson, {(0, 0), (0, 1 / 2), (1, 0)}),
    "guess_the_ace": (guess_the_ace, {(0, 0)}),
}


@pytest.mark.parametrize("name", LITERATURE)
def test_equilibria_of_the_literature(name):
    make, payoffs = LITERATURE[name]
    ours = make()
    for player, select in product((0, 1), ("any", "best", "worst")):
        solution = lcp.solve(ours, select=select, player=player)
        assert (solution.status, solution.method) == ("exact", "lcp")
        assert abs(solution.gap).max() <= 1e-12
        if select != "any":
            most = {"best": max, "worst": min}[select](pair[player] for pair in payoffs)
            assert solution.value[player] == pytest.approx(most, abs=1e-10)


def test_bagwell_has_no_equilibrium_that_is_as_good_as_committing():
    """Bagwell 1995: with the least noise the first mover loses its advantage, in pure policies."""
    best = lcp.solve(bagwell(), select="best", player=0)
    # P1 S 99/100; P2 S after s, and 24/49 after c.
    assert best.policy[0].tolist() == [pytest.approx([0.99, 0.01])]
    after = dict(zip(bagwell().names.infosets[1], best.policy[1], strict=True))
    np.testing.assert_allclose(after["s"], [1, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(after["c"], [24 / 49, 25 / 49], rtol=0, atol=1e-12)


def equilibria(rows, columns):
    """Return the payoffs of all equilibria of a nondegenerate matrix game, by their supports."""
    rows, columns = np.array(rows, float), np.array(columns, float)
    found = []
    for size in range(1, min(rows.shape) + 1):
        for own, other in product(
            combinations(range(rows.shape[0]), size), combinations(range(rows.shape[1]), size)
        ):
            x, y = indifferent(columns.T, other, own), indifferent(rows, own, other)
            if x is None or y is None:
                continue
            first, second = x @ rows @ y, x @ columns @ y
            if (rows @ y <= first + 1e-9).all() and (x @ columns <= second + 1e-9).all():
                found.append((first, second))
    return found


def indifferent(payoff, actions, support):
    """Return the mixture over `support` that makes `actions` equally good, if there is one."""
    size = len(support)
    system = np.zeros((size + 1, size + 1))
    system[:size, :size] = payoff[np.ix_(actions, support)]
    system[:size, size] = -1
    system[size, :size] = 1
    if abs(np.linalg.det(system)) < 1e-9:
        return None
    weights = np.linalg.solve(system, np.eye(size + 1)[size])[:size]
    if (weights < -1e-12).any():
        return None
    mixture = np.zeros(payoff.shape[1])
    mixture[list(support)] = weights
    return mixture


@pytest.mark.parametrize("seed", range(12))
def test_the_best_and_the_worst_among_all_equilibria_of_random_matrices(seed):
    draw = np.random.default_rng(seed)
    shape = draw.integers(2, 5, size=2)
    rows, columns = draw.integers(-50, 50, size=(2, *shape)).tolist()  # ties are rare
    payoffs = equilibria(rows, columns)
    assert len(payoffs) % 2 == 1  # Lemke & Howson 1964, nondegenerate
    ours = matrix_game(rows, columns)
    for player in (0, 1):
        best, worst = (
            lcp.solve(ours, select=select, player=player).value[player]
            for select in ("best", "worst")
        )
        assert best == pytest.approx(max(pair[player] for pair in payoffs), abs=1e-9)
        assert worst == pytest.approx(min(pair[player] for pair in payoffs), abs=1e-9)
    anyone = tuple(lcp.solve(ours).value)
    assert any(np.allclose(anyone, pair, rtol=0, atol=1e-9) for pair in payoffs)


@pytest.mark.parametrize("name", MATRICES)
def test_degenerate_matrices(name):
    rows, columns, _ = MATRICES[name]
    worst = lcp.solve(matrix_game(rows, columns), select="worst", player=0)
    assert abs(worst.nash_conv) <= 1e-12
    # "pure" has the equilibria of (r0, c1) and of mixtures, in which rows get 39/7 at least.
    expected = {"mixed": 2.0, "thirds": 0.0, "pure": 39 / 7}
    assert worst.value[0] == pytest.approx(expected[name], abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(roots(zero_sum=False))
def test_random_games_are_solved_to_rounding(root):
    ours = build(root, "random")
    assume(sum(int(legal_mask(treeplex).sum()) for treeplex in ours.form.treeplex) <= 40)
    scale = max(np.abs(payoff).max() for payoff in ours.form.leaves.payoff) or 1.0
    found = {select: lcp.solve(ours, select=select) for select in ("any", "best", "worst")}
    for solution in found.values():
        assert abs(solution.gap).max() <= 1e-9 * max(scale, 1)
    worth = {select: solution.value[1] for select, solution in found.items()}
    slack = 1e-6 * scale
    assert worth["worst"] - slack <= worth["any"] <= worth["best"] + slack


@settings(deadline=None, max_examples=10)
@given(roots(zero_sum=False, most_stages=4), st.sampled_from([0, 1]))
def test_no_equilibrium_is_worth_more_than_committing(root, leader):
    """Von Stengel & Zamir 2010: a leader may commit to the plan of any equilibrium."""
    ours = build(root, "random")
    assume(sum(int(legal_mask(treeplex).sum()) for treeplex in ours.form.treeplex) <= 30)
    best = lcp.solve(ours, select="best", player=leader)
    strong = commitment.by_milp(ours, leader=leader).commitment.strong
    assert best.value[leader] <= strong + 1e-6 * max(abs(strong), 1)


def test_zero_sum_games_have_one_value():
    for select in ("best", "worst"):
        solution = lcp.solve(game(KUHN), select=select, player=0)
        assert solution.value[0] == pytest.approx(-1 / 18, abs=1e-12)  # Kuhn 1950
        assert solution.nash_conv == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_unit_of_payoffs_does_not_matter(factor):
    rows, columns, _ = MATRICES["pure"]
    scaled = matrix_game(*(np.multiply(part, factor).tolist() for part in (rows, columns)))
    worst = lcp.solve(scaled, select="worst", player=0)
    assert worst.value[0] == pytest.approx(factor * 39 / 7, rel=1e-12)


def test_dialogues_with_rational_users():
    scenarios = (random_scenario(seed) for seed in range(200))
    small = [
        dialogue_game(scenario)
        for scenario in scenarios
        if scenario.turns == 1
        and {intent.behaviour for intent in scenario.intents} >= {"rational"}
        and all(intent.behaviour != "quantal" for intent in scenario.intents)
    ][:5]
    assert len(small) == 5
    for ours in small:
        best = lcp.solve(ours, select="best")
        assert best.nash_conv == pytest.approx(0, abs=1e-9)
        assert best.game_class == ours.game_class


def test_what_it_refuses():
    with pytest.raises(InputError, match=r"has 2,\d+ sequences, and .* takes at most 500:"):
        lcp.solve(game(LEDUC))
    with pytest.raises(InputError, match="select is 'nicest', player is 1"):
        lcp.solve(bagwell(), select="nicest")
    with pytest.raises(InputError, match="player is 2"):
        lcp.solve(bagwell(), player=2)
    quantal = next(
        scenario
        for scenario in map(random_scenario, range(50))
        if any(intent.behaviour == "quantal" for intent in scenario.intents)
    )
    with pytest.raises(InputError, match="are quantal"):
        solvers.solve(dialogue_game(quantal), "lcp")


def test_out_of_time_without_an_equilibrium():
    draw = np.random.default_rng(0)
    rows, columns = draw.integers(-99, 99, size=(2, 14, 14)).tolist()
    with pytest.raises(InputError, match="found no equilibrium of hard: Time limit"):
        lcp.solve(matrix_game(rows, columns, "hard"), select="best", seconds=1e-6)
