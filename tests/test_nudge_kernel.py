"""`nudge_kernel`: when friction on a borderline ask pays, by the published reactions to it."""

from fractions import Fraction

import pytest
from catalogue import best, builtin, by_rule
from scipy.optimize import brentq

from csa_games.dialogue import dialogue_game
from csa_games.evaluate import MEASURES, infoset_reach
from csa_games.game import ASSISTANT
from csa_games.override import override, with_prior
from csa_games.scenario import Scenario
from solvers import value

# blog.x.com 2022, arXiv 2112.00773: sent as is, cancelled, revised to be milder, the same, worse.
AS_IS, CANCELLED, MILDER, SAME, WORSE = map(Fraction, (".69", ".09", ".08", ".13", ".01"))
REMOVED = Fraction("0.16")
"""The net share of the risk that nudging takes away."""


def heated(risk: float, friction: float = 0.05, **changes: object) -> Scenario:
    """Return the scenario with everybody heated, an ask doing harm with probability `risk`."""
    cells = {
        "payoff.risk.1.values.comply": risk,
        "payoff.risk.3.values.comply": 2 * risk,
        "payoff.satisfaction.0.values.nudge": -friction,
        "payoff.satisfaction.1.values.nudge": -friction,
    }
    return with_prior(override(builtin("nudge_kernel"), cells | changes), "heated", 1.0)


def first_then_comply(scenario: Scenario, nudges: int) -> float:
    """Return what nudging so often and then complying is worth."""
    game = dialogue_game(scenario)
    rule = lambda key: "nudge" if key.count("/") < nudges else "comply"
    return float(value(game, by_rule(game, rule))[ASSISTANT])


def test_the_reactions_are_those_published():
    assert AS_IS + CANCELLED + MILDER + SAME + WORSE == 1
    assert CANCELLED + MILDER - WORSE == REMOVED
    for intent in builtin("nudge_kernel").intents:
        shares = intent.kernel.after["nudge"]
        assert [shares[k] for k in ("as_is", "withdrawn", "milder", "same", "worse")] == [
            float(p) for p in (AS_IS, CANCELLED, MILDER, SAME, WORSE)
        ]


@pytest.mark.parametrize("risk", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("beta", [0.5, 2.0, 5.0])
def test_nudging_before_answering_pays_iff_it_saves_more_than_friction(beta, risk):
    def lead(friction: float) -> float:
        scenario = heated(risk, friction, **{"weights.beta": beta})
        return first_then_comply(scenario, 1) - first_then_comply(scenario, 0)

    assert brentq(lead, 0, 1, xtol=1e-12) == pytest.approx(beta * float(REMOVED) * risk, abs=1e-9)
    assert lead(0) > 0


@pytest.mark.parametrize("risk", [0.1, 0.2])
def test_the_solution_nudges_iff_it_saves_more_than_friction(risk):
    """As long as a worse ask is still answered, 2 beta r < 1: the formula supposes that."""
    switch = 2.0 * float(REMOVED) * risk
    for friction, response in ((switch * 0.99, "nudge"), (switch * 1.01, "comply")):
        assert best(heated(risk, friction))[1]["as_is:none"] == response


def by_hand(harm: float, friction: float) -> dict[str, float]:
    """Return what each first response is worth, the best being done after a nudge.

    `harm` is beta r. A milder ask is answered, one taken back is as good as answered.
    """
    best_of = lambda answered: max(answered, 0.0)
    nudged = float(MILDER + CANCELLED)
    nudged += float(AS_IS + SAME) * best_of(1 - harm) + float(WORSE) * best_of(1 - 2 * harm)
    return {"comply": 1 - harm, "nudge": nudged - friction, "refuse": 0.0}


CASES = [(r, beta, f) for r in (0.05, 0.2, 0.45) for beta in (1.0, 3.0) for f in (0.02, 0.1, 0.25)]


@pytest.mark.parametrize(("risk", "beta", "friction"), CASES)
def test_the_solution_is_the_best_of_three_by_hand(risk, beta, friction):
    found, chosen = best(heated(risk, friction, **{"weights.beta": beta}))
    values = by_hand(beta * risk, friction)
    assert found == pytest.approx(max(values.values()), abs=1e-12)
    assert chosen["as_is:none"] == max(values, key=values.__getitem__)


def test_each_response_is_best_somewhere():
    """Refusing only where friction costs more than the .17 who change their mind for the better."""
    values = [by_hand(beta * risk, friction) for risk, beta, friction in CASES]
    assert {max(each, key=each.__getitem__) for each in values} == {"comply", "nudge", "refuse"}
    assert (
        max(f for r, beta, f in CASES if by_hand(beta * r, f)["nudge"] > 0 and beta * r > 1) < 0.17
    )


@pytest.mark.parametrize(
    ("nudges", "left"), [(1, 0.690), (2, 0.476), (3, 0.329)]
)  # .69, .69^2, .69^3
def test_so_many_ask_the_same_after_every_nudge(nudges, left):
    game = dialogue_game(override(builtin("nudge_kernel"), {"turns": nudges + 1}))
    play = by_rule(game, lambda key: "nudge")
    _, others = infoset_reach(game, ASSISTANT, play)
    unmoved = game.names.infosets[ASSISTANT].index("as_is:none>nudge/" * nudges + "as_is:none")
    assert others[unmoved] == pytest.approx(float(AS_IS**nudges), abs=1e-12)
    assert others[unmoved] == pytest.approx(left, abs=5e-4)


def test_a_nudge_removes_16_percent_of_the_risk():
    game = dialogue_game(heated(0.4))
    risks = [
        MEASURES["risk"](game, by_rule(game, rule))["heated"]
        for rule in (
            lambda key: "comply",
            lambda key: "comply" if "/" in key else "nudge",
        )
    ]
    assert risks[1] / risks[0] == pytest.approx(1 - float(REMOVED), abs=1e-12)
