"""`purple_zero_sum`: the adversary-only slice by backward induction, and the share that ends it."""

import numpy as np
import pytest
from catalogue import builtin, choices

import solvers
from csa_games.dialogue import dialogue_game
from csa_games.game import ASSISTANT, USER
from csa_games.override import override, with_prior
from csa_games.scenario import Scenario

# Jailbroken after so many turns, judged by people (llm_multiturn_attacks); a new line starts over.
JAILBROKEN = (0.223, 0.470, 0.514)


def against_adversaries(**changes: object) -> Scenario:
    return with_prior(override(builtin("purple_zero_sum"), changes), "malicious", 1.0)


def induction(turn: int, turns: int, reject: float, redirect: float, beta: float) -> float:
    """Return the assistant's value of the perfect-information game from a turn on.

    The attacker moves first, to leave the assistant least; then the assistant takes the best of
    accepting (1 less beta times the jailbreak), rejecting and redirecting, which goes on.
    """
    goes_on = 0.0 if turn + 1 == turns else induction(turn + 1, turns, reject, redirect, beta)
    return min(
        max(1 - beta * jailbroken, reject, redirect + goes_on)
        for jailbroken in (JAILBROKEN[turn], JAILBROKEN[0])
    )


# What rejecting and redirecting is worth, and beta. The published payoffs; then rejecting is worth
# less, so that accepting at once, rejecting, and redirecting to the end are each best somewhere.
VARIANTS = [
    (1.0, 0.0, 2.0),
    (0.2, 0.0, 2.0),
    (0.2, -0.1, 5.0),
    (-0.5, 0.1, 4.0),
    (-0.5, -0.2, 5.0),
    (-0.5, -0.03, 5.0),
]


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize(("reject", "redirect", "beta"), VARIANTS)
def test_backward_induction_and_solvers_agree(reject, redirect, beta, turns):
    scenario = against_adversaries(
        **{
            "turns": turns,
            "weights.beta": beta,
            "payoff.satisfaction.0.values.reject": reject,
            "payoff.satisfaction.1.values.redirect": redirect,
            "payoff.risk.0.values.accept": list(JAILBROKEN[:turns]),
        }
    )
    game = dialogue_game(scenario)
    by_hand = induction(0, turns, reject, redirect, beta)
    for method in ("cfr+", "pcfr+"):
        solution = solvers.solve(game, method, target=1e-4)
        assert solution.status == "target"
        assert solution.value[ASSISTANT] == pytest.approx(by_hand, abs=1e-3)
        assert solution.value[USER] == pytest.approx(-by_hand, abs=1e-3)
    assert solvers.solve(game, "lp").value[ASSISTANT] == pytest.approx(by_hand, abs=1e-9)


def test_the_variants_tell_the_responses_apart():
    values = [induction(0, 3, *variant) for variant in VARIANTS]
    assert values == pytest.approx([1, 0.554, 0.2, 0.3, -0.115, -0.09])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_against_adversaries_alone_to_reject_always_secures_the_most_there_is(turns):
    """So that the slice says nothing: this is why it needs benign users."""
    scenario = against_adversaries(
        **{"turns": turns, "payoff.risk.0.values.accept": list(JAILBROKEN[:turns])}
    )
    game = dialogue_game(scenario)
    names = game.names.actions[ASSISTANT]
    always = np.array([[float(action == "reject") for action in row] for row in names])
    users = solvers.solve(game, "lp").policy[USER]
    _, worst = solvers.best_response(game, USER, (users, always))
    assert -worst == pytest.approx(np.max(game.form.leaves.payoff[ASSISTANT]), abs=1e-12)
    assert -worst == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("kappa", [0.5, 1.0])
@pytest.mark.parametrize("p", [0.1, 0.223, 0.8])
def test_in_one_turn_accepting_pays_iff_malice_is_rarer_than_the_published_share(kappa, p):
    changes = {
        "turns": 1,
        "payoff.satisfaction.2.values": {"accept": 0.0, "redirect": -kappa, "reject": -kappa},
        "payoff.risk.0.values.accept": p,
        "payoff.risk.1.values.accept": p,
        "intents.benign.kernel.opening": {"push": 1.0, "turn_to": 0.0},
        "intents.malicious.asks": ["push"],  # a line that only the malicious take gives them away
    }
    scenario = override(builtin("purple_zero_sum"), changes)
    switch = kappa / (kappa + 2 * p)
    for prior, response in ((switch - 1e-3, "accept"), (switch + 1e-3, "reject")):
        game = dialogue_game(with_prior(scenario, "malicious", prior))
        solution = solvers.solve(game, "lp")
        assert choices(game, solution.policy)["push:none"] == response
        accept, reject = prior * (1 - 2 * p), prior - (1 - prior) * kappa
        assert solution.value[ASSISTANT] == pytest.approx(max(accept, reject), abs=1e-9)
