"""The rows of a table are the policy, and what is said beside it is true of it."""

import csv
import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from bundles import certified, near, refined, row_of, solved, table, veiled
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenarios import random_policy, random_scenario

import solvers
from csa_games.build import build
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.evaluate import value_and_gap
from csa_games.game import ASSISTANT, USER
from csa_games.guard.keys import coarse_key, state_key, turns_of
from csa_games.rules import Terminal
from csa_games.scenario import builtin_scenarios
from csa_games.table import (
    EXPORTERS,
    LEAST_OWN_REACH,
    LEAST_SHARE,
    MOST_LOSS,
    _attainable,
    tabulate,
)
from solvers.refined import examine

BUILTIN = sorted(builtin_scenarios())


@pytest.mark.parametrize("name", BUILTIN)
def test_there_is_a_row_for_every_infoset_and_it_is_the_policy(name):
    game, solution = solved(name)
    exact = table(name).exact
    assert exact.keys == game.names.infosets[ASSISTANT]
    assert np.array_equal(exact.probabilities, np.asarray(solution.policy[ASSISTANT]))
    assert all(state_key(turns_of(key)) == key for key in exact.keys)


def test_one_shot_rows_are_what_bayes_says_by_hand():
    # Priors .90, .06, .04; P(flag | benign, sensitive) = .057, P(flag | malicious) = .943.
    exact = table("csa_oneshot").exact
    joint = [Fraction(90 * 57), Fraction(6 * 57), Fraction(4 * 943)]
    belief = [float(mass / sum(joint)) for mass in joint]
    flag = row_of(exact, "plain:flag")
    assert near(exact.posterior[flag], belief)
    # Satisfaction, less twice the risk: comply 1, .245, 1 - 2; explain .265, .245, .265.
    comply = belief[0] * 1 + belief[1] * 0.245 + belief[2] * (1 - 2)
    explain = belief[0] * 0.265 + belief[1] * 0.245 + belief[2] * 0.265
    assert near(exact.values[flag][[0, 2]], [comply, explain])
    assert near(exact.reach.sum(), 1)
    assert near(exact.own_reach, 1)


def test_the_margin_is_between_the_two_best_responses():
    exact = table("crisis_guidance").exact
    for values, margin in zip(exact.values, exact.margin, strict=True):
        best = values.argmax()
        assert margin == values[best] - max(v for k, v in enumerate(values) if k != best)


def test_a_lone_response_has_no_margin():
    game = dialogue_game(random_scenario(LONE))
    assert len(game.scenario.responses) == 1
    only = tabulate(game, certified(game, random_policy(game, 0)))
    assert np.isnan(only.exact.margin).all()


LONE = next(seed for seed in range(100) if len(random_scenario(seed).responses) == 1)


def test_rows_that_the_policy_does_not_lead_to_are_noise_and_the_others_are_trusted():
    exact = table("crisis_guidance").exact
    noise = exact.own_reach < LEAST_OWN_REACH
    assert 0 < noise.sum() < len(noise)
    assert exact.trust == tuple(np.where(noise, "noise", "trusted"))


def test_rows_that_only_a_deviating_user_reaches_are_marked():
    game, solution = veiled()
    exact = tabulate(game, solution).exact
    assert dict(zip(exact.keys, exact.trust, strict=True)) == {
        "plain:clear": "trusted",
        "plain:flag": "trusted",
        "veiled:clear": "deviation",
        "veiled:flag": "deviation",
    }
    off = row_of(exact, "veiled:clear")
    assert exact.reach[off] == 0
    assert np.isnan(exact.posterior[off]).all()
    assert np.isnan(exact.values[off]).all()


def test_off_the_path_rows_made_for_trembling_hands_are_refined_and_others_are_not():
    _, solution = refined()
    rows = tabulate(*refined())
    exact, found = rows.exact, solution.refinement
    assert np.array_equal(exact.loss, found.loss[ASSISTANT])
    off = exact.own_reach < LEAST_OWN_REACH
    good = exact.loss <= MOST_LOSS * found.stake[ASSISTANT]
    expected = np.where(off, np.where(good, "refined", "noise"), "trusted")
    assert exact.trust == tuple(expected)
    assert 0 < (off & ~good).sum() < (off & good).sum()
    # The guard plays refined rows as they are.
    assert np.isnan(rows.coarse.loss).all()
    assert near(rows.served[0], solution.value, 1e-5)


def test_a_row_is_not_refined_because_somebody_looked():
    # The same policy, examined: what PCFR+ left off the path gives away more than is at stake.
    game, solution = solved("crisis_guidance")
    assert np.isnan(table("crisis_guidance").exact.loss).all()
    assert "refined" not in table("crisis_guidance").exact.trust
    looked = replace(solution, refinement=examine(game, solution.policy, 0.01))
    trust = Counter(tabulate(game, looked).exact.trust)
    assert trust["refined"] < trust["noise"] / 4


def test_a_row_that_only_deviating_users_reach_may_be_refined():
    # Only malicious users are veiled, and to them a refusal that is explained, at no risk and with
    # a satisfaction of .265, is best. A plain program refuses flatly: it deters as well.
    game, plain = veiled()
    columns = [response.name for response in game.scenario.responses]
    for solution, trust, response in (
        (plain, "deviation", "refuse"),
        (solvers.solve(game, "lp-refined"), "refined", "explain"),
    ):
        looked = replace(solution, refinement=examine(game, solution.policy, 0.01))
        exact = tabulate(game, looked).exact
        row = row_of(exact, "veiled:flag")
        assert exact.trust[row] == trust
        assert exact.probabilities[row, columns.index(response)] == 1
        assert near(exact.loss[row], {"refuse": 0.99 * 0.265, "explain": 0}[response])


def test_on_the_ladder_a_row_that_only_deviating_users_reach_would_feed_attackers():
    # Why such rows stand: the coarser row of the signal, made of harmless users, complies.
    game, solution = veiled()
    rows = tabulate(game, solution)
    value, gap = rows.served
    kept = value[1] - gap[0]
    assert near(kept, solution.value[1] - solution.gap[0])

    policy = np.asarray(solution.policy[ASSISTANT]).copy()
    clear = rows.coarse.probabilities[row_of(rows.coarse, "~signal=clear")]
    policy[row_of(rows.exact, "veiled:clear")] = clear
    value, gap = value_and_gap(game.form, (np.asarray(solution.policy[USER]), policy))
    # By hand, what a malicious user (prior .04) leaves the assistant: satisfaction less twice the
    # risk, over P(clear | plain) = .057 or P(clear | veiled) = .9.
    payoff = game.scenario.payoff
    satisfaction, risk = payoff.satisfaction[0].values, payoff.risk[1].values
    assert "malicious" in payoff.satisfaction[0].intents
    assert payoff.risk[1].intents == ["malicious"]
    worth = policy @ [satisfaction[name] - 2 * risk[name] for name in satisfaction]
    heard = dict(zip(rows.exact.keys, worth, strict=True))
    plain = 0.057 * heard["plain:clear"] + 0.943 * heard["plain:flag"]
    lost = plain - (0.9 * heard["veiled:clear"] + 0.1 * heard["veiled:flag"])
    assert near(kept - (value[1] - gap[0]), 0.04 * lost)
    assert lost > 0.5


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_nothing_is_reached_more_than_users_could_bring_about(seed):
    game = dialogue_game(random_scenario(seed))
    rows = tabulate(game, certified(game, random_policy(game, seed))).exact
    most = _attainable(game.scenario, rows.keys)
    others = rows.reach / rows.own_reach
    assert (most > 0).all()
    assert (others <= most * (1 + 1e-12)).all()
    marked = np.array(rows.trust) == "deviation"
    assert (marked == (others < LEAST_SHARE * most))[rows.own_reach >= LEAST_OWN_REACH].all()


@pytest.mark.parametrize("name", BUILTIN)
def test_coarser_rows_are_means_over_the_trusted_ones(name):
    rows = table(name)
    exact, coarse = rows.exact, rows.coarse
    members = {}
    for n, key in enumerate(exact.keys):
        if exact.trust[n] == "trusted":
            for features in rows.scenario.fallback.rungs:
                members.setdefault(coarse_key(turns_of(key), features), []).append(n)
    assert set(coarse.keys) == set(members)
    for n, key in enumerate(coarse.keys):
        weight = exact.reach[members[key]]
        assert near(coarse.reach[n], weight.sum())
        for field in ("probabilities", "posterior", "values"):
            mean = weight @ getattr(exact, field)[members[key]] / weight.sum()
            assert near(getattr(coarse, field)[n], mean)


def test_serving_coarser_rows_for_noise_hardly_touches_the_certificate():
    _, solution = solved("crisis_guidance")
    value, gap = table("crisis_guidance").served
    assert near(value, solution.value, 1e-5)
    assert near(gap, solution.gap, 1e-5)
    assert not np.array_equal(value, solution.value)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_served_is_certified_as_solvers_do(seed):
    game = dialogue_game(random_scenario(seed))
    policy = random_policy(game, seed)
    rows = tabulate(game, certified(game, policy))
    if "noise" not in rows.exact.trust:
        assert near(rows.served[1], solvers.gap(game, policy))
        assert near(rows.served[0], solvers.value(game, policy))


def test_the_users_rows_are_their_policy_by_ask():
    game, solution = solved("crisis_guidance")
    keys, probabilities = table("crisis_guidance").users
    asks = [ask.name for ask in game.scenario.asks]
    assert keys == game.names.infosets[USER]
    for i, labels in enumerate(game.names.actions[USER]):
        told = dict(zip(asks, probabilities[i], strict=True))
        for k, label in enumerate(labels):
            assert told.pop(label) == solution.policy[USER][i, k]
        assert not any(told.values())


def test_only_dialogues_have_tables():
    game = build(lambda: Terminal((1.0, -1.0)), "no dialogue")
    policy = tuple(np.zeros((0, 1)) for _ in range(2))
    with pytest.raises(InputError, match=r"no dialogue is not a dialogue: .* only scenarios have"):
        tabulate(game, certified(game, policy))


def test_policies_of_other_games_and_improper_ones_are_refused():
    game, solution = solved("csa_oneshot")
    other, _ = solved("crisis_guidance")
    with pytest.raises(InputError, match=r"the user in crisis_guidance has the shape \(1, 1\)"):
        tabulate(other, solution)
    rows = np.asarray(solution.policy[ASSISTANT]) * 0.5
    bad = certified(game, solution.policy)
    object.__setattr__(bad, "policy", (solution.policy[USER], rows))
    with pytest.raises(InputError, match=r"at plain:clear is .* expected probabilities that sum"):
        tabulate(game, bad)


@pytest.mark.parametrize("name", BUILTIN)
@pytest.mark.parametrize("format_", sorted(EXPORTERS))
def test_every_export_format_writes_something(name, format_, tmp_path):
    EXPORTERS[format_](table(name), tmp_path / "out")
    assert (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def cells(rows):
    """Every number of the rows, by key, nan as None."""
    numbers = np.column_stack(
        [
            *(rows.own_reach, rows.reach, rows.margin, rows.loss),
            *(rows.probabilities, rows.posterior, rows.values),
        ]
    )
    plain = [[None if np.isnan(x) else float(x) for x in row] for row in numbers]
    return {
        key: [trust, *row] for key, trust, row in zip(rows.keys, rows.trust, plain, strict=True)
    }


@pytest.mark.parametrize("make", [lambda: tabulate(*refined()), lambda: tabulate(*veiled())])
def test_csv_and_jsonl_read_back_bit_for_bit(make, tmp_path):
    rows = make()
    expected = cells(rows.exact) | cells(rows.coarse)
    EXPORTERS["csv"](rows, tmp_path / "rows.csv")
    EXPORTERS["jsonl"](rows, tmp_path / "rows.jsonl")
    with (tmp_path / "rows.csv").open(newline="") as file:
        names, *lines = csv.reader(file)
    assert {
        key: [trust, *(float(cell) if cell else None for cell in row)] for key, trust, *row in lines
    } == expected
    objects = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert {row["key"]: [row[name] for name in names[1:]] for row in objects} == expected
    assert len(lines) == len(objects) == len(expected)
