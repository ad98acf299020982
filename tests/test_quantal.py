"""Quantal response equilibria: published vectors, the definitions literally, layouts, bad input."""

import math
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from functools import cache

import general_sum
import numpy as np
import pytest
from general_sum import guess_the_ace, matrix_game, stripped_poker
from known_games import KUHN, game
from random_games import Stage, unfold
from random_scenarios import random_scenario

import solvers
from csa_games.build import build
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER
from csa_games.interop.efg_write import write_efg
from csa_games.rules import Chance, Decision, Terminal
from solvers import continuation, quantal
from solvers.reaction import reaction

NOTIONS = ("qre", "qre-normal-form")


def by_label(ours, policy):
    """Return the rows of a policy by (player, infoset), without the slots that are no action."""
    return {
        (player, label): tuple(policy[player][i][: len(ours.names.actions[player][i])].tolist())
        for player, labels in enumerate(ours.names.infosets)
        for i, label in enumerate(labels)
    }


# What the definitions say, by walking the tree ---------------------------------------------------


def conditional_values(root, player, policy):
    """Return E[player's payoff | infoset, action] by infoset; None where nobody leads to it.

    In exact rationals of the policy's floats.
    """
    exact = {where: tuple(map(Fraction, row)) for where, row in policy.items()}
    mass, total = defaultdict(Fraction), {}

    def walk(node, others):
        """Return the player's expected payoff; `others` is the reach without the player's own."""
        match node:
            case Terminal(payoffs):
                return Fraction(payoffs[player])
            case Chance(_, probabilities, child):
                weights = tuple(map(Fraction, probabilities))
            case Decision(mover, infoset, _, child):
                weights = exact[mover, infoset]
        if isinstance(node, Decision) and node.player == player:
            values = [walk(child(k), others) for k in range(len(weights))]
            mass[node.infoset] += others
            before = total.get(node.infoset, [Fraction(0)] * len(values))
            total[node.infoset] = [b + others * v for b, v in zip(before, values, strict=True)]
        else:
            values = [walk(child(k), others * w) for k, w in enumerate(weights)]
        return sum(w * v for w, v in zip(weights, values, strict=True))

    walk(root, Fraction(1))
    return {
        infoset: [v / mass[infoset] for v in values] if mass[infoset] else None
        for infoset, values in total.items()
    }


def worst_of_agents(root, policy, rationality):
    """Return the largest error of ln σ(a) - ln σ(b) = λ (E[u | I, a] - E[u | I, b]).

    `rationality` is a function of player and infoset.
    """
    worst = 0.0
    for player in (0, 1):
        for infoset, values in conditional_values(root, player, policy).items():
            row = policy[player, infoset]
            scale = rationality(player, infoset)
            means = [0.0] * len(row) if values is None else [scale * float(v) for v in values]
            for a, probability in enumerate(row):
                odds = math.log(probability) - math.log(row[0])
                worst = max(worst, abs(odds - (means[a] - means[0])))
    return worst


def reduced_strategies(root, player):
    """Return all reduced pure strategies: an action at every infoset that they lead to."""
    after, count = defaultdict(set), {}

    def collect(node, own):
        if isinstance(node, Terminal):
            return
        mine = isinstance(node, Decision) and node.player == player
        if mine:
            after[own].add(node.infoset)
            count[node.infoset] = len(node.actions)
        for k in range(len(node.actions)):
            collect(node.child(k), (*own, (node.infoset, k)) if mine else own)

    def choices(own):
        found = [{}]
        for infoset in sorted(after[own]):
            here = [
                {infoset: k} | rest
                for k in range(count[infoset])
                for rest in choices((*own, (infoset, k)))
            ]
            found = [one | other for one in found for other in here]
        return found

    collect(root, ())
    return choices(())


def worth(node, player, strategy, policy):
    """Return what a pure strategy is worth against the other's part of `policy`."""
    match node:
        case Terminal(payoffs):
            return float(payoffs[player])
        case Chance(_, probabilities, child):
            weights = tuple(map(float, probabilities))
        case Decision(mover, infoset, _, child) if mover == player:
            return worth(child(strategy[infoset]), player, strategy, policy)
        case Decision(mover, infoset, _, child):
            weights = policy[mover, infoset]
    return sum(w * worth(child(k), player, strategy, policy) for k, w in enumerate(weights))


def worst_of_strategies(root, policy, rationality):
    """Return the largest error of σ as the behaviour of P(s) ~ exp(λ u(s)) over strategies."""
    worst = 0.0
    for player in (0, 1):
        strategies = reduced_strategies(root, player)
        values = np.array([worth(root, player, s, policy) for s in strategies])
        weights = np.exp(rationality * (values - values.max()))
        for (mover, infoset), row in policy.items():
            if mover == player:
                by_action = [
                    sum(w for w, s in zip(weights, strategies, strict=True) if s.get(infoset) == a)
                    for a in range(len(row))
                ]
                error = np.abs(np.array(by_action) / sum(by_action) - row).max()
                worst = max(worst, float(error))
    return worst


def error_of(ours, solution):
    """Return the error of a solution in the definition of its method."""
    policy, reached = by_label(ours, solution.policy), solution.quantal.reached
    if solution.method == "qre":
        return worst_of_agents(ours.root(), policy, lambda *_: reached)
    return worst_of_strategies(ours.root(), policy, reached)


# Numbers from elsewhere --------------------------------------------------------------------------

# Agent-form logit QRE by path tracing with pygambit 17, whose policies have these games as rules.
# Bagwell: S; S|s; S|c; payoffs. Von Stengel and Forges: l after both messages; payoffs. Reiley:
# bet|K; bet|Q; call; value. Watson: Up|strong; Up|weak; Surrender|Up; Surrender|Stay; payoffs.
# (Reiley's call at lambda = 1 was noted with two digits exchanged; it follows from both bets.)
PUBLISHED = {
    ("bagwell", 0.5): ".434196514 .619401419 .379349983 4.533594294 2.749314339",
    ("bagwell", 1.0): ".472570631 .726652435 .272482914 4.502147855 2.777425520",
    ("bagwell", 2.0): ".718285395 .879129862 .130157296 4.611441717 2.432453018",
    ("forges", 0.5): ".377540669 .377540669 1.887703344 5.622459331",
    ("forges", 1.0): ".268941421 .268941421 1.344707107 5.731058579",
    ("forges", 2.0): ".119202922 .119202922 .596014610 5.880797078",
    ("stripped_poker", 0.5): ".783884316 .533613514 .576895226 .081848756",
    ("stripped_poker", 1.0): ".931785430 .539086796 .614444386 .260279106",
    ("stripped_poker", 2.0): ".995177814 .502729477 .664846997 .327370506",
    ("watson", 0.5): ".510731438 .286154371 .613337654 .527472964 .051552530 -.204695000",
    ("watson", 1.0): ".566341830 .187533449 .777943535 .511002297 .204620402 -.118349068",
    ("watson", 2.0): ".774517875 .177701207 .946863561 .329863634 .165674612 .087988473",
}
ROWS = {  # (player, infoset, action) of each probability
    "bagwell": [(0, "", 0), (1, "s", 0), (1, "c", 0)],
    "forges": [(1, "X", 0), (1, "Y", 0)],
    "stripped_poker": [(0, "K", 0), (0, "Q", 0), (1, "bet", 1)],
    "watson": [(0, "strong", 0), (0, "weak", 0), (1, "Up", 0), (1, "Stay", 0)],
}
typed_in = cache(lambda name: getattr(general_sum, name)())


@pytest.mark.parametrize(("name", "rationality"), PUBLISHED)
def test_agent_form_vectors(name, rationality):
    ours = typed_in(name)
    solution = solvers.solve(ours, "qre", rationality=rationality)
    assert solution.status == "exact"
    assert solution.quantal.reached == solution.quantal.rationality == rationality
    assert solution.quantal.residual < 1e-9
    policy = by_label(ours, solution.policy)
    expected = list(map(float, PUBLISHED[name, rationality].split()))
    found = [policy[player, label][a] for player, label, a in ROWS[name]]
    found += solution.value[: len(expected) - len(found)].tolist()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-9)
    if name == "forges":  # nothing tells the messages apart
        np.testing.assert_allclose(solution.policy[0], 0.5, rtol=0, atol=1e-12)


def test_reduced_normal_form_of_kuhn():
    # OpenSpiel's mmd_dilated_test.py, whose numbers come from Gambit: lambda = 10, P(pass) as plan.
    solution = solvers.solve(game(KUHN), "qre-normal-form", rationality=10.0)
    assert solution.status == "exact"
    assert solution.quantal.residual < 1e-9
    policy = by_label(game(KUHN), solution.policy)
    first = {card: policy[0, card][0] for card in "012"}
    assert first == pytest.approx(
        {"0": 0.75364232, "1": 0.70309809, "2": 0.47546799}, rel=1e-6, abs=0
    )
    later = {card: first[card] * policy[0, card + "pb"][0] for card in "012"}
    assert later == pytest.approx(
        {"0": 0.64695966, "1": 0.25609184, "2": 0.01290797}, rel=1e-6, abs=0
    )
    other = {label: policy[1, label][0] for label in ("0p", "0b", "1p", "1b", "2p", "2b")}
    assert other == pytest.approx(
        {
            "0p": 0.65005434,
            "0b": 0.79722767,
            "1p": 0.63415944,
            "1b": 0.41154828,
            "2p": 0.28438486,
            "2b": 0.0620185,
        },
        rel=1e-6,
        abs=0,
    )


def test_the_two_notions_are_two():
    ours = stripped_poker()
    agents, strategies = (solvers.solve(ours, name, rationality=1.0) for name in NOTIONS)
    policy = by_label(ours, agents.policy), by_label(ours, strategies.policy)
    assert abs(policy[0][0, "K"][0] - policy[1][0, "K"][0]) > 0.05
    assert error_of(ours, agents) < 1e-9
    assert error_of(ours, strategies) < 1e-9
    assert error_of(ours, replace(agents, policy=strategies.policy)) > 0.1
    assert error_of(ours, replace(strategies, policy=agents.policy)) > 0.05


def test_gambit_finds_the_same(tmp_path):
    # Never a dependency (GPL-2+): run where it happens to be installed.
    gambit = pytest.importorskip("pygambit", minversion="17.0.0b2")
    for name, rationality in (("watson", 3.0), ("bagwell", 1.5), ("stripped_poker", 0.7)):
        ours = typed_in(name)
        write_efg(ours, tmp_path / "game.efg")
        theirs = gambit.read_efg(str(tmp_path / "game.efg"))
        for method in NOTIONS:
            solution = solvers.solve(ours, method, rationality=rationality)
            (found,) = gambit.qre.logit_solve_lambda(
                theirs, rationality, use_strategic=method != "qre"
            )
            values = [found.profile.payoffs[player] for player in theirs.players]
            np.testing.assert_allclose(solution.value, values, rtol=0, atol=1e-6)


# The definitions, on random games ----------------------------------------------------------------

PLANS = {  # who moves, who sees it, how many actions, whether the first may end the game
    "both hidden": [(0, (1, 0), 3, 0), (1, (0, 1), 3, 0), (0, (1, 1), 2, 0), (1, (1, 1), 2, 0)],
    "may end": [(0, (1, 1), 3, 1), (None, (0, 1), 2, 0), (1, (1, 1), 2, 1), (0, (1, 0), 2, 0)],
    "late chance": [(1, (0, 1), 3, 0), (0, (1, 0), 2, 0), (None, (1, 1), 2, 0), (1, (1, 1), 2, 0)],
}


@cache
def random_game(name, seed):
    stages = tuple(
        Stage(mover, (bool(seen[0]), bool(seen[1])), actions, bool(end))
        for mover, seen, actions, end in PLANS[name]
    )
    return build(unfold(stages, seed, zero_sum=False), f"{name} {seed}")


@pytest.mark.parametrize(
    ("name", "seed"),
    [("both hidden", 7), ("may end", 3), ("late chance", 5)],
)
def test_random_games_satisfy_the_definitions(name, seed):
    ours = random_game(name, seed)
    for actions in ours.names.actions:
        assert max(map(len, actions)) > 1
    for method in NOTIONS:
        for rationality in (0.1, 0.6):
            solution = solvers.solve(ours, method, rationality=rationality)
            assert solution.status == "exact"
            assert solution.quantal.residual < 1e-9
            assert error_of(ours, solution) < 1e-8


def test_large_exponents_are_no_trouble():
    """Payoffs of -12 with rows of one to three actions: a careless soft maximum overflows here."""
    ours = random_game("both hidden", 7)
    solution = solvers.solve(ours, "qre-normal-form", rationality=1_000.0)
    assert solution.status == "exact"
    assert solution.quantal.residual < 1e-9


def most_gap(ours, method):
    """Return a bound on λ times NashConv at a QRE.

    A logit choice between n actions loses at most ln(n) / λ against the best of them, its entropy
    being at most ln(n). In the agent form a best response gains at most that at each infoset, given
    that it is reached, and on any path there is one infoset of each level at most.
    """
    if method == "qre-normal-form":
        return sum(math.log(len(reduced_strategies(ours.root(), player))) for player in (0, 1))
    return sum(len(part.levels) * math.log(part.width) for part in ours.form.treeplex)


@pytest.mark.parametrize("method", NOTIONS)
@pytest.mark.parametrize("name", ["bagwell", "stripped_poker", "watson", "kuhn"])
def test_the_gap_goes_to_zero_along_the_branch(name, method):
    ours = game(KUHN) if name == "kuhn" else typed_in(name)
    solution = solvers.solve(ours, method, rationality=1_000.0)
    branch, history = solution.quantal.branch, solution.history
    assert len(branch) == len(history) == solution.steps + 1
    assert (branch[0], branch[-1]) == (0.0, 1_000.0)
    bound = most_gap(ours, method)
    for rationality, check in zip(branch, history, strict=True):
        assert rationality * check.nash_conv <= bound + 1e-9
    assert solution.nash_conv == history[-1].nash_conv <= bound / 1_000
    if ours.game_class == "zero-sum":
        value = {"kuhn": -1 / 18, "stripped_poker": 1 / 3}[name]
        assert abs(solution.value[0] - value) <= solution.nash_conv


def test_the_agents_are_uniform_at_zero_and_nearly_so_beside_it():
    for ours in (game(KUHN), random_game("may end", 3)):
        even = [uniform(treeplex) for treeplex in ours.form.treeplex]
        solution = solvers.solve(ours, "qre", rationality=0.0)
        assert (solution.status, solution.steps) == ("exact", 0)
        for rows, flat in zip(solution.policy, even, strict=True):
            np.testing.assert_allclose(rows, flat, rtol=0, atol=1e-15)
        # Log-odds are at most λ times the payoff range: 4 in Kuhn, 24 in random games.
        near = solvers.solve(ours, "qre", rationality=1e-4)
        for rows, flat in zip(near.policy, even, strict=True):
            assert 0 < np.abs(rows - flat).max() <= 24e-4


def test_strategies_are_uniform_at_zero():
    ours = game(KUHN)
    solution = solvers.solve(ours, "qre-normal-form", rationality=0.0)
    # Passing leaves a choice for later, betting none: 2 of 3 reduced strategies.
    assert by_label(ours, solution.policy)[0, "0"] == pytest.approx((2 / 3, 1 / 3), abs=1e-15)
    assert error_of(ours, solution) < 1e-12


# The way there -----------------------------------------------------------------------------------

# Found by drawing 3 x 3 games of payoffs 0 .. 9: on the branch of the first lambda falls twice. In
# both, a longer step without a look at the determinant ends on another part of the curve.
TURNING = ([[7, 0, 6], [7, 8, 3], [5, 9, 3]], [[1, 1, 6], [7, 8, 1], [6, 7, 9]])


def drawn(seed):
    first, second = np.random.default_rng(seed).integers(0, 10, size=(2, 3, 3))
    return first.tolist(), second.tolist()


def test_a_branch_that_turns_back_is_followed():
    ours = matrix_game(*TURNING)
    solution = solvers.solve(ours, "qre", rationality=5.0)
    assert solution.status == "exact"
    assert error_of(ours, solution) < 1e-8
    branch = np.array(solution.quantal.branch)
    top = int(np.argmax(np.diff(branch) < 0))
    bottom = top + int(np.argmax(np.diff(branch[top:]) > 0))
    assert 0 < branch[bottom] < branch[top] - 0.1
    # Between the two there are other QREs at the same lambda; the first on the way is returned.
    between = float(branch[bottom] + branch[top]) / 2
    first = solvers.solve(ours, "qre", rationality=between)
    assert first.quantal.reached == between
    assert (np.diff(first.quantal.branch) > 0).all()
    assert error_of(ours, first) < 1e-9


@pytest.mark.parametrize("payoffs", [TURNING, drawn(123)], ids=["turning", "narrow"])
def test_short_steps_end_where_long_ones_do(payoffs, monkeypatch):
    ours = matrix_game(*payoffs)
    solution = solvers.solve(ours, "qre", rationality=4.4)
    for name, short in (("OFF", 0.005), ("RATE", 0.005), ("TURN", 0.02)):
        monkeypatch.setattr(continuation, name, short)
    careful = solvers.solve(ours, "qre", rationality=4.4, max_steps=20_000)
    assert careful.steps > 3 * solution.steps
    for rows, same in zip(solution.policy, careful.policy, strict=True):
        np.testing.assert_allclose(rows, same, rtol=0, atol=1e-8)


def test_symmetry_is_kept_where_other_branches_leave():
    """The branch of a pure coordination game is uniform for ever; two more leave it at λ = 1."""
    both = [[2, 0], [0, 2]]
    solution = solvers.solve(matrix_game(both, both), "qre", rationality=20.0)
    assert solution.status == "exact"
    for rows in solution.policy:
        np.testing.assert_allclose(rows, 0.5, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "status"), [({"max_steps": 3}, "max_steps"), ({"seconds": 1e-9}, "seconds")]
)
def test_a_limit_ends_the_path_at_a_qre_of_a_smaller_lambda(options, status):
    ours = typed_in("watson")
    solution = solvers.solve(ours, "qre", rationality=2.0, **options)
    assert solution.status == status
    assert solution.steps == options.get("max_steps", 0)
    assert solution.quantal.rationality == 2.0
    assert solution.quantal.reached == solution.quantal.branch[-1] < 2.0
    assert error_of(ours, solution) < 1e-9


def test_an_interrupt_keeps_the_policy_so_far():
    def stop(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    ours = typed_in("watson")
    solution = solvers.solve(ours, "qre", rationality=2.0, progress=stop)
    assert (solution.status, solution.steps) == ("interrupted", 2)
    assert 0 < solution.quantal.reached < 2
    assert error_of(ours, solution) < 1e-9


def test_where_nobody_ever_leads_the_path_ends():
    """Playing on costs 1000 λ log-odds: what follows it soon has a reach that float64 cannot tell.

    At the end of the path that reach is beyond 1e-280, and the equations still hold.
    """
    ours = guess_the_ace()
    solution = solvers.solve(ours, "qre", rationality=10.0)
    assert solution.status == "stationary"
    assert 1.0 < solution.quantal.reached < 10.0
    assert solution.quantal.residual < 1e-9
    assert error_of(ours, solution) < 1e-9
    assert by_label(ours, solution.policy)[0, "other"][1] < 1e-280


# Dialogues ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [6, 7])
def test_layouts_agree_and_quantal_intents_keep_their_lambda(seed):
    scenario = random_scenario(seed)
    own = {part.name: part.rationality.value for part in scenario.intents if part.rationality}
    assert own
    found = []
    for ours in (dialogue_game(scenario), factored_game(scenario)):
        solution = solvers.solve(ours, "qre", rationality=3.0)
        assert solution.status == "exact"
        assert solution.quantal.residual < 1e-9
        found.append((by_label(ours, solution.policy), solution.value))
    (explicit, value), (factored, same) = found
    np.testing.assert_allclose(value, same, rtol=0, atol=1e-10)
    # The factored layout has infosets besides that nobody can lead to.
    for where, row in explicit.items():
        assert factored[where] == pytest.approx(row, rel=0, abs=1e-9)
    lambdas = lambda player, key: own.get(key.partition("|")[0], 3.0) if player == USER else 3.0
    assert worst_of_agents(dialogue_game(scenario).root(), explicit, lambdas) < 1e-8


def test_at_zero_quantal_intents_respond_to_an_even_assistant():
    ours = factored_game(random_scenario(6))
    even = uniform(ours.form.treeplex[ASSISTANT])
    solution = solvers.solve(ours, "qre", rationality=0.0)
    np.testing.assert_allclose(solution.policy[ASSISTANT], even, rtol=0, atol=1e-15)
    reply = reaction(ours, USER, even)
    np.testing.assert_allclose(solution.policy[USER], reply, rtol=0, atol=1e-12)
    assert np.abs(reply - uniform(ours.form.treeplex[USER])).max() > 0.1


def test_the_default_is_ten_per_payoff_range_in_both_layouts():
    scenario = random_scenario(7)  # where some branches have probability zero
    lambdas = [
        solvers.solve(make(scenario), "qre").quantal.rationality
        for make in (dialogue_game, factored_game)
    ]
    assert lambdas[0] == pytest.approx(lambdas[1], rel=1e-12)
    # Kuhn pays from -2 to 2.
    assert solvers.solve(game(KUHN), "qre").quantal.rationality == 2.5


# Small and bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", NOTIONS)
def test_a_player_without_decisions(method):
    ours = build(unfold((Stage(1, (True, True), 3, False),) * 2, 3, zero_sum=False), "alone")
    assert ours.form.treeplex[0].infosets == 0
    solution = solvers.solve(ours, method, rationality=0.5)
    assert solution.policy[0].shape[0] == 0
    assert solution.status == "exact"
    assert error_of(ours, solution) < 1e-9


def test_nothing_to_choose():
    ours = matrix_game([[1]], [[2]])
    solution = solvers.solve(ours, "qre", rationality=3.0)
    assert (solution.status, solution.quantal.residual) == ("exact", 0.0)
    assert solution.value.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("method", NOTIONS)
@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"rationality": -0.5}, r"rationality is -0\.5, expected a finite number from 0 on"),
        ({"rationality": math.inf}, "rationality is inf, expected a finite number"),
        ({"rationality": math.nan}, "rationality is nan, expected a finite number"),
        ({"max_steps": 0}, "max_steps is 0, expected 1 at least"),
        ({"seconds": 0.0}, r"seconds is 0\.0, expected a positive number"),
    ],
)
def test_arguments_out_of_range_are_refused(method, options, fault):
    with pytest.raises(InputError, match=fault):
        solvers.solve(typed_in("watson"), method, **options)


def test_large_games_are_refused_with_their_size(monkeypatch):
    monkeypatch.setattr(quantal, "MOST_UNKNOWNS", 11)
    with pytest.raises(InputError, match=r"kuhn_poker has 12 free probabilities.* 11 at most"):
        solvers.solve(game(KUHN), "qre")


def test_intents_that_choose_anew_have_no_strategy():
    with pytest.raises(InputError, match="are quantal, and choose anew at every infoset"):
        solvers.solve(factored_game(random_scenario(6)), "qre-normal-form")
