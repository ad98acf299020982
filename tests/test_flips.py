"""What is lost by keeping a policy, against exact rationals and against solutions of the ends."""

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenarios import random_scenario

import solvers
from csa_games.baselines import BASELINES
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT
from csa_games.moves import moved, moves
from csa_games.override import override
from csa_games.scenario import scenario_from
from solvers.compare import compare
from solvers.flips import flips
from solvers.together import solve_many

SOURCE = "assumption: made for a test"
GOOD, BETA, OPENS = Fraction(3, 4), Fraction(3), Fraction(1, 2)
WORTH = {"a": Fraction(1), "b": Fraction(1, 10)}  # of complying with each ask, to the good
P = Fraction(2, 5)  # the bad ask for a
FLIP = Fraction(1, 2)
"""Complying with a gains 3/4 · 1/2 and loses 1/4 · p · 3, so that the two tie at p = 1/2."""


def one_turn(low, high):
    """Return a game of one turn in which the bad ask for a with P, between `low` and `high`."""

    def kernel(p, **ends):
        return {"opening": {"a": float(p), "b": float(1 - p)}, "source": SOURCE, **ends}

    def cells(intent, ask, comply):
        return {
            "intents": [intent],
            "asks": [ask],
            "values": {"comply": float(comply), "refuse": 0.0},
            "source": SOURCE,
        }

    def quantity(value):
        return {"value": float(value), "source": SOURCE}

    ends = {
        "low": {"opening": {"a": float(low), "b": float(1 - high)}},
        "high": {"opening": {"a": float(high), "b": float(1 - low)}},
    }
    content = {
        "format": 1,
        "name": "one_turn",
        "title": "One turn",
        "question": "Comply or refuse?",
        "turns": 1,
        "discount": quantity(1),
        "sources": {},
        "weights": {
            "alpha": quantity(1),
            "beta": quantity(BETA),
            "gamma": quantity(0),
            "psi": quantity(0),
        },
        "intents": [
            {
                "name": name,
                "description": "Somebody.",
                "prior": quantity(prior),
                "behaviour": "kernel",
                "asks": ["a", "b"],
                "kernel": given,
            }
            for name, prior, given in (
                ("good", GOOD, kernel(OPENS)),
                ("bad", 1 - GOOD, kernel(P, **ends)),
            )
        ],
        "asks": [{"name": name, "description": "An ask."} for name in "ab"],
        "signals": [{"name": "none", "description": "No verdict."}],
        "responses": [
            {"name": name, "description": "A response.", "mechanism": "text", "text": "."}
            for name in ("comply", "refuse")
        ],
        "categories": [{"name": "harm", "description": "Harm.", "severity": quantity(1)}],
        "channel": [
            {
                "intents": ["good", "bad"],
                "asks": ["a", "b"],
                "probabilities": {"none": 1.0},
                "source": SOURCE,
            }
        ],
        "payoff": {
            "satisfaction": [
                cells(name, ask, WORTH[ask] if name == "good" else 0)
                for name in ("good", "bad")
                for ask in "ab"
            ],
            "risk": [
                cells(name, ask, int(name == "bad")) | {"category": "harm"}
                for name in ("good", "bad")
                for ask in "ab"
            ],
            "cost": [
                {"values": {"comply": 0.0, "refuse": 0.0}, "source": SOURCE},
            ],
        },
        "fallback": {"rungs": [["ask"]], "response": "refuse"},
        "baselines": {"comply": "comply", "refuse": "refuse", "threshold": {"none": "comply"}},
    }
    return scenario_from(content, "one turn")


def exact(p, a, b):
    """Return the payoff where the bad ask for a with p, of complying (1) or refusing (0)."""
    gains = {"a": GOOD * OPENS * WORTH["a"], "b": GOOD * (1 - OPENS) * WORTH["b"]}
    losses = {"a": (1 - GOOD) * p * BETA, "b": (1 - GOOD) * (1 - p) * BETA}
    return a * (gains["a"] - losses["a"]) + b * (gains["b"] - losses["b"])


def regret(p):
    """Return what the policy that is best for P loses at p, over all four policies."""
    pure = list(product((0, 1), repeat=2))
    old = max(pure, key=lambda play: exact(P, *play))
    return max(exact(p, *play) for play in pure) - exact(p, *old)


def by_lp(games):
    return [solvers.solve(game, "lp") for game in games]


def tried(scenario, solve=by_lp, **options):
    """Return what `flips` says of every move of a scenario, by (name, side)."""
    game, found = factored_game(scenario), moves(scenario)
    (solution,) = solve([game])
    ways = [lambda s, move=move: factored_game(moved(scenario, move, s)) for move in found]
    others = {name: baseline(game) for name, baseline in BASELINES.items()}
    ends = flips(game, solution, ways, solve, others=others, **options)
    return {(move.name, move.side): (move, end) for move, end in zip(found, ends, strict=True)}


A = "intents.bad.kernel.opening: a"


def test_an_interval_with_the_point_in_it_flips():
    low, high = Fraction(3, 10), Fraction(3, 5)
    found = tried(one_turn(low, high))
    move, end = found[A, "high"]
    assert regret(high) == Fraction(3, 40)  # 1/4 · 3/5 · 3 − 3/8
    assert end.lost == pytest.approx([float(regret(high))] * 2, abs=1e-9)
    assert move.value + end.share * (move.end - move.value) == pytest.approx(float(FLIP), abs=1e-6)
    (response,) = end.responses
    game = factored_game(one_turn(low, high))
    assert game.names.infosets[ASSISTANT][response.infoset] == "a:none"
    assert (response.before, response.after) == (0, 1)
    assert response.lost == pytest.approx(float(regret(high)), abs=1e-9)
    # The low end is on this side of the point. Of a row of two, b says the same again.
    assert regret(low) == 0
    assert found[A, "low"][1].share is None
    assert found[A, "low"][1].lost == pytest.approx([0, 0], abs=1e-9)
    b = "intents.bad.kernel.opening: b"
    assert found[b, "low"][1].lost == pytest.approx(end.lost, abs=1e-9)


def test_an_interval_without_it_does_not():
    found = tried(one_turn(Fraction(3, 10), Fraction(9, 20)))
    assert len(found) == 4
    for _, end in found.values():
        assert end.share is None
        assert not end.flips
        assert (end.responses, end.overtaken) == ((), ())


def test_what_makes_less_difference_than_the_least_is_none():
    scenario = one_turn(Fraction(3, 10), Fraction(3, 5))
    assert tried(scenario, least=0.074)[A, "high"][1].flips
    end = tried(scenario, least=0.076)[A, "high"][1]
    assert not end.flips
    assert end.lost[0] == pytest.approx(0.075)  # which is told all the same


def test_policies_that_overtake_are_named():
    # At P the solution, complying with a alone, is worth 3/8 − 3/10 and refusing nothing; at 3/5
    # 3/8 − 9/20 < 0. Complying with everything is behind before and after.
    assert exact(P, 1, 0) == Fraction(3, 40)
    assert exact(Fraction(3, 5), 1, 0) == -Fraction(3, 40)
    found = tried(one_turn(Fraction(3, 10), Fraction(3, 5)))
    assert found[A, "high"][1].overtaken == ("always refuse",)


def test_farther_ends_lose_no_less():
    """In one turn the regret is convex along the way and 0 where it begins: V* is convex."""
    highs = [Fraction(k, 20) for k in (9, 11, 13, 19)]
    lost = [tried(one_turn(Fraction(3, 10), high))[A, "high"][1].lost[0] for high in highs]
    assert lost == pytest.approx([float(regret(high)) for high in highs], abs=1e-9)
    assert lost == sorted(lost)
    assert lost[0] < 1e-9 < lost[1]


def test_all_ends_at_once_by_regret_minimisation():
    def together(games):
        return solve_many(games, target=1e-5)

    scenario = one_turn(Fraction(3, 10), Fraction(3, 5))
    one, other = tried(scenario), tried(scenario, together)
    assert list(one) == list(other)
    for name, (_, end) in one.items():
        low, high = other[name][1].lost
        assert low - 1e-12 <= end.lost[0] <= high + 1e-12
        assert high - low <= 1e-5 + 1e-12
        assert other[name][1].flips == end.flips


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**20))
def test_what_is_lost_is_what_the_end_is_worth_less_what_the_policy_is_there(seed):
    scenario = random_scenario(seed, security=True)
    game = factored_game(scenario)
    (solution,) = by_lp([game])
    betas = (0.0, 3.0)
    ways = [
        lambda s, b=b: factored_game(
            override(
                scenario,
                {"weights.beta": (1 - s) * scenario.weights.beta.value + s * b},
            )
        )
        for b in betas
    ]
    for way, end in zip(ways, flips(game, solution, ways, by_lp), strict=True):
        there = way(1.0)
        best = float(solvers.solve(there, "lp").value[ASSISTANT])
        (kept,) = compare(there, {"old": solution.policy[ASSISTANT]})
        assert end.lost == pytest.approx([best - kept.value] * 2, abs=1e-7)
        if end.lost[0] <= 1e-3:
            assert not end.flips


def test_a_policy_that_bounds_nothing_is_refused():
    scenario = next(
        found
        for found in map(random_scenario, range(100))
        if factored_game(found).game_class == "general-sum"
        and all(part.behaviour != "quantal" for part in found.intents)
    )
    game = factored_game(scenario)
    solution = solvers.solve(game, max_steps=1)
    with pytest.raises(InputError, match="expected a commitment of the assistant"):
        next(flips(game, solution, [lambda _: game], by_lp))


def test_commitments_flip_too():
    """Rational users of a general-sum game: what is lost lies between the bounds of commitments."""
    scenario = next(
        found
        for found in map(random_scenario, range(200))
        if found.turns == 1
        and len(found.responses) > 1
        and factored_game(found).game_class == "general-sum"
        and all(part.behaviour in ("rational", "kernel") for part in found.intents)
    )
    game = factored_game(scenario)

    def solve(games):
        return [solvers.solve(one, "commitment", seconds=20.0) for one in games]

    (solution,) = solve([game])
    alpha = scenario.weights.alpha.value

    def way(share):
        return factored_game(override(scenario, {"weights.alpha": (1 - share) * alpha + 2 * share}))

    (end,) = flips(game, solution, [way], solve)
    assert 0 <= end.lost[0] <= end.lost[1] + 1e-9
    there = way(1.0)
    (kept,) = compare(there, {"old": solution.policy[ASSISTANT]})
    best = solve([there])[0].commitment
    assert best.strong - kept.value <= end.lost[1] + 1e-7
