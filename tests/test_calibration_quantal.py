"""λ and payoff weights from what was asked: planted ones come back, what is not told is said."""

from collections import Counter

import numpy as np
import pytest
from planted import RATIONALITY, RISK, SATISFACTION, SOURCE, complies, drawn_log, planted
from random_scenarios import random_policy, random_scenario
from scipy.optimize import check_grad

from csa_games.calibration.quantal import (
    COMPONENTS,
    _checked,
    _objective,
    asked,
    fit_rationality,
    log_likelihood,
    menu,
    quantal_policy,
)
from csa_games.calibration.simulate import conversations, simulate
from csa_games.errors import InputError
from csa_games.evaluate import choosing_intents
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, USER
from csa_games.guard.keys import user_key
from solvers.reaction import reaction


@pytest.fixture(scope="module")
def truth():
    return planted()


@pytest.fixture(scope="module")
def offered(truth):
    return menu(truth, "seeker", complies(truth))


@pytest.fixture(scope="module")
def drawn(truth):
    """Return a way to draw logs."""
    return lambda seed, count: drawn_log(truth, count, seed)


# --- the model


@pytest.mark.parametrize("seed", [0, 2, 6, 9, 12, 17, 19, 22])
def test_predictions_are_the_solvers_quantal_responses(seed):
    scenario = random_scenario(seed)
    game = factored_game(scenario)
    policy = random_policy(game, seed)[ASSISTANT]
    theirs = reaction(game, USER, policy)
    whose = np.array(choosing_intents(game))
    for part in scenario.intents:
        if part.behaviour == "quantal" and part.prior.value > 0:
            found = menu(scenario, part.name, policy)
            mine = quantal_policy(found, part.rationality.value, found.weights)
            assert mine[whose == part.name] == pytest.approx(theirs[whose == part.name], abs=1e-9)
            assert np.ptp(theirs[whose == part.name]) > 0.01 or theirs.shape[1] == 1


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_asks_are_counted_by_what_the_user_had_seen(turns):
    truth = planted(turns)
    even = np.full((len(factored_game(truth).names.infosets[ASSISTANT]), 2), 0.5)
    offered = menu(truth, "seeker", even)
    codes = simulate(truth, 400, np.random.default_rng(turns))
    counts = asked(offered, codes)
    names = offered.game.names
    by_hand = Counter()
    for one in conversations(codes, truth):
        if one.type != "seeker":
            continue
        by_hand[user_key("seeker", []), one.events[0].ask] += 1
        for k, event in enumerate(one.events):
            if event.reaction is not None:
                public = [(past.ask, past.strategy) for past in one.events[: k + 1]]
                by_hand[user_key("seeker", public), event.reaction] += 1
    found = {
        (names.infosets[USER][i], names.actions[USER][i][a]): int(counts[i, a])
        for i, a in np.argwhere(counts > 0)
    }
    assert found == dict(by_hand)
    assert counts.sum() == by_hand.total() > 200 * turns


def test_the_likelihood_is_that_of_the_probabilities(offered, drawn):
    counts = asked(offered, drawn(1, 300))
    at = np.array([0.8, 1.1, 0.5])
    policy = quantal_policy(offered, 1.3, at)
    by_hand = sum(n * np.log(p) for n, p in zip(counts.flat, policy.flat, strict=True) if n)
    assert log_likelihood(offered, counts, 1.3, at) == pytest.approx(by_hand, abs=1e-9)
    # Only the product matters.
    assert log_likelihood(offered, counts, 2.6, at / 2) == pytest.approx(by_hand, abs=1e-9)


def test_derivatives_are_those_of_finite_differences(offered, drawn):
    objective = _objective(offered, _checked(offered, asked(offered, drawn(1, 300))), np.eye(3))
    at = np.array([1.2, 0.7, 0.9])
    size = np.abs(objective.slope(at)).max()
    assert check_grad(objective.value, objective.slope, at) < 1e-5 * size
    step = 1e-5
    rows = [
        (objective.slope(at + step * e) - objective.slope(at - step * e)) / (2 * step)
        for e in np.eye(3)
    ]
    assert objective.curvature(at) == pytest.approx(np.array(rows), rel=1e-5, abs=1e-5)


# --- the fit


def test_planted_numbers_come_back(offered, drawn):
    counts = asked(offered, drawn(5, 200_000))
    found = fit_rationality(offered, counts)
    assert found.unidentified == ()
    assert found.n == counts.sum()
    assert found.rationality.value == pytest.approx(RATIONALITY, rel=0.03)
    assert found.weights["risk"].value == pytest.approx(RISK, rel=0.05)
    assert found.weights["effort"].value == pytest.approx(1.0, rel=0.05)
    assert found.held == {"satisfaction": SATISFACTION}
    assert found.even < found.base <= found.log_likelihood <= found.frequencies
    for part in (found.rationality, *found.weights.values()):
        assert part.low < part.value < part.high
        assert part.level == 0.9
    assert found.policy == pytest.approx(
        quantal_policy(offered, RATIONALITY, offered.weights), abs=0.01
    )
    # The maximum is one: nothing near is likelier.
    best = np.array([SATISFACTION, found.weights["risk"].value, found.weights["effort"].value])
    for direction in (*np.eye(3), *-np.eye(3)):
        near = log_likelihood(offered, counts, found.rationality.value, best + 0.01 * direction)
        assert near < found.log_likelihood


def test_another_unit_gives_the_same_fit_in_other_words(offered, drawn):
    counts = asked(offered, drawn(6, 3000))
    one = fit_rationality(offered, counts)
    other = fit_rationality(offered, counts, free=("satisfaction", "risk"))
    assert other.log_likelihood == pytest.approx(one.log_likelihood, abs=1e-6)
    effort = one.rationality.value * one.weights["effort"].value
    assert other.rationality.value == pytest.approx(effort, rel=1e-4)
    assert other.weights["satisfaction"].value == pytest.approx(
        SATISFACTION / one.weights["effort"].value, rel=1e-4
    )


def test_doubling_the_log_halves_the_variance(offered, drawn):
    counts = asked(offered, drawn(6, 2000))
    one, two = fit_rationality(offered, counts), fit_rationality(offered, 2 * counts)
    assert two.rationality.value == pytest.approx(one.rationality.value, rel=1e-5)
    for name, error in one.standard_errors.items():
        assert two.standard_errors[name] ** 2 == pytest.approx(error**2 / 2, rel=1e-4)


def test_the_profile_falls_by_the_quantile_at_both_ends(offered, drawn):
    counts = asked(offered, drawn(7, 1500))
    found = fit_rationality(offered, counts, free=())  # nothing else to maximise over
    for end in (found.rationality.low, found.rationality.high):
        fallen = found.log_likelihood - log_likelihood(offered, counts, end, offered.weights)
        # Half the 90 % quantile of chi-squared with one degree of freedom, 2.7055.
        assert 2 * fallen == pytest.approx(2.7055, abs=1e-3)


def test_intervals_cover_the_planted_numbers(offered, drawn):
    times = 200
    inside = Counter()
    for seed in range(times):
        found = fit_rationality(offered, asked(offered, drawn(1000 + seed, 1500)), free=("risk",))
        inside["λ"] += found.rationality.low <= RATIONALITY <= found.rationality.high
        risk = found.weights["risk"]
        inside["risk"] += risk.low <= RISK <= risk.high
    assert all(0.85 <= hits / times <= 0.95 for hits in inside.values()), inside


# --- what the asks do not tell


def test_who_has_one_ask_tells_nothing():
    scenario = planted(asks=["plain"])
    offered = menu(scenario, "seeker", complies(scenario))
    counts = np.zeros_like(asked(offered, simulate(scenario, 50, np.random.default_rng(0))))
    counts[0, 0] = 50
    found = fit_rationality(offered, counts)
    assert found.rationality is None
    assert found.weights == {}
    assert found.standard_errors == {}
    assert len(found.unidentified) == 3
    assert all("no ask that was seen becomes likelier" in part for part in found.unidentified)


def test_equal_payoffs_give_no_unit():
    same = [{"values": {"comply": 0.0, "refuse": 0.0}, "source": SOURCE}]
    scenario = planted(satisfaction=same)
    offered = menu(scenario, "seeker", complies(scenario))
    counts = np.round(500 * quantal_policy(offered, 2.0, offered.weights)).astype(np.int64)
    found = fit_rationality(offered, counts)
    assert found.rationality is None
    assert found.weights == {}
    assert [part.split(":")[0] for part in found.unidentified] == [
        "the likelihood of the asks of 'seeker' does not move with λ"
    ]
    # Held with a weight that matters, it has one.
    again = fit_rationality(offered, counts, free=("satisfaction", "risk"))
    assert again.rationality is not None
    assert list(again.weights) == ["risk"]
    assert again.unidentified == (
        "the likelihood of the asks of 'seeker' does not move with λ times the weight of "
        "satisfaction: under this policy no ask that was seen becomes likelier or less likely by "
        "it",
    )


def test_two_components_alike_are_told_together_only():
    alike = [{"values": {"comply": 0.5, "refuse": 0.0}, "source": SOURCE}]
    risk = [part | {"category": "harm"} for part in alike]
    scenario = planted(satisfaction=alike, risk=risk)
    offered = menu(scenario, "seeker", complies(scenario))
    counts = np.round(2000 * quantal_policy(offered, 2.0, offered.weights)).astype(np.int64)
    found = fit_rationality(offered, counts, free=("risk",))
    assert found.rationality is not None  # the effort held with it tells
    assert found.unidentified == ()
    found = fit_rationality(offered, counts, free=("risk", "effort"))
    assert found.rationality is None
    assert len(found.unidentified) == 1
    assert "+0.71 λ" in found.unidentified[0] or "-0.71 λ" in found.unidentified[0]
    assert "weight of risk" in found.unidentified[0]
    assert "weight of effort" not in found.unidentified[0]


def test_who_never_errs_has_no_largest_lambda(offered):
    sure = quantal_policy(offered, 200.0, offered.weights)
    counts = (np.round(100 * sure)).astype(np.int64)
    counts[1:] = 0
    found = fit_rationality(offered, counts, free=())
    assert found.rationality is None
    assert "leave no room for error" in found.unidentified[0]


def test_weights_of_who_may_choose_evenly_have_no_interval(offered):
    counts = np.round(60 * quantal_policy(offered, 0.2, offered.weights)).astype(np.int64)
    found = fit_rationality(offered, counts, free=("risk",))
    assert found.rationality.low == 0 < found.rationality.value < found.rationality.high
    assert found.weights == {}
    assert "λ of 'seeker' may be 0" in found.unidentified[0]


def test_who_shuns_what_they_should_want(offered):
    shunning = quantal_policy(offered, -1.0, offered.weights)
    found = fit_rationality(offered, np.round(1000 * shunning).astype(np.int64), free=())
    assert found.rationality is None
    assert "λ is not positive (-1" in found.unidentified[0]


# --- what cannot be


def test_bad_input_is_said(truth, offered, drawn):
    policy = complies(truth)
    counts = asked(offered, drawn(0, 50))
    with pytest.raises(InputError, match="found the intent 'other', expected a quantal one: seek"):
        menu(truth, "other", policy)
    with pytest.raises(InputError, match="has the shape"):
        menu(truth, "seeker", policy[:3])
    with pytest.raises(InputError, match="expected probabilities that sum to 1"):
        menu(truth, "seeker", 2 * policy)
    with pytest.raises(InputError, match="found no ask of 'seeker'"):
        fit_rationality(offered, np.zeros_like(counts))
    with pytest.raises(InputError, match="found a count below 0"):
        fit_rationality(offered, counts - 100)
    with pytest.raises(InputError, match="found counts of the shape"):
        fit_rationality(offered, counts[:, :2])
    with pytest.raises(InputError, match="free weights greed, expected some of satisfaction"):
        fit_rationality(offered, counts, free=("greed",))
    with pytest.raises(InputError, match="at least one of them held"):
        fit_rationality(offered, counts, free=COMPONENTS)
    with pytest.raises(InputError, match="found the level 1"):
        fit_rationality(offered, counts, level=1.0)


def test_asks_that_cannot_be_are_said(truth, drawn):
    narrow = planted(asks=["plain", "veiled", "leave"])
    with pytest.raises(InputError, match="found the ask 'brazen' of 'seeker'"):
        asked(menu(narrow, "seeker", complies(narrow)), drawn(0, 200))
    always = np.zeros_like(complies(truth))
    always[:, 0] = 1
    refused = menu(truth, "seeker", always)  # nobody is ever refused, but in the log
    with pytest.raises(InputError, match="expected none where the policy never leads"):
        fit_rationality(refused, asked(refused, drawn(0, 200)))
