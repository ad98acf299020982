"""Robust policies against the normal form, and worst priors against other priors of the set."""

import itertools
import tomllib
from functools import cache

import numpy as np
import pytest
from brute_dialogue import random_content, two_turns
from dialogue_normal_form import TIGHT, NormalForm, shapes
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from known_games import KUHN, game
from random_scenarios import random_scenario
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

GUIDANCE = tomllib.loads(builtin_scenarios()["crisis_guidance"].read_text(encoding="utf-8"))


@cache
def guidance():
    return factored_game(scenario_from(two_turns(GUIDANCE), "two turns"))


def solve(dialogue, **options):
    return solvers.solve(dialogue, "robust", **options).robustness


def with_priors(dialogue, priors):
    """Return the same dialogue with other priors."""
    changes = {f"intents.{name}.prior": float(p) for name, p in priors.items()}
    return factored_game(override(dialogue.scenario, changes))


def worth(dialogue, policy):
    """Return what a policy of the assistant secures: the users' best response to it."""
    play = (uniform(dialogue.form.treeplex[USER]), policy)
    return -solvers.best_response(dialogue, USER, play)[1]


def vertices(low, high):
    """Return the corners of a box cut by the simplex: all but one coordinate at an end."""
    found = []
    for free in range(len(low)):
        rest = [pair for k, pair in enumerate(zip(low, high, strict=True)) if k != free]
        for ends in itertools.product(*rest):
            last = 1 - sum(ends)
            if low[free] - 1e-12 <= last <= high[free] + 1e-12:
                found.append(np.insert(np.array(ends, float), free, last))
    return found


def brute_force(content, corners):
    """Return the best worst case over corners, users' pure policies, and mixtures of our own."""
    normal = NormalForm(content)
    by_intent = [normal.matrix("payoff", name) for name in normal.prior]
    rows = [sum(p * part for p, part in zip(corner, by_intent, strict=True)) for corner in corners]
    return mixed(normal, rows)


def mixed(normal, matrices):
    """Return the most that a mixture of our pure policies gets of each row of all matrices."""
    rows = np.vstack(matrices)
    found = linprog(
        np.append(np.zeros(normal.pure), -1.0),
        A_ub=np.hstack([-rows, np.ones((len(rows), 1))]),
        b_ub=np.zeros(len(rows)),
        A_eq=np.append(np.ones(normal.pure), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0, None)] * normal.pure + [(None, None)],
        options=TIGHT,
    )
    assert found.status == 0
    return -found.fun


percent = st.integers(0, 50).map(lambda k: k / 100)


@settings(deadline=None, max_examples=50)
@given(shapes, st.lists(percent, min_size=6, max_size=6), st.booleans())
def test_the_normal_form_over_the_corners_of_the_set_has_the_same_value(shape, widths, explicit):
    content = random_content(shape)
    priors = {part["name"]: part["prior"]["value"] for part in content["intents"]}
    assume(all(priors.values()))
    low = [max(p - w, 0.0) for p, w in zip(priors.values(), widths, strict=False)]
    high = [min(p + w, 1.0) for p, w in zip(priors.values(), widths[3:], strict=False)]
    dialogue = (dialogue_game if explicit else factored_game)(scenario_from(content, "random"))
    found = solve(dialogue, priors=dict(zip(priors, zip(low, high, strict=True), strict=True)))
    corners = vertices(low, high)
    assert found.value == pytest.approx(brute_force(content, corners), abs=1e-8)
    worst = np.array(list(found.worst_prior.values()))
    assert worst.sum() == pytest.approx(1, abs=1e-12)
    assert ((worst >= np.array(low) - 1e-12) & (worst <= np.array(high) + 1e-12)).all()
    assert found.value <= found.nominal + 1e-9
    assert found.nominal <= found.optimum + 1e-9
    assert found.price == found.optimum - found.nominal


@settings(deadline=None, max_examples=30)
@given(shapes, percent, percent)
def test_intents_left_out_keep_their_ratios(shape, one, other):
    """The set is then a segment of priors, whose ends are its corners."""
    content = random_content(shape)
    priors = {part["name"]: part["prior"]["value"] for part in content["intents"]}
    name, *others = priors
    assume(others and all(priors.values()))
    low, high = sorted([one, other])
    found = solve(factored_game(scenario_from(content, "random")), priors={name: (low, high)})
    rest = np.array([priors[k] for k in others]) / sum(priors[k] for k in others)
    corners = [np.append([p], (1 - p) * rest) for p in (low, high)]
    assert found.value == pytest.approx(brute_force(content, corners), abs=1e-8)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_without_doubt_it_is_the_equilibrium(seed):
    dialogue = factored_game(random_scenario(seed, security=True))
    solution = solvers.solve(dialogue, "robust", radius=0.0)
    exact = solvers.solve(dialogue, "lp").value[ASSISTANT]
    found = solution.robustness
    for value in (found.value, found.nominal, found.optimum, solution.value[ASSISTANT]):
        assert value == pytest.approx(exact, abs=1e-8)
    own = {intent.name: intent.prior.value for intent in dialogue.scenario.intents}
    assert dict(found.worst_prior) == pytest.approx(own, abs=1e-12)
    assert (solution.method, solution.status) == ("robust", "exact")
    assert solution.gap[USER] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("options", [{}, {"radius": 0.03}, {"priors": {"malicious": (0.0, 0.2)}}])
def test_no_prior_of_the_set_is_worse_than_the_one_found(options):
    """Each prior is a game of its own, in which the policy's worth is computed again."""
    solution = solvers.solve(guidance(), "robust", **options)
    found, policy = solution.robustness, solution.policy[ASSISTANT]
    assert worth(with_priors(guidance(), found.worst_prior), policy) == pytest.approx(
        found.value, abs=1e-12
    )
    assert worth(guidance(), policy) == pytest.approx(found.nominal, abs=1e-12)
    assert solvers.solve(guidance(), "lp").value[ASSISTANT] == pytest.approx(found.optimum)
    own = {part["name"]: part["prior"] for part in GUIDANCE["intents"]}
    sets = {
        "{}": {name: (prior["low"], prior["high"]) for name, prior in own.items()},
        "radius": {
            name: (max(0.0, prior["value"] - 0.03), prior["value"] + 0.03)
            for name, prior in own.items()
        },
    }
    rng = np.random.default_rng(0)
    if "priors" in options:
        others = [
            {k: p.prior.value for p in with_prior(guidance().scenario, "malicious", m).intents
             for k in [p.name]}
            for m in np.linspace(0, 0.2, 9).tolist()
        ]  # fmt: skip
    else:
        low, high = np.array(list(sets["radius" if options else "{}"].values())).T
        corners = np.array(vertices(low, high))
        mixed = rng.dirichlet(np.full(len(corners), 0.3), 8) @ corners
        others = [dict(zip(own, row, strict=True)) for row in [*corners, *mixed]]
    values = [worth(with_priors(guidance(), prior), policy) for prior in others]
    assert min(values) == pytest.approx(found.value, abs=1e-9)
    # And no other policy does better: that of the scenario's prior does worse.
    exposed = solvers.solve(guidance(), "lp").policy[ASSISTANT]
    assert min(worth(with_priors(guidance(), prior), exposed) for prior in others) < found.value
    assert 0 < found.price < 1


SIGNS = {"satisfaction": 1.0, "risk": -1.0, "cost": -1.0, "displacement": -1.0}


@settings(deadline=None, max_examples=40)
@given(
    shapes,
    percent,
    st.lists(st.sampled_from(["alpha", "beta", "gamma", "psi"]), max_size=2, unique=True),
    st.lists(st.integers(0, 4), min_size=4, max_size=4),
)
def test_the_normal_form_over_the_corners_of_weights_has_the_same_value(shape, radius, who, ends):
    """Payoffs made of their components again, at every corner of weights and of priors."""
    content = random_content(shape)
    priors = {part["name"]: part["prior"]["value"] for part in content["intents"]}
    assume(all(priors.values()))
    intervals = {
        name: (float(min(pair)), float(max(pair)))
        for name, pair in zip(who, (ends[:2], ends[2:]), strict=False)
    }
    usual = {name: part["value"] for name, part in content["weights"].items()}
    normal = NormalForm(content)
    parts = {name: [normal.matrix(name, intent) for intent in priors] for name in SIGNS}
    low = [max(p - radius, 0.0) for p in priors.values()]
    high = [min(p + radius, 1.0) for p in priors.values()]
    rows = []
    for corner in itertools.product(*(intervals.get(name, (usual[name],)) for name in usual)):
        payoffs = [
            sum(
                weight * sign * parts[name][i]
                for weight, (name, sign) in zip(corner, SIGNS.items(), strict=True)
            )
            for i in range(len(priors))
        ]
        rows += [
            sum(p * payoff for p, payoff in zip(prior, payoffs, strict=True))
            for prior in vertices(low, high)
        ]
    dialogue = factored_game(scenario_from(content, "random"))
    found = solve(dialogue, radius=radius, weights=intervals)
    assert found.value == pytest.approx(mixed(normal, rows), abs=1e-7)
    assert set(found.worst_weights) == set(intervals)
    changes = {f"weights.{name}": weight for name, weight in found.worst_weights.items()}
    policy = solvers.solve(dialogue, "robust", radius=radius, weights=intervals).policy[ASSISTANT]
    other = factored_game(override(dialogue.scenario, changes)) if changes else dialogue
    again = worth(with_priors(other, found.worst_prior), policy)
    assert again == pytest.approx(found.value, abs=1e-9)


def test_weights_between_the_corners_are_no_worse():
    intervals = {"beta": (1.0, 5.0), "psi": (0.0, 3.0)}
    solution = solvers.solve(guidance(), "robust", radius=0.0, weights=intervals)
    found, policy = solution.robustness, solution.policy[ASSISTANT]
    assert dict(found.worst_weights) == {"beta": 5.0, "psi": 3.0}  # harm only ever weighs more
    values = [
        worth(
            factored_game(
                override(guidance().scenario, {"weights.beta": beta, "weights.psi": psi})
            ),
            policy,
        )
        for beta, psi in itertools.product([1.0, 2.0, 3.5, 5.0], [0.0, 1.0, 2.0, 3.0])
    ]
    assert min(values) == pytest.approx(found.value, abs=1e-9)
    assert found.value < found.nominal < found.optimum


def test_wider_sets_cost_more():
    radii = [0.0, 0.01, 0.05, 0.2, 1.0]
    found = [solve(guidance(), radius=radius) for radius in radii]
    assert (np.diff([one.value for one in found]) <= 1e-9).all()
    assert found[0].price == pytest.approx(0, abs=1e-9)
    # Whoever it is with: the intent that is worst for a policy made for the worst of them.
    assert max(found[-1].worst_prior.values()) == pytest.approx(1)


def test_the_one_shot_game_by_hand():
    """More malice than .057 makes explaining best after a flag, and of that 7.5 % are allowed.

    Explained refusals after a flag and compliance after a clear give malicious users .265 after a
    flag and -1 after a clear; benign ones 1 and .265; the sensitive .245 whatever is said.
    """
    found = solve(load("csa_oneshot"))
    assert dict(found.worst_prior) == pytest.approx(
        {"benign": 0.80, "sensitive": 0.125, "malicious": 0.075}
    )
    benign, malicious = 0.943 + 0.057 * 0.265, -0.057 + 0.943 * 0.265
    assert found.value == pytest.approx(0.80 * benign + 0.125 * 0.245 + 0.075 * malicious)
    assert found.nominal == pytest.approx(0.90 * benign + 0.06 * 0.245 + 0.04 * malicious)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"priors": {"mallory": (0.0, 1.0)}}, "found the intent 'mallory', expected one of benign"),
        ({"priors": {"malicious": (0.2, 0.1)}}, "prior of malicious from 0.2 to 0.1, expected"),
        ({"priors": {"malicious": (-0.1, 0.1)}}, "prior of malicious from -0.1 to 0.1"),
        ({"priors": {"malicious": (0.0, 1.1)}}, "prior of malicious from 0.0 to 1.1"),
        ({"priors": {"malicious": (0.0, float("nan"))}}, "prior of malicious from 0.0 to nan"),
        (
            {"priors": {"malicious": (0.6, 1.0), "benign": (0.6, 1.0)}},
            "they sum to 1.2 at the least",
        ),
        (
            {"priors": dict.fromkeys(["benign", "sensitive", "malicious"], (0.0, 0.3))},
            "sum to 0 at the least and 0.9 at the most, expected 1 to lie between",
        ),
        ({"radius": -0.1}, "found the radius -0.1, expected a number from 0 to 1"),
        ({"radius": float("nan")}, "found the radius nan"),
        ({"radius": 0.1, "priors": {}}, "expected one of them"),
        ({"weights": {"delta": (0.0, 1.0)}}, "found the weight 'delta', expected one of alpha, b"),
        ({"weights": {"beta": (3.0, 1.0)}}, "found the weight beta from 3.0 to 1.0, expected 0 <="),
        ({"weights": {"beta": (-1.0, 1.0)}}, "found the weight beta from -1.0"),
        ({"weights": {"beta": (0.0, float("inf"))}}, "found the weight beta from 0.0 to inf"),
    ],
)
def test_sets_without_priors_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        solve(load("csa_oneshot"), **options)


def test_a_scenario_without_intervals_is_asked_for_them():
    scenario = load("csa_oneshot").scenario
    bare = override(
        scenario, {f"intents.{part.name}.prior": part.prior.value for part in scenario.intents}
    )
    with pytest.raises(InputError, match=r"has no interval \(low and high\) for any prior"):
        solve(factored_game(bare))


def test_intents_that_never_come_stay_away():
    dialogue = factored_game(with_prior(load("csa_oneshot").scenario, "sensitive", 0.0))
    found = solve(dialogue, radius=0.05)
    assert found.worst_prior["sensitive"] == 0
    with pytest.raises(InputError, match="gives it the prior 0, and says nothing"):
        solve(dialogue, priors={"sensitive": (0.0, 0.1)})


def test_other_users_and_games_are_refused():
    weights = {"satisfaction": 1.0, "risk": 0.0, "source": "assumption"}
    effort = [{"intents": ["malicious"], "values": {"plain": 0.0}, "source": "assumption"}]
    changes = {"intents.malicious.behaviour": "rational", "intents.malicious.weights": weights}
    scenario = override(load("csa_oneshot").scenario, changes | {"payoff.effort": effort})
    with pytest.raises(InputError, match=r"robust cannot solve .*'malicious' is rational"):
        solve(factored_game(scenario))
    with pytest.raises(InputError, match="found a game without intents"):
        solve(game(KUHN))
