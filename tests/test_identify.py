"""What a log does not tell: thin rows, flat directions of latent intents, what is withheld."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from test_calibration import first_successes, reading, taken
from test_mixture import CONTEXT, planted

from csa_games.calibration.counts import closed, count
from csa_games.calibration.fitted import fit, fittable
from csa_games.calibration.identify import ENOUGH, Identifiability, identify
from csa_games.calibration.latent import Direction, Shown, contexts, told
from csa_games.calibration.mixture import fit_mixture, flat, information, posterior, sample
from csa_games.calibration.simulate import simulate
from csa_games.cli.output import console
from csa_games.cli.untold import show_untold, untold_numbers
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario


def directions(given, kinds=2):
    """Return a mixture, and the directions in which its likelihood is flat."""
    found = fit_mixture(given, kinds, np.random.default_rng(0))
    expected = (given.times[:, None] * posterior(found, given)).T @ given.seen
    return found, flat(found, given.context, information(found, given), expected)


# --- flat directions


def test_the_ridge_of_the_attack_log_is_flat(shared_data):
    """A log that ends with the first success tells of two cells the survivors of round 1 alone.

    So weights w and chances f of failing in round 1 may change together, w f staying: that is one
    direction, and all that is told of later rounds is no part of it.
    """
    turns, happened = first_successes(shared_data)
    hit, last = happened & (turns < 8), np.minimum(turns, 7)
    later = np.where(hit, np.maximum(last - 1, 0), last)
    columns = (~(hit & (last == 0)), hit & (last == 0), later, hit & (last > 0))
    found, (worth, along) = directions(sample(np.stack(columns, axis=1).astype(int), (0, 0, 1, 1)))
    assert len(worth) == 1
    assert worth[0] < 1e-6
    weight, fails = found.weight, found.rows[:, 0]
    change = np.array([1.0, -1.0])  # of the weights
    of_fails = -fails / weight * change
    ridge = np.concatenate([change, *([f, -f, 0, 0] for f in of_fails)])
    ridge /= ridge[np.abs(ridge).argmax()]
    assert along[0] / along[0][np.abs(along[0]).argmax()] == pytest.approx(ridge, abs=1e-6)


def test_kinds_that_several_sightings_tell_apart_have_no_flat_direction():
    seen, kind = planted(2000, np.random.default_rng(0))
    assert directions(sample(seen, CONTEXT))[1][0].size == 0
    # The last context is met by the first half only, and kinds are labelled: still nothing.
    seen[1000:, 5:] = 0
    assert directions(sample(seen, CONTEXT, kind))[1][0].size == 0


def test_one_sighting_of_each_conversation_tells_no_kinds_apart():
    # Three cells of one context: two numbers are told, of one weight and twice two chances.
    seen, kind = planted(2000, np.random.default_rng(0), meets=(1, 0, 0))
    found, (worth, along) = directions(sample(seen[:, :3], (0, 0, 0)))
    told_by_kind = int((found.rows > 1e-3).sum()) - 2  # chances that are not at their end
    assert len(worth) == 1 + told_by_kind - 2
    for direction in along:  # what is told, the mean of the rows, does not change
        of_weight, of_rows = direction[:2], direction[2:].reshape(2, 3)
        assert of_weight.sum() == pytest.approx(0, abs=1e-9)
        assert of_rows.sum(axis=1) == pytest.approx([0, 0], abs=1e-9)
        mean = of_weight @ found.rows + found.weight @ of_rows
        assert mean == pytest.approx(np.zeros(3), abs=1e-6)
    # A few labels are enough, and what they tell does not depend on how they are counted.
    known = np.where(np.arange(2000) < 100, kind, -1)
    assert directions(sample(seen[:, :3], (0, 0, 0), known))[1][0].size == 0


def test_a_chance_at_its_end_is_told():
    draw = np.random.default_rng(0)
    seen = np.zeros((400, 4), int)
    kind = np.arange(400) % 2
    seen[:, 0] = 1  # the second outcome never comes
    seen[np.arange(400), 2 + (draw.random(400) < 0.3 + 0.4 * kind)] = 1
    assert directions(sample(seen, (0, 0, 1, 1), kind))[1][0].size == 0


# --- rows of a scenario


@pytest.fixture(scope="module")
def crisis():
    return read_scenario(builtin_scenarios()["crisis_guidance"])


def fitted(base, codes, mapping):
    wanted = fittable(base, mapping)
    latent = None
    if mapping.latent:
        shown = Shown(contexts(base, wanted, mapping.latent))
        shown.add(codes)
        latent = told(base, wanted, shown, np.random.default_rng(0))
    found = fit(base, mapping, wanted, closed(count(codes, wanted)), latent=latent)
    return found, identify(found, mapping, latent)


def test_a_labelled_log_has_nothing_flat(crisis):
    codes = simulate(crisis, 4000, np.random.default_rng(0))
    found, untold = fitted(crisis, codes, reading())
    assert untold.flat == ()
    assert not any(row.unmoved for row in untold.thin)
    thin = {row.label for row in untold.thin}
    for row, worth in zip(found.rows, found.estimates.effective, strict=True):
        assert (row.label in thin) == (worth < ENOUGH)
    assert "benign opens" not in thin
    assert "malicious asking disguised" in thin
    widths = [row.width for row in untold.thin]
    assert widths == sorted(widths, reverse=True)


def test_rows_that_were_never_seen_come_first_and_are_unmoved(crisis):
    codes = simulate(crisis, 4000, np.random.default_rng(0))
    some = replace(codes, response=np.where(codes.response == 0, -1, codes.response))
    found, untold = fitted(crisis, some, reading())
    unseen = {row.label for row, n in zip(found.rows, found.estimates.n, strict=True) if n == 0}
    assert {f"{name} after comply" for name in ("benign", "distressed", "misinformed")} <= unseen
    first = untold.thin[: len(unseen)]
    assert {row.label for row in first} == unseen
    for row in first:
        assert row.unmoved
        assert row.width == row.prior_width
        assert (row.n, row.effective) == (0, 0)


def test_the_prior_of_two_outcomes_is_the_arcsine_law(crisis):
    """Half an observation for each: quantiles are sin²(π q / 2)."""
    two = override(
        crisis,
        {
            "intents.benign.kernel.opening": {
                "plain": 0.5,
                "contextualised": 0.5,
            }
        },
    )
    codes = simulate(two, 300, np.random.default_rng(0))
    none = replace(codes, ask=np.where(codes.turn == 0, -1, codes.ask))
    _, untold = fitted(two, none, reading())
    row = next(row for row in untold.thin if row.label == "benign opens")
    ends = np.sin(np.pi * np.array([0.05, 0.95]) / 2) ** 2
    assert row.width == pytest.approx(ends[1] - ends[0], abs=1e-9)


@pytest.mark.parametrize(
    ("design", "withheld"), [("designed", True), ("filtered", True), ("population", False)]
)
def test_priors_are_withheld_where_the_design_says_so(crisis, design, withheld):
    codes = simulate(crisis, 500, np.random.default_rng(0))
    _, untold = fitted(crisis, codes, reading(design=design))
    assert ("priors" in untold.withheld) == withheld
    if withheld:
        assert design in untold.withheld["priors"]


def test_latent_intents_that_one_turn_shows_are_named(crisis):
    """One ask and one signal each: 8 numbers are told, and two intents have more."""
    halves = {"benign": 0.5, "distressed": 0.5, "misinformed": 0.0, "malicious": 0.0}
    base = override(crisis, {f"intents.{name}.prior": p for name, p in halves.items()})
    codes = simulate(override(base, {"turns": 1}), 3000, np.random.default_rng(0))
    latent = reading(latent=["benign", "distressed"])
    _, untold = fitted(base, replace(codes, intent=np.full(3000, -1)), latent)
    assert untold.flat
    rows = {row for direction in untold.flat for row in direction.changes}
    assert "shares" in rows
    assert {"benign opens", "distressed opens"} & rows
    for direction in untold.flat:
        assert 0 <= direction.worth < 1
        changes = [abs(x) for row in direction.changes.values() for x in row.values()]
        assert max(changes) == pytest.approx(1)
    _, with_labels = fitted(base, taken(codes, np.arange(3000)), reading())
    assert with_labels.flat == ()


def test_what_is_flat_is_spelled_out(capsys):
    flat = Direction(0.01, {"shares": {"benign": 1.0, "distressed": -1.0}})
    untold = Identifiability((), (flat,), {})
    assert untold_numbers(untold)["flat"] == [{"worth": 0.01, "changes": flat.changes}]
    show_untold(console(sys.stdout), untold)
    said = " ".join(capsys.readouterr().out.split())
    assert "Every row has 100 observations or more" in said
    assert (
        "The likelihood does not move if together shares benign by +1.00, shares distressed by "
        "-1.00." in said
    )
