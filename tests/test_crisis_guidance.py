"""`crisis_guidance` must teach something: its solution is mixed, ahead, and moves as it should."""

from functools import cache

import numpy as np
import pytest

import solvers
from csa_games import evaluate
from csa_games.baselines import BASELINES
from csa_games.dialogue import dialogue_game
from csa_games.game import ASSISTANT, USER, Game, Solution
from csa_games.override import override, with_prior
from csa_games.scenario import Scenario, builtin_scenarios, read_scenario
from solvers.compare import compare

pytestmark = pytest.mark.large

TARGET = 2e-3  # NashConv, where payoffs range over some 110 units


@cache
def nominal() -> Scenario:
    return read_scenario(builtin_scenarios()["crisis_guidance"])


@cache
def solved(change: str = "nominal", size: float = 0.0) -> tuple[Game, Solution]:
    scenario = {
        "nominal": lambda: nominal(),
        "beta": lambda: override(nominal(), {"weights.beta": size}),
        "psi": lambda: override(nominal(), {"weights.psi": size}),
        "malicious prior": lambda: with_prior(nominal(), "malicious", size),
        "misses": lambda: misses_scaled(nominal(), size),
    }[change]()
    game = dialogue_game(scenario)
    solution = solvers.solve(game, "pcfr+", target=TARGET, max_steps=5_000)
    assert solution.status == "target"
    return game, solution


def misses_scaled(scenario: Scenario, factor: float) -> Scenario:
    """Scale P(clear | malicious), one minus the classifier's recall; unsure and flag share it."""
    changes = {}
    for k, channel in enumerate(scenario.channel):
        if channel.intents == ["malicious"]:
            p = channel.probabilities
            clear = p["clear"] * factor
            rest = (1 - clear) / (1 - p["clear"])
            changes[f"channel.{k}.probabilities"] = {
                "clear": clear,
                "unsure": p["unsure"] * rest,
                "flag": p["flag"] * rest,
            }
    return override(scenario, changes)


def response_shares(game: Game, solution: Solution) -> dict[str, float]:
    """Return how often each response is used, as a share of the assistant's turns."""
    own, others = evaluate.infoset_reach(game, ASSISTANT, solution.policy)
    use = (own * others) @ np.asarray(solution.policy[ASSISTANT])
    names = [response.name for response in game.scenario.responses]
    return dict(zip(names, use / use.sum(), strict=True))


def mix(game: Game, solution: Solution, turn: int, ending: str) -> dict[str, float]:
    """Return the reach-weighted response where `turn` ends in the ask and signal `ending`."""
    own, others = evaluate.infoset_reach(game, ASSISTANT, solution.policy)
    rows = [
        k
        for k, key in enumerate(game.names.infosets[ASSISTANT])
        if key.count("/") == turn - 1 and key.endswith(ending)
    ]
    weights = (own * others)[rows]
    shares = weights @ np.asarray(solution.policy[ASSISTANT])[rows] / weights.sum()
    names = [response.name for response in game.scenario.responses]
    return dict(zip(names, shares, strict=True))


def test_is_in_the_security_class_with_three_turns_and_six_responses():
    game, solution = solved()
    assert game.game_class == solution.game_class == "security"
    assert game.scenario.turns == 3
    assert len(game.scenario.responses) >= 6
    assert [r.name for r in game.scenario.responses if r.ends] == ["refer"]


def test_severity_puts_the_flip_belief_near_the_prior():
    """N/(N - M) of full compliance against explained refusal, for a plain ask, from the file."""
    scenario = nominal()
    gain = 1.0 - 0.265  # benign satisfaction: comply less refuse (facts: 1 and .265)
    beta, severity = 2.0, 20.0
    loss = -beta * severity * (0.93 - 0.002)  # Do-Not-Answer: harmful given comply, refuse
    flip = gain / (gain - loss)
    prior = {intent.name: intent.prior.value for intent in scenario.intents}["malicious"]
    assert flip == pytest.approx(0.0194, abs=1e-4)
    assert prior / 2 < flip < 2 * prior


def test_the_exact_linear_program_finds_the_same_value():
    game, solution = solved()
    exact = solvers.solve(game, "lp")
    assert exact.nash_conv < 1e-9
    slack = solution.nash_conv + exact.nash_conv
    assert exact.value[ASSISTANT] == pytest.approx(solution.value[ASSISTANT], abs=slack)


def test_at_least_three_responses_are_in_play_on_the_path():
    game, solution = solved()
    used = [name for name, share in response_shares(game, solution).items() if share > 0.005]
    assert len(used) >= 3
    assert {"comply", "guide", "clarify"} <= set(used)


def test_the_response_depends_on_the_signal_and_on_the_turn():
    game, solution = solved()
    clear, flag = mix(game, solution, 1, "plain:clear"), mix(game, solution, 1, "plain:flag")
    assert clear["comply"] > 0.9 > 0.1 > flag["comply"]
    # Asking back pays while there is a next turn to use the answer in.
    assert flag["clarify"] > 0.5 > mix(game, solution, 3, "plain:flag")["clarify"]
    # The belief in malice gathers over turns, and so do refusals and referrals.
    last = mix(game, solution, 3, "contextualised:flag")
    assert last["refuse"] + last["refer"] > 0.2 > flag["refuse"] + flag["refer"]


def test_is_ahead_of_every_constant_response():
    """Against users who best-respond to each policy; minimax says at least as good, here better."""
    game, solution = solved()
    infosets, width = np.asarray(solution.policy[ASSISTANT]).shape
    for response in range(width):
        constant = np.zeros((infosets, width))
        constant[:, response] = 1
        users, worst = solvers.best_response(game, USER, (solution.policy[USER], constant))
        assert users.shape == solution.policy[USER].shape
        assert -worst < solution.value[ASSISTANT] - 0.1


def test_is_ahead_of_every_baseline():
    game, solution = solved()
    policies = {"solution": solution.policy[ASSISTANT]}
    policies |= {name: baseline(game) for name, baseline in BASELINES.items()}
    first, *others = compare(game, policies)
    assert first.value >= solution.value[ASSISTANT] - solution.nash_conv
    assert len(others) == len(BASELINES) >= 4
    for row in others:
        assert row.value < first.value - 0.05, row.name


@pytest.mark.parametrize(
    ("change", "low", "high"),
    [("beta", 1.0, 4.0), ("malicious prior", 0.005, 0.05), ("misses", 0.5, 1.3)],
)
def test_more_danger_is_worth_less_and_is_met_with_more_caution(change, low, high):
    safer, nominal_, riskier = solved(change, low), solved(), solved(change, high)
    values = [solution.value[ASSISTANT] for _, solution in (safer, nominal_, riskier)]
    # Values: risk is never negative; a lower recall garbles the signal (Blackwell), so both are
    # theorems up to the gap. For the prior, malice is worth less than any other intent here.
    assert values[0] > values[1] + TARGET > values[2] + 2 * TARGET
    comply = [response_shares(*each)["comply"] for each in (safer, nominal_, riskier)]
    assert comply[0] > comply[1] > comply[2]


def test_a_higher_beta_buys_less_risk():
    risk = [
        evaluate.expected(game, solution.policy, game.tags["risk"])
        for game, solution in (solved("beta", 1.0), solved(), solved("beta", 4.0))
    ]
    assert risk[0] > risk[1] > risk[2]


def test_a_better_classifier_leaves_the_malicious_less():
    risk = [
        evaluate.MEASURES["risk"](game, solution.policy)["malicious"]
        for game, solution in (solved("misses", 0.5), solved(), solved("misses", 1.3))
    ]
    assert risk[0] < risk[1] < risk[2]


def test_dearer_migration_means_fewer_refusals_and_less_displacement():
    """Displacement falls in ψ by monotone comparative statics: only kernel intents displace."""
    cheap, nominal_, dear = solved("psi", 0.0), solved(), solved("psi", 4.0)
    values = [solution.value[ASSISTANT] for _, solution in (cheap, nominal_, dear)]
    assert values[0] > values[1] > values[2]
    refuse = [response_shares(*each)["refuse"] for each in (cheap, nominal_, dear)]
    assert refuse[0] > refuse[1] > refuse[2]
    displaced = [
        evaluate.expected(game, solution.policy, game.tags["displacement"])
        for game, solution in (cheap, nominal_, dear)
    ]
    slack = 2 * TARGET / 4  # the statics hold for exact solutions; gaps blur them by this much
    assert displaced[0] + slack > displaced[1] > displaced[2] - slack
    assert displaced[0] > displaced[2]
