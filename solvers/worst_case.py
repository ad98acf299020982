"""The best worst case by regret minimisation: for programs that are too large for HiGHS.

Let the assistant's plan be x, and y all that nature chooses after it: the corner of the weights'
box, the prior, and at every infoset of the users' treeplex what happens there, within intervals.
Both are picked from polytopes and the payoff is bilinear, so the best worst case is the value of a
zero-sum game, and any two plans bound it:

    min over y of u(x, y)  <=  the best worst case  <=  max over x of u(x, y)

Each bound is one pass over the game, so that the distance between them is proved, up to rounding,
whatever the plans come from. They come from self-play with a regret minimiser at each infoset,
nature's as well as the assistant's, whose regrets bound those of the plans (Zinkevich et al. 2007;
for choices from any convex set Farina, Kroer & Sandholm 2019). The assistant's is regret matching+
that predicts the regret that it saw last (Farina, Kroer & Sandholm 2021). Nature's probabilities
lie in a box that regret matching does not know, and there it is optimistic mirror descent (Rakhlin
& Sridharan 2013): a projection, with a step of the box's diameter over the root of the summed
squares by which losses differ from those that came before, so that nobody has to choose one. The
two take turns, and plans are averaged with the weights t^2; that the bounds then meet, and how
fast, is only measured: on crisis_guidance with kernels and channels fitted to a log they are 0.02
apart after 150 iterations, and 0.001 after 1,200.

Letters, besides those of `csa_games.game`: C corners of the weights' box, M masses of the prior.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from time import perf_counter
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from csa_games.fold import (
    Payoff,
    Rows,
    backup,
    expectation,
    legal_mask,
    legal_rows,
    mean_of,
    reach,
    rows_of,
    seen,
    table_of,
    uniform,
)
from csa_games.game import ASSISTANT, USER, Progress, SequenceForm, Status, Treeplex
from solvers.guarantee import Freedom
from solvers.regret import regret_matching
from solvers.sequence import behavioural

CHECK = 25  # iterations between two looks at the bounds
HALVINGS = 12  # of the interval in which a projection's shift lies, before Newton's method
MOST_SHIFTS = 60  # that a projection tries; 20 are mostly enough
ROUNDING = 1e-12  # how far sums of probabilities may be off 1


@dataclass(frozen=True)
class Priors:
    """A set of priors. Letters: T intents of positive prior, M masses that lie in intervals.

    A mass is the prior of an intent, or of those together that are left out, and is shared by its
    intents as `share` says.
    """

    low: Float[np.ndarray, " M"]
    high: Float[np.ndarray, " M"]
    share: Float[np.ndarray, "M T"]


@dataclass(frozen=True)
class Found:
    """A policy of the assistant, its worst case, and a bound that no policy's is above."""

    policy: Float[np.ndarray, "I A"]
    value: float
    bound: float
    steps: int
    status: Status


class _Learner(NamedTuple):
    """Optimistic mirror descent over probabilities within intervals, at many infosets at once."""

    choice: Float[np.ndarray, "*K A N"]
    centre: Float[np.ndarray, "*K A N"]  # what the descent is at, before its prediction
    hint: Float[np.ndarray, "*K A N"]  # the loss that came last
    surprise: Float[np.ndarray, "*K 1 N"]  # summed squares of what it differed by


def best_worst_case(
    form: SequenceForm,
    numbers: Float[np.ndarray, "C T L"],
    freedom: Freedom | None,
    among: Priors,
    worth: Callable[[Float[np.ndarray, "I A"]], float],
    *,
    target: float,
    max_steps: int,
    seconds: float,
    progress: Callable[[Progress], object] | None,
) -> Found:
    """Return a policy whose worst case is within `target` of the best, in payoff units.

    `numbers` are the assistant's payoffs on the leaves of `form` at each corner, given each intent;
    every leaf is of one intent. Users are as free as `freedom` says, adversarial where it is None.
    `worth` returns the worst case of a policy, exactly. The best policy that was seen is returned
    when the bounds are within the target, after so many steps or `seconds`, and after a
    KeyboardInterrupt, once there is one.
    """
    began, ours = perf_counter(), form.treeplex[ASSISTANT]
    best, bound, steps = (uniform(ours), -np.inf), np.inf, 0
    status: Status = "max_steps"
    try:
        for steps, average in enumerate(_iterations(form, numbers, freedom, among), 1):
            late = perf_counter() - began >= seconds
            if steps % CHECK and steps < max_steps and not late:
                continue
            policy = np.asarray(table_of(ours, behavioural(ours, average.plan)))
            if (value := worth(policy)) > best[1]:
                best = policy, value
            bound = min(bound, _most(ours, average.payoff))
            gap = max(bound - best[1], 0.0)
            if progress is not None:
                progress(Progress(steps, perf_counter() - began, gap))
            if gap <= target or late or steps >= max_steps:
                status = "target" if gap <= target else "seconds" if late else "max_steps"
                break
    except KeyboardInterrupt:
        if bound == np.inf:
            raise
        status = "interrupted"
    return Found(*best, max(bound, best[1]), steps, status)


class _Averages(NamedTuple):
    """The assistant's average plan, and what it gets of its sequences against nature's average."""

    plan: Rows
    payoff: Payoff


def _iterations(
    form: SequenceForm,
    numbers: Float[np.ndarray, "C T L"],
    freedom: Freedom | None,
    among: Priors,
) -> Iterator[_Averages]:
    """Yield the averages after every iteration, without end."""
    theirs, ours = form.treeplex
    user, public = form.leaves.sequence
    assert (np.count_nonzero(numbers, axis=1) <= 1).all(), "a leaf is of one intent"
    chance, number = np.asarray(form.leaves.chance), numbers.sum(axis=1)
    intent = np.abs(numbers).max(axis=0).argmax(axis=0)
    boxes = _boxes(theirs, freedom)
    masses = among.low[:, None], among.high[:, None]
    pure = np.zeros((len(number), 1)), np.ones((len(number), 1))
    legal = legal_rows(ours)

    users = [tuple(_start(*box) for box in boxes) for _ in number]
    priors = [_start(*masses) for _ in number]
    corner = _start(*pure)
    policy = rows_of(ours, uniform(ours))
    regret = tuple(np.zeros_like(rows) for rows in policy)
    average: _Averages | None = None
    for t in count(1):
        plan = reach(ours, policy)
        spoken = np.asarray(seen(form, ASSISTANT, plan))[public] * chance
        gets = np.zeros((len(number), 1))
        for c, payoff in enumerate(number):
            choices = tuple(one.choice for one in users[c])
            loss, _ = backup(theirs, expectation(form, USER, payoff, plan), mean_of(choices))
            said = np.asarray(seen(form, USER, reach(theirs, choices)))[user]
            by_intent = np.bincount(intent, payoff * said * spoken, numbers.shape[1])
            by_mass = (among.share @ by_intent)[:, None]
            gets[c] = (priors[c].choice * by_mass).sum()
            users[c] = tuple(
                _learn(one, np.asarray(q), *box)
                for one, q, box in zip(users[c], loss, boxes, strict=True)
            )
            priors[c] = _learn(priors[c], by_mass, *masses)
        corner = _learn(corner, gets, *pure)

        against = [
            expectation(
                form,
                ASSISTANT,
                payoff * (corner.choice[c, 0] * priors[c].choice[:, 0] @ among.share)[intent],
                reach(theirs, tuple(one.choice for one in users[c])),
            )
            for c, payoff in enumerate(number)
        ]
        payoff = _sum(against)
        worth, _ = backup(ours, payoff, mean_of(policy))
        instant = [
            q - (own * q).sum(axis=-2, keepdims=True) for q, own in zip(worth, policy, strict=True)
        ]
        regret = tuple(np.maximum(r + now, 0.0) for r, now in zip(regret, instant, strict=True))
        policy = tuple(
            regret_matching(r + now, mask)
            for r, now, mask in zip(regret, instant, legal, strict=True)
        )
        average = _averaged(average, _Averages(reach(ours, policy), payoff), t)
        yield average


def _averaged(before: _Averages | None, now: _Averages, t: int) -> _Averages:
    """Return the averages of t iterations, in which iteration k weighs k^2."""
    if before is None:
        return now
    share = 6 * t / ((t + 1) * (2 * t + 1))  # t^2 of the sum of k^2

    def mixed(old: Rows, new: Rows) -> Rows:
        return tuple(a + share * (b - a) for a, b in zip(old, new, strict=True))

    (root, rows), (other, others) = before.payoff, now.payoff
    return _Averages(
        mixed(before.plan, now.plan), (root + share * (other - root), mixed(rows, others))
    )


def _sum(payoffs: Sequence[Payoff]) -> Payoff:
    roots, rows = zip(*payoffs, strict=True)
    return sum(roots), tuple(sum(parts) for parts in zip(*rows, strict=True))


def _boxes(treeplex: Treeplex, freedom: Freedom | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the intervals that users' probabilities lie in, level by level."""
    legal = legal_mask(treeplex).astype(np.float64)
    ends = (0 * legal, legal) if freedom is None else (freedom.low, freedom.high)
    low, high = (map(np.asarray, rows_of(treeplex, end)) for end in ends)
    return list(zip(low, high, strict=True))


def _most(treeplex: Treeplex, payoff: Payoff) -> float:
    """Return the most that any plan gets of a payoff per sequence."""
    legal = legal_rows(treeplex)
    _, value = backup(treeplex, payoff, lambda q, k: np.where(legal[k], q, -np.inf).max(axis=-2))
    return float(value)


def _start(low: np.ndarray, high: np.ndarray) -> _Learner:
    """Return a learner that starts in the middle of its box."""
    middle = _projected((low + high) / 2, low, high)
    return _Learner(middle, middle, np.zeros_like(middle), np.zeros_like(middle[..., :1, :]))


def _learn(one: _Learner, loss: np.ndarray, low: np.ndarray, high: np.ndarray) -> _Learner:
    """Return the learner after a `loss` of its choice's actions."""
    loss = loss - (one.choice * loss).sum(axis=-2, keepdims=True)
    surprise = one.surprise + ((loss - one.hint) ** 2).sum(axis=-2, keepdims=True)
    diameter = ((high - low) ** 2).sum(axis=-2, keepdims=True)
    step = np.sqrt(diameter / np.where(surprise > 0, surprise, np.inf)) * loss
    centre = _projected(one.centre - step, low, high)
    return _Learner(_projected(centre - step, low, high), centre, loss, surprise)


def _projected(point: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the nearest probabilities within the box, over the axis A.

    They are the point less a shift, clipped. Their sum falls with the shift and is piecewise
    linear: bisection comes near to where it is 1, and Newton's method there, kept between two
    shifts that are too small and too large.
    """
    small = (point - high).min(axis=-2, keepdims=True)
    large = (point - low).max(axis=-2, keepdims=True)
    total = np.clip(1.0, low.sum(axis=-2, keepdims=True), high.sum(axis=-2, keepdims=True))
    shift = (small + large) / 2
    for k in range(MOST_SHIFTS):
        moved = point - shift
        near = np.minimum(np.maximum(moved, low), high)
        over = near.sum(axis=-2, keepdims=True) - total
        small, large = np.where(over > 0, shift, small), np.where(over < 0, shift, large)
        middle = (small + large) / 2
        if k < HALVINGS:
            shift = middle
            continue
        if (abs(over) <= ROUNDING).all():
            break
        free = (near == moved).sum(axis=-2, keepdims=True)
        newton = shift + over / np.maximum(free, 1)
        shift = np.where((free > 0) & (small < newton) & (newton < large), newton, middle)
    return near
