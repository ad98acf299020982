"""Whether conversations still go as the scenario says: what audit logs show against its prediction.

Letters: G histories, K things that can come next, T intents, B asks, Y signals, m tests.

Conversations are the independent units, turns are not: what comes next depends on what was said. So
a turn is tested given the past of its conversation. After a past h, all of which the guard has
seen, the scenario's own prediction of the next ask b, and of its signal y, is

    P(b | h) = Σ_i P(i | h) P_i(b | h) / P(the user goes on | h)
    P(y | h, b) = Σ_i P(i | h, b) σ(y | i, b)

with the posterior P(i | h) of its prior, kernels and channel, and the asks of strategic intents
from the bundle's user rows. Whoever leaves is not seen, so it is conditioned on going on. The
guard's own choices depend on h alone and cancel: the prediction holds whatever was served, the
ladder or an argmax included, if only the responses of the past are those that were carried out.

With n_h conversations of past h, which each count once in a turn, the sum over h of what came, less
n_h P(. | h), has mean 0 and covariance V = Σ_h n_h (diag P_h - P_h P_h'), and the statistic

    (O - E)' V⁺ (O - E)      is about χ² with rank V degrees of freedom.

In the first turn, where all have the same past, it is the one of Pearson (1900). Where a cell
expects fewer than 5 (Cochran 1954) its distribution is simulated instead: draws from the P_h, so
the p-value is exact but for its resolution (Barnard 1963; Besag & Clifford 1989). Turns are tested
given all that came before them, and Holm's correction (1979) holds the chance of any false alarm to
the level, however the tests depend on each other.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import brentq
from scipy.stats import binom, chi2, ncx2

from csa_games.errors import InputError
from csa_games.guard.bundle import Terms
from csa_games.guard.certificate import Dialogue
from csa_games.guard.decide import BACKOFF, DEFAULT, ERROR
from csa_games.guard.keys import user_key

FALLBACKS = (BACKOFF, DEFAULT, ERROR)
LEAST_EXPECTED = 5.0  # in a cell, for the chi-square distribution
POWER = 0.8
ROUNDING = 1e-9
TOLERATED = {"impossible": 1e-3, "fallbacks": 1e-2}
"""Shares of conversations that no scenario is too wrong for. No table has every last user."""

DRIFT, AS_PREDICTED, TOO_FEW = "drift", "as predicted", "too few"

Past = tuple[tuple[str, str, str], ...]
"""(ask, signal, response) of every turn so far."""

Came = tuple[str | None, str | None]
"""The ask and the signal of a turn; None for what has no name."""


@dataclass(frozen=True)
class Observed:
    """What a log shows of conversations.

    `came` has, for each past, how many conversations went on how. `conversations` are all that
    there are, `fallen` those with a fallback in the scenario's turns. `left_out` counts turns that
    say nothing about the scenario, by why; `decisions` all of them by verdict, reason and revision.
    """

    came: Mapping[Past, Mapping[Came, int]]
    conversations: int
    fallen: int
    left_out: Mapping[str, int]
    decisions: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Cell:
    """How many conversations were to be expected, and how many there were."""

    name: str
    expected: float
    observed: int


@dataclass(frozen=True)
class Test:
    """A comparison of what came with what was predicted.

    `what` is "asks" or "signals" (those of `ask`) of a `turn`, or of whole conversations (turn 0)
    "impossible", the share that did what the scenario gives no probability, or "fallbacks". Of
    these a share up to `TOLERATED` is what it should be. `adjusted` is the p-value after Holm's
    correction. `effect` is Cohen's w, the root of Σ (o - e)² / e over shares of cells, and below 0
    where less than the tolerated share was found. `enough` is the number of conversations from
    which on the effect asked for would be found four times in five; with fewer, that nothing was
    found means nothing.
    """

    __test__ = False  # pytest, this is none of yours

    turn: int
    what: str
    ask: str | None
    conversations: int
    cells: tuple[Cell, ...]
    method: str
    statistic: float
    freedom: int
    p: float
    adjusted: float
    effect: float
    enough: int
    finding: str


@dataclass(frozen=True)
class Drift:
    """All tests, and what they come to: "drift", "as predicted", or "too few" conversations.

    It is drift if any test finds some, and too few if no test of asks or signals had enough
    conversations to find any.
    """

    revision: str
    tests: tuple[Test, ...]
    observed: Observed
    level: float
    effect: float

    @property
    def finding(self) -> str:
        """What the tests come to."""
        if any(test.finding == DRIFT for test in self.tests):
            return DRIFT
        enough = any(test.finding == AS_PREDICTED for test in self.tests if test.turn > 0)
        return AS_PREDICTED if enough else TOO_FEW

    @property
    def fallbacks(self) -> float:
        """The share of decisions that fell back; nan without decisions."""
        reasons = self.observed.decisions["reason"]
        count = sum(reasons.values())
        return sum(reasons.get(r, 0) for r in FALLBACKS) / count if count else math.nan

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        seen = self.observed
        return {
            "finding": self.finding,
            "revision": self.revision,
            "conversations": seen.conversations,
            "fallbacks": self.fallbacks,
            "decisions": {what: dict(counts) for what, counts in seen.decisions.items()},
            "left_out": dict(seen.left_out),
            "level": self.level,
            "effect": self.effect,
            "tests": [asdict(test) for test in self.tests],
        }


def observe(
    entries: Iterable[Mapping[str, Any]],
    terms: Terms,
    revision: str,
    since: str = "",
    until: str = "9999",
) -> Observed:
    """Return what `entries`, the decisions of logs in their order, show of conversations.

    Of each scope the first conversation counts, turn by turn, as long as each turn follows from the
    one before: the same past, and as its last response the one that was enforced. So in shadow mode
    only first turns do, as what followed them followed another answer; and what is asked again, or
    asked in another way from an earlier turn on, does not count twice. Decisions count from the
    time `since` on and before `until`, both as in the log, 2026-11-22T21:40, or the beginning of
    that. Takes memory for each scope, some 300 bytes.
    """
    came: dict[Past, Counter[Came]] = {}
    left_out: Counter[str] = Counter()
    decisions: dict[str, Counter[str]] = {w: Counter() for w in ("verdict", "reason", "revision")}
    # Where each conversation is: its past, what came then, and what was enforced; None at an end.
    at: dict[str, tuple[Past, Came, str] | None] = {}
    fallen: set[str] = set()
    same: dict[Past, Past] = {}  # each past once in memory
    asks = set(terms.asks) - set(terms.ending_asks)

    for entry in entries:
        if not since <= str(entry.get("time")) < until:
            continue
        for what, counter in decisions.items():
            counter[str(entry.get(what))] += 1
        scope, history = entry.get("scope"), entry.get("history")
        if not isinstance(scope, str):
            left_out["no conversation"] += 1
            continue
        known = scope in at
        if entry.get("revision") != revision:
            left_out["another revision"] += 1
            if known:
                at[scope] = None
            continue
        before = at.setdefault(scope, None)
        turn = entry["turn"]
        if turn <= terms.turns and entry["reason"] in FALLBACKS:
            fallen.add(scope)
        if not history or turn > terms.turns or len(history) != turn:
            left_out["after the last turn" if history else "no history"] += 1
            continue
        *earlier, now = history
        if not earlier:
            if known:
                left_out["asked again"] += 1
                continue
            past: Past = ()
        elif before is None:
            left_out["begun before the log" if not known else "after its end"] += 1
            continue
        else:
            past = (*before[0], (str(before[1][0]), str(before[1][1]), before[2]))
            if earlier != list(map(list, past)):
                other = len(earlier) == len(past) and earlier[-1][:2] == list(past[-1][:2])
                left_out["another answer was carried out" if other else "asked again"] += 1
                continue
            past = same.setdefault(past, past)
        ask, signal = now[0], now[1]
        if ask not in asks:
            left_out["no ask of the scenario"] += 1
            at[scope] = None
            continue
        came.setdefault(past, Counter())[ask, signal] += 1
        if signal is None:
            left_out["no signal"] += 1
        at[scope] = None if signal is None else (past, (ask, signal), entry["enforced"])

    return Observed(came, len(at), len(fallen), dict(left_out), decisions)


class Prediction:
    """What a scenario predicts, given the user rows of a solution of it.

    `dialogue` is the scenario's, `users` the probability of each ask by key of the users'
    information sets, as a bundle's store has them.
    """

    def __init__(self, dialogue: Dialogue, users: Mapping[str, Sequence[float]]) -> None:
        self.dialogue = dialogue
        self.going_on = [not ends for ends in dialogue.ends]
        self.asks = [a for a, on in zip(dialogue.asks, self.going_on, strict=True) if on]
        self._users = users
        self._sigma = np.array(dialogue.sigma)
        self._posteriors: dict[Past, Float[np.ndarray, " T"]] = {(): np.array(dialogue.prior)}

    def posterior(self, past: Past) -> Float[np.ndarray, " T"]:
        """Return the posterior over intents after `past`; zeros if the past is impossible."""
        if past not in self._posteriors:
            *earlier, (ask, signal, _) = past
            d = self.dialogue
            weights = self._asked(tuple(earlier))[:, d.asks.index(ask)]
            weights = weights * self._sigma[:, d.asks.index(ask), d.signals.index(signal)]
            total = weights.sum()
            self._posteriors[past] = weights / total if total > 0 else weights
        return self._posteriors[past]

    def next_asks(self, past: Past) -> Float[np.ndarray, " B"]:
        """Return the probability of each of `asks`; zeros if nobody can go on."""
        mass = self._asked(past).sum(axis=0)[self.going_on]
        return mass / mass.sum() if mass.sum() > 0 else mass

    def next_signals(self, past: Past, ask: str) -> Float[np.ndarray, " Y"]:
        """Return the probability of each signal of `ask`; zeros if nobody can ask that."""
        b = self.dialogue.asks.index(ask)
        weights = self._asked(past)[:, b]
        return weights @ self._sigma[:, b] / weights.sum() if weights.sum() > 0 else 0.0 * weights

    def _asked(self, past: Past) -> Float[np.ndarray, "T B"]:
        """Return P(intent, its next ask | past)."""
        d, posterior = self.dialogue, self.posterior(past)
        rows = np.zeros((len(d.intents), len(d.asks)))
        public = tuple((ask, response) for ask, _, response in past)
        for i, intent in enumerate(d.intents):
            if posterior[i] == 0:
                continue
            if d.strategic[i]:
                rows[i] = self._users[user_key(intent, public)]
            elif not past:
                rows[i] = d.opening[i]
            else:
                rows[i] = d.after[len(past) - 1][d.responses.index(past[-1][2])][i]
        return posterior[:, None] * rows


@dataclass(frozen=True)
class _Case:
    """What is to be tested: how often each of K things came after each of G pasts."""

    turn: int
    what: str
    ask: str | None
    names: Sequence[str]
    came: Int[np.ndarray, "G K"]
    predicted: Float[np.ndarray, "G K"]


def drift(
    observed: Observed,
    prediction: Prediction,
    revision: str,
    *,
    level: float = 0.01,
    effect: float = 0.1,
    seed: int = 0,
) -> Drift:
    """Return the tests of what was `observed` against what was predicted.

    `level` bounds the probability of any finding where the prediction is right; logs that are
    tested again as they grow are several tests, so test windows of time instead. `effect` is what
    "too few" is measured by: the size of a shift, as Cohen's w, that is worth knowing; 0.1 is small
    (Cohen 1988). `seed` is of the simulations. Raises `InputError` for a level or an effect out of
    range.
    """
    if not 0 < level < 1:
        raise InputError(f"level: found {level}, expected a number between 0 and 1")
    if not effect > 0:
        raise InputError(f"effect: found {effect}, expected a number above 0")
    cases, impossible = _cases(observed, prediction)
    shares = {"impossible": impossible, "fallbacks": observed.fallen}
    m = len(cases) + len(shares)
    rng = np.random.default_rng(seed)
    found = [_compared(case, rng, level / m, effect) for case in cases]
    found += [
        _share(what, k, observed.conversations, level / m, effect) for what, k in shares.items()
    ]
    return Drift(revision, tuple(_corrected(found, level)), observed, level, effect)


def _cases(observed: Observed, prediction: Prediction) -> tuple[list[_Case], int]:
    """Return what can be tested, and how many conversations did something impossible."""
    impossible = 0
    rows: dict[tuple[int, str, str | None], list[tuple[list[int], Any]]] = {}
    signals = prediction.dialogue.signals
    for past, came in sorted(observed.came.items()):
        if not prediction.posterior(past).any():
            continue  # told where it became impossible
        probabilities = prediction.next_asks(past)
        asked = [sum(n for c, n in came.items() if c[0] == ask) for ask in prediction.asks]
        impossible += sum(n for n, p in zip(asked, probabilities, strict=True) if p == 0)
        asked = [n if p > 0 else 0 for n, p in zip(asked, probabilities, strict=True)]
        rows.setdefault((len(past) + 1, "asks", None), []).append((asked, probabilities))
        for ask, n in zip(prediction.asks, asked, strict=True):
            if n == 0:
                continue
            given = prediction.next_signals(past, ask)
            heard = [came.get((ask, signal), 0) for signal in signals]
            impossible += sum(k for k, p in zip(heard, given, strict=True) if p == 0)
            heard = [k if p > 0 else 0 for k, p in zip(heard, given, strict=True)]
            rows.setdefault((len(past) + 1, "signals", ask), []).append((heard, given))
    cases = []
    for (turn, what, of), pairs in sorted(rows.items(), key=lambda item: (item[0][0], str(item))):
        counts = np.array([row for row, _ in pairs])
        predicted = np.array([row for _, row in pairs])
        live = counts.sum(axis=1) > 0
        # Where only one thing can come, there is nothing to test.
        if (predicted[live].max(axis=1, initial=0.0) < 1 - ROUNDING).any():
            names = prediction.asks if what == "asks" else signals
            cases.append(_Case(turn, what, of, names, counts[live], predicted[live]))
    return cases, impossible


def _compared(case: _Case, rng: np.random.Generator, level: float, effect: float) -> Test:
    """Return the test of a case, its p-value not yet corrected."""
    each = case.came.sum(axis=1)
    n = int(each.sum())
    expected = each @ case.predicted
    came = case.came.sum(axis=0)
    covariance = np.diag(expected) - (each[:, None] * case.predicted).T @ case.predicted
    inverse, freedom = _inverse(covariance)
    statistic = _form(came - expected, inverse)
    if expected[expected > 0].min() >= LEAST_EXPECTED:
        method, p = "chi-square", float(chi2.sf(statistic, freedom))
    else:
        method, times = "simulated", math.ceil(10 / level)
        draws = np.zeros((times, came.size))
        for count, probabilities in zip(each, case.predicted, strict=True):
            draws += rng.multinomial(count, probabilities / probabilities.sum(), size=times)
        as_far = _form(draws - expected, inverse) >= statistic * (1 - ROUNDING)
        p = float((1 + as_far.sum()) / (1 + times))
    live = expected > 0
    squares = (came - expected)[live] ** 2 / expected[live]
    return Test(
        turn=case.turn,
        what=case.what,
        ask=case.ask,
        conversations=n,
        cells=tuple(
            Cell(name, float(e), int(o))
            for name, e, o in zip(case.names, expected, came, strict=True)
        ),
        method=method,
        statistic=float(statistic),
        freedom=freedom,
        p=p,
        adjusted=p,
        effect=math.sqrt(squares.sum() / n),
        enough=enough(freedom, level, effect),
        finding="",
    )


def _inverse(covariance: Float[np.ndarray, "K K"]) -> tuple[Float[np.ndarray, "K K"], int]:
    """Return the Moore-Penrose inverse, and the rank."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > ROUNDING * values.max()
    return (vectors[:, kept] / values[kept]) @ vectors[:, kept].T, int(kept.sum())


def _form(deviation: np.ndarray, inverse: Float[np.ndarray, "K K"]) -> Any:
    """Return dᵀ V⁺ d of a deviation, or of each of several."""
    return np.einsum("...i,ij,...j->...", deviation, inverse, deviation)


def enough(freedom: int, level: float, effect: float) -> int:
    """Return how many conversations find a shift of size `effect` with probability `POWER`.

    Cohen (1988, chapter 7): the noncentrality of the chi-square statistic is n w².
    """
    bound = chi2.isf(level, freedom)
    needed = brentq(lambda size: ncx2.sf(bound, freedom, size) - POWER, 1e-6, 1e4)
    return math.ceil(needed / effect**2)


def _share(what: str, count: int, n: int, level: float, effect: float) -> Test:
    """Return the exact test that no more than the tolerated share of conversations is `what`."""
    most = TOLERATED[what]
    p = float(binom.sf(count - 1, n, most)) if n else 1.0
    return Test(
        turn=0,
        what=what,
        ask=None,
        conversations=n,
        cells=(Cell("tolerated", most * n, count),),
        method="binomial",
        statistic=float(count),
        freedom=1,
        p=p,
        adjusted=p,
        effect=(count / n - most) / math.sqrt(most * (1 - most)) if n else math.nan,
        enough=enough(1, level, effect),
        finding="",
    )


def _corrected(tests: Sequence[Test], level: float) -> list[Test]:
    """Return `tests` with Holm's correction, and what each has found."""
    adjusted, worst = {}, 0.0
    for rank, k in enumerate(sorted(range(len(tests)), key=lambda k: tests[k].p)):
        worst = max(worst, min(1.0, (len(tests) - rank) * tests[k].p))
        adjusted[k] = worst
    return [_found(test, adjusted[k], level) for k, test in enumerate(tests)]


def _found(test: Test, adjusted: float, level: float) -> Test:
    if adjusted <= level:
        finding = DRIFT
    else:
        finding = AS_PREDICTED if test.conversations >= test.enough else TOO_FEW
    return Test(**{**vars(test), "adjusted": adjusted, "finding": finding})
