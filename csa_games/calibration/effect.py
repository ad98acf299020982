"""What a response does to what happens next: a doubly robust estimate, and what could overturn it.

Turns at which one of two responses was given differ in more than the response: whoever is refused
may have been about to leave anyway. With a = 1 where the response was given and 0 where the other
was, e(x) the probability of a = 1 given covariates x and m_a(x) the mean of the outcome y,

    psi_1 = m_1(x) + a (y - m_1(x)) / e(x),    psi_0 = m_0(x) + (1 - a) (y - m_0(x)) / (1 - e(x)),

and the mean of psi_1 - psi_0 estimates the effect (augmented inverse probability weighting; Robins,
Rotnitzky & Zhao 1994). e, m_0 and m_1 are fitted on the folds that a turn is not in (Chernozhukov
et al. 2018), by a `Learner`; folds keep clusters together. Standard errors are those of the means
of psi over G clusters, with Student's t of G - 1 degrees of freedom.

The difference is the effect of the response, on average over the turns at hand, under assumptions.
- No confounding that is not in x: whatever moves both the response and the outcome was recorded. No
  log can tell. `Effect.e_value` says how strong a cause left out would have to be.
- Positivity: either response may be given at every x. Seen in `Overlap`; refused where it fails.
- Consistency: a label means one thing, and a turn's response acts on that conversation alone. No
  log can tell.

Guaranteed, as the number of clusters grows: the estimate is right if e is, or m_0 and m_1 are. The
intervals hold if both are nearly right; with few clusters their coverage is only measured.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from csa_games.calibration.clustered import kish, spread
from csa_games.calibration.estimates import Estimate
from csa_games.errors import InputError

FOLDS = 5
BINS = 20  # of the histograms of propensities

# Conventions, none of them a theorem: below, intervals by asymptotics are not to be believed.
LEAST_SEEN = 20  # turns with either response, and turns that they are worth after weighting
LEAST_CLUSTERS = 10  # clusters in which either was given
LEAST_OUTCOMES = 5  # zeros and ones, where an outcome is one of them, with either response
CLIP = 0.01  # propensities are kept within [CLIP, 1 - CLIP]
MOST_CLIPPED = 0.1  # share of turns

Predictor = Callable[[Float[np.ndarray, "M P"]], Float[np.ndarray, " M"]]
Learner = Callable[[Float[np.ndarray, "N P"], Float[np.ndarray, " N"]], Predictor]
"""Takes covariates and numbers, and returns what predicts the mean of such numbers."""


@dataclass(frozen=True)
class Overlap:
    """How far turns with one response are like turns with the other."""

    lowest: float  # propensity, before it is clipped
    highest: float
    clipped: float  # share of turns whose propensity was moved to an end of [CLIP, 1 - CLIP]
    given: Int[np.ndarray, f" {BINS}"]  # turns with the response, by propensity from 0 to 1
    other: Int[np.ndarray, f" {BINS}"]
    effective_given: float  # what turns are worth once weighted: (sum w)^2 / sum w^2 (Kish 1965)
    effective_other: float
    # The largest difference of a covariate's means, in standard deviations: below 0.1 is taken to
    # be little (Austin 2009).
    imbalance: float
    imbalance_weighted: float


@dataclass(frozen=True)
class Effect:
    """An effect, beside the difference that is seen without any adjustment.

    `ratio` is that of the means for outcomes of 0 and 1 (none where a mean is not above 0), and for
    other numbers exp(0.91 d), d the difference in standard deviations (VanderWeele & Ding 2017).
    `e_value` is how strongly, as a ratio of risks, a confounder would have to go with both the
    response and the outcome beyond the covariates to explain the ratio away; `e_value_limit` is
    that for the end of its interval nearer to 1: 1 if it has 1 in it.
    """

    difference: Estimate
    naive: Estimate
    given: Estimate  # the mean outcome if all were given the response
    other: Estimate
    ratio: Estimate | None
    e_value: float | None
    e_value_limit: float | None
    clusters: int
    overlap: Overlap


def doubly_robust(
    y: Float[np.ndarray, " N"],
    a: Bool[np.ndarray, " N"],
    x: Float[np.ndarray, "N P"],
    cluster: Shaped[np.ndarray, " N"],
    *,
    seed: int = 0,
    level: float = 0.9,
    propensity: Learner | None = None,
    outcome: Learner | None = None,
) -> Effect:
    """Return the effect of `a` on the mean of `y` given `x`; learners are `linear` by default.

    The order of the turns is no matter: folds come of the labels in `cluster` and of `seed`. Raises
    `InputError` where the data cannot carry an effect.
    """
    if not 0 < level < 1:
        raise InputError(f"found the level {level:g}, expected a number between 0 and 1, as 0.9")
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise InputError("found outcomes or covariates that are no finite numbers")
    number, group = np.unique(cluster, return_inverse=True)
    _check_seen(y, a, group)
    # The same turns in any order are summed in the same order, bit for bit.
    order = np.lexsort((*x.T, y, a, group))
    y, a, x, group = y[order], a[order], x[order], group[order]
    fold = folds(number, seed)[group]
    e, m0, m1 = crossed(y, a, x, fold, propensity or linear, outcome or linear)

    kept = np.clip(e, CLIP, 1 - CLIP)
    overlap = _overlap(a, x, e, kept)
    _check_overlap(overlap)
    psi1 = m1 + a * (y - m1) / kept
    psi0 = m0 + ~a * (y - m0) / (1 - kept)
    share, seen1, seen0 = float(a.mean()), float(y[a].mean()), float(y[~a].mean())
    apart = a * (y - seen1) / share - ~a * (y - seen0) / (1 - share)
    how = "AIPW"

    def mean(psi: Float[np.ndarray, " N"]) -> Estimate:
        return clustered(float(psi.mean()), psi - psi.mean(), group, level=level, how=how)

    difference = mean(psi1 - psi0)
    ratio = _ratio(y, psi1, psi0, group, difference)
    return Effect(
        difference=difference,
        naive=clustered(seen1 - seen0, apart, group, level=level, how="difference of means"),
        given=mean(psi1),
        other=mean(psi0),
        ratio=ratio,
        e_value=None if ratio is None else e_value(ratio.value),
        e_value_limit=None if ratio is None else e_value(_nearest(ratio)),
        clusters=len(number),
        overlap=overlap,
    )


def folds(labels: Shaped[np.ndarray, " G"], seed: int) -> Int[np.ndarray, " G"]:
    """Return the fold of each of different labels: dealt in turn in the order of their hashes.

    So nothing depends on the order that they come in.
    """
    hashes = [hashlib.sha256(f"{seed}:{label}".encode()).digest() for label in labels.tolist()]
    found = np.zeros(len(hashes), np.int64)
    found[sorted(range(len(hashes)), key=hashes.__getitem__)] = np.arange(len(hashes)) % FOLDS
    return found


def crossed(
    y: Float[np.ndarray, " N"],
    a: Bool[np.ndarray, " N"],
    x: Float[np.ndarray, "N P"],
    fold: Int[np.ndarray, " N"],
    propensity: Learner,
    outcome: Learner,
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Return e, m_0 and m_1 of every turn, by models of the turns in other folds.

    Raises `InputError` if one of the responses is seen in a single fold.
    """
    found = np.zeros((3, len(y)))
    for k in np.unique(fold).tolist():
        here, there = fold == k, fold != k
        if not (a[there].any() and (~a[there]).any()):
            raise InputError(
                "one of the responses is seen in one fold only, expected both in all; another "
                "seed deals the clusters anew"
            )
        found[0, here] = propensity(x[there], a[there].astype(np.float64))(x[here])
        found[1, here] = outcome(x[there & ~a], y[there & ~a])(x[here])
        found[2, here] = outcome(x[there & a], y[there & a])(x[here])
    return found[0], found[1], found[2]


def clustered(
    value: float,
    influence: Float[np.ndarray, " N"],
    group: Int[np.ndarray, " N"],
    *,
    level: float,
    how: str,
) -> Estimate:
    """Return an estimate from its influence function, of mean 0, and the cluster of each turn.

    Clusters are numbered from 0. `effective` is how many independent turns would tell as much.
    """
    n = len(influence)
    variance, reach = spread(influence, group, float(n), level)
    alone = float(influence @ influence) / n**2
    worth = n * min(1.0, alone / variance) if variance > 0 else float(len(np.unique(group)))
    return Estimate(value, value - reach, value + reach, float(n), worth, level, how)


def e_value(ratio: float) -> float:
    """Return the E-value of a ratio of risks (VanderWeele & Ding 2017)."""
    above = max(ratio, 1 / ratio)
    return above + math.sqrt(above * (above - 1))


def linear(x: Float[np.ndarray, "N P"], y: Float[np.ndarray, " N"]) -> Predictor:
    """Fit a logistic regression to zeros and ones, a linear one to other numbers.

    Both have an L2 penalty of 1, which matters less the more turns there are.
    """
    if _nothing_to_learn(x, y):
        return _constant(x, y)
    try:
        from sklearn.linear_model import LogisticRegression, Ridge
    except ModuleNotFoundError:
        raise _missing() from None
    if _binary(y):
        # Newton's steps end at the optimum itself, so that the order of the data is no matter.
        model = LogisticRegression(solver="newton-cholesky", max_iter=1000, tol=1e-8).fit(x, y)
        return lambda at: np.asarray(model.predict_proba(at)[:, 1], np.float64)
    plain = Ridge(alpha=1.0).fit(x, y)
    return lambda at: np.asarray(plain.predict(at), np.float64)


def trees(x: Float[np.ndarray, "N P"], y: Float[np.ndarray, " N"]) -> Predictor:
    """Fit boosted trees: for many turns, whose covariates do not simply add up."""
    if _nothing_to_learn(x, y):
        return _constant(x, y)
    try:
        from sklearn.ensemble import (
            HistGradientBoostingClassifier,
            HistGradientBoostingRegressor,
        )
    except ModuleNotFoundError:
        raise _missing() from None
    shape = {"max_iter": 100, "max_depth": 3, "early_stopping": False, "random_state": 0}
    if _binary(y):
        model = HistGradientBoostingClassifier(**shape).fit(x, y)
        return lambda at: np.asarray(model.predict_proba(at)[:, 1], np.float64)
    plain = HistGradientBoostingRegressor(**shape).fit(x, y)
    return lambda at: np.asarray(plain.predict(at), np.float64)


LEARNERS: Mapping[str, Learner] = {"linear": linear, "trees": trees}
"""What e, m_0 and m_1 may be fitted by, by name; scikit-learn does the work."""


def _constant(x: Float[np.ndarray, "N P"], y: Float[np.ndarray, " N"]) -> Predictor:
    mean = float(y.mean())
    return lambda at: np.full(len(at), mean)


def _nothing_to_learn(x: Float[np.ndarray, "N P"], y: Float[np.ndarray, " N"]) -> bool:
    return x.shape[1] == 0 or bool((y == y[0]).all())


def _binary(y: Float[np.ndarray, " N"]) -> bool:
    return bool(((y == 0) | (y == 1)).all())


def _missing() -> InputError:
    return InputError(
        "the package scikit-learn is not installed; effects need the extra fit: "
        "pip install 'csa-games[fit]'"
    )


def _check_seen(
    y: Float[np.ndarray, " N"], a: Bool[np.ndarray, " N"], group: Int[np.ndarray, " N"]
) -> None:
    for given, name in ((a, "the response"), (~a, "what it is compared with")):
        turns, clusters = int(given.sum()), len(np.unique(group[given]))
        if turns < LEAST_SEEN or clusters < LEAST_CLUSTERS:
            raise InputError(
                f"{name} is hardly seen: found {turns:,} turns in {clusters:,} clusters, expected "
                f"at least {LEAST_SEEN} in {LEAST_CLUSTERS}"
            )
        once = int((y[given] == y[given].max()).sum())
        if min(once, turns - once) < LEAST_OUTCOMES and (_binary(y) or once == turns):
            raise InputError(
                f"the outcome of {name} hardly varies: found {min(once, turns - once)} of "
                f"{turns:,} turns that differ from the others, expected at least {LEAST_OUTCOMES}"
            )


def _check_overlap(found: Overlap) -> None:
    if found.clipped > MOST_CLIPPED:
        raise InputError(
            f"overlap is too poor: at {found.clipped:.0%} of the turns the response is all "
            f"but certain or ruled out (a propensity beyond {CLIP} to {1 - CLIP}), expected at "
            f"most {MOST_CLIPPED:.0%}; compare responses that are given in like situations"
        )
    worth = min(found.effective_given, found.effective_other)
    if worth < LEAST_SEEN:
        raise InputError(
            f"overlap is too poor: once weighted, the turns with one of the responses are worth "
            f"{worth:.1f}, expected at least {LEAST_SEEN}; compare responses that are given in "
            "like situations"
        )


def _overlap(
    a: Bool[np.ndarray, " N"],
    x: Float[np.ndarray, "N P"],
    e: Float[np.ndarray, " N"],
    kept: Float[np.ndarray, " N"],
) -> Overlap:
    weight = np.where(a, 1 / kept, 1 / (1 - kept))
    edges = np.linspace(0, 1, BINS + 1)

    def apart(w: Float[np.ndarray, " N"]) -> float:
        if not x.shape[1]:
            return 0.0
        means = [np.average(x[part], axis=0, weights=w[part]) for part in (a, ~a)]
        spread = np.sqrt((x[a].var(axis=0) + x[~a].var(axis=0)) / 2)
        return float((np.abs(means[0] - means[1]) / np.where(spread > 0, spread, 1.0)).max())

    return Overlap(
        lowest=float(e.min()),
        highest=float(e.max()),
        clipped=float((e != kept).mean()),
        given=np.histogram(e[a], edges)[0],
        other=np.histogram(e[~a], edges)[0],
        effective_given=kish(weight[a]),
        effective_other=kish(weight[~a]),
        imbalance=apart(np.ones(len(a))),
        imbalance_weighted=apart(weight),
    )


def _ratio(
    y: Float[np.ndarray, " N"],
    psi1: Float[np.ndarray, " N"],
    psi0: Float[np.ndarray, " N"],
    group: Int[np.ndarray, " N"],
    difference: Estimate,
) -> Estimate | None:
    """Return the ratio that E-values take, its interval by the delta method on the log scale."""
    if _binary(y):
        one, other = float(psi1.mean()), float(psi0.mean())
        if min(one, other) <= 0:
            return None
        influence = (psi1 - one) / one - (psi0 - other) / other
        log = clustered(
            math.log(one / other), influence, group, level=difference.level, how="ratio of means"
        )
        scale = 1.0
    else:
        # The standard deviation is taken as known, as the paper has it.
        log, scale = difference, 0.91 / (float(y.std()) or 1.0)
    value, low, high = (_exp(scale * end) for end in (log.value, log.low, log.high))
    how = log.how if _binary(y) else "exp(0.91 d)"
    return Estimate(value, low, high, log.n, log.effective, log.level, how)


def _exp(log: float) -> float:
    return math.exp(min(max(log, -700.0), 700.0))


def _nearest(ratio: Estimate) -> float:
    """Return the end of an interval that is nearer to 1, or 1 where 1 is inside."""
    return ratio.low if ratio.low > 1 else min(ratio.high, 1.0)
