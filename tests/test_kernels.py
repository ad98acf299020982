"""Kernels in doubt: against backward induction, the normal form, and kernels drawn at random."""

import copy
import itertools
import tomllib
from functools import cache

import numpy as np
import pytest
from brute_dialogue import Brute, Shape, random_content, two_turns
from dialogue_normal_form import TIGHT, NormalForm, shapes
from hypothesis import assume, given, settings
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
from csa_games.override import override, with_prior
from csa_games.scenario import builtin_scenarios, scenario_from
from solvers import doubt
from solvers.guarantee import least_of, secured
from solvers.kernels import freed

GUIDANCE = tomllib.loads(builtin_scenarios()["crisis_guidance"].read_text(encoding="utf-8"))


@cache
def guidance():
    return factored_game(scenario_from(two_turns(GUIDANCE), "two turns"))


def solve(dialogue, kernels, **options):
    """Return the solution of a dialogue whose kernels are in doubt, and priors only if asked."""
    return solvers.solve(dialogue, "robust", kernels=kernels, **({"radius": 0.0} | options))


def worth(dialogue, policy):
    """Return what a policy of the assistant secures: the users' best response to it."""
    play = (uniform(dialogue.form.treeplex[USER]), policy)
    return -solvers.best_response(dialogue, USER, play)[1]


def changed(dialogue, kernels, changes=()):
    """Return the same dialogue with other kernels, by intent and row, and other changes."""
    paths = dict(changes)
    for intent, rows in kernels.items():
        for label, row in rows.items():
            at, _, turn = label.replace("after ", "after.").partition(" in turn ")
            at += f".{int(turn) - 1}" if turn else ""
            paths[f"intents.{intent}.kernel.{at}"] = {k: float(p) for k, p in row.items()}
    return factored_game(override(dialogue.scenario, paths))


def rows_of(kernel):
    """Return every row of a kernel by its label, one for each turn where they are so given."""
    rows = {"opening": kernel.opening}
    for said, after in kernel.after.items():
        if isinstance(after, list):
            rows |= {f"after {said} in turn {k}": row for k, row in enumerate(after, start=1)}
        else:
            rows[f"after {said}"] = after
    return rows


def boxes(row, radius):
    """Return the intervals of a row's probabilities, zeros staying zero."""
    low = [max(p - radius, 0.0) for p in row.values()]
    high = [min(p + radius, 1.0) if p > 0 else 0.0 for p in row.values()]
    return low, high


def vertices(low, high):
    """Return the corners of a box cut by the simplex: all but one coordinate at an end."""
    found = []
    for free in range(len(low)):
        rest = [pair for k, pair in enumerate(zip(low, high, strict=True)) if k != free]
        for ends in itertools.product(*rest):
            last = 1 - sum(ends)
            if low[free] - 1e-12 <= last <= high[free] + 1e-12:
                found.append(np.insert(np.array(ends, float), free, last))
    return np.unique(np.round(found, 12), axis=0)


radii = st.sampled_from([0.02, 0.1, 0.3, 1.0])


# Nature may choose rows anew.


def by_induction(brute, intent, radius):
    """Return the value of perfect information: nature picks vertices, the assistant responses."""

    def asking(past):
        row = brute._kernel(intent, past)
        values = [asked(past, ask) if p > 0 else 0.0 for ask, p in row.items()]
        return min(corner @ np.array(values) for corner in vertices(*boxes(row, radius)))

    def asked(past, ask):
        if brute.ask_ends[ask]:
            return paid((*past, (ask, None, None)))
        return max(
            answered((*past, (ask, brute.signals[0], response))) for response in brute.response_ends
        )

    def answered(past):
        over = brute.response_ends[past[-1][2]] or len(past) == brute.turns
        return paid(past) if over else asking(past)

    def paid(turns):
        return brute.conversation(intent, turns).payoffs[1]

    return asking(())


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**20), radii, st.integers(1, 3), st.booleans())
def test_without_anything_hidden_it_is_backward_induction(seed, radius, turns, explicit):
    content = random_content(Shape(turns, ("kernel",), 2, 1, 1, 2, seed))
    for channel in content["channel"]:
        channel["probabilities"] = {"signal0": 1.0}
    dialogue = (dialogue_game if explicit else factored_game)(scenario_from(content, "random"))
    found = solve(dialogue, radius).robustness
    assert found.value == pytest.approx(by_induction(Brute(content), "intent0", radius), abs=1e-8)


def normal_form(content, radius, most):
    """Return the value against mixtures of nature's corners, each picked anew at every history.

    With the radius None rows lie in the intervals of the content.
    """
    intents = [
        {k: v for k, v in part.items() if k != "kernel"} | {"behaviour": "adversarial"}
        for part in content["intents"]
    ]
    normal, brute = NormalForm(content | {"intents": intents}), Brute(content)
    ends = [Brute(rows_at(content, end)) for end in ("low", "high")] if radius is None else []
    corners = {}  # infoset -> what may be done there: [{ask: probability}]
    for talk in normal.talks:
        for t, (_, infoset, _) in enumerate(c for c in talk.choices if c[0] == USER):
            asks = brute.intents[talk.intent]["asks"]
            kernel = brute._kernel(talk.intent, talk.turns[:t])
            row = None if kernel is None else {ask: kernel.get(ask, 0.0) for ask in asks}
            bounds = ([0.0] * len(asks), [1.0] * len(asks)) if row is None else None
            if row is not None and radius is None:
                found = [end._kernel(talk.intent, talk.turns[:t]) for end in ends]
                bounds = tuple([row.get(ask, 0.0) for ask in asks] for row in found)
            elif row is not None:
                bounds = boxes(row, radius)
            corners[infoset] = [dict(zip(asks, p, strict=True)) for p in vertices(*bounds)]
    rows = []
    for intent, prior in normal.prior.items():  # nature's choices given one intent are its own
        own = [h for h in corners if h.partition("|")[0] == intent]
        count = np.prod([float(len(corners[h])) for h in own])
        assume(prior == 0 or count <= most)
        if prior == 0:
            continue
        talks = [k for k, talk in enumerate(normal.talks) if talk.intent == intent]
        weight = np.array([normal.talks[k].chance * normal.talks[k].payoffs[1] for k in talks])
        by_nature = []
        for picked in itertools.product(*(corners[h] for h in own)):
            chance = dict(zip(own, picked, strict=True))
            likely = [
                np.prod([chance[h][a] for who, h, a in normal.talks[k].choices if who == USER])
                for k in talks
            ]
            by_nature.append((weight * likely) @ normal.plays[ASSISTANT][talks])
        rows.append(np.unique(np.round(by_nature, 13), axis=0))
    pure = normal.pure
    upper = np.vstack(
        [
            np.hstack([-part, np.tile(np.eye(len(rows))[i], (len(part), 1))])
            for i, part in enumerate(rows)
        ]
    )
    found = linprog(
        np.append(np.zeros(pure), -np.ones(len(rows))),
        A_ub=upper,
        b_ub=np.zeros(len(upper)),
        A_eq=np.append(np.ones(pure), np.zeros(len(rows)))[None],
        b_eq=[1.0],
        bounds=[(0, None)] * pure + [(None, None)] * len(rows),
        options=TIGHT,
    )
    assert found.status == 0
    return -found.fun


def at_odds(seed, kind, behaviours):
    """Return two intents who may ask anything, and whom different responses do good."""
    turns, signals, ways_out = kind
    rng = np.random.default_rng(seed)
    content = random_content(Shape(turns, behaviours, 2, ways_out, signals, 2, seed))
    asks = [part["name"] for part in content["asks"]]
    names = [part["name"] for part in content["signals"]]

    def row(labels):
        return dict(zip(labels, rng.dirichlet(np.full(len(labels), 2.0)).tolist(), strict=True))

    for part in content["responses"]:
        part["ends"] = False
    content["channel"] = [
        {"intents": [part["name"]], "asks": [ask], "probabilities": row(names),
         "source": "assumption"}
        for part in content["intents"] for ask in asks[:2]
    ]  # fmt: skip
    for k, part in enumerate(content["intents"]):
        part["asks"] = asks
        part["prior"]["value"] = 1 / len(behaviours)
        if part["behaviour"] == "kernel":
            after = {response["name"]: row(asks) for response in content["responses"]}
            part["kernel"] |= {"opening": row(asks), "after": after}
        good = rng.uniform(0.5, 3.0, 2) * [1, -1] * (-1) ** k
        content["payoff"]["satisfaction"][k]["values"] = dict(
            zip(("answer0", "answer1"), good.tolist(), strict=True)
        )
    content["weights"]["alpha"]["value"] = 1.0
    return content


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**20),
    st.sampled_from([0.1, 0.2, 0.3]),
    st.sampled_from([(1, 2, 1), (1, 1, 2), (1, 2, 2), (2, 1, 0)]),
    st.sampled_from([("kernel", "kernel"), ("kernel", "adversarial")]),
)
def test_intents_at_odds_have_the_value_of_the_normal_form(seed, radius, kind, behaviours):
    """What is best depends on what nature does: each way of it has its own posterior."""
    content = at_odds(seed, kind, behaviours)
    found = solve(factored_game(scenario_from(content, "at odds")), radius).robustness
    assert found.value == pytest.approx(normal_form(content, radius, most=3000), abs=1e-8)


@settings(deadline=None, max_examples=40)
@given(shapes, radii, st.booleans())
def test_the_normal_form_against_natures_corners_has_the_same_value(shape, radius, explicit):
    """With intents hidden, signals, and adversarial users among the kernels."""
    content = random_content(shape)
    assume(any(p["behaviour"] == "kernel" and p["prior"]["value"] > 0 for p in content["intents"]))
    expected = normal_form(content, radius, most=2000)
    dialogue = (dialogue_game if explicit else factored_game)(scenario_from(content, "random"))
    found = solve(dialogue, radius).robustness
    assert found.value == pytest.approx(expected, abs=1e-8)
    assert found.value <= found.found + 1e-9


# Intervals in the file.


def boxed(content, seed, widest=0.4):
    """Return the content with intervals around some probabilities of its kernels, also of 0."""
    rng, content = np.random.default_rng(seed), copy.deepcopy(content)

    def rounded(row):
        """Return the row with its last ask's probability, often, added to the first one's."""
        first, *_, last = row
        if rng.random() < 0.5:
            row |= {first: min(row[first] + row[last], 1.0), last: 0.0}
        return row

    def ends(row, asks):
        both = {}, {}
        for ask in asks:
            p, (below, above) = row.get(ask, 0.0), widest * rng.random(2)
            both[0].update({ask: max(p - below, 0.0)} if rng.random() < 0.8 else {})
            both[1].update({ask: min(p + above, 1.0)} if rng.random() < 0.8 else {})
        return both

    for part in content["intents"]:
        if part["behaviour"] != "kernel":
            continue
        kernel, asks = part["kernel"], part["asks"]
        opening = ends(rounded(kernel["opening"]), asks)
        after = {said: ends(rounded(row), asks) for said, row in kernel["after"].items()}
        for k, end in enumerate(("low", "high")):
            rows = {said: both[k] for said, both in after.items()}
            kernel[end] = {"opening": opening[k], "after": rows}
    return content


def rows_at(content, end):
    """Return the content with the low or high ends of its kernels' intervals in their place."""
    content = copy.deepcopy(content)
    for part in content["intents"]:
        if part["behaviour"] == "kernel":
            kernel = part["kernel"]
            kernel["opening"] |= kernel[end]["opening"]
            for said, row in kernel[end]["after"].items():
                kernel["after"][said] |= row
    return content


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**20),
    st.sampled_from([(1, 2, 1), (1, 1, 2), (1, 2, 2), (2, 1, 0)]),
    st.sampled_from([("kernel", "kernel"), ("kernel", "adversarial")]),
    st.booleans(),
)
def test_intervals_of_rows_have_the_value_of_the_normal_form(seed, kind, behaviours, explicit):
    content = boxed(at_odds(seed, kind, behaviours), seed)
    layout = dialogue_game if explicit else factored_game
    found = solve(layout(scenario_from(content, "at odds")), None).robustness
    assert found.value == pytest.approx(normal_form(content, None, most=3000), abs=1e-8)
    assert found.value <= found.found + 1e-9


def with_ball(scenario, radius):
    """Return the scenario with the intervals that a radius gives every row."""
    changes = {}
    for part in scenario.intents:
        if part.kernel is None:
            continue
        for k, end in enumerate(("low", "high")):
            rows = {
                said: dict(zip(row, boxes(row, radius)[k], strict=True))
                for said, row in {"": part.kernel.opening, **part.kernel.after}.items()
            }
            ends = {"opening": rows.pop(""), "after": rows}
            changes[f"intents.{part.name}.kernel.{end}"] = ends
    return override(scenario, changes)


def test_intervals_that_are_a_ball_have_the_value_of_the_radius():
    dialogue = factored_game(with_ball(guidance().scenario, 0.08))
    by_row, by_radius = solve(dialogue, None), solve(guidance(), 0.08)
    assert by_row.robustness.value == pytest.approx(by_radius.robustness.value, abs=1e-9)
    assert by_row.robustness.found == pytest.approx(by_radius.robustness.found, abs=1e-9)
    # And a radius takes their place, 0 included.
    other = solve(dialogue, 0.02).robustness
    assert other.value == pytest.approx(solve(guidance(), 0.02).robustness.value, abs=1e-9)
    assert solve(dialogue, 0.0).robustness.price == pytest.approx(0, abs=1e-9)


def test_intervals_without_width_change_nothing():
    dialogue = factored_game(with_ball(guidance().scenario, 0.0))
    found = solve(dialogue, None)
    exact = solvers.solve(guidance(), "lp").value[ASSISTANT]
    assert found.robustness.value == pytest.approx(exact, abs=1e-9)
    assert found.robustness.doubts == ()
    assert found.robustness.worst_kernels == {}


def test_rows_without_intervals_stay_as_they_are():
    ends = {"opening": {"plain": 0.5}, "after": {"guide": {"leave": 0.2}}}
    most = {"opening": {"disguised": 0.3}, "after": {"guide": {"plain": 0.5}}}
    changes = {"intents.benign.kernel.low": ends, "intents.benign.kernel.high": most}
    scenario = override(guidance().scenario, changes)
    found = solve(factored_game(scenario), None).robustness
    assert set(found.worst_kernels) == {"benign"}
    for label, row in rows_of(scenario.intents[0].kernel).items():
        worst = {ask: p for ask, p in found.worst_kernels["benign"][label].items() if p > 0}
        if label not in ("opening", "after guide"):
            assert worst == row
    opening = found.worst_kernels["benign"]["opening"]
    assert opening["contextualised"] == pytest.approx(0.2)  # it has no interval
    assert 0.5 - 1e-12 <= opening["plain"] < 0.75  # low, and what it was
    assert found.value < found.nominal
    assert found.doubts == ("reactions of benign (2 rows), in the scenario's intervals",)


# Kernels that stay the same.


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), radii, st.integers(0, 2**20))
def test_no_kernel_within_the_radius_pays_less_than_is_guaranteed(seed, radius, draw):
    """Each kernel is a game of its own, in which the policy's worth is computed again."""
    dialogue = factored_game(random_scenario(seed, security=True))
    kernels = {p.name: p.kernel for p in dialogue.scenario.intents if p.kernel and p.prior.value}
    assume(kernels)
    solution = solve(dialogue, radius)
    found, policy = solution.robustness, solution.policy[ASSISTANT]
    rng = np.random.default_rng(draw)

    def drawn(row):
        corners = vertices(*boxes(row, radius))
        mixed = rng.dirichlet(np.full(len(corners), 0.2)) @ corners
        return dict(zip(row, mixed / mixed.sum(), strict=True))

    for _ in range(4):
        other = {
            name: {label: drawn(row) for label, row in rows_of(kernel).items()}
            for name, kernel in kernels.items()
        }
        for rows in other.values():  # somebody has to begin
            assume(any(p > 0 for ask, p in rows["opening"].items() if ask in ("plain", "veiled")))
        assert worth(changed(dialogue, other), policy) >= found.value - 1e-9
    assert found.value <= found.found + 1e-9
    assert found.found <= found.nominal + 1e-9
    assert found.nominal <= found.optimum + 1e-9


@pytest.mark.parametrize(
    "options",
    [{}, {"weights": {"beta": (1.0, 3.0)}}, {"radius": None}, {"radius": 0.05}],
)
def test_the_worst_found_is_a_scenario_with_that_value(options):
    """Its kernels are within the radius, and the policy gets just that when they are put in."""
    solution = solve(guidance(), 0.08, **options)
    found, policy = solution.robustness, solution.policy[ASSISTANT]
    changes = {f"weights.{name}": weight for name, weight in found.worst_weights.items()}
    changes |= {f"intents.{name}.prior": p for name, p in found.worst_prior.items()}
    there = changed(guidance(), found.worst_kernels, changes)
    assert worth(there, policy) == pytest.approx(found.found, abs=1e-12)
    for part in guidance().scenario.intents:
        if part.kernel is None:
            assert part.name not in found.worst_kernels
            continue
        rows = rows_of(part.kernel)
        assert set(rows) == set(found.worst_kernels[part.name])
        for label, row in rows.items():
            other = found.worst_kernels[part.name][label]
            assert sum(other.values()) == pytest.approx(1, abs=1e-12)
            for ask, p in other.items():
                assert abs(p - row.get(ask, 0.0)) <= 0.08 + 1e-12
                assert p == 0 or row.get(ask, 0.0) > 0
    assert found.value <= found.found + 1e-12
    assert found.found < found.nominal < found.optimum


def test_the_worst_found_is_worse_than_kernels_at_random_and_than_its_neighbours():
    """Of two turns the policy's worth is linear in each row, so that no other corner is worse."""
    solution = solve(guidance(), 0.08)
    found, policy = solution.robustness, solution.policy[ASSISTANT]
    assert found.found < worth(guidance(), policy) - 0.05
    own = next(p for p in guidance().scenario.intents if p.name == "benign").kernel.after["guide"]
    for corner in vertices(*boxes(own, 0.08))[::3]:
        rows = found.worst_kernels["benign"] | {"after guide": dict(zip(own, corner, strict=True))}
        there = changed(guidance(), found.worst_kernels | {"benign": rows})
        assert worth(there, policy) >= found.found - 1e-9


def test_wider_radii_cost_more():
    found = [solve(guidance(), radius).robustness for radius in (1e-9, 0.02, 0.1, 0.4, 1.0)]
    assert (np.diff([one.value for one in found]) <= 1e-9).all()
    assert found[0].value == pytest.approx(found[0].optimum, abs=1e-6)
    assert found[0].price == pytest.approx(0, abs=1e-6)
    assert found[-1].price > 0.1


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_a_radius_of_zero_changes_nothing(seed):
    """Of no policy: what it secures against kernels that may not choose is what it secured."""
    dialogue = factored_game(random_scenario(seed, security=True))
    _, policy = random_policy(dialogue, seed)
    still = freed(dialogue, [part.name for part in dialogue.scenario.intents], 0.0)
    payoffs = (np.asarray(game.form.leaves.payoff[ASSISTANT]) for game in (dialogue, still.game))
    expected, free = next(payoffs), next(payoffs)
    found = secured(still.game.form, policy, free, still.freedom)
    assert found == pytest.approx(secured(dialogue.form, policy, expected), abs=1e-12)
    if any(part.kernel and part.prior.value for part in dialogue.scenario.intents):
        assert solve(dialogue, 0.0).robustness.worst_kernels == {}


@settings(deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 5), radii)
def test_the_least_within_intervals_is_at_the_best_corner(seed, count, radius):
    rng = np.random.default_rng(seed)
    low, high = map(np.array, boxes(dict(enumerate(rng.dirichlet(np.ones(count)))), radius))
    number = rng.normal(size=count)
    found = least_of(number[:, None], low[:, None], high[:, None])[:, 0]
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert ((found >= low - 1e-12) & (found <= high + 1e-12)).all()
    assert found @ number == pytest.approx(min(vertices(low, high) @ number), abs=1e-9)


# Bad input.


@pytest.mark.parametrize("radius", [-0.1, 1.5, float("nan"), float("inf")])
def test_radii_that_are_none_are_refused(radius):
    with pytest.raises(InputError, match=f"found kernels off by {radius}, expected a number from"):
        solve(load("csa_oneshot"), radius)


def test_a_scenario_without_kernels_has_none_in_doubt():
    scenario = load("csa_oneshot").scenario
    with pytest.raises(InputError, match="no intent of positive prior that is a kernel"):
        solve(factored_game(with_prior(scenario, "malicious", 1.0)), 0.1)


def test_large_games_are_refused_before_anything_is_built(monkeypatch):
    monkeypatch.setattr(doubt, "freed", None)
    large = factored_game(override(guidance().scenario, {"turns": 4}))
    with pytest.raises(
        InputError, match=r"has 12,318,452 histories.*at most 1,000,000; take fewer"
    ):
        solve(large, 0.1)
    with pytest.raises(InputError, match=r"4 corners of weights: together 1,186,808, and"):
        solve(load("crisis_guidance"), 0.1, weights={"beta": (1.0, 2.0), "psi": (0.0, 1.0)})
