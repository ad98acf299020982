"""Both built-in scenarios, played and best-responded to by OpenSpiel: the same value and NashConv.

OpenSpiel gets the tree that `to_openspiel` unrolls and shares no code with the fold. The policies
are solutions and, because solutions hide mistakes off the path, random ones.
"""

import numpy as np
import pytest
from open_spiel.python.algorithms import expected_game_score, exploitability

import csa_games
import solvers
from csa_games.fold import legal_mask
from csa_games.game import Game, Policy
from csa_games.interop.openspiel import to_openspiel, to_openspiel_policy


def random_policy(game: Game, seed: int) -> Policy:
    generator = np.random.default_rng(seed)
    parts = []
    for treeplex in game.form.treeplex:
        legal = legal_mask(treeplex)
        weight = np.where(legal, generator.exponential(size=legal.shape), 0)
        parts.append(weight / weight.sum(axis=-1, keepdims=True))
    return parts[0], parts[1]


def check(game: Game, policies: list[Policy]) -> None:
    there = to_openspiel(game)
    for policy in policies:
        played = to_openspiel_policy(game, policy, there)
        values = expected_game_score.policy_value(there.new_initial_state(), [played, played])
        np.testing.assert_allclose(values, solvers.value(game, policy), rtol=0, atol=1e-9)
        nash_conv = exploitability.nash_conv(there, played)
        assert nash_conv == pytest.approx(solvers.gap(game, policy).sum(), abs=1e-9)


def test_csa_oneshot():
    game = csa_games.load("csa_oneshot")
    solution = solvers.solve(game, "pcfr+", target=1e-9)
    check(game, [solution.policy, random_policy(game, 1), random_policy(game, 2)])


@pytest.mark.large
def test_crisis_guidance():
    game = csa_games.load("crisis_guidance")
    check(game, [random_policy(game, 3)])


@pytest.mark.large
def test_crisis_guidance_solved():
    game = csa_games.load("crisis_guidance")
    solution = solvers.solve(game, "pcfr+", target=1e-3)
    check(game, [solution.policy])
