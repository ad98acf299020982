"""Refined equilibria against exact rationals, one another, and games whose answer is plain."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import product

import jax
import numpy as np
import pytest
from exact import random_policy
from general_sum import bagwell, guess_the_ace, stripped_poker
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from known_games import KUHN, LEDUC, LIARS_DICE_3, arrays_of, game
from random_games import roots
from random_scenarios import random_scenario

import solvers
from csa_games import evaluate
from csa_games.build import build
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.rules import Chance, Decision, Terminal
from csa_games.table import LEAST_OWN_REACH
from solvers import cfr, lp, refined
from solvers.regret import VARIANTS

METHODS = {"lp-refined": {}, "cfr-refined": {"target": 1e-3}}
EPSILON = Fraction(1, 8)


def trembled(row, epsilon):
    return tuple((1 - epsilon) * p + epsilon / len(row) for p in row)


def visits(root, player, infoset, executed):
    """Return the nodes of an infoset, each with the probability that the others lead there."""
    found = []

    def walk(node, weight):
        match node:
            case Terminal():
                return
            case Chance(_, probabilities, child):
                weights = [Fraction(p) for p in probabilities]
            case Decision(mover, here, _, child) if mover == player:
                if here == infoset:
                    found.append((weight, node))
                weights = [Fraction(1)] * len(executed[mover, here])
            case Decision(mover, here, _, child):
                weights = executed[mover, here]
        for k, w in enumerate(weights):
            walk(child(k), weight * w)

    walk(root(), Fraction(1))
    return found


def worth(node, player, executed):
    match node:
        case Terminal(payoffs):
            return Fraction(payoffs[player])
        case Chance(_, probabilities, child):
            return sum(
                Fraction(p) * worth(child(k), player, executed) for k, p in enumerate(probabilities)
            )
        case Decision(mover, here, _, child):
            return sum(
                p * worth(child(k), player, executed) for k, p in enumerate(executed[mover, here])
            )


def below(node, player):
    """Return the player's infosets from `node` on."""
    match node:
        case Terminal():
            return set()
        case Chance(actions, _, child):
            return set().union(*(below(child(k), player) for k in range(len(actions))))
        case Decision(mover, here, actions, child):
            after = set().union(*(below(child(k), player) for k in range(len(actions))))
            return after | {here} if mover == player else after


def given_away(root, player, infoset, policy, epsilon):
    """Return the loss at an infoset in rationals, by trying every pure intention from there on."""
    executed = {at: trembled(row, epsilon) for at, row in policy.items()}
    nodes = visits(root, player, infoset, executed)
    mass = sum(weight for weight, _ in nodes)
    own = sorted(set().union(*(below(node, player) for _, node in nodes)))
    counts = [len(policy[player, here]) for here in own]
    assume(math.prod(counts) <= 60)

    def value(intended):
        play = executed | {at: trembled(row, epsilon) for at, row in intended.items()}
        return sum(weight * worth(node, player, play) for weight, node in nodes) / mass

    pure = [
        value(
            {
                (player, here): tuple(Fraction(k == a) for k in range(n))
                for here, a, n in zip(own, choice, counts, strict=True)
            }
        )
        for choice in product(*map(range, counts))
    ]
    return max(pure) - value({})


@settings(deadline=None, max_examples=40)
@given(roots(most_stages=4), st.integers(0, 2**20))
def test_losses_are_those_of_every_pure_intention_in_rationals(root, seed):
    ours = build(root, "random")
    policy = random_policy(root, seed)
    found = refined.examine(ours, arrays_of(ours, policy), float(EPSILON))
    for player, labels in enumerate(ours.names.infosets):
        for label, loss in zip(labels, found.loss[player], strict=True):
            expected = given_away(root, player, label, policy, EPSILON)
            assert loss == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


def test_losses_at_first_infosets_add_up_to_the_gap():
    ours = game(KUHN)
    solution = solvers.solve(ours, "cfr", target=0.0, max_steps=20)
    found = refined.examine(ours, solution.policy, 0.05)
    # Each card is dealt with probability 1/3, and player 0 moves first.
    first = [k for k, label in enumerate(ours.names.infosets[0]) if len(label) == 1]
    assert found.gap[0] == pytest.approx(found.loss[0][first].sum() / 3, rel=1e-12)
    assert found.worst == max(found.loss[0].max(), found.loss[1].max())
    # Without mistakes the perturbed gap is the gap.
    np.testing.assert_allclose(
        refined.examine(ours, solution.policy, 1e-12).gap, solution.gap, rtol=0, atol=1e-9
    )


def test_where_chance_never_leads_nothing_is_lost_or_won():
    def node(k):
        return Decision(0, f"after {k}", ("x", "y"), lambda a: Terminal((1.0 * a, -1.0 * a)))

    ours = build(lambda: Chance(("often", "never"), (1.0, 0.0), node), "never")
    loss = dict(zip(ours.names.infosets[0], refined.by_lp(ours).refinement.loss[0], strict=True))
    assert loss["after 0"] == 0
    assert math.isnan(loss["after 1"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("epsilon", [1e-1, 1e-2, 1e-3])
def test_the_ace_is_not_guessed(method, epsilon):
    """Stopping is right whatever is guessed; but who plays on by mistake rarely holds the ace."""
    ours = guess_the_ace()
    solution = solvers.solve(ours, method, epsilon=epsilon, **METHODS[method])
    assert solution.method == method
    ace, other = solution.policy[1][0]
    assert other == pytest.approx(1, abs=1e-4)
    assert ace == pytest.approx(0, abs=1e-4)
    assert solution.value[0] == pytest.approx(0, abs=1e-2)
    # Guessing the ace is an equilibrium as well, and the unrefined program finds it.
    plain = lp.solve(ours)
    np.testing.assert_array_equal(plain.policy[1], [[1, 0]])
    assert plain.nash_conv == 0
    lost = refined.examine(ours, plain.policy, epsilon)
    # What is intended is done with probability 1 - epsilon.
    assert lost.worst == pytest.approx((1 - epsilon) * 1000 * (51 - 1) / 52, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_after_a_mistake_the_better_action_is_taken(method):
    def second(k):
        if k == 0:
            return Terminal((5.0, -5.0))
        return Decision(0, "after a mistake", ("x", "y"), lambda a: Terminal((1.0 * a, -1.0 * a)))

    ours = build(lambda: Decision(0, "start", ("take", "leave"), second), "mistake")
    solution = solvers.solve(ours, method, **METHODS[method] | {"epsilon": 0.1})
    rows = dict(zip(ours.names.infosets[0], solution.policy[0], strict=True))
    np.testing.assert_allclose(rows["start"], [1, 0], rtol=0, atol=1e-3)
    np.testing.assert_allclose(rows["after a mistake"], [0, 1], rtol=0, atol=1e-2)


@settings(deadline=None, max_examples=40)
@given(roots(zero_sum=True), st.sampled_from([0.2, 0.02]))
def test_the_program_is_exact_at_every_infoset_of_random_games(root, epsilon):
    ours = build(root, "random")
    solution = refined.by_lp(ours, epsilon=epsilon)
    scale = max(np.abs(ours.form.leaves.payoff).max(), 1)
    assert (solution.status, solution.method) == ("exact", "lp-refined")
    assert solution.refinement.epsilon == epsilon
    assert -1e-10 * scale <= solution.refinement.gap.min()
    assert solution.refinement.worst <= 1e-7 * scale


@pytest.mark.parametrize("load_string", [KUHN, LIARS_DICE_3, LEDUC])
def test_the_program_is_exact_at_every_infoset_of_known_games(load_string):
    ours = game(load_string)
    assert refined.by_lp(ours, epsilon=0.01).refinement.worst <= 1e-9
    # The unrefined one is an equilibrium that gives much away after mistakes.
    plain = lp.solve(ours).policy
    if load_string != KUHN:
        assert refined.examine(ours, plain, 0.01).worst > 1


@pytest.mark.parametrize("ours", [game(KUHN), stripped_poker()], ids=["kuhn", "poker"])
def test_both_methods_find_the_value_of_the_perturbed_game(ours):
    epsilon, target = 0.05, 1e-5
    exact = refined.by_lp(ours, epsilon=epsilon)
    found = refined.by_regret(ours, epsilon=epsilon, target=target)
    assert found.status == "target"
    first, second = (
        solvers.value(ours, refined.trembled(ours, solution.policy, epsilon))[0]
        for solution in (exact, found)
    )
    assert first == pytest.approx(second, abs=target)
    assert first != pytest.approx(lp.solve(ours).value[0], abs=10 * target)
    # An infoset is lost no more than the gap over the probability that mistakes lead there.
    assert found.refinement.worst <= target / (epsilon / 2) ** 2 * 6


def test_mistakes_cost_less_and_less():
    ours = game(KUHN)
    gaps = [refined.by_lp(ours, epsilon=epsilon).nash_conv for epsilon in (1e-2, 1e-3, 1e-4)]
    # The price of trembles is of the order of epsilon.
    assert gaps[1] == pytest.approx(gaps[0] / 10, rel=0.1)
    assert gaps[2] == pytest.approx(gaps[1] / 10, rel=0.1)
    # Kuhn 1950: the first player loses 1/18.
    assert refined.by_lp(ours, epsilon=1e-6).value[0] == pytest.approx(-1 / 18, abs=1e-6)


def test_the_best_policy_checked_is_returned():
    ours, seen = game(KUHN), []
    solution = refined.by_regret(ours, epsilon=0.1, target=0.0, max_steps=40, progress=seen.append)
    assert tuple(seen) == solution.history
    assert solution.status == "max_steps"
    lowest = min(check.nash_conv for check in solution.history)
    assert solution.refinement.gap.sum() == pytest.approx(lowest, abs=1e-15)
    assert solution.steps in {c.step for c in solution.history if c.nash_conv == lowest}
    assert refined.by_regret(ours, target=0.0, seconds=1e-9).status == "seconds"


def test_an_interrupted_run_returns_its_best_policy():
    def stop(check):
        if check.step == 5:
            raise KeyboardInterrupt

    solution = refined.by_regret(game(KUHN), target=0.0, progress=stop)
    assert solution.status == "interrupted"
    assert solution.history[-1].step == 5
    with pytest.raises(KeyboardInterrupt):
        refined.by_regret(game(KUHN), progress=lambda check: stop(replace(check, step=5)))


@pytest.mark.parametrize("load_string", [LIARS_DICE_3, LEDUC])
def test_completed_rows_change_nothing_but_what_follows_own_mistakes(load_string):
    ours = game(load_string)
    plain, better = lp.solve(ours), refined.by_lp(ours, epsilon=0.01)
    found = refined.completed(ours, plain, better)
    np.testing.assert_allclose(found.value, plain.value, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.gap, plain.gap, rtol=0, atol=1e-9)
    assert found.refinement.epsilon == 0.01
    changed = [
        (rows != same).any(axis=1) for rows, same in zip(found.policy, plain.policy, strict=True)
    ]
    before = refined.examine(ours, plain.policy, 0.01).loss
    for player in (0, 1):
        assert changed[player].any()
        never = evaluate.own_reach(ours, player, plain.policy) == 0
        assert never[changed[player]].all()
        np.testing.assert_array_equal(found.policy[player][never], better.policy[player][never])
        # Half of what was given away there and more: the rest answers to rows that were kept.
        lost, was = found.refinement.loss[player][never].mean(), before[player][never].mean()
        assert lost <= was / 2


def test_completed_are_the_rows_that_tables_do_not_trust():
    assert refined.NEVER == LEAST_OWN_REACH


def test_only_refined_solutions_complete_others():
    plain = lp.solve(game(KUHN))
    with pytest.raises(InputError, match="solution by lp is not a refined one"):
        refined.completed(game(KUHN), plain, plain)


def test_a_commitment_is_not_completed():
    ours = bagwell()
    commitment = solvers.solve(ours, "commitment-milp")
    better = refined.by_regret(ours, epsilon=0.05, target=0.0, max_steps=50)
    with pytest.raises(
        InputError, match=r"commitment-milp promises more than a gap \(commitment\)"
    ):
        refined.completed(ours, commitment, better)


def test_general_sum_games_are_only_measured():
    ours = bagwell()
    solution = refined.by_regret(ours, epsilon=0.05, target=0.0, max_steps=200)
    assert solution.game_class == "general-sum"
    np.testing.assert_array_equal(solution.gap, solvers.gap(ours, solution.policy))
    assert solution.refinement.worst >= 0


def test_no_mistakes_are_the_ordinary_algorithm():
    form = game(LEDUC).form
    with jax.enable_x64(True):
        both = [
            cfr.run(form, VARIANTS["pcfr+"], cfr.init(form), 20, horizon=20.0, dead_zone=0.0, **how)
            for how in ({}, {"epsilon": 0.0})
        ]
    for plain, trembling in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(plain, trembling, rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", [3, 8])
def test_layouts_agree(seed):
    scenario = random_scenario(seed, security=True)
    explicit, factored = dialogue_game(scenario), factored_game(scenario)
    found = [refined.by_regret(ours, target=0.0, max_steps=30) for ours in (explicit, factored)]
    assert found[0].refinement.gap == pytest.approx(found[1].refinement.gap, rel=1e-8, abs=1e-10)
    losses = [
        {
            (player, label): loss
            for player in (0, 1)
            for label, loss in zip(
                ours.names.infosets[player], solution.refinement.loss[player], strict=True
            )
        }
        for ours, solution in zip((explicit, factored), found, strict=True)
    ]
    for at, loss in losses[0].items():
        assert losses[1][at] == pytest.approx(loss, rel=1e-6, abs=1e-8, nan_ok=True)


@pytest.mark.parametrize("epsilon", [0.0, 1.0, -0.1, math.nan])
@pytest.mark.parametrize("method", METHODS)
def test_epsilon_is_a_probability(method, epsilon):
    with pytest.raises(InputError, match=f"epsilon is {epsilon}, expected a probability"):
        solvers.solve(game(KUHN), method, epsilon=epsilon)


@pytest.mark.parametrize("bad", [{"target": -1.0}, {"max_steps": 0}, {"seconds": 0.0}])
def test_arguments_out_of_range_are_refused(bad):
    (name,) = bad
    with pytest.raises(InputError, match=f"{name} is {bad[name]}"):
        refined.by_regret(game(KUHN), **bad)


def test_games_that_a_method_cannot_solve_are_refused():
    with pytest.raises(InputError, match=r"zero-sum games only.*bagwell"):
        refined.by_lp(bagwell())
    quantal = next(
        scenario
        for scenario in map(random_scenario, range(50))
        if any(intent.behaviour == "quantal" for intent in scenario.intents)
    )
    for method in METHODS:
        with pytest.raises(InputError, match="are quantal"):
            solvers.solve(dialogue_game(quantal), method)


def test_the_class_in_the_result_is_that_of_the_game():
    assert refined.by_lp(replace(game(KUHN), game_class="security")).game_class == "security"
