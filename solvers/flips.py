"""Which conclusions flip when a number of a game moves: what keeping the policy loses, and where.

A policy is solved for the numbers as they are. In a game with another number the best policy may be
another one; what keeping the old one loses there is

    regret = V*(moved) - V(moved, old policy),

between two bounds: from below what the policy that is found there gains, from above what the
certificate of the best leaves. Every value is against users who know the policy and react to it.
Where the regret is 0 nothing that the old policy says has become wrong, though solvers may return
another one that is as good: so conclusions are only said to flip where that costs something.

Guaranteed: the bounds on the regret, up to rounding, where best responses and certificates are (see
`solvers.compare` and the methods). That a conclusion flips at an end is a fact about that end; that
none does at both ends proves nothing about what is between, and one number is moved at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq

from csa_games.arrays import Array
from csa_games.evaluate import infoset_reach
from csa_games.game import ASSISTANT, Game, Solution
from solvers.reaction import answered
from solvers.response import value
from solvers.worth import Interval, bounds_of

Way = Callable[[float], Game]
"""A share, 0 to 1 -> the game with a number moved by that much of its way, at 0 as it was."""

Table = Float[Array, "I A"]

TOGETHER = 32
"""The most games that are handed to the solver at once."""

CLOSE = 1e-6  # of the way: how exactly the place of a flip is found


@dataclass(frozen=True)
class ResponseFlip:
    """A first-turn infoset at which another response is now the likeliest.

    `lost` is by how much the new policy gets worse with the old row at this infoset alone, users
    reacting to it, in payoff units per conversation.
    """

    infoset: int
    before: int
    after: int
    lost: float


@dataclass(frozen=True)
class Flip:
    """What has become of a policy's conclusions at the end of a way.

    `lost` is what keeping the policy loses there per conversation, at least and at most. `share` is
    how far along the way the policy that is found at the end is as good as it already: None where
    nothing is lost. `overtaken` are the other policies that have overtaken it.
    """

    lost: Interval
    share: float | None
    responses: tuple[ResponseFlip, ...]
    overtaken: tuple[str, ...]

    @property
    def flips(self) -> bool:
        """Whether any conclusion is another one there."""
        return self.share is not None


def flips(
    game: Game,
    solution: Solution,
    ways: Sequence[Way],
    solve: Callable[[Sequence[Game]], Iterable[Solution]],
    *,
    others: Mapping[str, Table] | None = None,
    least: float = 1e-3,
) -> Iterator[Flip]:
    """Yield, for each of `ways`, which conclusions of `solution` flip at its end.

    The conclusions: that the assistant's policy is the best, that at each infoset of the first turn
    its likeliest response is the one to give, and that it is worth more than each of `others`, as
    far as it is. Differences of up to `least`, in payoff units, are none; that should not be less
    than what `solve` leaves. `solve` returns solutions in the order of the games, at most
    `TOGETHER` of them at once, with certificates that bound the best policy: see
    `solvers.worth.classifier_worth`, which also says what errors are raised.
    """
    bounds_of(solution)  # refuses what bounds nothing, before the work
    old = np.asarray(solution.policy[ASSISTANT], np.float64)
    here = _worth(game, old)
    behind = {
        name: policy
        for name, policy in ({} if others is None else others).items()
        if here - _worth(game, policy) > least
    }
    for k in range(0, len(ways), TOGETHER):
        some = ways[k : k + TOGETHER]
        ends = [way(1.0) for way in some]
        for way, end, found in zip(some, ends, solve(ends), strict=True):
            yield _flip(way, end, found, (old, here, _worth(game, _policy(found))), behind, least)


def _flip(
    way: Way,
    end: Game,
    found: Solution,
    begun: tuple[Float[np.ndarray, "I A"], float, float],
    behind: Mapping[str, Table],
    least: float,
) -> Flip:
    """Return what has flipped at the `end` of a way.

    `begun` has the old policy, and what it and the new one are worth where the way begins.
    """
    (old, here, other), new = begun, _policy(found)
    kept, better = _worth(end, old), _worth(end, new)
    lost = (max(better - kept, 0.0), max(bounds_of(found)[1], better, kept) - kept)
    # What the new policy is ahead by before anything has moved is the solver's error.
    error = max(other - here, 0.0)
    if better - kept - error <= least:
        return Flip(lost, None, (), ())

    def ahead(share: float) -> float:
        if share in (0.0, 1.0):
            return (other - here if share == 0 else better - kept) - error
        game = way(share)
        return _worth(game, new) - _worth(game, old) - error

    share = brentq(ahead, 0.0, 1.0, xtol=CLOSE)
    responses = tuple(_responses(end, found, old, better, least))
    overtaken = tuple(name for name, policy in behind.items() if _worth(end, policy) - kept > least)
    return Flip(lost, float(share), responses, overtaken)


def _responses(
    game: Game, found: Solution, old: Float[np.ndarray, "I A"], better: float, least: float
) -> Iterator[ResponseFlip]:
    """Yield the infosets of the first turn whose old row has become a worse one."""
    new = _policy(found)
    own, others = infoset_reach(game, ASSISTANT, found.policy)
    for i in range(game.form.treeplex[ASSISTANT].levels[0].infosets):
        before, after = int(old[i].argmax()), int(new[i].argmax())
        if before == after or own[i] * others[i] <= 0:
            continue
        patched = new.copy()
        patched[i] = old[i]
        lost = better - _worth(game, patched)
        if lost > least:
            yield ResponseFlip(i, before, after, lost)


def _policy(solution: Solution) -> Float[np.ndarray, "I A"]:
    return np.asarray(solution.policy[ASSISTANT], np.float64)


def _worth(game: Game, policy: Table) -> float:
    """Return the assistant's payoff of its `policy` against users who react to it."""
    return float(value(game, answered(game, ASSISTANT, policy, "against"))[ASSISTANT])
