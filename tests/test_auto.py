"""The method that suits a game: by class, size and behaviours."""

import pytest
from general_sum import bagwell
from known_games import KUHN, game

import csa_games
import solvers
from csa_games.factored import factored_game
from csa_games.override import override
from solvers import auto, milp


def kernels_only():
    """Return csa_oneshot with its malicious intent by a kernel."""
    scenario = csa_games.load("csa_oneshot").scenario
    content = scenario.model_dump(mode="json", exclude_none=True)
    for intent in content["intents"]:
        if intent["behaviour"] != "kernel":
            asks = {ask: 1.0 if k == 0 else 0.0 for k, ask in enumerate(intent["asks"])}
            kernel = {"opening": asks, "after": {}, "source": "assumption"}
            intent |= {"behaviour": "kernel", "kernel": kernel}
    return factored_game(csa_games.scenario.scenario_from(content, "kernels only"))


def test_methods_suit_the_games(monkeypatch):
    assert solvers.choose(csa_games.load("csa_oneshot")).method == "lp"
    assert solvers.choose(game(KUHN)).method == "lp"
    assert solvers.choose(csa_games.load("crisis_guidance")).method == "pcfr+"
    assert solvers.choose(bagwell()).method == "commitment-milp"
    assert solvers.choose(kernels_only()).method == "population"
    monkeypatch.setattr(auto, "MOST_HISTORIES", 3)
    assert solvers.choose(bagwell()).method == "commitment-gradient"


@pytest.mark.parametrize("ours", [bagwell(), kernels_only(), game(KUHN)])
def test_auto_is_the_method_that_it_names(ours):
    method, why = solvers.choose(ours)
    assert why
    options = {"target": 0.5, "leader": 0}  # each is used where the method has it
    assert solvers.solve(ours, "auto", **options).method == method


def test_turns_decide_between_exact_and_iterated():
    scenario = csa_games.load("crisis_guidance").scenario
    short = factored_game(override(scenario, {"turns": 1}))
    assert solvers.choose(short).method == "lp"
    assert milp.size(short, 1)[1] == 0
