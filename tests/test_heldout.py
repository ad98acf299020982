"""Held-out likelihood, reliability and values on a log, against brute force and closed forms."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from brute_dialogue import Brute
from random_scenarios import random_scenario

from csa_games.calibration.clustered import kish, ratio
from csa_games.calibration.codes import Codes
from csa_games.calibration.likelihood import (
    LAST_RESPONSE,
    MARGINAL,
    SCENARIO,
    UNIFORM,
    conversation_log_likelihood,
    likelihoods,
)
from csa_games.calibration.logged import logged, part
from csa_games.calibration.offpolicy import (
    MODEL,
    NORMALISED,
    PER_DECISION,
    ROBUST,
    SAMPLING,
    doubly_robust,
    estimated_propensities,
    off_policy,
    ratios,
)
from csa_games.calibration.paths import paths
from csa_games.calibration.policies import even_users, home
from csa_games.calibration.predict import FLOOR, KINDS, predictions, shares
from csa_games.calibration.reliability import INTENT, reliabilities, reliability, type_shares
from csa_games.calibration.seen import EVERYONE, distance, seen_policies
from csa_games.calibration.simulate import simulate
from csa_games.dialogue import tables
from csa_games.errors import InputError
from csa_games.evaluate import posterior, value_and_gap
from csa_games.game import ASSISTANT
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario, scenario_from

SEEDS = range(12)


@pytest.fixture(scope="module")
def crisis():
    return read_scenario(builtin_scenarios()["crisis_guidance"])


def numbered(scenario, listed):
    """Return conversations (intent or None, turns) as codes; an ask that ends is a reaction."""
    names = [
        {part.name: k for k, part in enumerate(parts)} | {None: -1}
        for parts in (scenario.intents, scenario.asks, scenario.signals, scenario.responses)
    ]
    intents, asks, signals, responses = names
    rows = []
    for n, (_, turns) in enumerate(listed):
        for t, (ask, signal, response) in enumerate(turns):
            if t and signal is None:
                continue  # it left: the reaction before says so
            after = turns[t + 1][0] if t + 1 < len(turns) else None
            rows.append((n, t, asks[ask], signals[signal], responses[response], asks[after]))
    columns = np.array(rows, np.int64).reshape(-1, 6).T
    intent = np.array([intents[who] for who, _ in listed], np.int64)
    return Codes(intent, np.full(len(listed), -1), *columns)


def listed(scenario):
    """Return every conversation, and its probability but for what the assistant does, exactly."""
    brute = Brute(scenario.model_dump(mode="json", exclude_none=True))
    found = brute.conversations()
    return brute, found, [likelihood(brute, one.intent, one.turns) for one in found]


def likelihood(brute, intent, turns):
    """Return prior times likelihood of a conversation, whatever the responses, as a fraction."""
    told = Fraction(brute.intents[intent]["prior"]["value"])
    for t, (ask, signal, _) in enumerate(turns):
        if brute.intents[intent]["behaviour"] == "kernel":
            told *= Fraction(brute.reaction(intent, t, turns[t - 1][2] if t else None).get(ask, 0))
        else:
            may = brute.intents[intent]["asks"]
            told *= Fraction(int(ask in may), len(may))
        if not told:
            return told
        if signal is not None:
            told *= Fraction(brute._sigma(intent, ask, signal))
    return told


@pytest.mark.parametrize("seed", SEEDS)
def test_the_likelihood_is_the_sum_over_intents(seed):
    scenario = random_scenario(seed)
    brute, found, _ = listed(scenario)
    codes = numbered(scenario, [(None, one.turns) for one in found])
    told = conversation_log_likelihood(scenario, codes, floor=0.0)
    for one, log in zip(found, told, strict=True):
        exact = sum(likelihood(brute, intent, one.turns) for intent in brute.intents)
        assert np.exp(log) == pytest.approx(float(exact), rel=1e-11)
    typed = numbered(scenario, [(one.intent, one.turns) for one in found])
    told = conversation_log_likelihood(scenario, typed, floor=0.0)
    for one, log in zip(found, told, strict=True):
        exact = likelihood(brute, one.intent, one.turns)
        exact /= Fraction(brute.intents[one.intent]["prior"]["value"])
        assert np.exp(log) == pytest.approx(float(exact), rel=1e-11)


@pytest.mark.parametrize("seed", SEEDS)
def test_beliefs_are_those_of_bayes(seed):
    scenario = random_scenario(seed)
    brute, found, _ = listed(scenario)
    codes = numbered(scenario, [(None, one.turns) for one in found])
    belief = predictions(scenario, codes, floor=0.0).deciding
    for k, (n, t) in enumerate(zip(codes.conversation, codes.turn, strict=True)):
        seen = found[n].turns[: t + 1]
        if seen[-1][1] is None:
            continue
        joint = [likelihood(brute, intent, seen) for intent in brute.intents]
        exact = [float(p / sum(joint)) for p in joint]
        assert belief[k] == pytest.approx(exact, abs=1e-11)


def test_what_was_not_recorded_is_summed_over(crisis):
    """Leaving a signal out is summing the likelihood over what it may have been."""
    codes = simulate(crisis, 40, np.random.default_rng(1))
    codes = replace(codes, intent=np.full(40, -1))
    first = codes.turn == 0
    without = replace(codes, signal=np.where(first, -1, codes.signal))
    total = np.zeros(40)
    for y in range(len(crisis.signals)):
        one = replace(codes, signal=np.where(first & (codes.signal >= 0), y, codes.signal))
        total += np.exp(conversation_log_likelihood(crisis, one, floor=0.0))
    plain = np.exp(conversation_log_likelihood(crisis, without, floor=0.0))
    heard = codes.signal[first] >= 0
    assert plain[heard] == pytest.approx(total[heard], rel=1e-12)


def random_policy(given, draw):
    """Return a policy of the assistant that may do anything anywhere."""
    states = len(given.game.names.infosets[ASSISTANT])
    return draw.dirichlet(np.full(len(given.scenario.responses), 1.5), size=states)


def chance_of(given, policy, found):
    """Return the probability of the responses of each listed conversation."""
    number = {part.name: r for r, part in enumerate(given.scenario.responses)}
    rows = [
        [policy[given.state[key], number[r]] for player, key, r in one.choices if player]
        for one in found
    ]
    return np.array([np.prod(row) for row in rows])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("typed", [True, False])
def test_weighted_values_are_unbiased(seed, typed):
    """Over all conversations there are, by their probability, estimates are the value itself."""
    scenario = random_scenario(seed)
    _, found, exact = listed(scenario)
    given, draw = home(scenario), np.random.default_rng(seed)
    target, before = random_policy(given, draw), random_policy(given, draw)
    chance = np.array([float(p) for p in exact])
    payoff = np.array([one.payoffs[1] for one in found])
    value = chance * chance_of(given, target, found) @ payoff
    p = chance * chance_of(given, before, found)

    codes = numbered(scenario, [(one.intent if typed else None, one.turns) for one in found])
    whole = paths(logged(codes), given, floor=0.0)
    assert len(whole.intent) == len(found)
    if typed:
        assert whole.total == pytest.approx(payoff, abs=1e-12)
    propensity = np.where(whole.answered, before[whole.state, whole.response], 1.0)
    rho = ratios(whole, target, propensity)
    assert p @ rho[:, -1] == pytest.approx(1, abs=1e-12)
    sampling = rho[:, -1] * whole.total
    per_decision = whole.opened_expected + (rho * whole.worth_expected).sum(axis=1)
    users = even_users(given)
    robust, model = doubly_robust(whole, given, (users, target), rho)
    for estimate in (sampling, per_decision, robust, model):
        assert p @ estimate == pytest.approx(value, abs=1e-11)
    # The model that knows the truth leaves no more to chance than weights alone do.
    assert p @ robust**2 <= p @ per_decision**2 + 1e-12
    # A wrong one does no harm to what is expected, while by itself it is off.
    wrong = home(override(scenario, {"weights.alpha": scenario.weights.alpha.value * 3 + 1}))
    robust, model = doubly_robust(whole, wrong, (users, target), rho)
    assert p @ robust == pytest.approx(value, abs=1e-10)
    assert abs(p @ model - value) > 1e-3


def test_a_true_model_lowers_the_variance():
    """Somewhere by much: else the comparison above would hold of a model that does nothing."""
    shares = []
    for seed in SEEDS:
        scenario = random_scenario(seed)
        _, found, exact = listed(scenario)
        given, draw = home(scenario), np.random.default_rng(seed)
        target, before = random_policy(given, draw), random_policy(given, draw)
        p = np.array([float(x) for x in exact]) * chance_of(given, before, found)
        whole = paths(logged(numbered(scenario, [(c.intent, c.turns) for c in found])), given)
        rho = ratios(
            whole, target, np.where(whole.answered, before[whole.state, whole.response], 1)
        )
        per_decision = whole.opened_expected + (rho * whole.worth_expected).sum(axis=1)
        robust, _ = doubly_robust(whole, given, (even_users(given), target), rho)
        variance = [p @ x**2 - (p @ x) ** 2 for x in (robust, per_decision)]
        if variance[1] > 1e-9:
            shares.append(variance[0] / variance[1])
    assert len(shares) > 6
    assert np.median(shares) < 0.7


def test_the_effective_number_is_that_of_kish():
    # Kish (1965): k equal weights among zeros count as k; the closed form for 1, 2, 3 is 36/14.
    assert kish(np.array([2.0] * 7 + [0.0] * 5)) == 7
    assert kish(np.array([1.0, 2.0, 3.0])) == pytest.approx(36 / 14)
    assert kish(np.zeros(3)) == 0


@pytest.fixture(scope="module")
def short(crisis):
    return override(crisis, {"turns": 2})


@pytest.fixture(scope="module")
def short_home(short):
    return home(short)


def drawn(scenario, count, seed, responses=None):
    return logged(simulate(scenario, count, np.random.default_rng(seed), responses=responses))


def by_last(scenario, table):
    """Return the policy [H, B, Y, R] for `simulate` that looks at the last ask and signal."""
    return np.repeat(table[None], scenario.turns, axis=0)


@pytest.fixture(scope="module")
def policies(short, short_home):
    """Return a policy by ask and signal, over states and for drawing from."""
    draw = np.random.default_rng(3)
    shape = (len(short.asks), len(short.signals), len(short.responses))
    table = draw.dirichlet(np.full(shape[2], 3.0), size=shape[:2])
    return table[short_home.last], by_last(short, table)


def value_of(given, policy):
    return float(value_and_gap(given.game.form, (even_users(given), policy))[0][ASSISTANT])


def test_values_on_a_log_are_near_the_truth(short, short_home, policies):
    """On a log of even answers, of a policy whose value follows from the game."""
    target, _ = policies
    truth = value_of(short_home, target)
    held = dict.fromkeys((SAMPLING, PER_DECISION, NORMALISED, ROBUST, MODEL), 0)
    runs = 40
    for seed in range(runs):
        log = drawn(short, 1500, seed)
        log = replace(log, propensity=np.full(len(log.codes.turn), 1 / len(short.responses)))
        found = off_policy(paths(log, short_home), short_home, (even_users(short_home), target))
        assert not found.refused
        assert found.propensities == "recorded"
        for name, estimate in found.values.items():
            held[name] += estimate.low <= truth <= estimate.high
    # Binomial(40, 0.9): fewer than 30 or more than 40 has a probability below 0.002.
    assert all(times >= 30 for times in held.values()), held


def test_the_value_of_what_the_log_did_is_what_was_observed(short, short_home, policies):
    target, drawing = policies
    log = drawn(short, 3000, 0, drawing)
    given = paths(log, short_home)
    found = off_policy(given, short_home, (even_users(short_home), target))
    assert found.propensities.startswith("estimated")
    assert found.weights.effective > 2500
    assert found.values[NORMALISED].value == pytest.approx(found.observed.value, abs=0.05)
    assert found.weights.mean.value == pytest.approx(1, abs=0.02)


def test_estimated_propensities_are_near_the_truth(short, short_home, policies):
    target, drawing = policies
    given = paths(drawn(short, 20_000, 0, drawing), short_home)
    truth = np.where(given.answered, target[given.state, given.response], 1.0)
    error = np.abs(estimated_propensities(given) - truth)[given.answered]
    assert error.mean() < 0.02


def test_too_little_is_refused(short, short_home):
    """Log: comply in the first turn, always. Policy: refuse, always."""
    names = [part.name for part in short.responses]
    comply, refuse = (np.eye(len(names))[names.index(name)] for name in ("comply", "refuse"))
    states = len(short_home.state)
    users = even_users(short_home)
    always = np.broadcast_to(comply, (2, len(short.asks), len(short.signals), len(names)))
    given = paths(drawn(short, 500, 0, always), short_home)
    found = off_policy(given, short_home, (users, np.tile(refuse, (states, 1))))
    assert not found.values
    goes_on = given.answered[:, 0].mean()  # whoever leaves at once is not answered
    assert found.weights.unseen == pytest.approx(goes_on)
    assert "never shows" in found.refused[0]
    assert "fewer than 100" in found.refused[1]
    even = paths(drawn(short, 500, 0), short_home)
    found = off_policy(even, short_home, (users, np.tile(refuse, (states, 1))))
    assert any("fewer than 100" in reason for reason in found.refused)
    again = off_policy(even, short_home, (users, np.tile(refuse, (states, 1))), least_effective=5.0)
    assert again.values


def test_wrong_propensities_are_refused(short, short_home, policies):
    target, drawing = policies
    log = drawn(short, 3000, 0, drawing)
    even = np.full(len(log.codes.turn), 0.9)
    found = off_policy(
        paths(replace(log, propensity=even), short_home),
        short_home,
        (even_users(short_home), target),
    )
    assert any("mean weight" in reason for reason in found.refused)


def test_propensities_are_all_or_none(short, short_home, policies):
    log = drawn(short, 50, 0)
    some = np.where(np.arange(len(log.codes.turn)) % 2, 0.2, np.nan)
    with pytest.raises(InputError, match="in all of them or in none"):
        off_policy(
            paths(replace(log, propensity=some), short_home),
            short_home,
            (even_users(short_home), policies[0]),
        )


def test_recorded_outcomes_take_the_place_of_prices(short, short_home, policies):
    log = drawn(short, 2000, 0)
    priced = paths(log, short_home)
    outcome = np.full(len(log.cluster), np.nan)
    outcome[priced.conversation] = priced.total
    policy = (even_users(short_home), policies[0])
    given = paths(replace(log, outcome=outcome), short_home)
    recorded = off_policy(given, short_home, policy, recorded=True)
    assert set(recorded.values) == {SAMPLING, NORMALISED}
    plain = off_policy(priced, short_home, policy)
    assert recorded.values[NORMALISED] == plain.values[NORMALISED]
    with pytest.raises(InputError, match="found no number in"):
        off_policy(priced, short_home, policy, recorded=True)


def test_intents_count_as_often_as_they_occur(short, short_home, policies):
    """A log that holds one intent twice as often tells the same, weighed by priors."""
    log = drawn(short, 6000, 0)
    prior = tables(short).prior
    designed = part(log, (log.codes.intent == 0) | (np.arange(6000) % 2 == 0))
    policy = (even_users(short_home), policies[0])
    given = paths(designed, short_home)
    weighed = off_policy(given, short_home, policy, prior=prior, least_effective=5.0)
    # By hand: the means of each intent, weighed by its prior.
    propensity = estimated_propensities(given)
    rho = ratios(given, policies[0], propensity)[:, -1]
    means = [
        (rho * given.total)[given.intent == i].mean() if p > 0 else 0.0 for i, p in enumerate(prior)
    ]
    assert weighed.values[SAMPLING].value == pytest.approx(prior @ means)
    assert set(weighed.by_intent) == {part.name for part in short.intents}
    assert weighed.by_intent["benign"][SAMPLING].value == pytest.approx(means[0])
    untyped = replace(designed.codes, intent=np.full(len(designed.cluster), -1))
    bare = paths(replace(designed, codes=untyped), short_home)
    with pytest.raises(InputError, match="found none in"):
        off_policy(bare, short_home, policy, prior=prior)


def test_conversations_that_break_off_are_left_out(short, short_home):
    log = drawn(short, 300, 0)
    whole = paths(log, short_home)
    assert len(whole.intent) == 300
    codes = log.codes
    second = codes.turn == 1
    kept = ~(second & (codes.conversation % 3 == 0))
    cut = Codes(
        codes.intent,
        codes.group,
        *(getattr(codes, name)[kept] for name in ("conversation", "turn", "ask", "signal")),
        *(getattr(codes, name)[kept] for name in ("response", "reaction")),
    )
    found = paths(logged(cut), short_home)
    lost = len(np.unique(codes.conversation[~kept]))
    assert len(found.intent) == 300 - lost
    assert found.left_out["it breaks off before an end"] == lost
    silent = replace(codes, signal=np.where(codes.conversation == 7, -1, codes.signal))
    assert sum(paths(logged(silent), short_home).left_out.values()) == 1


def test_ratios_are_means_with_the_intervals_of_clusters():
    draw = np.random.default_rng(0)
    x = draw.normal(size=200)
    one = ratio(x, np.ones(200), np.arange(200), 0.9)
    # Student's interval of a mean: its quantile with 199 degrees of freedom is 1.6525.
    reach = 1.6525 * x.std(ddof=1) / np.sqrt(200)
    assert one.value == pytest.approx(x.mean())
    assert (one.low, one.high) == pytest.approx((x.mean() - reach, x.mean() + reach), abs=1e-5)
    assert one.effective == pytest.approx(200)
    # The same observation ten times in a cluster counts once.
    ten = ratio(np.repeat(x, 10), np.ones(2000), np.repeat(np.arange(200), 10), 0.9)
    assert (ten.value, ten.low, ten.high) == pytest.approx((one.value, one.low, one.high))
    assert ten.effective == pytest.approx(200, rel=0.01)
    alone = ratio(x, np.ones(200), np.zeros(200, int), 0.9)
    assert (alone.low, alone.high) == (-np.inf, np.inf)


def by_name(found):
    return {one.account: one for one in found}


def test_the_truth_beats_plainer_accounts(crisis):
    log, train = drawn(crisis, 1500, 0), drawn(crisis, 1500, 1)
    found = by_name(likelihoods(crisis, log, train=train))
    # A uniform account gives 1/5 to five asks and 1/3 to three signals.
    uniform = found[UNIFORM]
    assert uniform.by_kind["signals"] == pytest.approx(-np.log(3))
    assert found[LAST_RESPONSE].less.low > 0
    assert found[MARGINAL].less.low > found[LAST_RESPONSE].less.low
    assert uniform.less.low > found[MARGINAL].less.low
    gap = found[SCENARIO].per_event.value - uniform.per_event.value
    assert uniform.less.value == pytest.approx(gap)
    crossed = by_name(likelihoods(crisis, log))
    for name in (LAST_RESPONSE, MARGINAL):
        far = crossed[name].per_event.value - found[name].per_event.value
        assert abs(far) < 0.01


def wrong_kernels(scenario):
    """Return the scenario with the reactions of two responses exchanged."""
    content = scenario.model_dump(mode="json", exclude_none=True)
    for intent in content["intents"]:
        if "kernel" in intent:
            after = intent["kernel"]["after"]
            after["comply"], after["refuse"] = after["refuse"], after["comply"]
    return scenario_from(content | {"name": "wrong"}, "wrong")


def test_a_wrong_scenario_is_found_out(crisis):
    log, wrong = drawn(crisis, 2000, 0), wrong_kernels(crisis)
    found = by_name(likelihoods(crisis, log, others={"wrong": wrong}))
    assert found["wrong"].less.low > 0.005
    assert found["wrong"].by_kind["signals"] == pytest.approx(found[SCENARIO].by_kind["signals"])
    right = [one for one in reliabilities(crisis, log) if one.kind == "reactions"]
    off = [one for one in reliabilities(wrong, log) if one.kind == "reactions"]
    assert sum(one.error for one in off) > 2 * sum(one.error for one in right)
    misses = [sum(not part.holds for one in them for part in one.bins) for them in (right, off)]
    assert misses[1] > misses[0] + 8


def test_latent_intents_cost_likelihood_and_what_was_impossible_is_counted(crisis):
    log = drawn(crisis, 800, 0)
    typed = by_name(likelihoods(crisis, log))[SCENARIO]
    latent = by_name(likelihoods(crisis, log, typed=False))[SCENARIO]
    assert typed.per_event.value > latent.per_event.value
    content = crisis.model_dump(mode="json", exclude_none=True)
    opening = content["intents"][0]["kernel"]["opening"]
    opening["plain"] += opening.pop("disguised")
    never = scenario_from(content | {"name": "never"}, "never")
    benign = log.codes.intent[log.codes.conversation] == 0
    disguised = [part.name for part in crisis.asks].index("disguised")
    opened = benign & (log.codes.turn == 0) & (log.codes.ask == disguised)
    assert opened.any()
    found = by_name(likelihoods(crisis, log, others={"never": never}))
    assert found["never"].impossible == opened.sum()
    assert np.isfinite(found["never"].per_event.value)


def test_the_score_is_decomposed_exactly():
    draw = np.random.default_rng(5)
    p = draw.random(500)
    came = draw.random(500) < p**2
    found = reliability(p, came, np.arange(500))
    assert len(found.bins) == 10
    parts = found.reliability - found.resolution + found.uncertainty + found.within
    assert found.brier == pytest.approx(parts, abs=1e-14)
    assert found.brier == pytest.approx(np.mean((p - came) ** 2))
    # By hand, of predictions that are alike in a bin: Murphy's example needs no more than this.
    few = reliability(
        np.repeat([0.2, 0.8], 10),
        np.array([1] * 3 + [0] * 7 + [1] * 6 + [0] * 4) > 0,
        np.arange(20),
    )
    assert few.within == pytest.approx(0, abs=1e-15)
    assert few.reliability == pytest.approx((0.1**2 + 0.2**2) / 2)
    assert few.resolution == pytest.approx(0.15**2)
    assert few.uncertainty == pytest.approx(0.45 * 0.55)
    assert few.error == pytest.approx(0.15)
    assert [part.observed for part in few.bins] == pytest.approx([0.3, 0.6])


def test_bins_of_the_truth_hold_as_often_as_their_level_says():
    held = count = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        p = draw.choice([0.05, 0.2, 0.4, 0.7, 0.9], 600)
        found = reliability(p, draw.random(600) < p, np.arange(600))
        held += sum(part.holds for part in found.bins)
        count += len(found.bins)
    # Binomial(300, 0.9): outside of 0.85 to 0.95 with a probability of about 0.005.
    assert count == 300
    assert 0.85 <= held / count <= 0.95


def test_predictions_of_the_truth_are_reliable(crisis):
    held = count = 0
    for seed in range(4):
        for one in reliabilities(crisis, drawn(crisis, 1200, seed)):
            held += sum(part.holds for part in one.bins)
            count += len(one.bins)
    assert count > 200
    assert held / count > 0.85


def test_copies_of_a_conversation_widen_nothing(crisis):
    """A cluster of k copies counts as one: intervals are those without copies."""
    draw = np.random.default_rng(2)
    p = draw.choice([0.2, 0.6], 300)
    came = draw.random(300) < p
    one = reliability(p, came, np.arange(300))
    four = reliability(np.repeat(p, 4), np.repeat(came, 4), np.repeat(np.arange(300), 4))
    for a, b in zip(one.bins, four.bins, strict=True):
        assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=2e-3)


def test_beliefs_are_checked_from_the_shares_of_the_log(crisis):
    """A designed log with other shares: from its own, beliefs are reliable; from priors, not."""
    log = drawn(crisis, 3000, 0)
    designed = part(log, (log.codes.intent != 0) | (np.arange(3000) % 4 == 0))
    shares = type_shares(designed, len(crisis.intents))

    def excess(prior):
        found = reliabilities(crisis, designed, prior=prior)
        return {one.event: one.excess for one in found if one.kind == INTENT}

    assert excess(shares)["benign"].low < 0 < excess(shares)["benign"].high
    assert excess(None)["benign"].high < -0.1


def permuted(log, order):
    """Return `log` with its conversations in another order."""
    codes, starts = log.codes, np.searchsorted(log.codes.conversation, np.arange(len(order) + 1))
    events = np.concatenate([np.arange(starts[c], starts[c + 1]) for c in order])
    lengths = np.diff(starts)[order]
    columns = [
        getattr(codes, name)[events] for name in ("turn", "ask", "signal", "response", "reaction")
    ]
    moved = Codes(
        codes.intent[order], codes.group[order], np.repeat(np.arange(len(order)), lengths), *columns
    )
    return replace(
        log,
        codes=moved,
        cluster=log.cluster[order],
        group=log.group[order],
        propensity=log.propensity[events],
        outcome=log.outcome[order],
    )


def test_the_order_of_conversations_is_nothing(short, short_home, policies):
    log = drawn(short, 1500, 0)
    log = replace(log, group=np.arange(1500) % 3, groups=("a", "b", "c"))
    other = permuted(log, np.random.default_rng(1).permutation(1500))
    train = drawn(short, 200, 1)
    for a, b in zip(
        likelihoods(short, log, train=train), likelihoods(short, other, train=train), strict=True
    ):
        assert a.per_event.value == pytest.approx(b.per_event.value, abs=1e-12)
        assert a.per_event.high == pytest.approx(b.per_event.high, abs=1e-12)
    for one, two in zip(reliabilities(short, log), reliabilities(short, other), strict=True):
        assert one.brier == pytest.approx(two.brier, abs=1e-12)
        assert len(one.bins) == len(two.bins)
    policy = (even_users(short_home), policies[0])
    values = [off_policy(paths(x, short_home), short_home, policy) for x in (log, other)]
    for name, estimate in values[0].values.items():
        assert estimate.value == pytest.approx(values[1].values[name].value, abs=1e-12)
        assert estimate.low == pytest.approx(values[1].values[name].low, abs=1e-12)
    seen = [
        seen_policies(x, paths(x, short_home), short_home, policy[0], policy) for x in (log, other)
    ]
    for a, b in zip(*seen, strict=True):
        assert (a.name, a.answers) == (b.name, b.answers)
        assert a.value == pytest.approx(b.value, abs=1e-12)


def test_policies_of_the_log_are_valued_exactly(short, short_home, policies):
    """One group does what a known policy does, another something else."""
    target, drawing = policies
    mine, others = drawn(short, 6000, 0, drawing), drawn(short, 1000, 1)
    log = replace(mine, group=np.zeros(6000, int), groups=("mine",))
    users = even_users(short_home)
    solved = (users, target)
    truth = value_of(short_home, target)
    (everyone,) = seen_policies(log, paths(log, short_home), short_home, users, solved)
    assert everyone.name == EVERYONE
    assert everyone.value == pytest.approx(truth, abs=0.05)
    assert everyone.less == pytest.approx(truth - everyone.value)
    assert everyone.guaranteed <= everyone.value + 1e-9
    assert 0 < everyone.distance < 0.05
    assert everyone.observed.low - 0.05 < truth < everyone.observed.high + 0.05
    even = np.full(target.shape, 1 / target.shape[1])
    far = distance(short_home, solved, even)
    (other,) = seen_policies(others, paths(others, short_home), short_home, users, solved)
    assert other.distance == pytest.approx(far, abs=0.05)
    assert distance(short_home, solved, target) == 0


def test_beliefs_agree_with_those_of_the_game(short, short_home, policies):
    """Filtering a log and the posterior of the game share nothing but the scenario."""
    log = drawn(short, 400, 0)
    untyped = replace(log.codes, intent=np.full(400, -1))
    given = paths(logged(untyped), short_home, floor=0.0)
    belief = posterior(short_home.game, (even_users(short_home), policies[0]))
    answered = given.answered
    assert given.deciding[answered] == pytest.approx(belief[given.state[answered]], abs=1e-11)


def test_nothing_to_evaluate_is_said(short, short_home, policies):
    none = part(drawn(short, 5, 0), np.zeros(5, bool))
    with pytest.raises(InputError, match="found no event"):
        likelihoods(short, none)
    with pytest.raises(InputError, match="no whole conversation"):
        off_policy(paths(none, short_home), short_home, (even_users(short_home), policies[0]))
    with pytest.raises(InputError, match="turns: found 3"):
        likelihoods(short, drawn(short, 5, 0), others={"x": override(short, {"turns": 3})})
    assert FLOOR < 1e-3
    assert set(predictions(short, none.codes).scored) == set(KINDS)


def test_shares_are_the_likeliest_there_are(crisis):
    """No mixture nearby is likelier, by the likelihood that brute force has confirmed."""
    log = drawn(crisis, 1500, 0)
    codes = replace(log.codes, intent=np.full(1500, -1))
    found = shares(crisis, codes)
    assert found.sum() == pytest.approx(1)

    def total(prior):
        scored = predictions(crisis, codes, prior=prior).scored.values()
        return sum(one.log_chance.sum() for one in scored)

    best, draw = total(found), np.random.default_rng(0)
    for _ in range(10):
        assert total(found * draw.uniform(0.7, 1.4, len(found))) < best
    typed = shares(crisis, log.codes)
    assert typed == pytest.approx(type_shares(log, len(crisis.intents)))


def test_a_mixture_is_scored_with_its_own_shares(crisis):
    """Of a log that is no sample, priors say nothing of conversations without a type."""
    both = [drawn(crisis, 1500, seed) for seed in (0, 1)]
    train, log = (part(one, (one.codes.intent != 0) | (np.arange(1500) % 5 == 0)) for one in both)
    bare = [
        replace(one, codes=replace(one.codes, intent=np.full(len(one.cluster), -1)))
        for one in (train, log)
    ]
    found = [
        by_name(likelihoods(crisis, bare[1], train=bare[0], population=population))[SCENARIO]
        for population in (False, True)
    ]
    assert found[0].per_event.value > found[1].per_event.value + 0.005
