"""What a classifier is worth, against published arithmetic and games built with another channel."""

import tomllib
from functools import partial

import numpy as np
import pytest
from random_scenarios import random_scenario

import csa_games
import solvers
from csa_games.dialogue import dialogue_game
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, Game
from csa_games.scenario import builtin_scenarios, scenario_from
from solvers.worth import classifier_worth, with_channel

exactly = partial(solvers.solve, method="lp")
ONESHOT = tomllib.loads(builtin_scenarios()["csa_oneshot"].read_text(encoding="utf-8"))


def cascade(catch: float, false_alarms: float, malicious: float) -> Game:
    """Return a guard of one look: complying is worth 1 with the benign and -1 with others."""
    source = "assumption: a test"
    flags = {"benign": false_alarms, "malicious": catch}
    prior = {"benign": 1 - malicious, "malicious": malicious}
    content = {key: ONESHOT[key] for key in ("format", "name", "title", "question", "turns")}
    content |= {
        "discount": {"value": 1.0, "source": source},
        "sources": {},
        "weights": {
            name: {"value": value, "source": source}
            for name, value in (("alpha", 1.0), ("beta", 1.0), ("gamma", 0.0), ("psi", 0.0))
        },
        "intents": [
            {"name": name, "description": "x", "behaviour": "kernel", "asks": ["plain"],
             "prior": {"value": p, "source": source},
             "kernel": {"opening": {"plain": 1.0}, "source": source,
                        "after": {"comply": {"plain": 1.0}, "refuse": {"plain": 1.0}}}}
            for name, p in prior.items()
        ],
        "asks": [{"name": "plain", "description": "x"}],
        "signals": [{"name": name, "description": "x"} for name in ("clear", "flag")],
        "responses": [
            {"name": "comply", "description": "x", "mechanism": "pass"},
            {"name": "refuse", "description": "x", "mechanism": "block"},
        ],
        "categories": [
            {"name": "harm", "description": "x", "severity": {"value": 1.0, "source": source}}
        ],
        "channel": [
            {"intents": [name], "asks": ["plain"], "source": source,
             "probabilities": {"clear": 1 - p, "flag": p}}
            for name, p in flags.items()
        ],
        "payoff": {
            "satisfaction": [
                {"intents": [name], "values": {"comply": float(name == "benign"), "refuse": 0.0},
                 "source": source}
                for name in prior
            ],
            "risk": [
                {"intents": [name], "category": "harm", "source": source,
                 "values": {"comply": float(name == "malicious"), "refuse": 0.0}}
                for name in prior
            ],
            "cost": [{"values": {"comply": 0.0, "refuse": 0.0}, "source": source}],
        },
        "fallback": {"rungs": [], "response": "refuse"},
        "baselines": {
            "comply": "comply", "refuse": "refuse",
            "threshold": {"clear": "comply", "flag": "refuse"},
        },
    }  # fmt: skip
    return factored_game(scenario_from(content, "cascade"))


@pytest.mark.parametrize(
    ("filter_", "catch", "false_alarms", "worth"),
    [
        # WildGuard, arXiv 2406.18495, Table 6: attack success 79.8 % without a filter, so that
        # catch = 1 - success / 79.8; benign refusals. The value of information at gains of 1 and
        # -1, prior .1 / .3 / .5, is arithmetic on these.
        ("WildGuard", 1 - 2.4 / 79.8, 0.004, (0.0934, 0.2882, 0.4830)),
        ("Aegis-D", 1 - 12.4 / 79.8, 0.160, (0.0, 0.1415, 0.3425)),
        ("MD-Judge", 1 - 25.7 / 79.8, 0.044, (0.0282, 0.1726, 0.3170)),
        ("perfect", 1.0, 0.0, (0.1, 0.3, 0.5)),
    ],
)
def test_published_guards_are_worth_what_arithmetic_says(filter_, catch, false_alarms, worth):
    for malicious, expected in zip((0.1, 0.3, 0.5), worth, strict=True):
        found = classifier_worth(cascade(catch, false_alarms, malicious), exactly)
        assert found.worth == pytest.approx((expected, expected), abs=1e-3), filter_
        assert found.ceiling == pytest.approx((malicious, malicious), abs=1e-9)


@pytest.mark.parametrize("seed", range(25))
def test_other_channels_are_those_of_games_built_with_them(seed):
    """The same value as the explicit game of a scenario file that has the other signals."""
    scenario = random_scenario(seed, security=True)
    game, content = factored_game(scenario), scenario.model_dump(mode="json", exclude_none=True)
    found = classifier_worth(game, exactly)
    names = [part["name"] for part in content["intents"]]
    for kind, signals in (("none", ["same"]), ("perfect", names)):
        told = {name: {"same": 1.0} if kind == "none" else {name: 1.0} for name in names}
        changed = content | {
            "signals": [{"name": name, "description": "x"} for name in signals],
            "channel": [part | {"probabilities": told[part["intents"][0]]}
                        for part in content["channel"]],
            "baselines": content["baselines"] | {
                "threshold": dict.fromkeys(signals, content["baselines"]["comply"])
            },
        }  # fmt: skip
        value = exactly(dialogue_game(scenario_from(changed, "x"))).value[ASSISTANT]
        low, high = getattr(found, kind)
        assert low - 1e-7 <= value <= high + 1e-7
        assert high - low < 1e-6
    # More information never hurts (Blackwell 1953): here with users who do not see it.
    assert found.none[0] <= found.actual[1] + 1e-9
    assert found.actual[0] <= found.perfect[1] + 1e-9


def test_bounds_hold_whatever_the_solver_leaves():
    game = csa_games.load("csa_oneshot")
    sharp = classifier_worth(game, exactly)
    rough = classifier_worth(game, partial(solvers.solve, method="pcfr+", target=1e-2))
    for name in ("none", "actual", "perfect", "worth", "ceiling"):
        (low, high), (a, b) = getattr(rough, name), getattr(sharp, name)
        assert low - 1e-9 <= a <= b <= high + 1e-9, name


def test_general_sum_games_are_valued_as_commitments():
    seed = next(s for s in range(100) if _is_small_and_rational(s))
    game = factored_game(random_scenario(seed))
    found = classifier_worth(game, partial(solvers.solve, method="commitment"))
    assert found.none[0] <= found.actual[1] + 1e-7
    assert found.actual[0] <= found.perfect[1] + 1e-7
    with pytest.raises(InputError, match="says nothing of the best one in a general-sum game"):
        classifier_worth(game, partial(solvers.solve, method="pcfr+", max_steps=10))


def _is_small_and_rational(seed: int) -> bool:
    scenario = random_scenario(seed)
    kinds = {part.behaviour for part in scenario.intents}
    return "rational" in kinds and "quantal" not in kinds and scenario.turns < 3


def test_a_game_without_a_channel_is_refused():
    scenario = scenario_from(ONESHOT, "x")
    with pytest.raises(InputError, match="found a game without a channel"):
        classifier_worth(dialogue_game(scenario), exactly)


def test_signals_that_say_nothing_are_worth_nothing():
    game = csa_games.load("csa_oneshot")
    intents, asks, signals = game.form.signal.shape
    same = np.full((intents, asks, signals), 1 / signals)
    found = classifier_worth(with_channel(game, same), exactly)
    assert found.worth == pytest.approx((0, 0), abs=1e-9)
