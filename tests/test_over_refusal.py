"""`over_refusal`: which published operating point is best, by exact arithmetic on counts."""

from fractions import Fraction
from itertools import pairwise

import pytest
from catalogue import best, builtin, worth
from scipy.optimize import brentq

from csa_games.override import override, with_prior
from csa_games.scenario import Scenario

# XSTest v2: full compliance with 250 safe prompts, and with 200 unsafe ones.
COUNTS = {
    "gpt4": (229, 1),
    "llama2new": (176, 0),
    "llama2orig": (101, 0),
    "mistralguard": (203, 7),
    "mistralinstruct": (246, 128),
}
OVER = {name: 1 - Fraction(full, 250) for name, (full, _) in COUNTS.items()}
UNSAFE = {name: Fraction(full, 200) for name, (_, full) in COUNTS.items()}

LOW = (OVER["gpt4"] - OVER["mistralinstruct"]) / (UNSAFE["mistralinstruct"] - UNSAFE["gpt4"])
HIGH = (OVER["llama2new"] - OVER["gpt4"]) / (UNSAFE["gpt4"] - UNSAFE["llama2new"])


def at(ratio: float, prior: float = 200 / 450) -> Scenario:
    """Return the scenario with lambda = P(unsafe) beta / (P(safe) alpha) equal to `ratio`."""
    changed = override(builtin("over_refusal"), {"weights.beta": ratio * (1 - prior) / prior})
    return with_prior(changed, "unsafe", prior)


def by_hand(ratio: Fraction) -> str:
    return min(COUNTS, key=lambda name: OVER[name] + ratio * UNSAFE[name])


def test_the_switches_are_those_of_the_counts():
    assert Fraction(68, 635) == LOW
    assert float(LOW) == pytest.approx(0.1071, abs=5e-5)
    assert float(HIGH) == pytest.approx(42.4)


@pytest.mark.parametrize("prior", [0.01, 200 / 450, 0.9])
@pytest.mark.parametrize(
    ("one", "other", "switch"),
    [("mistralinstruct", "gpt4", 0.1071), ("gpt4", "llama2new", 42.4)],
)
def test_two_points_tie_at_the_published_ratio_whatever_the_prior(one, other, switch, prior):
    def lead(ratio: float) -> float:
        values = worth(at(ratio, prior), "prompt:none")
        return values[one] - values[other]

    assert brentq(lead, 1e-3, 200) == pytest.approx(switch, rel=5e-4)


@pytest.mark.parametrize(
    "ratio", [Fraction(0), LOW * Fraction(99, 100), LOW * Fraction(101, 100), Fraction(5),
              HIGH * Fraction(99, 100), HIGH * Fraction(101, 100), Fraction(1000)]
)  # fmt: skip
def test_the_solution_is_the_best_point_at_every_ratio(ratio):
    value, chosen = best(at(float(ratio)))
    assert chosen == {"prompt:none": by_hand(ratio)}
    name = by_hand(ratio)
    # Of the safe, 250 of 450, what is answered, less lambda times the harm to them.
    assert value == pytest.approx(250 / 450 * float(1 - OVER[name] - ratio * UNSAFE[name]))


def test_two_points_are_dominated_and_the_switches_are_in_order():
    dominated = {
        one
        for one in COUNTS
        if any(
            (OVER[two], UNSAFE[two]) != (OVER[one], UNSAFE[one])
            and OVER[two] <= OVER[one]
            and UNSAFE[two] <= UNSAFE[one]
            for two in COUNTS
        )
    }
    assert dominated == {"mistralguard", "llama2orig"}
    names = [by_hand(Fraction(k, 100)) for k in range(0, 10_000, 7)]
    changes = [(one, two) for one, two in pairwise(names) if one != two]
    assert changes == [("mistralinstruct", "gpt4"), ("gpt4", "llama2new")]
    for one in dominated:
        for ratio in (0.05, 1.0, 100.0):
            values = worth(at(ratio), "prompt:none")
            assert values[one] < max(values.values()) - 1e-3


def wilson(count: int, of: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927)."""
    share, spread = count / of, z * z / of
    middle = share + spread / 2
    half = (spread * (share * (1 - share) + spread / 4)) ** 0.5
    return (middle - half) / (1 + spread), (middle + half) / (1 + spread)


def test_the_upper_switch_is_fragile():
    """It rests on one prompt of 200, .005 [.001, .028]: it may be anywhere from 8 to 240."""
    switches = []
    for rate in wilson(1, 200):
        changes = {"payoff.risk.1.values.gpt4": rate, "weights.beta": 1.0}
        scenario = override(builtin("over_refusal"), changes)
        values = [worth(with_prior(scenario, "unsafe", p), "prompt:none") for p in (0.0, 1.0)]
        lead = [each["gpt4"] - each["llama2new"] for each in values]
        switches.append(lead[0] / -lead[1])  # the odds of unsafe at which the two tie, beta = 1
    assert switches == pytest.approx([240, 7.7], rel=0.01)
