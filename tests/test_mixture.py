"""Kinds of conversations that nobody has labelled: what EM finds, and what it cannot."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from test_calibration import first_successes, reading, taken

from csa_games.calibration import mixture
from csa_games.calibration.counts import closed, count
from csa_games.calibration.fitted import fit, fittable
from csa_games.calibration.latent import Shown, compared, contexts, told
from csa_games.calibration.mixture import (
    Mixture,
    fit_mixture,
    held_out,
    log_likelihood,
    posterior,
    sample,
    variances,
)
from csa_games.calibration.simulate import simulate
from csa_games.dialogue import tables
from csa_games.errors import InputError
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario, scenario_from

CONTEXT = (0, 0, 0, 1, 1, 2, 2)
ROWS = np.array([[0.7, 0.2, 0.1, 0.8, 0.2, 0.3, 0.7], [0.2, 0.2, 0.6, 0.3, 0.7, 0.6, 0.4]])
WEIGHT = np.array([0.65, 0.35])


def planted(count, draw, *, meets=(2, 4, 3)):
    """Draw conversations of two kinds that meet each context so often."""
    kind = (draw.random(count) > WEIGHT[0]).astype(int)
    seen = np.zeros((count, 7), int)
    for part, often in zip((slice(0, 3), slice(3, 5), slice(5, 7)), meets, strict=True):
        for z in (0, 1):
            at = kind == z
            seen[at, part] = draw.multinomial(often, ROWS[z, part], size=at.sum())
    return seen, kind


CRISIS = contexts(
    read_scenario(builtin_scenarios()["crisis_guidance"]),
    fittable(read_scenario(builtin_scenarios()["crisis_guidance"]), reading()),
    ("benign", "distressed"),
)


def given_by(weight, rows, conversations=1):
    return Mixture(np.array(weight), np.array(rows), 0.0, 0, conversations, 0, True)


def test_two_planted_kinds_are_recovered():
    seen, kind = planted(4000, np.random.default_rng(0))
    given = sample(seen, CONTEXT)
    found = fit_mixture(given, 2, np.random.default_rng(1))
    assert found.converged
    assert found.weight == pytest.approx(WEIGHT, abs=0.03)
    assert found.rows == pytest.approx(ROWS, abs=0.04)
    assert found.log_likelihood >= log_likelihood(given_by(WEIGHT, ROWS), given)
    share = posterior(found, sample(seen[:1], CONTEXT))
    assert share.sum() == pytest.approx(1)
    assert share[0, kind[0]] > 0.5


def test_the_likelihood_is_that_of_its_definition():
    seen, _ = planted(50, np.random.default_rng(0))
    rows = np.prod(ROWS[None] ** seen[:, None], axis=2)  # [N, Z]
    expected = np.log(rows @ WEIGHT).sum()
    assert log_likelihood(given_by(WEIGHT, ROWS), sample(seen, CONTEXT)) == pytest.approx(expected)
    share = posterior(given_by(WEIGHT, ROWS), replace(sample(seen, CONTEXT)))
    again = sample(seen, CONTEXT)
    rows = np.prod(ROWS[None] ** again.seen[:, None], axis=2) * WEIGHT
    assert share == pytest.approx(rows / rows.sum(axis=1, keepdims=True))


def test_more_steps_never_lower_the_likelihood():
    given = sample(planted(300, np.random.default_rng(2))[0], CONTEXT)
    runs = [
        fit_mixture(given, 2, np.random.default_rng(3), starts=1, most_steps=steps)
        for steps in (1, 2, 5, 20, 100)
    ]
    assert all(one.log_likelihood <= other.log_likelihood + 1e-9 for one, other in pairwise(runs))
    assert not runs[0].converged


def test_the_order_of_conversations_and_pieces_are_no_matter(monkeypatch):
    draw = np.random.default_rng(0)
    seen, _ = planted(300, draw)
    one = fit_mixture(sample(seen, CONTEXT), 2, np.random.default_rng(1))
    mixed = sample(seen[draw.permutation(300)], CONTEXT)
    other = fit_mixture(mixed, 2, np.random.default_rng(1))
    assert np.array_equal(one.rows, other.rows)
    monkeypatch.setattr(mixture, "PIECE", 16)
    third = fit_mixture(mixed, 2, np.random.default_rng(1))
    assert third.rows == pytest.approx(one.rows, abs=1e-6)
    # Each of its own kind of sample: alike ones counted together or not.
    alone = replace(mixed, times=np.ones(len(mixed.seen), int))
    twice = replace(mixed, times=2 * alone.times)
    ways = [fit_mixture(way, 2, np.random.default_rng(1)) for way in (alone, twice)]
    assert ways[1].log_likelihood == pytest.approx(2 * ways[0].log_likelihood)


def test_known_kinds_give_their_frequencies():
    seen, kind = planted(500, np.random.default_rng(0))
    found = fit_mixture(sample(seen, CONTEXT, kind), 2, np.random.default_rng(1))
    for z in (0, 1):
        often = seen[kind == z].sum(axis=0)
        total = np.bincount(CONTEXT, often)[list(CONTEXT)]
        assert found.rows[z] == pytest.approx(often / total, abs=1e-9)
        assert found.weight[z] == pytest.approx((kind == z).mean())


def test_some_known_kinds_say_which_is_which():
    seen, kind = planted(1000, np.random.default_rng(0))
    known = np.where(np.arange(1000) < 100, 1 - kind, -1)  # the rarer one is called 0
    found = fit_mixture(sample(seen, CONTEXT, known), 2, np.random.default_rng(1))
    assert found.weight == pytest.approx(WEIGHT[::-1], abs=0.05)


def test_what_a_kind_never_shows_stays_so():
    allowed = np.ones((2, 7), bool)
    allowed[1, 2] = False
    seen, _ = planted(1000, np.random.default_rng(0))
    found = fit_mixture(sample(seen, CONTEXT), 2, np.random.default_rng(1), allowed=allowed)
    assert found.rows[1, 2] <= 2 * mixture.LEAST
    assert found.parameters == 1 + 2 * 4 - 1
    free = fit_mixture(sample(seen, CONTEXT), 2, np.random.default_rng(1))
    assert found.log_likelihood < free.log_likelihood


def test_numbers_of_kinds_are_told_by_bic_and_held_out_likelihood():
    seen, _ = planted(600, np.random.default_rng(0))
    shown = Shown(replace(CRISIS, context=np.array(CONTEXT)), [seen])
    found = compared(shown, np.random.default_rng(1))
    assert sorted(found) == [1, 2, 3]
    assert min(found, key=lambda z: found[z].bic) == 2
    assert found[2].held_out > found[1].held_out
    assert found[2].held_out > found[3].held_out - 5  # a third kind gains nothing


def test_clusters_are_held_out_together():
    # Conversations of a cluster are the same: whoever sees some of them knows the others.
    draw = np.random.default_rng(0)
    seen = np.repeat(planted(12, draw)[0], 40, axis=0)
    cluster = np.repeat(np.arange(12), 40)
    few = {"folds": 2, "most_steps": 50}
    alone = held_out(seen, CONTEXT, 6, np.random.default_rng(1), **few)
    together = held_out(seen, CONTEXT, 6, np.random.default_rng(1), cluster=cluster, **few)
    assert together < alone - 100


def test_standard_errors_cover():
    inside = total = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        given = sample(planted(600, draw)[0], CONTEXT)
        found = fit_mixture(given, 2, draw, starts=2)
        of_weight, of_rows = variances(found, given)
        inside += (abs(found.weight - WEIGHT) <= 1.645 * np.sqrt(of_weight))[:1].sum()
        inside += (abs(found.rows - ROWS) <= 1.645 * np.sqrt(of_rows)).sum()
        total += 15
    assert 0.85 <= inside / total <= 0.95


def test_known_kinds_have_multinomial_variances():
    seen, kind = planted(4000, np.random.default_rng(0), meets=(1, 1, 1))
    given = sample(seen, CONTEXT, kind)
    found = fit_mixture(given, 2, np.random.default_rng(1))
    of_weight, of_rows = variances(found, given)
    n = 4000 * found.weight[:, None]
    assert of_rows == pytest.approx(found.rows * (1 - found.rows) / n, rel=0.02)
    assert of_weight == pytest.approx(np.prod(found.weight) / 4000, rel=0.02)


# --- the attack log


@pytest.fixture(scope="module")
def attacks(shared_data):
    turns, happened = first_successes(shared_data)
    hit, last = happened & (turns < 8), np.minimum(turns, 7)
    # Outcomes: failure and success in round 1, and in later rounds up to the first success.
    first = last == 0
    later = np.where(hit, np.maximum(last - 1, 0), last)
    columns = (~(hit & first), hit & first, later, hit & ~first)
    return sample(np.stack(columns, axis=1).astype(int), (0, 0, 1, 1))


CELLS = given_by([0.604, 0.396], [[0.695, 0.305, 0.440, 0.560], [0.582, 0.418, 0.931, 0.069]])
"""The two latent cells that the README of the logs states, +-.015."""


def test_two_cells_of_the_attack_log(attacks):
    runs = {
        z: fit_mixture(attacks, z, np.random.default_rng(0), most_steps=20_000) for z in (1, 2, 3)
    }
    # README: log-likelihood -13,262.4; BIC 27,757 for one cell, 26,570 for two, 26,594 for three.
    assert runs[2].log_likelihood == pytest.approx(-13_262.4, abs=0.1)
    assert [round(runs[z].bic) for z in (1, 2)] == [27_757, 26_570]
    assert runs[3].bic == pytest.approx(26_594, abs=2)
    assert runs[1].rows[0, [1, 3]] == pytest.approx([0.350, 0.249], abs=1e-3)
    assert sorted(runs[2].rows[:, 3]) == pytest.approx([0.069, 0.560], abs=0.015)
    # P(first cell | k failures), k = 1..7.
    order = np.argsort(-runs[2].rows[:, 3])
    failed = np.stack([np.ones(7), np.zeros(7), np.arange(7), np.zeros(7)], axis=1).astype(int)
    share = posterior(
        runs[2], replace(attacks, seen=failed, times=np.ones(7, int), kind=-np.ones(7, int))
    )
    expected = [0.646, 0.463, 0.289, 0.161, 0.083, 0.041, 0.020]
    assert share[:, order[0]] == pytest.approx(expected, abs=0.01)


def test_weights_and_first_hazards_of_the_cells_are_not_told(attacks):
    """The cells of the README are one point of a ridge: the likelihood does not move along it."""
    assert log_likelihood(CELLS, attacks) == pytest.approx(-13_262.4, abs=0.2)
    # Any weight w whose survivors of round 1 are as many of each cell gives the same likelihood.
    survivors = CELLS.weight * CELLS.rows[:, 0]
    for first in (0.45, 0.5, 0.62):
        weight = np.array([first, 1 - first])
        fails = survivors / weight
        rows = np.column_stack([fails, 1 - fails, CELLS.rows[:, 2:]])
        other = log_likelihood(given_by(weight, rows), attacks)
        assert other == pytest.approx(log_likelihood(CELLS, attacks), abs=1e-6)
    of_weight, of_rows = variances(fit_mixture(attacks, 2, np.random.default_rng(0)), attacks)
    assert of_weight.min() > 1
    assert of_rows[:, :2].min() > 1
    assert np.sqrt(of_rows[:, 2:]).max() < 0.016  # README: +-.015


# --- latent intents of a scenario


@pytest.fixture(scope="module")
def crisis():
    base = read_scenario(builtin_scenarios()["crisis_guidance"])
    halves = {"benign": 0.6, "distressed": 0.4, "misinformed": 0.0, "malicious": 0.0}
    return override(base, {f"intents.{name}.prior": p for name, p in halves.items()})


@pytest.fixture(scope="module")
def log(crisis):
    return simulate(crisis, 4000, np.random.default_rng(0))


def fitted(base, codes, **more):
    mapping = reading(latent=["benign", "distressed"], **more)
    wanted = fittable(base, mapping)
    shown = Shown(contexts(base, wanted, mapping.latent))
    shown.add(codes)
    found = told(base, wanted, shown, np.random.default_rng(0))
    return fit(base, mapping, wanted, closed(count(codes, wanted)), latent=found)


@pytest.fixture(scope="module")
def unlabelled(crisis, log):
    return fitted(crisis, replace(log, intent=np.full(4000, -1)))


def test_latent_intents_are_told_apart(crisis, unlabelled):
    truth, found = tables(crisis), unlabelled
    inside = total = 0
    for k, row in enumerate(found.rows):
        if found.estimates.n[k] > 0:
            base = np.array(row.base)
            ours = slice(0, len(base))
            low, high = found.estimates.low[k, ours], found.estimates.high[k, ours]
            inner = (base > 0) & (base < 1)
            inside += ((low <= base) & (base <= high))[inner].sum()
            total += inner.sum()
    assert total > 40
    assert inside / total > 0.8
    again = tables(found.scenario)
    assert again.opening[:2] == pytest.approx(truth.opening[:2], abs=0.05)


def test_what_was_told_apart_is_said(unlabelled):
    assert "Told apart without labels, by a mixture of 4,000 conversations: benign 0." in (
        unlabelled.scenario.notes
    )
    assert unlabelled.scenario.intents[0].prior.source.startswith("assumption")  # designed


def test_latent_intents_are_known_less_well_than_labelled_ones(crisis, log, unlabelled):
    labelled = fit(
        crisis,
        reading(),
        wanted := fittable(crisis, reading()),
        closed(count(log, wanted)),
    )
    seen = (labelled.estimates.n > 50) & (unlabelled.estimates.n > 50)
    width = [(one.estimates.high - one.estimates.low)[seen].sum() for one in (labelled, unlabelled)]
    assert seen.sum() > 10
    assert width[1] > 1.05 * width[0]


def test_latent_shares_are_priors_of_a_population_alone(crisis, log):
    unknown = replace(log, intent=np.full(4000, -1))
    found = fitted(crisis, unknown, design="population")
    prior = found.scenario.intents[0].prior
    assert prior.low < (log.intent == 0).mean() < prior.high
    assert prior.high - prior.low < 0.12


def test_groups_that_a_mixture_leaves_out_are_said(crisis, log):
    some = taken(log, np.arange(300))
    grouped = replace(some, intent=np.full(300, -1), group=np.arange(300) % 10)
    assert "not as grouped" in fitted(crisis, grouped, cluster="group").scenario.notes


def test_labels_leave_no_doubt(crisis, log):
    some = taken(log, np.arange(1500))
    known = replace(some, intent=np.where(np.arange(1500) < 1490, some.intent, -1))
    with_mixture = fitted(crisis, known)
    without = fit(
        crisis, reading(), wanted := fittable(crisis, reading()), closed(count(known, wanted))
    )
    seen = without.estimates.n > 100
    assert with_mixture.estimates.value[seen] == pytest.approx(
        without.estimates.value[seen], abs=0.02
    )


def test_logs_without_a_latent_conversation_are_named(crisis, log):
    with pytest.raises(InputError, match="no conversation without a type"):
        fitted(crisis, taken(log, np.arange(50)))


def test_channels_shared_with_other_intents_are_named(crisis, log):
    shared = crisis.model_dump(mode="json")
    shared["channel"][3]["intents"] = ["distressed", "misinformed"]
    shared["channel"] = [part for k, part in enumerate(shared["channel"]) if k != 4]
    base = scenario_from(shared, "shared")
    with pytest.raises(InputError, match=r"channel\[3\]: found distressed, misinformed in one"):
        fitted(base, replace(log, intent=np.full(4000, -1)))


def test_negligible_counts_are_none(crisis, unlabelled):
    for row, value in zip(unlabelled.rows, unlabelled.estimates.value, strict=True):
        if row.field.startswith("intents.distressed"):
            assert value[2] == 0  # disguised, which is none of their asks
