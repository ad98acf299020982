"""The effect of a response: unbiased where one model is, honest intervals, and what it refuses."""

import sys
from dataclasses import asdict
from fractions import Fraction

import numpy as np
import pytest
from scipy.special import expit
from threadpoolctl import threadpool_limits

from csa_games.calibration.effect import (
    CLIP,
    FOLDS,
    LEARNERS,
    clustered,
    doubly_robust,
    e_value,
    folds,
    linear,
)
from csa_games.errors import InputError

LEVEL = 0.9


def drawn(seed, clusters=100, size=4, *, binary=False, shared=0.7):
    """Return (y, a, x, cluster) of a world with confounding, and the effect in it.

    What is in x moves both. A cluster shares a part of y that nothing else moves.
    """
    draw = np.random.default_rng(seed)
    n = clusters * size
    cluster = np.repeat(np.arange(clusters), size)
    x = np.stack([draw.normal(size=n), draw.integers(0, 2, n).astype(float)], axis=1)
    a = draw.random(n) < expit(0.8 * x[:, 0] + 0.6 * x[:, 1] - 0.3)
    score = x[:, 0] + 0.8 * x[:, 1]
    if binary:
        y = (draw.random(n) < expit(score - 0.7 + 0.5 * a)).astype(float)
        truth = (expit(score - 0.2) - expit(score - 0.7)).mean()
    else:
        y = score + 0.4 * a + shared * draw.normal(size=clusters)[cluster] + draw.normal(size=n)
        truth = 0.4
    return (y, a, x, cluster), truth


def cells(x, y):
    """Learn the mean of every value of the covariates."""
    values, number = np.unique(x, axis=0, return_inverse=True)
    sums, counts = np.bincount(number, y), np.bincount(number)
    mean = {tuple(v): s / c for v, s, c in zip(values.tolist(), sums, counts, strict=True)}
    return lambda at: np.array([mean.get(tuple(v), y.mean()) for v in at.tolist()])


def least_squares(x, y):
    weights, *_ = np.linalg.lstsq(np.column_stack([np.ones(len(x)), x]), y, rcond=None)
    return lambda at: np.column_stack([np.ones(len(at)), at]) @ weights


def constant(x, y):
    mean = float(y.mean())
    return lambda at: np.full(len(at), mean)


def discrete(seed, clusters=40, size=10):
    draw = np.random.default_rng(seed)
    n = clusters * size
    x = draw.integers(0, 3, (n, 1)).astype(float)
    a = draw.random(n) < 0.3 + 0.2 * x[:, 0]
    y = (draw.random(n) < 0.2 + 0.2 * x[:, 0] + 0.1 * a).astype(float)
    return y, a, x, np.repeat(np.arange(clusters), size)


# --- right on average, and honest


@pytest.mark.parametrize("binary", [False, True])
def test_intervals_cover_the_effect_where_the_difference_does_not(binary):
    runs = 200
    found, truths = [], []
    for seed in range(runs):
        data, truth = drawn(seed, binary=binary)
        outcome = linear if binary else least_squares
        found.append(doubly_robust(*data, propensity=linear, outcome=outcome))
        truths.append(truth)
    truth = np.array(truths)
    low, high, value = (
        np.array([getattr(e.difference, k) for e in found]) for k in ("low", "high", "value")
    )
    naive_low = np.array([e.naive.low for e in found])
    covered = ((low <= truth) & (truth <= high)).mean()
    assert 0.85 <= covered <= 0.95
    assert (naive_low <= truth).mean() < 0.25  # the naive difference is far too high
    error = value - truth
    assert abs(error.mean()) < 3 * error.std() / np.sqrt(runs)


@pytest.mark.parametrize(
    ("propensity", "outcome", "right"),
    [
        (linear, linear, True),
        (linear, constant, True),
        (constant, linear, True),
        (constant, constant, False),
    ],
)
def test_one_right_model_is_enough(propensity, outcome, right):
    errors, reach = [], []
    for seed in range(10):
        data, truth = drawn(1000 + seed, clusters=1000)
        found = doubly_robust(*data, propensity=propensity, outcome=outcome)
        errors.append(found.difference.value - truth)
        reach.append(found.difference.high - found.difference.value)
        # With neither model there is nothing but the difference of means.
        unadjusted = abs(found.difference.value - found.naive.value) < 0.01
        assert unadjusted == (not right)
    deviation = np.mean(reach) / 1.645 / np.sqrt(10)
    assert (abs(np.mean(errors)) < 4 * deviation) == right


def test_trees_learn_what_does_not_add_up():
    draw = np.random.default_rng(0)
    n = 2000
    x = draw.integers(0, 2, (n, 2)).astype(float)
    odd = x[:, 0] != x[:, 1]
    a = draw.random(n) < np.where(odd, 0.8, 0.2)
    y = (draw.random(n) < np.where(odd, 0.7, 0.2) + 0.1 * a).astype(float)
    data = (y, a, x, np.arange(n))
    with threadpool_limits(1):  # more of them would wait for each other
        straight, bent = (doubly_robust(*data, propensity=f, outcome=f) for f in LEARNERS.values())
    assert straight.difference.low > 0.3
    assert bent.difference.low < 0.1 < bent.difference.high


# --- against references that share no code


def test_saturated_models_give_the_stratified_estimate():
    y, a, x, _ = discrete(3, clusters=1, size=120)
    turns = list(zip(y.tolist(), a.tolist(), x[:, 0].tolist(), strict=True))
    exact = Fraction(0)
    for stratum in (0.0, 1.0, 2.0):
        arms = [[int(y) for y, a, s in turns if s == stratum and a == arm] for arm in (True, False)]
        share = Fraction(sum(map(len, arms)), len(turns))
        exact += share * (
            Fraction(sum(arms[0]), len(arms[0])) - Fraction(sum(arms[1]), len(arms[1]))
        )
    # Clusters that are all alike: every fold sees the same shares as the whole.
    twelve = [np.concatenate([part] * 12) for part in (y, a, x)]
    found = doubly_robust(*twelve, np.repeat(np.arange(12), 120), propensity=cells, outcome=cells)
    assert found.difference.value == pytest.approx(float(exact), abs=1e-12)


def test_the_estimate_and_its_error_are_those_of_exact_arithmetic():
    y, a, x, cluster = discrete(4)
    fold = folds(np.arange(40), 0)
    turns = [
        (int(y), bool(a), s, g, int(fold[g]))
        for y, a, s, g in zip(
            y.tolist(), a.tolist(), x[:, 0].tolist(), cluster.tolist(), strict=True
        )
    ]

    def share(values):
        return Fraction(sum(values), len(values))

    model = {}
    for k in range(FOLDS):
        for stratum in (0.0, 1.0, 2.0):
            there = [t for t in turns if t[4] != k and t[2] == stratum]
            model[k, stratum] = (
                share([t[1] for t in there]),
                *(share([t[0] for t in there if t[1] == arm]) for arm in (False, True)),
            )
    psi = []
    for y, a, stratum, _, k in turns:
        e, m0, m1 = model[k, stratum]
        psi.append(m1 - m0 + ((y - m1) / e if a else -(y - m0) / (1 - e)))
    mean = sum(psi) / len(psi)
    sums = [sum(p - mean for p, t in zip(psi, turns, strict=True) if t[3] == g) for g in range(40)]
    variance = Fraction(40, 39) * sum(s * s for s in sums) / len(psi) ** 2

    data = doubly_robust(*discrete(4), propensity=cells, outcome=cells).difference
    assert data.value == pytest.approx(float(mean), abs=1e-12)
    student = 1.684875  # of 39 degrees of freedom at .95, from a table
    assert data.high - data.value == pytest.approx(student * float(variance) ** 0.5, rel=1e-5)


def test_the_error_is_that_of_a_bootstrap_of_clusters():
    (y, a, x, cluster), _ = drawn(7, clusters=150, size=6, shared=1.5)
    models = {"propensity": least_squares, "outcome": least_squares}
    found = doubly_robust(y, a, x, cluster, **models)
    draw = np.random.default_rng(0)
    again = []
    for _ in range(300):
        picked = draw.integers(0, 150, 150)
        rows = (picked[:, None] * 6 + np.arange(6)).ravel()
        same = cluster[rows]  # a cluster that was drawn twice is in one fold
        again.append(doubly_robust(y[rows], a[rows], x[rows], same, **models).difference.value)
    reach = found.difference.high - found.difference.value
    assert reach == pytest.approx(1.655 * np.std(again), rel=0.15)
    alone = doubly_robust(y, a, x, np.arange(900), **models).difference
    assert found.difference.effective < 900
    assert alone.effective == pytest.approx(900, rel=0.01)


def test_e_values_are_those_of_the_paper():
    # VanderWeele & Ding (2017), Annals of Internal Medicine 167: both examples, with their limits.
    for ratio, published in ((3.9, 7.26), (1.8, 3.0), (0.80, 1.81), (0.91, 1.43), (1.0, 1.0)):
        assert e_value(ratio) == pytest.approx(published, abs=0.005)
        both = e_value(ratio)
        # A confounder of that strength on both sides has that bounding factor.
        assert both * both / (2 * both - 1) == pytest.approx(max(ratio, 1 / ratio))


def test_ratios_and_what_would_overturn_them():
    data, _ = drawn(1, clusters=1000, binary=True)
    found = doubly_robust(*data)
    assert found.ratio.value == pytest.approx(found.given.value / found.other.value)
    assert found.ratio.low > 1
    assert found.e_value_limit == e_value(found.ratio.low) < found.e_value
    turned = doubly_robust(1 - data[0], *data[1:])
    assert turned.difference.value == pytest.approx(-found.difference.value)
    assert turned.ratio.high < 1
    assert turned.e_value_limit == e_value(turned.ratio.high)

    small = doubly_robust(*drawn(1, clusters=15, binary=True)[0])
    assert small.ratio.low < 1 < small.ratio.high
    assert small.e_value_limit == 1

    numeric = doubly_robust(*(data := drawn(1, clusters=1000)[0]))
    d = numeric.difference.value / data[0].std()
    assert numeric.ratio.value == pytest.approx(np.exp(0.91 * d))


# --- what must not matter


@pytest.mark.parametrize("binary", [False, True])
def test_order_is_no_matter(binary):
    (y, a, x, cluster), _ = drawn(5, binary=binary)
    order = np.random.default_rng(0).permutation(len(y))
    one = doubly_robust(y, a, x, cluster)
    other = doubly_robust(y[order], a[order], x[order], cluster[order])
    np.testing.assert_equal(asdict(one), asdict(other))
    assert doubly_robust(y, a, x, cluster, seed=1).difference.value != one.difference.value


def test_folds_are_even_and_go_by_the_labels():
    labels = np.array([f"c{k}" for k in range(103)])
    found = folds(labels, 0)
    assert sorted(np.bincount(found)) == [20, 20, 21, 21, 21]
    assert np.array_equal(folds(labels[::-1], 0), found[::-1])
    assert not np.array_equal(folds(labels, 1), found)


def test_repeating_tells_nothing_and_more_of_the_same_halves_the_variance():
    y, a, x, cluster = discrete(6, clusters=200)
    twice = [np.concatenate([part, part]) for part in (y, a, x)]
    models = {"propensity": cells, "outcome": cells}
    one = doubly_robust(y, a, x, cluster, **models).difference
    repeated = doubly_robust(*twice, np.concatenate([cluster, cluster]), **models).difference
    assert repeated.value == pytest.approx(one.value)
    assert repeated.high == pytest.approx(one.high)
    more = doubly_robust(*twice, np.concatenate([cluster, cluster + 200]), **models).difference
    ratio = (more.high - more.low) ** 2 / (one.high - one.low) ** 2
    assert ratio == pytest.approx(0.5, rel=0.02)


def test_covariates_may_be_none():
    (y, a, x, cluster), _ = drawn(2)
    found = doubly_robust(y, a, x[:, :0], cluster)
    assert found.difference.value == pytest.approx(found.naive.value, abs=0.02)
    assert found.overlap.imbalance == 0


# --- overlap


def test_overlap_is_told():
    (y, a, x, cluster), _ = drawn(3, clusters=500)
    overlap = doubly_robust(y, a, x, cluster).overlap
    assert overlap.given.sum() == a.sum()
    assert overlap.other.sum() == (~a).sum()
    assert 0 < overlap.lowest < 0.2 < 0.8 < overlap.highest < 1
    assert overlap.clipped == 0
    assert overlap.effective_given < a.sum()
    assert overlap.imbalance > 0.5 > 0.1 > overlap.imbalance_weighted


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"a": lambda a, x: a & (np.arange(400) < 30)},
            "the response is hardly seen: found 20 turns in 8 clus",
        ),
        ({"a": lambda a, x: a | (np.arange(400) > 30)}, "what it is compared with is hardly seen"),
        (
            {"a": lambda a, x: np.arange(400) < 36},
            "found 36 turns in 9 clusters, expected at least",
        ),
        ({"a": lambda a, x: x[:, 0] > 0}, "overlap is too poor: at "),
        ({"y": lambda y: np.zeros(400)}, "hardly varies: found 0 of "),
        ({"y": lambda y: (np.arange(400) < 8).astype(float)}, "hardly varies: found "),
        ({"y": lambda y: np.where(np.arange(400) == 3, np.nan, y)}, "no finite numbers"),
        ({"level": 90.0}, "found the level 90"),
    ],
)
def test_what_the_data_cannot_carry_is_refused(change, said):
    (y, a, x, cluster), _ = drawn(0)
    y = change["y"](y) if "y" in change else y
    a = change["a"](a, x) if "a" in change else a
    with pytest.raises(InputError, match=said):
        doubly_robust(y, a, x, cluster, level=change.get("level", LEVEL))


def test_weights_that_leave_next_to_nothing_are_refused():
    (y, _, x, cluster), _ = drawn(0)
    a = np.arange(400) % 10 == 0

    def extreme(x, y):
        return lambda at: np.where(at[:, 0] > 1.5, 2 * CLIP, 0.97)

    with pytest.raises(InputError, match="once weighted, the turns with one of the responses are"):
        doubly_robust(y, a, x, cluster, propensity=extreme)


def test_a_response_in_one_fold_only_is_refused():
    cluster = np.repeat(np.arange(50), 8)
    a = folds(np.arange(50), 0)[cluster] == 2
    y = np.arange(400) % 7 / 7
    with pytest.raises(InputError, match="in one fold only"):
        doubly_robust(y, a, np.zeros((400, 0)), cluster)


def test_an_estimate_that_never_moves_is_worth_its_clusters():
    found = clustered(0.5, np.zeros(20), np.repeat(np.arange(4), 5), level=LEVEL, how="x")
    assert (found.low, found.high, found.effective) == (0.5, 0.5, 4)


@pytest.mark.parametrize("name", LEARNERS)
def test_the_extra_is_named_where_it_is_missing(monkeypatch, name):
    for module in ("sklearn.linear_model", "sklearn.ensemble"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"extra fit: pip install 'csa-games\[fit\]'"):
        doubly_robust(*drawn(0)[0], propensity=LEARNERS[name], outcome=LEARNERS[name])
