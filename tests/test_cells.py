"""Payoff cells with intervals: what files may say, and the worst of all that they allow."""

import copy
import tomllib

import numpy as np
import pytest
from brute_dialogue import random_content, two_turns
from dialogue_normal_form import shapes
from hypothesis import given, settings
from hypothesis import strategies as st

import solvers
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER
from csa_games.loading import load
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, scenario_from

GUIDANCE = tomllib.loads(builtin_scenarios()["crisis_guidance"].read_text(encoding="utf-8"))
ONESHOT = tomllib.loads(builtin_scenarios()["csa_oneshot"].read_text(encoding="utf-8"))


def worth(dialogue, policy):
    """Return what a policy of the assistant secures: the users' best response to it."""
    play = (uniform(dialogue.form.treeplex[USER]), policy)
    return -solvers.best_response(dialogue, USER, play)[1]


def moved(value, by):
    return [moved(one, by) for one in value] if isinstance(value, list) else value + by


def with_intervals(content, rng):
    """Return the content with intervals around some of its cells, by turn where values are."""
    content = copy.deepcopy(content)
    for component in ("satisfaction", "risk", "cost"):
        for group in content["payoff"][component]:
            least, most = (0.0, 1.0) if component == "risk" else (-np.inf, np.inf)
            for end, sign in (("low", -1), ("high", 1)):
                if rng.random() < 0.8:
                    group[end] = {
                        name: np.clip(moved(value, sign * rng.random()), least, most).tolist()
                        for name, value in group["values"].items()
                        if rng.random() < 0.8
                    }
    for part in content["payoff"]["displacement"]:
        part["low"], part["high"] = moved(part["value"], -0.5), moved(part["value"], 0.5)
    content["categories"][0]["severity"] |= {"high": 25.0}
    return content


def somewhere(content, share):
    """Return the content with every cell moved by `share()` of the way to one of its ends."""
    content = copy.deepcopy(content)

    def between(value, low, high):
        ends = (
            np.asarray(value if low is None else low),
            np.asarray(value if high is None else high),
        )
        return (ends[0] + share() * (ends[1] - ends[0])).tolist()

    for component in ("satisfaction", "risk", "cost"):
        for group in content["payoff"][component]:
            low, high = group.pop("low", {}), group.pop("high", {})
            group["values"] = {
                name: between(value, low.get(name), high.get(name))
                for name, value in group["values"].items()
            }
    for part in content["payoff"]["displacement"]:
        part["value"] = between(part["value"], part.pop("low", None), part.pop("high", None))
    severity = content["categories"][0]["severity"]
    severity["value"] = between(severity["value"], None, severity.pop("high", None))
    return content


@settings(deadline=None, max_examples=25)
@given(shapes, st.integers(0, 2**20), st.booleans())
def test_no_payoffs_within_the_intervals_pay_less(shape, seed, explicit):
    """Each choice of payoffs is a game of its own, in which the policy's worth is found again."""
    rng = np.random.default_rng(seed)
    content = with_intervals(random_content(shape), rng)
    layout = dialogue_game if explicit else factored_game
    dialogue = layout(scenario_from(content, "random"))
    solution = solvers.solve(dialogue, "robust", radius=0.0, payoffs=True)
    found, policy = solution.robustness, solution.policy[ASSISTANT]
    for share in [rng.random, lambda: float(rng.integers(2)), lambda: 0.0, lambda: 1.0]:
        other = layout(scenario_from(somewhere(content, share), "other"))
        assert worth(other, policy) >= found.value - 1e-9
    assert found.value == found.found
    assert found.value <= found.nominal + 1e-9
    assert found.nominal <= found.optimum + 1e-9


def worst_by_hand(content):
    """Return the content with satisfaction at its low and all else at its high ends."""
    content = copy.deepcopy(content)
    for component, end in (("satisfaction", "low"), ("risk", "high"), ("cost", "high")):
        for group in content["payoff"][component]:
            group["values"] = group["values"] | group.get(end, {})
            group.pop("low", None)
            group.pop("high", None)
    for part in content["payoff"]["displacement"]:
        part["value"] = part["high"]
        del part["low"], part["high"]
    content["categories"][0]["severity"] = {"value": 25.0, "source": "assumption"}
    return content


@settings(deadline=None, max_examples=15)
@given(shapes, st.integers(0, 2**20), st.booleans())
def test_it_is_the_equilibrium_of_the_worst_payoffs(shape, seed, explicit):
    content = with_intervals(random_content(shape), np.random.default_rng(seed))
    layout = dialogue_game if explicit else factored_game
    dialogue = layout(scenario_from(content, "random"))
    found = solvers.solve(dialogue, "robust", radius=0.0, payoffs=True).robustness
    worst = layout(scenario_from(worst_by_hand(content), "worst"))
    assert found.value == pytest.approx(solvers.solve(worst, "lp").value[ASSISTANT], abs=1e-8)


def test_together_with_priors_weights_and_kernels():
    content = with_intervals(two_turns(GUIDANCE), np.random.default_rng(1))
    dialogue = factored_game(scenario_from(content, "two turns"))
    worst = factored_game(scenario_from(worst_by_hand(content), "worst"))
    options = {"kernels": 0.05, "weights": {"beta": (1.0, 3.0)}, "radius": 0.02}
    found = solvers.solve(dialogue, "robust", payoffs=True, **options).robustness
    other = solvers.solve(worst, "robust", **options).robustness
    assert found.value == pytest.approx(other.value, abs=1e-9)
    assert found.found == pytest.approx(other.found, abs=1e-9)
    assert dict(found.worst_prior) == pytest.approx(dict(other.worst_prior))
    assert found.value < solvers.solve(dialogue, "robust", **options).robustness.value


def test_without_intervals_payoffs_cannot_be_in_doubt():
    with pytest.raises(InputError, match="has no interval in which a payoff could be worse"):
        solvers.solve(load("purple_zero_sum"), "robust", payoffs=True)


# What files may say.


def faults(change):
    content = copy.deepcopy(ONESHOT)
    change(content["payoff"])
    with pytest.raises(InputError) as caught:
        scenario_from(content, "x")
    return caught.value.faults


@pytest.mark.parametrize(
    ("component", "ends", "message"),
    [
        (
            "satisfaction",
            {"low": {"comply": 1.1}},
            "payoff.satisfaction[0].values.comply: found 1.0, expected at least 1.1, its low",
        ),
        (
            "cost",
            {"high": {"refuse": -0.1}},
            "payoff.cost[0].values.refuse: found 0.0, expected at most -0.1, its high",
        ),
        (
            "satisfaction",
            {"low": {"applaud": 0.1}},
            "payoff.satisfaction[0].low: found 'applaud', expected one of its values: comply, "
            "partial, explain, redirect, refuse",
        ),
        (
            "risk",
            {"high": {"comply": 1.5}},
            "payoff.risk[0].high.comply: found 1.5, expected a number from 0 to 1, or a list of "
            "them, one for each turn",
        ),
        (
            "cost",
            {"low": {"comply": []}},
            "payoff.cost[0].low.comply: found [], expected a number from -1000000 to 1000000, or a "
            "list of them, one for each turn",
        ),
    ],
)
def test_wrong_intervals_are_sentences(component, ends, message):
    assert faults(lambda payoff: payoff[component][0].update(ends)) == (f"x: {message}",)


def test_intervals_are_checked_turn_by_turn():
    content = two_turns(GUIDANCE)
    group = content["payoff"]["satisfaction"][0]
    group["values"]["comply"] = [1.0, 0.5]
    group["low"] = {"comply": [1.0, 0.6]}
    part = content["payoff"]["displacement"][0]
    part["high"] = [part["value"], part["value"] - 0.25]
    with pytest.raises(InputError) as caught:
        scenario_from(content, "x")
    first, second = caught.value.faults
    at = "payoff.satisfaction[0].values.comply"
    assert first == f"x: {at}: found 0.5, expected at least 0.6, its low"
    assert "payoff.displacement[0].value" in second
    assert "its high" in second


def test_a_cell_that_is_overridden_loses_its_interval():
    content = copy.deepcopy(ONESHOT)
    content["payoff"]["risk"][1] |= {"low": {"partial": 0.2}, "high": {"partial": 0.5, "comply": 1}}
    scenario = scenario_from(content, "x")
    changed = override(scenario, {"payoff.risk.1.values.partial": 0.9})
    assert changed.payoff.risk[1].values["partial"] == 0.9
    assert (changed.payoff.risk[1].low, changed.payoff.risk[1].high) == ({}, {"comply": 1})
