"""Channels in doubt: by hand, against the normal form, and against channels drawn at random."""

import copy
import itertools
import tomllib
from functools import cache

import numpy as np
import pytest
from brute_dialogue import Brute, Shape, random_content, two_turns
from dialogue_normal_form import TIGHT, NormalForm
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenarios import random_policy, random_scenario
from scipy.optimize import linprog

import solvers
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER
from csa_games.loading import load
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, scenario_from
from solvers import doubt
from solvers.channels import drifting
from solvers.guarantee import around, secured

GUIDANCE = tomllib.loads(builtin_scenarios()["crisis_guidance"].read_text(encoding="utf-8"))


@cache
def guidance():
    return factored_game(scenario_from(two_turns(GUIDANCE), "two turns"))


def solve(dialogue, channels, **options):
    """Return the solution of a dialogue whose channel is in doubt, and priors only if asked."""
    return solvers.solve(dialogue, "robust", channels=channels, **({"radius": 0.0} | options))


def worth(dialogue, policy):
    """Return what a policy of the assistant secures: the users' best response to it."""
    play = (uniform(dialogue.form.treeplex[USER]), policy)
    return -solvers.best_response(dialogue, USER, play)[1]


def rows_of(content):
    """Return the channel of a scenario's content, (intent, ask) -> probabilities by signal."""
    brute = Brute(content)
    return {
        (who, ask): {signal: brute._sigma(who, ask, signal) for signal in brute.signals}
        for who, part in brute.intents.items()
        for ask in part["asks"]
        if not brute.ask_ends[ask]
    }


def with_channel(content, rows):
    """Return the content with another channel, given as by `rows_of`."""
    return content | {
        "channel": [
            {"intents": [who], "asks": [ask], "probabilities": row, "source": "assumption"}
            for (who, ask), row in rows.items()
        ]
    }


def vertices(row, radius):
    """Return the corners of the rows that are near: all but one probability at an end."""
    low = [max(p - radius, 0.0) for p in row.values()]
    high = [min(p + radius, 1.0) if p > 0 else 0.0 for p in row.values()]
    return corners(row, low, high)


def corners(row, low, high):
    found = []
    for free in range(len(low)):
        rest = [pair for k, pair in enumerate(zip(low, high, strict=True)) if k != free]
        for ends in itertools.product(*rest):
            last = 1 - sum(ends)
            if low[free] - 1e-12 <= last <= high[free] + 1e-12:
                found.append(np.insert(np.array(ends, float), free, last))
    return [dict(zip(row, p, strict=True)) for p in np.unique(np.round(found, 12), axis=0).tolist()]


radii = st.sampled_from([0.02, 0.1, 0.3])


def test_a_drifting_classifier_by_hand():
    """Recall .943 and false positives .057 may be .02 worse; then the policy stays what it was.

    Retention after partial help is .594, its leak .35; the sensitive stay by .245 in any case.
    """
    found = solve(load("csa_oneshot"), 0.02).robustness
    assert found.worst_channels["benign"]["plain"] == pytest.approx({"clear": 0.923, "flag": 0.077})
    assert found.worst_channels["malicious"]["plain"] == pytest.approx(
        {"clear": 0.077, "flag": 0.923}
    )
    benign = 0.923 + 0.077 * 0.594
    malicious = 0.077 * (1 - 2) + 0.923 * (0.594 - 2 * 0.35)
    assert found.value == pytest.approx(0.90 * benign + 0.06 * 0.245 + 0.04 * malicious)
    assert found.found == pytest.approx(found.value, abs=1e-12)
    assert found.price == pytest.approx(0, abs=1e-12)


def normal_form(content, radius):
    """Return the value of one turn over corners of each row, whoever the worst user is.

    With the radius None rows lie in the intervals of the content.
    """
    rows = rows_of(content)
    if radius is None:  # conversations are listed that have a chance: here all may have one
        rows = {where: dict.fromkeys(row, 1 / len(row)) for where, row in rows.items()}
        ends = [rows_of(rows_at(content, end)) for end in ("low", "high")]
        near = {
            where: corners(row, *(list(end[where].values()) for end in ends))
            for where, row in rows.items()
        }
    else:
        near = {where: vertices(row, radius) for where, row in rows.items()}
    normal = NormalForm(with_channel(content, rows))
    upper, present = [], [name for name, p in normal.prior.items() if p > 0]
    for i, intent in enumerate(present):
        own = [where for where in rows if where[0] == intent]
        talks = [k for k, talk in enumerate(normal.talks) if talk.intent == intent]
        plays = [part[talks] for part in normal.plays]
        for picked in itertools.product(*(near[where] for where in own)):
            sigma = dict(zip(own, picked, strict=True))
            weight = []
            for talk in (normal.talks[k] for k in talks):
                ((ask, signal, _),) = talk.turns
                if signal is not None:
                    where = intent, ask
                    weight.append(talk.chance / rows[where][signal] * sigma[where][signal])
                else:
                    weight.append(talk.chance)
                weight[-1] *= talk.payoffs[1]
            matrix = plays[0].T @ (np.array(weight)[:, None] * plays[1])
            upper.append(np.hstack([-matrix, np.tile(np.eye(len(present))[i], (len(matrix), 1))]))
    upper = np.vstack(upper)
    found = linprog(
        np.append(np.zeros(normal.pure), -np.ones(len(present))),
        A_ub=upper,
        b_ub=np.zeros(len(upper)),
        A_eq=np.append(np.ones(normal.pure), np.zeros(len(present)))[None],
        b_eq=[1.0],
        bounds=[(0, None)] * normal.pure + [(None, None)] * len(present),
        options=TIGHT,
    )
    assert found.status == 0
    return -found.fun


def at_odds(seed, behaviours, ways_out):
    """Return one turn with intents whom different responses do good, and any channel."""
    rng = np.random.default_rng(seed)
    content = random_content(Shape(1, behaviours, 2, ways_out, 2, 2, seed))
    for k, part in enumerate(content["intents"]):
        part["prior"]["value"] = 1 / len(behaviours)
        good = rng.uniform(0.5, 3.0, 2) * [1, -1] * (-1) ** k
        content["payoff"]["satisfaction"][k]["values"] = dict(
            zip(("answer0", "answer1"), good.tolist(), strict=True)
        )
    content["weights"]["alpha"]["value"] = 1.0
    rows = {
        where: dict(zip(row, rng.dirichlet(np.ones(len(row))).tolist(), strict=True))
        for where, row in rows_of(content).items()
    }
    return with_channel(content, rows)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**20),
    radii,
    st.sampled_from(
        [("kernel", "kernel"), ("kernel", "adversarial"), ("adversarial", "adversarial")]
    ),
    st.integers(0, 1),
    st.booleans(),
)
def test_one_turn_has_the_value_of_the_normal_form(seed, radius, behaviours, ways_out, explicit):
    content = at_odds(seed, behaviours, ways_out)
    layout = dialogue_game if explicit else factored_game
    found = solve(layout(scenario_from(content, "at odds")), radius).robustness
    assert found.value == pytest.approx(normal_form(content, radius), abs=1e-8)
    assert found.found == pytest.approx(found.value, abs=1e-8) or "adversarial" in behaviours
    assert found.found >= found.value - 1e-9


def boxed(content, seed, widest=0.3):
    """Return the content with intervals around some probabilities of its channel, also of 0."""
    rng, content = np.random.default_rng(seed), copy.deepcopy(content)
    names = [part["name"] for part in content["signals"]]
    for part in content["channel"]:
        row = {name: part["probabilities"].get(name, 0.0) for name in names}
        if len(names) > 1 and rng.random() < 0.5:
            row |= {names[0]: min(row[names[0]] + row[names[-1]], 1.0), names[-1]: 0.0}
            part["probabilities"] = row
        off = dict(zip(names, widest * rng.random((len(names), 2)), strict=True))
        given = [name for name in names if rng.random() < 0.8]
        part["low"] = {name: float(max(row[name] - off[name][0], 0)) for name in given}
        part["high"] = {name: float(min(row[name] + off[name][1], 1)) for name in given}
    return content


def rows_at(content, end):
    """Return the content with the low or high ends of its channel's intervals in their place."""
    channel = [
        part | {"probabilities": part["probabilities"] | part[end]} for part in content["channel"]
    ]
    return content | {"channel": channel}


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**20),
    st.sampled_from([("kernel", "kernel"), ("kernel", "adversarial"), ("adversarial",) * 2]),
    st.integers(0, 1),
    st.booleans(),
)
def test_intervals_of_rows_have_the_value_of_the_normal_form(seed, behaviours, ways_out, explicit):
    content = boxed(at_odds(seed, behaviours, ways_out), seed)
    layout = dialogue_game if explicit else factored_game
    found = solve(layout(scenario_from(content, "at odds")), None).robustness
    assert found.value == pytest.approx(normal_form(content, None), abs=1e-8)
    assert found.found >= found.value - 1e-9


def with_ball(scenario, radius):
    """Return the scenario with the intervals that a radius gives every row."""
    changes = {}
    for k, part in enumerate(scenario.channel):
        row = {name: p for name, p in part.probabilities.items() if p > 0}
        changes[f"channel.{k}.low"] = {name: max(p - radius, 0.0) for name, p in row.items()}
        changes[f"channel.{k}.high"] = {name: min(p + radius, 1.0) for name, p in row.items()}
    return override(scenario, changes)


def test_intervals_that_are_a_ball_have_the_value_of_the_radius():
    dialogue = factored_game(with_ball(guidance().scenario, 0.04))
    by_row, by_radius = solve(dialogue, None), solve(guidance(), 0.04)
    assert by_row.robustness.value == pytest.approx(by_radius.robustness.value, abs=1e-9)
    assert by_row.robustness.found == pytest.approx(by_radius.robustness.found, abs=1e-9)
    assert solve(dialogue, 0.0).robustness.price == pytest.approx(0, abs=1e-9)


def test_intervals_without_width_change_nothing():
    found = solve(factored_game(with_ball(guidance().scenario, 0.0)), None)
    exact = solvers.solve(guidance(), "lp").value[ASSISTANT]
    assert found.robustness.value == pytest.approx(exact, abs=1e-9)
    assert found.robustness.doubts == ()
    assert found.robustness.worst_channels == {}


def test_one_row_in_doubt_is_the_only_one_that_is_worse():
    ends = {"channel.0.low": {"clear": 0.8}, "channel.0.high": {"flag": 0.1, "unsure": 0.12}}
    found = solve(factored_game(override(guidance().scenario, ends)), None).robustness
    own = rows_of(two_turns(GUIDANCE))
    for who, asks in found.worst_channels.items():
        for ask, row in asks.items():
            if (who, ask) != ("benign", "plain"):
                assert row == pytest.approx(own[who, ask], abs=1e-12)
    assert found.worst_channels["benign"]["plain"]["clear"] < own["benign", "plain"]["clear"] - 0.05
    assert found.doubts == ("signals of benign (1 row), in the scenario's intervals",)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(0, 2**20))
def test_no_scenario_within_the_intervals_of_a_file_pays_less_than_is_guaranteed(seed, draw):
    """Kernels, channels and priors at once; each is a game of its own, computed again."""
    rng = np.random.default_rng(draw)
    content = random_scenario(seed, security=True).model_dump(mode="json", exclude_none=True)
    content = boxed(content, draw)
    for part in content["intents"]:
        p = part["prior"]["value"]
        part["prior"] |= {"low": max(p - 0.1, 0.0), "high": min(p + 0.1, 1.0) if p > 0 else 0.0}
        if "kernel" in part:  # opening rows; what follows is in doubt in test_kernels
            row = part["kernel"]["opening"]
            part["kernel"]["low"] = {"opening": {ask: 0.5 * p for ask, p in row.items()}}
            part["kernel"]["high"] = {"opening": {ask: min(1.5 * p, 1) for ask, p in row.items()}}
    dialogue = factored_game(scenario_from(content, "boxed"))
    solution = solvers.solve(dialogue, "robust")
    found, policy = solution.robustness, solution.policy[ASSISTANT]

    def drawn(row, low, high):
        there = corners(
            row, *([end.get(name, p) for name, p in row.items()] for end in (low, high))
        )
        there = np.array([list(one.values()) for one in there])
        mixed = rng.dirichlet(np.full(len(there), 0.2)) @ there
        return dict(zip(row, (mixed / mixed.sum()).tolist(), strict=True))

    for _ in range(4):
        other = copy.deepcopy(content)
        priors = {part["name"]: part["prior"] for part in other["intents"]}
        ends = [{name: part[end] for name, part in priors.items()} for end in ("low", "high")]
        mass = drawn({name: part["value"] for name, part in priors.items()}, *ends)
        for part in other["intents"]:
            part["prior"] = {"value": mass[part["name"]], "source": "assumption"}
            if "kernel" in part:
                kernel = part["kernel"]
                ends = [kernel.pop(end)["opening"] for end in ("low", "high")]
                kernel["opening"] = drawn(kernel["opening"], *ends)
        names = [part["name"] for part in other["signals"]]
        for part in other["channel"]:
            row = {name: part["probabilities"].get(name, 0.0) for name in names}
            part["probabilities"] = drawn(row, part.pop("low"), part.pop("high"))
        assert worth(factored_game(scenario_from(other, "other")), policy) >= found.value - 1e-9
    assert found.value <= found.found + 1e-9


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), radii, st.sampled_from([0.0, 0.1]), st.integers(0, 2**20))
def test_no_channel_within_the_radius_pays_less_than_is_guaranteed(seed, radius, kernels, draw):
    """Each channel is a game of its own, in which the policy's worth is computed again."""
    scenario = random_scenario(seed, security=True)
    if not any(part.kernel and part.prior.value for part in scenario.intents):
        kernels = 0.0
    dialogue = factored_game(scenario)
    solution = solve(dialogue, radius, kernels=kernels)
    found, policy = solution.robustness, solution.policy[ASSISTANT]
    content = scenario.model_dump(mode="json", exclude_none=True)
    rng = np.random.default_rng(draw)
    for _ in range(4):
        rows = {}
        for where, row in rows_of(content).items():
            corners = np.array([list(p.values()) for p in vertices(row, radius)])
            mixed = rng.dirichlet(np.full(len(corners), 0.2)) @ corners
            rows[where] = dict(zip(row, (mixed / mixed.sum()).tolist(), strict=True))
        other = factored_game(scenario_from(with_channel(content, rows), "other"))
        assert worth(other, policy) >= found.value - 1e-9
    assert found.value <= found.found + 1e-9
    assert found.found <= found.nominal + 1e-9
    assert found.nominal <= found.optimum + 1e-9


@pytest.mark.parametrize(
    "options",
    [{}, {"weights": {"beta": (1.0, 3.0)}}, {"kernels": 0.05}, {"kernels": 0.05, "radius": 0.05}],
)
def test_the_worst_found_is_a_scenario_with_that_value(options):
    solution = solve(guidance(), 0.04, **options)
    found, policy = solution.robustness, solution.policy[ASSISTANT]
    content = copy.deepcopy(two_turns(GUIDANCE))
    for name, weight in found.worst_weights.items():
        content["weights"][name] = {"value": weight, "source": "assumption"}
    for part in content["intents"]:
        part["prior"] = {"value": found.worst_prior[part["name"]], "source": "assumption"}
        for label, row in found.worst_kernels.get(part["name"], {}).items():
            if label == "opening":
                part["kernel"]["opening"] = dict(row)
            else:
                part["kernel"]["after"][label.removeprefix("after ")] = dict(row)
    own = rows_of(content)
    rows = {
        (who, ask): row
        for who, channel in found.worst_channels.items()
        for ask, row in channel.items()
    }
    assert own.keys() == rows.keys()
    for where, row in own.items():
        assert sum(rows[where].values()) == pytest.approx(1, abs=1e-12)
        for signal, p in row.items():
            assert abs(rows[where][signal] - p) <= 0.04 + 1e-12
            assert p > 0 or rows[where][signal] == 0
    there = factored_game(scenario_from(with_channel(content, rows), "worst"))
    assert worth(there, policy) == pytest.approx(found.found, abs=1e-11)
    assert found.value <= found.found < found.nominal < found.optimum


def test_no_other_policy_secures_more():
    """Of those that are worth most in the scenario, at random, and on the way to them."""
    form, radius = guidance().form, 0.04
    payoff = np.asarray(form.leaves.payoff[ASSISTANT])
    given = drifting(form, None, around(np.asarray(form.signal), radius))
    solution = solve(guidance(), radius)
    own = solution.policy[ASSISTANT]
    others = [random_policy(guidance(), seed)[ASSISTANT] for seed in range(5)]
    others.append(solvers.solve(guidance(), "lp").policy[ASSISTANT])
    for other, step in itertools.product(others, [1.0, 0.1, 0.01]):
        mixed = own + step * (other - own)
        found = secured(given.form, mixed, payoff[given.leaf], given.freedom)
        assert found <= solution.robustness.value + 1e-9


def test_wider_radii_cost_more():
    found = [solve(guidance(), radius).robustness for radius in (1e-9, 0.01, 0.05, 0.2, 1.0)]
    assert (np.diff([one.value for one in found]) <= 1e-9).all()
    assert found[0].value == pytest.approx(found[0].optimum, abs=1e-6)
    assert found[-1].price > found[1].price > 0


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_a_radius_of_zero_changes_nothing(seed):
    dialogue = factored_game(random_scenario(seed, security=True))
    _, policy = random_policy(dialogue, seed)
    payoff = np.asarray(dialogue.form.leaves.payoff[ASSISTANT])
    still = drifting(dialogue.form, None, around(np.asarray(dialogue.form.signal), 0.0))
    found = secured(still.form, policy, payoff[still.leaf], still.freedom)
    assert found == pytest.approx(secured(dialogue.form, policy, payoff), abs=1e-12)


@pytest.mark.parametrize("radius", [-0.1, 1.5, float("nan")])
def test_radii_that_are_none_are_refused(radius):
    with pytest.raises(InputError, match=f"found channels off by {radius}, expected a number from"):
        solve(load("csa_oneshot"), radius)


def test_large_games_are_refused_before_anything_is_built(monkeypatch):
    monkeypatch.setattr(doubt, "drifting", None)
    with pytest.raises(InputError, match=r"channels in doubt robust takes at most 1,000,000; take"):
        solve(load("crisis_guidance"), 0.1, weights={"beta": (1.0, 3.0), "psi": (0.0, 1.0)})
