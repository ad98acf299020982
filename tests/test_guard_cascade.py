"""`guard_cascade`: the value of information of published guards, and of a second look."""

from fractions import Fraction
from itertools import product

import pytest
from catalogue import best, builtin

from csa_games.override import override, with_prior
from csa_games.scenario import Scenario

# WildGuard, arXiv 2406.18495, Table 6: catch (1 - attack success / 79.8 %) and benign refusals,
# both shares; and the published value of each guard at prior .1, .3, .5 where N = 1 and M = -1.
GUARDS = {
    "WildGuard": ((2.4, 0.004), (0.0934, 0.2882, 0.4830)),
    "Aegis-D": ((12.4, 0.160), (0.0, 0.1415, 0.3425)),
    "MD-Judge": ((25.7, 0.044), (0.0282, 0.1726, 0.3170)),
    "Aegis-P": ((32.7, 0.036), (0.0266, 0.1518, 0.2770)),
    "Llama-Guard2": ((53.1, 0.008), (0.0263, 0.0949, 0.1635)),
    "perfect": ((0.0, 0.0), (0.1, 0.3, 0.5)),
}


def rates(guard: str) -> tuple[float, float]:
    """Return (catch, benign refusals)."""
    (success, refused), _ = GUARDS[guard]
    return round(1 - success / 79.8, 3), refused


def channel(catch: float, refused: float) -> tuple[dict[str, float], dict[str, float]]:
    """Return the verdicts on benign and on malicious asks."""
    return {"clear": 1 - refused, "flag": refused}, {"clear": 1 - catch, "flag": catch}


def alone(guard: str, prior: float) -> Scenario:
    """Return one turn with a guard as the only one."""
    benign, malicious = channel(*rates(guard))
    changes = {
        "turns": 1,
        "channel.0.probabilities": benign,
        "channel.1.probabilities": malicious,
    }
    return with_prior(override(builtin("guard_cascade"), changes), "malicious", prior)


def without_guard(prior: float) -> Scenario:
    silent = {"clear": 1.0, "flag": 0.0}
    changes = {"channel.0.probabilities": silent, "channel.1.probabilities": silent}
    return override(alone("perfect", prior), changes)


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("k", range(3))
def test_a_guard_is_worth_what_was_published(guard, k):
    prior = (0.1, 0.3, 0.5)[k]
    with_it, _ = best(alone(guard, prior))
    without, _ = best(without_guard(prior))
    assert with_it - without == pytest.approx(GUARDS[guard][1][k], abs=1e-3)
    # The formula, N = 1 and M = 1 - 2 = -1, of the rates themselves.
    catch, refused = rates(guard)
    benign, malicious = channel(catch, refused)
    acts = [max(0, (1 - prior) * benign[z] - prior * malicious[z]) for z in benign]
    blind = max(0.0, (1 - prior) - prior)
    assert with_it - without == pytest.approx(sum(acts) - blind, abs=1e-12)


def test_the_file_has_the_rows_of_the_weakest_and_the_strongest_guard():
    """Its first verdict is Llama-Guard2's, its second WildGuard's."""
    rows = [part.probabilities for part in builtin("guard_cascade").channel]
    expected = [*channel(*rates("Llama-Guard2")), *channel(*rates("WildGuard"))]
    assert rows == [pytest.approx(row) for row in expected]


def test_wildguard_is_worth_most_everywhere():
    for prior in (0.02, 0.1, 0.3, 0.5, 0.8):
        values = {guard: best(alone(guard, prior))[0] for guard in GUARDS if guard != "perfect"}
        assert max(values, key=values.__getitem__) == "WildGuard"


def by_hand(prior: Fraction, cost: Fraction) -> tuple[Fraction, dict[str, str]]:
    """Return the value of the cascade and the response to each first verdict.

    After a first verdict z the assistant takes the best of: complying, refusing, and checking, when
    it complies or refuses after each second verdict and has paid the cost.
    """

    def exact(guard: str) -> tuple[dict[str, Fraction], dict[str, Fraction]]:
        benign, malicious = channel(*rates(guard))
        read = lambda row: {z: Fraction(str(round(p, 3))) for z, p in row.items()}
        return read(benign), read(malicious)

    first, second = exact("Llama-Guard2"), exact("WildGuard")
    total, chosen = Fraction(0), {}
    for z in ("clear", "flag"):
        b, m = (1 - prior) * first[0][z], prior * first[1][z]
        check = sum(max(Fraction(0), b * second[0][y] - m * second[1][y]) for y in second[0])
        options = {"comply": b - m, "refuse": Fraction(0), "check": check - (b + m) * cost}
        chosen[z] = max(options, key=options.__getitem__)
        total += options[chosen[z]]
    return total, chosen


COST = Fraction(237, 1000)  # arXiv 2501.18837: +23.7 % compute
# Priors of malice with gammas; at gamma = 0 refusing a flag and checking it tie where both refuse.
CASES = [
    *product(
        (Fraction(1, 100), Fraction(1, 10), Fraction(1, 2)),
        (Fraction(1, 100), Fraction(1, 10), Fraction(3, 10)),
    )
]


@pytest.mark.parametrize(("prior", "gamma"), CASES)
def test_the_second_look_is_asked_when_it_is_worth_its_cost(prior, gamma):
    cost = COST * gamma
    scenario = override(builtin("guard_cascade"), {"weights.gamma": float(gamma)})
    value, chosen = best(with_prior(scenario, "malicious", float(prior)))
    expected, responses = by_hand(prior, cost)
    assert value == pytest.approx(float(expected), abs=1e-12)
    for verdict, response in responses.items():
        assert chosen[f"plain:{verdict}"] == response


def test_all_three_answers_to_a_first_verdict_occur():
    """Or the test above could not tell them apart."""
    found = {r for prior, gamma in CASES for r in by_hand(prior, COST * gamma)[1].values()}
    assert found == {"comply", "refuse", "check"}


def test_a_second_look_is_worth_asking_below_its_worth():
    """At the file's prior, after a clear: what complying would have let through, saved."""
    prior = Fraction(1, 10)
    b, m = Fraction(9, 10) * Fraction(992, 1000), prior * Fraction(665, 1000)
    worth = b * Fraction(996, 1000) - m * Fraction(30, 1000) - (b - m)
    break_even = worth / (b + m) / COST  # in units of gamma
    for factor, response in ((0.999, "check"), (1.001, "comply")):
        scenario = override(builtin("guard_cascade"), {"weights.gamma": float(break_even) * factor})
        assert best(scenario)[1]["plain:clear"] == response
