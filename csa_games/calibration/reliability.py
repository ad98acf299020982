"""Whether what was predicted with probability p comes in a share p of the cases.

With y = 1 where an event came and p its prediction, the Brier score is the mean of (p − y)². Over
bins with n_k cases, mean prediction p_k and share y_k that came, of N with share ȳ (Murphy 1973;
the last term, of predictions that differ within a bin, by Stephenson, Coelho & Jolliffe 2008),

    Brier = Σ n_k (p_k − y_k)² / N − Σ n_k (y_k − ȳ)² / N + ȳ (1 − ȳ) + within,
            reliability              resolution             uncertainty

exactly. The expected calibration error is Σ n_k |p_k − y_k| / N (Naeini, Cooper & Hauskrecht
2015). Like reliability, it is above 0 even for the truth, by the noise of the bins. What the truth
keeps to is each bin by itself: its interval is that of a Jeffreys Beta posterior of counts divided
by the design effect of clusters, and of true predictions about as many are outside as its level
lets. Predictions of few different values have a bin each; others are cut into bins of about as many
cases.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from csa_games.calibration.clustered import ratio
from csa_games.calibration.estimates import Estimate, beta_interval
from csa_games.calibration.logged import Logged
from csa_games.calibration.predict import KINDS, OPENING, REACTION, SIGNAL, predictions
from csa_games.errors import InputError
from csa_games.scenario import Scenario

BINS = 10
INTENT, LEAVING = "intents", "leaving"


@dataclass(frozen=True)
class Bin:
    """Cases predicted alike: how many, their mean prediction, the share that came, its interval."""

    n: int
    predicted: float
    observed: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """Whether the interval holds the prediction."""
        return self.low <= self.predicted <= self.high


@dataclass(frozen=True)
class Reliability:
    """The predictions of one event against what came.

    `excess` is by how much the share that came exceeds the mean prediction: calibration in the
    large.
    """

    kind: str
    event: str
    n: int
    bins: tuple[Bin, ...]
    excess: Estimate
    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float
    error: float  # expected calibration error


def reliability(
    predicted: Float[np.ndarray, " C"],
    came: Bool[np.ndarray, " C"],
    cluster: Int[np.ndarray, " C"],
    *,
    kind: str = "",
    event: str = "",
    most: int = BINS,
    level: float = 0.9,
) -> Reliability:
    """Return how C predictions did; raises `InputError` if there is none."""
    n = len(predicted)
    if not n:
        raise InputError(f"{event}: found no prediction, expected some")
    which = _bins(predicted, most)
    size = np.bincount(which)
    p, y = np.bincount(which, predicted) / size, np.bincount(which, came) / size
    share = float(came.mean())
    low, high = _intervals(which, size, y, came, cluster, level)
    gap = predicted - p[which]
    within = float((gap**2 - 2 * gap * (came - y[which])).mean())
    return Reliability(
        kind,
        event,
        n,
        tuple(
            Bin(int(size[k]), float(p[k]), float(y[k]), float(low[k]), float(high[k]))
            for k in range(len(size))
        ),
        ratio(came - predicted, np.ones(n), cluster, level),
        float(((predicted - came) ** 2).mean()),
        float(size @ (p - y) ** 2) / n,
        float(size @ (y - share) ** 2) / n,
        share * (1 - share),
        within,
        float(size @ np.abs(p - y)) / n,
    )


def reliabilities(
    scenario: Scenario,
    log: Logged,
    *,
    typed: bool = True,
    prior: Float[np.ndarray, " T"] | None = None,
    most: int = BINS,
    level: float = 0.9,
) -> Iterator[Reliability]:
    """Yield how predictions did: of each ask, each signal, leaving, and each intent.

    Beliefs start from the `prior`, or that of the scenario, where the type is not recorded. Those
    in intents, which are checked where it is, are of an assistant that is not told it and has to
    answer. What
    never came and was never predicted is left out.
    """
    codes = log.codes
    found = predictions(scenario, codes, typed=typed, prior=prior)
    asks, signals = ([part.name for part in parts] for parts in (scenario.asks, scenario.signals))
    names = {OPENING: asks, SIGNAL: signals, REACTION: asks}
    cases = []
    for kind in KINDS:
        scored = found.scored[kind]
        cluster = log.cluster[codes.conversation[scored.event]]
        cases += [
            (kind, name, scored.chance[:, k], scored.came == k, cluster)
            for k, name in enumerate(names[kind])
        ]
        if kind == REACTION:
            ends = np.array([part.ends is not None for part in scenario.asks])
            gone = scored.chance[:, ends].sum(axis=1)
            cases.append((LEAVING, "the user leaves", gone, ends[scored.came], cluster))
    known = codes.intent[codes.conversation] >= 0
    decided = np.flatnonzero(known & (codes.signal >= 0))
    if len(decided):
        belief = predictions(scenario, codes, typed=False, prior=prior).deciding[decided]
        of = codes.conversation[decided]
        cases += [
            (INTENT, part.name, belief[:, i], codes.intent[of] == i, log.cluster[of])
            for i, part in enumerate(scenario.intents)
        ]
    for kind, name, predicted, came, cluster in cases:
        if len(came) and (came.any() or predicted.max() > NEGLIGIBLE):
            yield reliability(
                predicted, came, cluster, kind=kind, event=name, most=most, level=level
            )


NEGLIGIBLE = 1e-3


def type_shares(log: Logged, intents: int) -> Float[np.ndarray, " T"] | None:
    """Return the shares of intents among conversations with a type, None where there is none."""
    known = log.codes.intent[log.codes.intent >= 0]
    return np.bincount(known, minlength=intents) / len(known) if len(known) else None


def _bins(predicted: Float[np.ndarray, " C"], most: int) -> Int[np.ndarray, " C"]:
    """Return the bin of each prediction, numbered without gaps, in their order."""
    value, which = np.unique(np.round(predicted, 9), return_inverse=True)
    if len(value) <= most:
        return which
    often = np.cumsum(np.bincount(which))
    bin_of = np.minimum((often - 0.5) * most // len(predicted), most - 1).astype(int)
    return np.unique(bin_of, return_inverse=True)[1][which]


def _intervals(
    which: Int[np.ndarray, " C"],
    size: Int[np.ndarray, " K"],
    share: Float[np.ndarray, " K"],
    came: Bool[np.ndarray, " C"],
    cluster: Int[np.ndarray, " C"],
    level: float,
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Return the interval of the share that came in each bin."""
    _, number = np.unique(cluster, return_inverse=True)
    pair, of = np.unique(which * (number.max() + 1) + number, return_inverse=True)
    among = np.bincount(of, came - share[which]) ** 2
    alone = size * share * (1 - share)
    spread = np.bincount(pair // (number.max() + 1), among, minlength=len(size))
    # Where all came or none did nothing tells how much clusters differ: each counts as one (Kish).
    worst = np.bincount(pair // (number.max() + 1), np.bincount(of) ** 2.0, len(size)) / size
    deff = np.where(alone > 0, spread / np.where(alone > 0, alone, 1.0), worst)
    deff = np.maximum(deff, 1.0)
    n, k = size / deff, size * share / deff
    low, high = beta_interval(k + 0.5, n - k + 0.5, level)
    return np.where(share == 0, 0.0, low), np.where(share == 1, 1.0, high)
