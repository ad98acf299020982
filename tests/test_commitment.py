"""Commitment: published values, other algorithms, and what must hold whatever the game."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from exact import random_policy as exact_policy
from exact import value as exact_value
from general_sum import MATRICES, bagwell, forges, matrix_game, stripped_poker, watson
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from known_games import KUHN, arrays_of
from normal_form import (
    bimatrix,
    oriented,
    pure_equilibria,
    pure_stackelberg,
    size,
    stackelberg,
    strategies,
)
from random_games import roots
from random_scenarios import random_policy, random_scenario

import csa_games
import solvers
from csa_games.build import build
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, USER
from csa_games.override import override
from csa_games.rules import Chance, Decision, Terminal
from solvers import commitment, milp
from solvers.bounds import relaxed
from solvers.reaction import answered, reaction
from solvers.response import value

THIRD = 1 / 3

# (game, leader, the leader's strong value, the follower's payoff there or None): the sources are
# named in general_sum; a noise of e is worth 5 + e to the leader of Bagwell's game.
PUBLISHED = {
    "bagwell, first": (bagwell(), 0, 5.01, 2.01),
    "bagwell, second": (bagwell(), 1, 4.0, 4.0),
    "bagwell, noisier": (bagwell(Fraction(1, 20)), 0, 5.05, 2.05),
    "bagwell, noisiest": (bagwell(Fraction(1, 5)), 0, 5.2, 2.2),
    "signalling, sender": (forges(), 0, 4.0, 6.0),
    "signalling, receiver": (forges(), 1, 6.0, 0.0),
    "poker, first": (stripped_poker(), 0, THIRD, -THIRD),
    "poker, second": (stripped_poker(), 1, -THIRD, THIRD),
    "watson, informed": (watson(), 0, 1.0, 0.0),
    "watson, uninformed": (watson(), 1, 0.5, 0.0),
    **{
        f"matrix {name}, rows": (matrix_game(rows, columns, name), 0, worth, None)
        for name, (rows, columns, worth) in MATRICES.items()
    },
    **{
        f"matrix {name}, columns": (matrix_game(*MATRICES[name][:2], name), 1, worth, None)
        for name, worth in zip(MATRICES, (1.0, 5.0, 4.0), strict=True)
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values_by_the_program(name):
    ours, leader, worth, other = PUBLISHED[name]
    solution = solvers.solve(ours, "commitment-milp", leader=leader)
    found = solution.commitment
    assert (solution.status, found.leader) == ("exact", leader)
    assert found.strong == pytest.approx(worth, rel=0, abs=1e-9)
    assert found.bound == pytest.approx(worth, rel=0, abs=1e-6)
    assert found.weak <= found.strong
    assert solution.value[leader] == found.strong
    if other is not None:
        assert solution.value[1 - leader] == pytest.approx(other, rel=0, abs=1e-9)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values_by_ascent(name):
    ours, leader, worth, _ = PUBLISHED[name]
    found = solvers.solve(ours, "commitment-gradient", leader=leader, max_steps=300).commitment
    near = commitment.MINIMAX_SHARE * 4  # regret minimisers end near; the poker's range is 4
    slack = near if ours.game_class == "zero-sum" else 1e-9
    assert worth - slack <= found.strong <= worth + 1e-9
    assert found.bound >= worth - 1e-9


def test_the_policies_of_published_commitments():
    """Bagwell: strike with 1 - e. Forges: a belief of 0.6 after X."""
    first = solvers.solve(bagwell(), "commitment", leader=0)
    assert first.policy[0][0].tolist() == pytest.approx([0.99, 0.01], abs=1e-9)
    ours = forges()
    row = dict(
        zip(
            ours.names.infosets[0],
            solvers.solve(ours, "commitment", leader=0).policy[0],
            strict=True,
        )
    )
    assert sorted(row["G"].tolist()) == pytest.approx([0, 1], abs=1e-9)
    assert sorted(row["B"].tolist()) == pytest.approx([1 / 3, 2 / 3], abs=1e-9)


@pytest.mark.parametrize("leader", [0, 1])
@settings(max_examples=40, deadline=None)
@given(root=roots(zero_sum=False, most_stages=4))
def test_the_program_equals_one_linear_program_per_answer(leader, root):
    assume(size(root) <= 400)
    table, ours = bimatrix(root), build(root, "random")
    solution = solvers.solve(ours, "commitment-milp", leader=leader)
    found = solution.commitment
    assert found.strong == pytest.approx(stackelberg(table, leader), rel=1e-7, abs=1e-7)
    assert found.pure == pytest.approx(pure_stackelberg(table, leader), rel=1e-7, abs=1e-7)
    assert found.bound == pytest.approx(found.strong, rel=1e-5, abs=1e-5)
    assert found.pure <= found.strong + 1e-9
    assert found.weak <= found.strong + 1e-9
    for payoffs in pure_equilibria(table):
        assert found.strong >= payoffs[leader] - 1e-7
    # The bound of large games holds for small ones.
    loose = relaxed(ours, leader, lambda zero_sum: solvers.solve(zero_sum, "lp"))
    assert loose >= found.strong - 1e-7


@pytest.mark.parametrize("leader", [0, 1])
@settings(max_examples=60, deadline=None)
@given(root=roots(most_stages=4), seed=st.integers(0, 2**20))
def test_reactions_are_the_best_answers_with_ties_either_way(leader, root, seed):
    assume(size(root) <= 400)
    ours, policy = build(root, "random"), exact_policy(root, seed)
    rows = arrays_of(ours, policy)[leader]
    worth = []
    for answer in strategies(root, 1 - leader):
        pure = {(1 - leader, label): a for label, a in answer.items()}
        mixed = {
            where: tuple(Fraction(k == pure[where]) for k in range(len(row)))
            if where in pure
            else row
            for where, row in policy.items()
        }
        worth.append(exact_value(root, mixed))
    most = max(pair[1 - leader] for pair in worth)
    among = [pair[leader] for pair in worth if pair[1 - leader] == most]
    for ties, expected in (("for", max(among)), ("against", min(among))):
        played = answered(ours, leader, rows, ties)
        found = value(ours, played)
        assert found[leader] == pytest.approx(float(expected), rel=1e-6, abs=1e-6)
        assert found[1 - leader] == pytest.approx(float(most), rel=1e-6, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_users_of_a_scenario_react_each_in_its_own_way(seed):
    """Values of the reaction by plain recursion over the tree, for every behaviour at once."""
    scenario = random_scenario(seed)
    ours = dialogue_game(scenario)
    assume(len(ours.form.leaves.chance) <= 3000)
    policy = random_policy(ours, seed)
    rows = dict(
        zip(ours.names.infosets[USER], reaction(ours, USER, policy[ASSISTANT]), strict=True)
    )
    theirs = dict(zip(ours.names.infosets[ASSISTANT], policy[ASSISTANT], strict=True))
    rationality = {
        intent.name: intent.rationality.value if intent.rationality else math.inf
        for intent in scenario.intents
    }
    at = members(ours.root(), theirs)

    def worth(node):
        match node:
            case Terminal(payoffs):
                return float(payoffs[USER])
            case Chance(_, probabilities, child):
                weights = [float(p) for p in probabilities]
            case Decision(player, infoset, _, child):
                weights = rows[infoset] if player == USER else theirs[infoset]
        return sum(w * worth(child(k)) for k, w in enumerate(weights) if w > 0)

    for infoset, nodes in at.items():
        mass = sum(weight for weight, _ in nodes)
        if mass <= 0:
            continue
        count = len(nodes[0][1].actions)
        values = np.array(
            [
                sum(w * worth(node.child(k)) for w, node in nodes if w > 0) / mass
                for k in range(count)
            ]
        )
        row = rows[infoset][:count]
        level = rationality[infoset.partition("|")[0]]
        if math.isinf(level):
            assert row.max() == 1
            assert values[row.argmax()] >= values.max() - 1e-5
        else:
            weights = np.exp(level * (values - values.max()))
            np.testing.assert_allclose(row, weights / weights.sum(), rtol=1e-7, atol=1e-9)


def members(root, theirs):
    """Return the user's infosets: infoset -> [(weight of chance and the assistant, node)]."""
    found = {}
    stack = [(1.0, root)]
    while stack:
        weight, node = stack.pop()
        match node:
            case Terminal():
                continue
            case Chance(_, probabilities, _):
                weights = [float(p) for p in probabilities]
            case Decision(player, infoset, actions, _) if player == USER:
                found.setdefault(infoset, []).append((weight, node))
                weights = [1.0] * len(actions)
            case Decision(_, infoset, _, _):
                weights = theirs[infoset]
        stack += [
            (weight * w, node.child(k)) for k, w in enumerate(weights) if k < len(node.actions)
        ]
    return found


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_both_layouts_commit_alike(seed):
    scenario = random_scenario(seed)
    assume(all(intent.behaviour != "quantal" for intent in scenario.intents))
    assume(all(intent.prior.value > 0 for intent in scenario.intents))
    explicit, factored = dialogue_game(scenario), factored_game(scenario)
    assume(milp.size(explicit, ASSISTANT)[0] <= 200 and milp.size(explicit, ASSISTANT)[1] <= 20)
    assert milp.size(explicit, ASSISTANT) == milp.size(factored, ASSISTANT)
    first, second = (
        solvers.solve(ours, "commitment-milp", seconds=5.0) for ours in (explicit, factored)
    )
    assume(first.status == second.status == "exact")
    assert first.commitment.strong == pytest.approx(second.commitment.strong, rel=1e-6, abs=1e-6)
    assert first.commitment.pure == pytest.approx(second.commitment.pure, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("source", ["csa_oneshot", f"openspiel:{KUHN}"])
def test_against_minimisers_commitment_is_minimax(source):
    """In the security class and in zero-sum games, checked with the linear program."""
    ours = csa_games.load(source)
    exact = solvers.solve(ours, "lp").value[ASSISTANT]
    for method in ("commitment-milp", "commitment-gradient"):
        found = solvers.solve(ours, method).commitment
        slack = 1e-8 if method == "commitment-milp" else commitment.MINIMAX_SHARE * 30
        assert exact - slack <= found.strong <= exact + 1e-8
        assert exact - 1e-8 <= found.bound <= exact + slack
        assert found.weak == pytest.approx(found.strong, abs=1e-6)


def rational_crisis(turns=1, **changes):
    """Return crisis guidance with a malicious intent that acts for itself."""
    scenario = csa_games.load("crisis_guidance").scenario
    content = override(scenario, {"turns": turns}).model_dump(mode="json", exclude_none=True)
    source = "assumption: for the tests"
    for intent in content["intents"]:
        if intent["name"] == "malicious":
            weights = {"satisfaction": 1.0, "risk": 1.0, "source": source}
            intent |= {"behaviour": "rational", "weights": weights} | changes
    asks = {"plain": 0.0, "contextualised": 0.1, "disguised": 0.3, "leave": 0.0, "migrate": 0.2}
    content["payoff"]["effort"] = [{"intents": ["malicious"], "values": asks, "source": source}]
    return factored_game(csa_games.scenario.scenario_from(content, "rational crisis"))


def test_committing_pays_where_users_act_for_themselves():
    exact = solvers.solve(rational_crisis(), "commitment")
    climbed = solvers.solve(rational_crisis(), "commitment-gradient", max_steps=300)
    assert (exact.method, exact.status) == ("commitment-milp", "exact")
    assert (climbed.method, climbed.status) == ("commitment-gradient", "stationary")
    assert exact.game_class == "general-sum"
    assert exact.commitment.value_of_commitment > 0.01
    assert exact.commitment.optimality_gap <= 1e-6
    assert climbed.commitment.strong <= exact.commitment.strong + 1e-9
    assert climbed.commitment.strong >= exact.commitment.strong - 0.01
    assert climbed.commitment.bound >= exact.commitment.strong


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_nudge_leaves_no_ties_and_costs_its_share(name):
    ours, leader, worth, _ = PUBLISHED[name]
    found = solvers.solve(ours, "commitment-milp", leader=leader, nudge=0.01).commitment
    extent = np.ptp(np.asarray(ours.form.leaves.payoff[leader]))
    assert worth - 0.01 * extent - 1e-9 <= found.strong <= worth + 1e-9
    assert found.weak == pytest.approx(found.strong, abs=1e-9)
    if name in ("signalling, sender", "watson, informed", "watson, uninformed"):
        tied = solvers.solve(ours, "commitment-milp", leader=leader).commitment
        assert tied.weak < worth - 0.4  # what the nudge is for


def test_quantal_users_are_committed_to_by_ascent():
    """The more rational the user, the nearer to the commitment against a rational one."""
    rational = solvers.solve(rational_crisis(), "commitment").commitment.strong
    off = []
    for level in (2.0, 50.0, 2000.0):
        changes = {"behaviour": "quantal", "rationality": {"value": level, "source": "assumption"}}
        solution = solvers.solve(rational_crisis(**changes), "commitment", max_steps=300)
        found = solution.commitment
        assert solution.method == "commitment-gradient"
        assert found.strong == found.weak  # a logit reaction has no ties
        assert found.bound >= found.strong
        off.append(abs(found.strong - rational))
    assert off[2] < 0.002 < off[0]


def test_two_ascents_are_bit_identical_and_seeds_matter():
    ours = rational_crisis()
    runs = [
        solvers.solve(ours, "commitment-gradient", max_steps=20, starts=3, seed=seed)
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(runs[0].policy[1], runs[1].policy[1])
    assert not np.array_equal(
        commitment._starts(ours, 1, runs[0].policy[1], 3, 1)[2],
        commitment._starts(ours, 1, runs[0].policy[1], 3, 2)[2],
    )


def test_a_program_out_of_time_has_a_policy_and_a_bound():
    ours = rational_crisis(turns=2)
    solution = solvers.solve(ours, "commitment-milp", seconds=0.01)
    found = solution.commitment
    assert solution.status == "seconds"
    assert math.isfinite(found.bound)  # before HiGHS has one, that of large games
    assert found.bound >= found.strong >= found.equilibrium - 0.2
    assert found.bound >= found.pure_bound >= found.pure
    np.testing.assert_allclose(solution.policy[1].sum(axis=1), 1, atol=1e-12)


def test_a_program_that_is_interrupted_has_a_policy_and_a_bound():
    ours, calls = rational_crisis(turns=2), []

    def interrupt(report):
        calls.append(report)
        raise KeyboardInterrupt

    solution = solvers.solve(ours, "commitment-milp", progress=interrupt)
    assert calls
    assert solution.status == "interrupted"
    assert solution.commitment.bound > solution.commitment.strong
    assert math.isfinite(solution.commitment.strong)


def test_what_is_asked_wrongly_is_refused(monkeypatch):
    ours = rational_crisis()
    for options, message in (
        ({"leader": 2}, "leader is 2, expected 0 or 1"),
        ({"seconds": 0.0}, "seconds is 0.0"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"starts": 0}, "starts is 0"),
        ({"nudge": 1.0}, "nudge is 1.0, expected a share"),
        ({"target": 1e-3}, "takes no target; it takes leader, seconds, nudge"),
    ):
        with pytest.raises(InputError, match=message):
            solvers.solve(ours, "commitment-gradient", **options)
    quantal = rational_crisis(
        behaviour="quantal", rationality={"value": 1.0, "source": "assumption"}
    )
    with pytest.raises(InputError, match=r"'malicious' are quantal.*commitment-gradient"):
        solvers.solve(quantal, "commitment-milp")
    with pytest.raises(InputError, match="quantal intents of crisis_guidance cannot lead"):
        solvers.solve(quantal, "commitment", leader=USER)
    monkeypatch.setattr(milp, "MOST_HISTORIES", 10)
    with pytest.raises(InputError, match=r"182 histories.*at most 10 .*commitment-gradient"):
        solvers.solve(ours, "commitment-milp")


def test_ascent_is_seldom_far_from_the_program():
    """Within 1 % of the payoff range in nearly all games; 200 were tried by hand."""
    off = [shortfall(seed) for seed in range(12)]
    assert min(off) >= -1e-7
    assert np.mean(np.array(off) <= 0.01) >= 0.9


def shortfall(seed):
    """Return how much ascent misses, as a share of the leader's payoff range, in a matrix game."""
    draw = np.random.default_rng(seed)
    table = draw.integers(-9, 10, size=(2, 3, 3)).astype(float)
    ours = matrix_game(table[0].tolist(), table[1].tolist(), f"random {seed}")
    found = solvers.solve(ours, "commitment-gradient", leader=0, max_steps=200).commitment
    mine, _ = oriented(table, 0)
    return (stackelberg(table, 0) - found.strong) / np.ptp(mine)


def test_the_leader_of_a_constant_game_is_indifferent():
    ours = replace(matrix_game([[1, 1]], [[0, 0]], "constant"))
    found = solvers.solve(ours, "commitment", leader=0).commitment
    assert (found.strong, found.weak, found.pure) == (1.0, 1.0, 1.0)
