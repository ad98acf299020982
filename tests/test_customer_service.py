"""`customer_service` by hand: one turn in exact arithmetic, the psi at which proof stops paying.

No published number is behind this scenario. What is checked is that its solutions are what its
numbers say, and that they move as they must.
"""

from fractions import Fraction
from functools import cache

import pytest
from catalogue import best, builtin, choices

import solvers
from csa_games.baselines import BASELINES
from csa_games.dialogue import dialogue_game
from csa_games.evaluate import MEASURES, expected
from csa_games.game import ASSISTANT
from csa_games.override import override, with_prior
from csa_games.scenario import Scenario
from solvers.compare import compare

# What each response is worth by intent at once: satisfaction less cost, and severity 3 times risk.
NOW = {
    "resolve": ("1", "1", "-3"),
    "verify": ("-.07", "-.17", "-.02"),
    "clarify": ("-.07", "-.17", "-.02"),
    "partial": (".45", ".25", "-.95"),
    "refuse": ("-.2", "-.5", "0"),
    "hand_over": (".45", ".55", "-.65"),
}
WORTH = {response: tuple(map(Fraction, row)) for response, row in NOW.items()}
OPENING = {"claim": (Fraction(".95"), Fraction(".4")), "press": (Fraction(".05"), Fraction(".6"))}
MISMATCH = {"honest": Fraction(".15"), "false": Fraction(".55")}
MISMATCH_OF_PROOF = {"honest": Fraction(".05"), "false": Fraction(".85")}


def priors(fraud: Fraction) -> tuple[Fraction, Fraction, Fraction]:
    """Return the priors with so much fraud, honest and frustrated customers being 7 to 2."""
    return (1 - fraud) * Fraction(7, 9), (1 - fraud) * Fraction(2, 9), fraud


def single_turn(fraud: float, ask: str) -> Scenario:
    """Return one turn in which fraud comes by one ask only, so that nobody chooses."""
    changes = {"turns": 1, "intents.fraudulent.asks": [ask, "leave"]}
    content = {
        "behaviour": "kernel",
        "kernel": {"opening": {ask: 1.0}, "source": "assumption: one ask"},
    }
    fixed = {f"intents.fraudulent.{key}": value for key, value in content.items()}
    return with_prior(override(builtin("customer_service"), changes | fixed), "fraudulent", fraud)


@pytest.mark.parametrize("ask", ["claim", "press"])
@pytest.mark.parametrize("fraud", [Fraction(k, 100) for k in (1, 5, 10, 20, 40, 60, 90)])
def test_one_turn_is_bayes_rule(fraud, ask):
    total, expected_choice = Fraction(0), {}
    honest, frustrated, _ = priors(fraud)
    for said, (calm, sore) in OPENING.items():
        for verdict, odd in (("match", False), ("mismatch", True)):
            likely = MISMATCH["honest"] if odd else 1 - MISMATCH["honest"]
            caught = MISMATCH["false"] if odd else 1 - MISMATCH["false"]
            joint = (honest * calm * likely, frustrated * sore * likely,
                     fraud * caught * (said == ask))  # fmt: skip
            worth = {
                r: sum(p * w for p, w in zip(joint, row, strict=True)) for r, row in WORTH.items()
            }
            expected_choice[f"{said}:{verdict}"] = max(worth, key=worth.__getitem__)
            total += max(worth.values())
    value, chosen = best(single_turn(float(fraud), ask))
    assert value == pytest.approx(float(total), abs=1e-12)
    assert chosen == expected_choice


def two_turns(psi: float) -> Scenario:
    """Return two turns in which fraud presses, and forges proof when asked for it."""
    kernel = {
        "opening": {"press": 1.0},
        "after": {
            "verify": {"proof": 1.0},
            "clarify": {"press": 1.0},
            "refuse": {"leave": 1.0},
        },
        "source": "assumption: one way",
    }
    changes = {
        "turns": 2,
        "weights.psi": psi,
        "intents.fraudulent.behaviour": "kernel",
        "intents.fraudulent.kernel": kernel,
    }
    return override(builtin("customer_service"), changes)


def verified(psi: Fraction) -> tuple[Fraction, Fraction]:
    """Return what asking for proof and handing over are worth at press:mismatch, times reach.

    After a request for proof: honest customers give it (.85), press (.05), leave (.09), complain
    (.01); frustrated ones .50, .25, .10, .15; fraud forges it.
    """
    honest, frustrated, fraud = priors(Fraction(".1"))
    here = (
        honest * OPENING["press"][0] * MISMATCH["honest"],
        frustrated * OPENING["press"][1] * MISMATCH["honest"],
        fraud * MISMATCH["false"],
    )
    reaction = {
        "proof": (Fraction(".85"), Fraction(".50"), Fraction(1)),
        "press": (Fraction(".05"), Fraction(".25"), Fraction(0)),
    }
    value = sum(p * w for p, w in zip(here, WORTH["verify"], strict=True))
    value -= psi * (here[0] * Fraction(".01") * Fraction(".5") + here[1] * Fraction(".15"))
    for ask, shares in reaction.items():
        table = MISMATCH_OF_PROOF if ask == "proof" else MISMATCH
        for odd in (False, True):
            likely = [table[k] if odd else 1 - table[k] for k in ("honest", "honest", "false")]
            joint = [p * q * z for p, q, z in zip(here, shares, likely, strict=True)]
            value += max(
                sum(p * w for p, w in zip(joint, row, strict=True)) for row in WORTH.values()
            )
    handed = sum(p * w for p, w in zip(here, WORTH["hand_over"], strict=True))
    return value, handed


def test_proof_is_asked_of_the_angry_until_complaints_in_public_weigh_too_much():
    """The break-even psi of verifying an angry claim that does not fit, against handing over."""
    at_zero, handed = verified(Fraction(0))
    at_one, _ = verified(Fraction(1))
    assert at_zero > handed  # else there is nothing to break even
    break_even = float((at_zero - handed) / (at_zero - at_one))
    assert 0.2 < break_even < 10
    for psi, response in ((break_even * 0.99, "verify"), (break_even * 1.01, "hand_over")):
        assert best(two_turns(psi))[1]["press:mismatch"] == response


@cache
def solved(turns: int = 2, **changes: float):
    renamed = {"psi": "weights.psi", "severity": "categories.fraud.severity"}
    numbers = {renamed[name]: value for name, value in changes.items()}
    game = dialogue_game(override(builtin("customer_service"), {"turns": turns} | numbers))
    return game, solvers.solve(game, "lp")


def test_a_second_turn_is_worth_asking_for_proof():
    (_, one), (game, two) = solved(1), solved(2)
    assert two.value[ASSISTANT] > one.value[ASSISTANT] + 0.02
    chosen = choices(game, two.policy)
    assert chosen["claim:match"] == chosen["press:match"] == "resolve"
    assert chosen["claim:mismatch"] == "verify"


def test_every_baseline_is_behind():
    game, solution = solved()
    policies = {"solution": solution.policy[ASSISTANT]}
    policies |= {name: baseline(game) for name, baseline in BASELINES.items()}
    first, *others = compare(game, policies)
    assert len(others) == len(BASELINES)
    assert all(row.value < first.value - 0.05 for row in others)


def test_dearer_complaints_mean_fewer_of_them():
    """By monotone comparative statics: only kernels complain, so displacement falls in psi."""
    found = [solved(psi=psi) for psi in (0.0, 1.0, 3.0)]
    displaced = [expected(game, it.policy, game.tags["displacement"]) for game, it in found]
    assert displaced[0] > displaced[1] + 1e-4
    assert displaced[1] >= displaced[2] - 1e-9
    values = [solution.value[ASSISTANT] for _, solution in found]
    assert values[0] > values[1] > values[2]


def test_dearer_fraud_is_paid_less():
    found = [solved(severity=severity) for severity in (1.0, 3.0, 10.0)]
    paid = [
        MEASURES["risk"](game, it.policy)["fraudulent"] / severity
        for (game, it), severity in zip(found, (1.0, 3.0, 10.0), strict=True)
    ]
    assert paid[0] > paid[1] > paid[2]


def test_anger_is_no_evidence_of_fraud():
    """Honest and frustrated customers are seen by the same channel, whatever they ask."""
    for channel in builtin("customer_service").channel:
        assert ("honest" in channel.intents) == ("frustrated" in channel.intents)
        assert set(channel.asks) in ({"claim", "press"}, {"proof"})


def test_all_numbers_are_assumptions_and_complaining_in_public_is_an_exit():
    scenario = builtin("customer_service")
    assert scenario.sources == {}
    ends = {ask.name: ask.ends for ask in scenario.asks if ask.ends}
    assert ends == {"leave": "leave", "complain": "migrate"}
    assert all(part.prior.low < part.prior.value < part.prior.high for part in scenario.intents)
