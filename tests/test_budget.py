"""Budgets against the normal form, hand-computed prices, differences and best responses."""

import itertools
import re
import tomllib
from dataclasses import replace
from functools import cache

import known_games
import numpy as np
import pytest
from brute_dialogue import Brute, discounted_and_per_turn, random_content, two_turns
from brute_dialogue import shapes as all_shapes
from dialogue_normal_form import TIGHT, NormalForm, number, shapes
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_scenarios import random_policy, random_scenario
from scipy.optimize import linprog

import solvers
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.evaluate import MEASURES, by_intent, expected, leaf_numbers
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, USER
from csa_games.loading import load
from csa_games.override import override, with_prior
from csa_games.scenario import builtin_scenarios, scenario_from
from solvers.budget import frontier, tightest

GUIDANCE = tomllib.loads(builtin_scenarios()["crisis_guidance"].read_text(encoding="utf-8"))


@cache
def oneshot():
    return load("csa_oneshot")


@cache
def guidance():
    return factored_game(scenario_from(two_turns(GUIDANCE), "two turns"))


def solve(game, *budgets, objective="payoff"):
    return solvers.solve(game, "budget", objective=objective, budgets=budgets).budgeted


class Oracle:
    """The same questions as linear programs over mixtures of pure policies."""

    def __init__(self, content):
        self.normal = NormalForm(content)

    def rows(self, measure, side, intent=None):
        """Return what must be at most 0 less the bound, for every pure policy of the users."""
        matrix = self.normal.matrix(measure, intent)
        return matrix if side == "<=" else -matrix

    def most(self, objective, bounds):
        """Return the most of a guaranteed objective; bounds are (rows, bound, side)."""
        worst = self.normal.matrix(objective)
        pure = self.normal.pure
        upper = [np.hstack([-worst, np.ones((len(worst), 1))])]
        right = [np.zeros(len(worst))]
        for rows, bound, side in bounds:
            upper.append(np.hstack([rows, np.zeros((len(rows), 1))]))
            right.append(np.full(len(rows), bound if side == "<=" else -bound))
        return linprog(
            np.append(np.zeros(pure), -1.0),
            A_ub=np.vstack(upper),
            b_ub=np.concatenate(right),
            A_eq=np.append(np.ones(pure), 0.0)[None],
            b_eq=[1.0],
            bounds=[(0, None)] * pure + [(None, None)],
            options=TIGHT,
        )

    def tightest(self, measure, side, intent):
        """Return the tightest bound of a budget on its own."""
        rows = self.rows(measure, side, intent)
        pure = self.normal.pure
        found = linprog(
            np.append(np.zeros(pure), 1.0),
            A_ub=np.hstack([rows, -np.ones((len(rows), 1))]),
            b_ub=np.zeros(len(rows)),
            A_eq=np.append(np.ones(pure), 0.0)[None],
            b_eq=[1.0],
            bounds=[(0, None)] * pure + [(None, None)],
            options=TIGHT,
        )
        return found.fun if side == "<=" else -found.fun


measures = st.sampled_from(
    ["payoff", "satisfaction", "risk", "cost", "displacement", "left", "harmed", "gives:answer0"]
)


@settings(deadline=None, max_examples=60)
@given(shapes, measures, measures, st.sampled_from(["<=", ">="]), st.floats(0, 1), st.data())
def test_the_normal_form_has_the_same_optimum(shape, objective, measure, side, share, data):
    """Within a bound between the tightest and one that costs nothing, given an intent or not."""
    content = random_content(shape)
    oracle, prior = Oracle(content), NormalForm(content).prior
    intent = data.draw(st.sampled_from([None, *(name for name, p in prior.items() if p > 0)]))
    explicit = data.draw(st.booleans())
    game = (dialogue_game if explicit else factored_game)(scenario_from(content, "random"))
    over = measure + (f"@{intent}" if intent else "") + side
    best = oracle.tightest(measure, side, intent)
    assert tightest(game, over) == pytest.approx(best, abs=1e-8)
    loose = oracle.rows(measure, side, intent).max() * (1 if side == "<=" else -1)
    bound = float(best + share * (loose - best))
    expected = oracle.most(objective, [(oracle.rows(measure, side, intent), bound, side)])
    found = solve(game, f"{over}{bound!r}", objective=objective)
    assume(expected.status == 0)  # scipy's tolerance at the tightest bound itself
    # A bound that is just met has a room of 1e-9, which the price makes more of.
    room = 1e-8 * (1 + found.budgets[0].price)
    assert found.value == pytest.approx(-expected.fun, abs=room)
    assert found.budgets[0].slack > -1e-7


@settings(deadline=None, max_examples=25)
@given(shapes)
def test_two_budgets_at_once(shape):
    content = random_content(shape)
    oracle = Oracle(content)
    game = factored_game(scenario_from(content, "random"))
    free = solve(game, "risk<=1000", "satisfaction>=-1000")
    risk = 0.5 * (free.budgets[0].level + tightest(game, "risk<="))
    calm = tightest(game, "satisfaction>=", budgets=f"risk<={risk!r}") - 0.05
    found = solve(game, f"risk<={risk!r}", f"satisfaction>={calm!r}")
    expected = oracle.most(
        "payoff",
        [(oracle.rows("risk", "<="), risk, "<="), (oracle.rows("satisfaction", ">="), calm, ">=")],
    )
    assert found.value == pytest.approx(-expected.fun, abs=1e-6)
    assert min(one.slack for one in found.budgets) > -1e-7


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_without_active_budgets_it_is_the_equilibrium(seed):
    game = factored_game(random_scenario(seed, security=True))
    exact = solvers.solve(game, "lp")
    for budgets in [(), ("risk<=1e6",), "payoff>=-1e6"]:
        solution = solvers.solve(game, "budget", budgets=budgets)
        assert solution.value[ASSISTANT] == pytest.approx(exact.value[ASSISTANT], abs=1e-8)
        assert solution.budgeted.value == pytest.approx(exact.value[ASSISTANT], abs=1e-8)
        assert solution.gap[USER] == pytest.approx(0, abs=1e-9)
        assert all(one.price == pytest.approx(0, abs=1e-12) for one in solution.budgeted.budgets)
        assert (solution.method, solution.status) == ("budget", "exact")


def test_prices_of_the_one_shot_game_by_hand():
    """Tightening the risk given malice moves one response after another to a safer one.

    Numbers are those of the file: retention 1, .594, .265, leak 1, .35, 0, prior .90 and .04 (the
    sensitive are indifferent among these), recall .943, false positive rate .057, beta 2.
    """
    retention, leak = (1.0, 0.594, 0.265), (1.0, 0.35, 0.0)

    def price(worse, better, benign, malicious):
        gain = 0.90 * benign * (retention[worse] - retention[better])
        harm = leak[worse] - leak[better]
        gain += 0.04 * malicious * (retention[worse] - retention[better] - 2 * harm)
        return gain / (malicious * harm)

    after_flag = price(1, 2, 0.057, 0.943)  # partial help to an explained refusal
    first_clear, last_clear = price(0, 1, 0.943, 0.057), price(1, 2, 0.943, 0.057)
    assert after_flag < first_clear < last_clear
    edges = [0.057 + 0.943 * 0.35, 0.057, 0.057 * 0.35, 0.0]
    middles = [0.5 * (high + low) for high, low in itertools.pairwise(edges)]
    points = frontier(oneshot(), "risk@malicious<=", middles)
    prices = [point.budgeted.budgets[0].price for point in points]
    assert prices == pytest.approx([after_flag, first_clear, last_clear], rel=1e-9)
    assert [point.budgeted.budgets[0].level for point in points] == pytest.approx(middles)
    free = solve(oneshot(), "risk@malicious<=1")
    assert free.budgets[0].level == pytest.approx(edges[0])
    assert free.budgets[0].slack == pytest.approx(1 - edges[0])


@pytest.mark.parametrize(
    ("over", "values", "objective"),
    [
        ("risk@malicious<=", [0.003, 0.03, 0.11, 0.33, 0.77], "payoff"),
        ("risk@malicious<=", [0.02, 0.2], "satisfaction"),
        ("satisfaction@benign>=", [0.5, 1.1, 1.45], "payoff"),
        ("migrated@distressed<=", [0.01, 0.015], "payoff"),
        ("cost<=", [0.02, 0.05], "satisfaction@benign"),
    ],
)
def test_a_price_lies_between_the_slopes_on_both_sides(over, values, objective):
    step = 1e-4
    sign = 1 if over.endswith("<=") else -1
    for value in values:
        bounds = [value - sign * step, value, value + sign * step]  # tighter first
        points = [
            point.budgeted for point in frontier(guidance(), over, bounds, objective=objective)
        ]
        tighter, here, looser = (point.value for point in points)
        price = points[1].budgets[0].price
        assert looser - here - 1e-9 <= price * step <= here - tighter + 1e-9


def test_frontiers_are_monotone_and_concave():
    values = np.geomspace(0.001, 4, 12)
    points = [p.budgeted for p in frontier(guidance(), "risk@malicious<=", values.tolist())]
    worth = np.array([point.value for point in points])
    slopes = np.diff(worth) / np.diff(values)
    assert (slopes >= -1e-9).all()
    assert (np.diff(slopes) <= 1e-6).all()
    assert slopes[0] > 10
    assert worth[-1] == pytest.approx(solvers.solve(guidance(), "lp").value[ASSISTANT], abs=1e-8)
    assert (np.diff([point.budgets[0].price for point in points]) <= 1e-6).all()
    tight = np.linspace(1.0, tightest(guidance(), "satisfaction@benign>="), 5)
    down = [p.budgeted.value for p in frontier(guidance(), "satisfaction@benign>=", tight.tolist())]
    assert (np.diff(down) <= 1e-9).all()
    assert (np.diff(down, 2) <= 1e-7).all()


@settings(deadline=None, max_examples=50)
@given(all_shapes, st.integers(0, 2**20))
def test_measures_on_leaves_are_those_of_every_conversation(shape, seed):
    """Conversations listed one by one, with whoever may be talking, under a random policy."""
    content = random_content(shape)
    talks = Brute(content).conversations()
    for layout in (dialogue_game, factored_game):
        game = layout(scenario_from(content, "random"))
        policy = random_policy(game, seed)
        at = [{key: i for i, key in enumerate(keys)} for keys in game.names.infosets]

        def probability(talk, game=game, policy=policy, at=at):
            chosen = [
                policy[who][at[who][h], game.names.actions[who][at[who][h]].index(action)]
                for who, h, action in talk.choices
            ]
            return talk.chance * np.prod(chosen)

        likely = [probability(talk) for talk in talks]
        for measure, make in leaf_numbers(game).items():
            listed = sum(p * number(talk, measure) for p, talk in zip(likely, talks, strict=True))
            assert expected(game, policy, make()) == pytest.approx(listed, abs=1e-12)
            if measure == "harmed" or measure.startswith("gives:"):
                assert set(np.unique(make())) <= {0.0, 1.0}


def test_a_response_is_given_at_most_so_often_near_a_crisis():
    """And in its worst users' hands just so often, by their best response to that alone."""
    (kept,) = solve(guidance(), "gives:comply@malicious<=0.01", objective="satisfaction").budgets
    assert kept.level == pytest.approx(0.01, abs=1e-9)
    assert kept.price > 0
    free = solve(guidance(), "gives:comply@malicious<=1", objective="satisfaction").budgets[0]
    assert free.level > 0.05
    solution = solvers.solve(guidance(), "budget", budgets="harmed@malicious<=0.01")
    harmed = leaf_numbers(guidance())["harmed"]()
    leaves = replace(guidance().form.leaves, payoff=(harmed, -harmed))
    other = replace(guidance(), form=replace(guidance().form, leaves=leaves))
    users, _ = solvers.best_response(other, USER, solution.policy)
    worst = by_intent(guidance(), (users, solution.policy[ASSISTANT]), harmed)["malicious"]
    assert worst == pytest.approx(0.01, abs=1e-8)
    assert solution.budgeted.value < solve(guidance(), "harmed@malicious<=0.5").value


@pytest.mark.parametrize("content", [two_turns(GUIDANCE), discounted_and_per_turn(GUIDANCE)])
def test_levels_are_what_the_worst_user_makes_of_the_policy(content):
    """Best responses to the measure, then the measure as reports have it."""
    game = dialogue_game(scenario_from(content, "dialogue"))
    spelled = ["risk@malicious<=0.2", "satisfaction@benign>=0.6", "cost@distressed<=0.2"]
    solution = solvers.solve(game, "budget", budgets=spelled)
    levels = [solution.budgeted.budgets[k].level for k in range(3)]
    for text, level in zip(spelled, levels, strict=True):
        measure, intent = text.partition("<" if "<" in text else ">")[0].split("@")
        number = game.tags[measure] if "<" in text else -game.tags[measure]
        leaves = replace(game.form.leaves, payoff=(number, -number))
        other = replace(game, form=replace(game.form, leaves=leaves))
        users, _ = solvers.best_response(other, USER, solution.policy)
        found = MEASURES[measure](game, (users, solution.policy[ASSISTANT]))
        assert found[intent] == pytest.approx(level, abs=1e-12)
        assert level == pytest.approx(
            by_intent(game, solution.policy, game.tags[measure])[intent]
        ) or (
            intent == "malicious"  # who has other things in mind than this measure
        )
    assert solution.value[ASSISTANT] == pytest.approx(solution.budgeted.value, abs=1e-12)
    assert solution.gap[USER] == pytest.approx(0, abs=1e-12)


def test_the_layouts_agree():
    budgets = ["risk@malicious<=0.05", "migrated@distressed<=0.02"]
    found = [
        solve(layout(scenario_from(two_turns(GUIDANCE), "dialogue")), *budgets)
        for layout in (dialogue_game, factored_game)
    ]
    assert found[0].value == pytest.approx(found[1].value, abs=1e-9)
    for one, other in zip(found[0].budgets, found[1].budgets, strict=True):
        assert one.price == pytest.approx(other.price, abs=1e-6)


def test_the_tightest_budget_can_be_kept():
    for over in ("risk@malicious<=", "satisfaction@benign>=", "cost<=", "payoff>="):
        bound = tightest(guidance(), over)
        (kept,) = solve(guidance(), f"{over}{bound!r}").budgets
        assert kept.level == pytest.approx(bound, abs=1e-6)
        (point,) = frontier(guidance(), over, [bound])
        assert point.budgeted.budgets[0].level == pytest.approx(bound, abs=1e-6)


def test_budgets_that_nobody_can_keep_are_named_with_the_nearest():
    with pytest.raises(InputError) as caught:
        solve(oneshot(), "satisfaction@benign>=2", "risk@malicious<=0.1", "cost<=-1")
    assert caught.value.faults == (
        "no policy in csa_oneshot keeps to the budget satisfaction@benign>=2: "
        "satisfaction@benign>=1 is the tightest that one can keep to",
        "no policy in csa_oneshot keeps to the budget cost<=-1: "
        "cost<=0 is the tightest that one can keep to",
    )
    with pytest.raises(InputError, match=r"cost<=-1"):
        frontier(oneshot(), "cost<=", [1.0, -1.0])


def test_budgets_in_conflict_are_named_and_others_not():
    """By hand: complying with everybody benign leaks all after a clear, and .057 is allowed."""
    budgets = ["cost<=5", "risk@malicious<=0.057", "satisfaction@benign>=0.99", "payoff>=-3"]
    with pytest.raises(InputError) as caught:
        solve(oneshot(), *budgets)
    first, *nearest = caught.value.faults
    assert first == (
        "no policy in csa_oneshot keeps to risk@malicious<=0.057 and satisfaction@benign>=0.99 "
        "together"
    )
    # Comply after a clear, explain after a flag: .943 + .057 * .265; to get to .99 some flags must
    # be complied with or helped, whatever leaks least per satisfaction: partial help.
    most = 0.943 + 0.057 * 0.265
    assert float(re.findall(r"benign>=(0.9\d+) is", nearest[1])[0]) == pytest.approx(most)
    share = (0.99 - 0.943 - 0.057 * 0.594) / (0.057 * (1 - 0.594))
    leaks = 0.057 + 0.943 * (share + (1 - share) * 0.35)
    found = float(re.findall(r"risk@malicious<=(0.7\d+) is", nearest[0])[0])
    assert leaks <= found <= leaks + 1e-6  # six digits, to the side that can be kept
    with pytest.raises(InputError, match="together"):
        frontier(oneshot(), "satisfaction@benign>=", [0.9, 0.99], budgets=budgets[1])
    with pytest.raises(InputError, match="together"):
        tightest(oneshot(), "payoff>=", budgets=budgets)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budgets": ["harm@malicious<=1"]}, "found the measure 'harm', expected one of payoff,"),
        (
            {"budgets": ["gives:cake@malicious<=1"]},
            "found the measure 'gives:cake', expected one of payoff, .*, harmed, gives:comply, "
            "gives:partial",
        ),
        ({"objective": "joy"}, "found the measure 'joy', expected one of payoff, satisfaction"),
        (
            {"budgets": "risk@mallory<=1"},
            "found the intent 'mallory', expected one of benign, sens",
        ),
        (
            {"budgets": "risk@malicious=1"},
            "found the budget 'risk@malicious=1', expected a measure",
        ),
        ({"budgets": "risk<=lots"}, "found the budget 'risk<=lots'"),
        ({"budgets": "risk<=nan"}, "found the budget 'risk<=nan'"),
        ({"budgets": "risk@<=1"}, "found the intent ''"),
    ],
)
def test_faults_are_sentences(options, message):
    with pytest.raises(InputError, match=message):
        solvers.solve(oneshot(), "budget", **options)


def test_all_faults_are_named_at_once():
    with pytest.raises(InputError) as caught:
        solve(oneshot(), "harm<=1", "risk@mallory<=1", "risk", objective="joy")
    assert len(caught.value.faults) == 4


def test_bounds_of_a_frontier_are_numbers():
    with pytest.raises(InputError, match="found the bound nan"):
        frontier(oneshot(), "risk<=", [0.1, float("nan")])


def test_intents_of_prior_zero_have_no_budget():
    game = factored_game(with_prior(oneshot().scenario, "sensitive", 0.0))
    with pytest.raises(InputError, match="sensitive has a prior of 0"):
        solve(game, "risk@sensitive<=1")


def test_other_users_and_games_are_refused():
    weights = {"satisfaction": 1.0, "risk": 0.0, "source": "assumption"}
    rational = {"intents.malicious.behaviour": "rational", "intents.malicious.weights": weights}
    effort = [{"intents": ["malicious"], "values": {"plain": 0.0}, "source": "assumption"}]
    scenario = override(oneshot().scenario, rational | {"payoff.effort": effort})
    with pytest.raises(InputError, match=r"'malicious' is rational.*use the method commitment"):
        solve(factored_game(scenario))
    with pytest.raises(InputError, match="found a game without intents"):
        solve(known_games.game(known_games.KUHN))
