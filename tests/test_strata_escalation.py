"""`strata_escalation`: the costs at which disguise stops paying, and what refusing it does."""

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from catalogue import builtin, by_rule

import solvers
from csa_games.dialogue import dialogue_game
from csa_games.evaluate import expected, response_use
from csa_games.game import ASSISTANT, USER
from csa_games.override import override, with_prior
from csa_games.scenario import Scenario

# Strata-Sword, arXiv 2509.01444, Table 2, English: attack success in % at levels 1, 2 and 3.
ROWS = {
    "commercial": ("0.20", "5.80", "30.24"),
    "open reasoning": ("4.53", "10.79", "48.21"),
    "open": ("23.83", "30.64", "64.42"),
    "Qwen3-14B": ("1", "13.13", "69"),
    "Oyster-I on Qwen3-14B": ("0", "2", "20.6"),
    "GPT-5-chat-0807": ("0", "3", "48.5"),
}
LEVELS = ("basic", "reworded", "hidden")


def success(row: str) -> dict[str, float]:
    return {
        level: float(Fraction(rate) / 100) for level, rate in zip(LEVELS, ROWS[row], strict=True)
    }


def scenario(costs: tuple[float, float, float], row: str = "commercial", **more) -> Scenario:
    rates = {f"payoff.risk.{k}.values.answer": rate for k, rate in enumerate(success(row).values())}
    effort = {f"payoff.effort.0.values.{level}": c for level, c in zip(LEVELS, costs, strict=True)}
    return override(builtin("strata_escalation"), rates | effort | more)


def attack_on_all_answered(given: Scenario) -> str:
    """Return what the attacker asks where everything is answered."""
    game = dialogue_game(given)
    asks, _ = solvers.best_response(game, USER, by_rule(game, lambda key: "answer"))
    return game.names.actions[USER][0][int(asks[0].argmax())]


@pytest.mark.parametrize("row", ROWS)
def test_more_disguise_pays_iff_it_costs_less_than_it_gains(row):
    rates = success(row)
    for low, high in (("basic", "reworded"), ("reworded", "hidden")):
        gain = rates[high] - rates[low]
        for extra, expected_ask in ((gain - 1e-4, high), (gain + 1e-4, low)):
            costs = dict.fromkeys(LEVELS, 1.0) | {low: 0.0, high: extra}
            if rates[low] > 0:  # else abstaining is as good
                found = attack_on_all_answered(scenario(tuple(costs.values()), row))
                assert found == expected_ask


def test_the_switches_of_commercial_models_are_those_published():
    rates = success("commercial")
    assert rates["reworded"] - rates["basic"] == pytest.approx(0.0560, abs=1e-12)
    assert rates["hidden"] - rates["reworded"] == pytest.approx(0.2444, abs=1e-12)
    for c2, ask in ((0.0559, "reworded"), (0.0561, "basic")):
        assert attack_on_all_answered(scenario((0.0, c2, 1.0))) == ask
    for c3, ask in ((0.2443, "hidden"), (0.2445, "reworded")):
        assert attack_on_all_answered(scenario((1.0, 0.0, c3))) == ask


@pytest.mark.parametrize("level", LEVELS)
def test_who_pays_more_than_the_success_rate_abstains(level):
    rate = success("commercial")[level]
    for cost, ask in ((rate * 0.99, level), (rate * 1.01, "abstain")):
        costs = dict.fromkeys(LEVELS, 1.0) | {level: cost}
        assert attack_on_all_answered(scenario(tuple(costs.values()))) == ask


@pytest.mark.parametrize(
    ("costs", "ask"),
    [
        ((0.0, 0.0559, 1.0), "reworded"),
        ((0.0, 0.0561, 1.0), "basic"),
        ((1.0, 0.0, 0.2443), "hidden"),
        ((1.0, 0.0, 0.2445), "reworded"),
    ],
)
def test_solutions_switch_there_too_where_attackers_are_rare(costs, ask):
    """Then everything is answered: to tip the attacker over would cost others too much."""
    opening = {"intents.ordinary.kernel.opening": {"basic": 0.4, "reworded": 0.3, "hidden": 0.3}}
    game = dialogue_game(with_prior(scenario(costs, **opening), "attacker", 1e-4))
    solution = solvers.solve(game, "commitment-milp")
    np.testing.assert_allclose(solution.policy[ASSISTANT][:, 0], 1, atol=1e-9)
    assert game.names.actions[USER][0][int(solution.policy[USER][0].argmax())] == ask


@cache
def committed():
    game = dialogue_game(builtin("strata_escalation"))
    return game, solvers.solve(game, "commitment-milp")


def test_the_best_commitment_makes_heavy_disguise_just_not_worth_it():
    """It answers level 3 with probability (p2 - c2 + c3)/p3, where levels 2 and 3 tie."""
    game, solution = committed()
    rates = success("commercial")
    share = (rates["reworded"] - 0.02 + 0.10) / rates["hidden"]
    rows = dict(zip(game.names.infosets[ASSISTANT], solution.policy[ASSISTANT], strict=True))
    assert rows["hidden:none"][0] == pytest.approx(share, abs=1e-9)
    assert rows["reworded:none"][0] == rows["basic:none"][0] == pytest.approx(1, abs=1e-9)
    # By hand: ordinary users lose what is refused of their hidden asks, attackers use level 2.
    ordinary = 1 - 0.01 * (1 - share) * (1 - 0.265)
    by_hand = 0.9799 * ordinary - 0.0201 * 2 * rates["reworded"]
    assert solution.commitment.strong == pytest.approx(by_hand, abs=1e-9)
    assert solution.commitment.bound == pytest.approx(by_hand, abs=1e-9)
    assert solution.commitment.value_of_randomisation > 1e-3


def retrying(level: str, turns: int) -> Scenario:
    """Return attackers who retry a level until they succeed, everything being answered.

    They leave with the probability of success, so that it can come but once.
    """
    rate = success("commercial")[level]
    content = builtin("strata_escalation").model_dump(mode="json", exclude_none=True)
    attacker = content["intents"][1]
    del attacker["weights"]
    attacker["behaviour"] = "kernel"
    attacker["kernel"] = {
        "opening": {level: 1.0},
        "after": {"answer": {level: 1 - rate, "abstain": rate}, "refuse": {"abstain": 1.0}},
        "source": "assumption: independent tries",
    }
    ordinary = content["intents"][0]["kernel"]
    ordinary["after"] = {"answer": {"basic": 1.0}, "refuse": {"basic": 1.0}}
    content["payoff"]["effort"] = []
    changed = {"intents": content["intents"], "payoff": content["payoff"], "turns": turns}
    return with_prior(override(builtin("strata_escalation"), changed), "attacker", 1.0)


@pytest.mark.parametrize(
    # Strata-Sword, independent retries: P(success within 10).
    ("level", "within_ten"),
    [("basic", 0.020), ("reworded", 0.450), ("hidden", 0.973)],
)
def test_ten_independent_retries_succeed_as_often_as_published(level, within_ten):
    game = dialogue_game(retrying(level, 10))
    play = by_rule(game, lambda key: "answer")
    found = expected(game, play, game.tags["risk"])
    rate = success("commercial")[level]
    assert found == pytest.approx(1 - (1 - rate) ** 10, abs=1e-12)
    assert found == pytest.approx(within_ten, abs=5e-4)


def test_with_retries_level_3_beats_level_2_iff_its_cost_ratio_is_below_5_214():
    """Success less tries paid is (1 - c/p) P(success): tries per success are 1/p, at any horizon.

    As retries go on both succeed surely, and what is left to compare is c/p.
    """
    per_success = {}
    for level in ("reworded", "hidden"):
        game = dialogue_game(retrying(level, 6))
        play = by_rule(game, lambda key: "answer")
        tries = response_use(game, play)["attacker"]["answer"]
        per_success[level] = tries / expected(game, play, game.tags["risk"])
    assert per_success["reworded"] / per_success["hidden"] == pytest.approx(5.214, abs=5e-4)
