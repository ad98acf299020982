"""Where two policies are worth the same: refusing is right only if migrating costs less than that.

The payoff is linear in each weight w, so the value of a policy against users who know it is

    V(w) = F + w G              where reactions do not depend on w, and
    V(w) = min_k (F_k + w G_k)  where adversarial users choose theirs for it: concave.

All the lines of such a value are found by reactions alone: the lines that touch it at two weights
either meet where it has a kink, or a third one touches it there, below both, and the two halves are
looked at in the same way. The difference of two values is then known piece by piece, with every
change of its sign; there may be several. No grid is involved. Weights from 0 to infinity are walked
as s = w / (1 + w) from 0 to 1, where (1 - s) F + s G has the same sign as F + w G.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from csa_games.arrays import Array
from csa_games.errors import InputError
from csa_games.evaluate import expected, intent_tags
from csa_games.game import ASSISTANT, Game
from solvers.reaction import answered
from solvers.robust import COMPONENT

ROUNDING = 1e-11  # of the largest payoff: what counts as no difference
SHORTEST = 1e-12  # of s in [0, 1]: an interval that is not looked into


@dataclass(frozen=True)
class BreakEven:
    """At which values of a weight one policy overtakes another.

    `points` ascend. `ahead` has one entry more, for what is below the first, between them and above
    the last: 0 or 1, the policy that is worth more there, or None where they are worth the same.
    """

    weight: str
    points: tuple[float, ...]
    ahead: tuple[int | None, ...]


class _Line(NamedTuple):
    """A value against one reaction: `rest` + w `slope`, or in terms of s what `at` says."""

    rest: float
    slope: float

    def at(self, s: float) -> float:
        return (1 - s) * self.rest + s * self.slope


Tangent = Callable[[float], _Line]
"""s -> a line that touches a concave value there."""

Pieces = list[tuple[float, _Line]]
"""Where each line of a value begins, and the line; the first begins at 0, the last ends at 1."""


def break_even(
    game: Game,
    policy_a: Float[Array, "I A"],
    policy_b: Float[Array, "I A"],
    weight: str = "psi",
) -> BreakEven:
    """Return where the assistant's `policy_a` and `policy_b` are worth the same.

    `weight` is "alpha", "beta", "gamma" or "psi", from 0 upwards; the others are the scenario's.
    Users know the policy and react to it, each intent by its own behaviour, best responses breaking
    ties against the assistant: the value is that of `solvers.compare`. Exact, up to rounding.

    Raises `InputError` for a weight or a policy that is none, and for games that are no dialogues.
    """
    if weight not in COMPONENT:
        raise InputError(f"found the weight {weight!r}, expected one of {', '.join(COMPONENT)}")
    rest, slope = _numbers(game, weight)
    none = ROUNDING * max(float(np.abs(rest).max()), float(np.abs(slope).max()))
    first, second = (
        _pieces(_tangents(game, policy, rest, slope), none) for policy in (policy_a, policy_b)
    )
    return _compared(weight, first, second, none)


def _numbers(game: Game, weight: str) -> tuple[Float[np.ndarray, " L"], Float[np.ndarray, " L"]]:
    """Return the assistant's payoff per leaf at a weight of 0, and what one of it adds."""
    intent_tags(game)  # refuses what is no dialogue
    assert game.scenario is not None
    component, sign = COMPONENT[weight]
    payoff = np.asarray(game.form.leaves.payoff[ASSISTANT], np.float64)
    slope = sign * game.tags.get(component, np.zeros_like(payoff))
    return payoff - getattr(game.scenario.weights, weight).value * slope, slope


def _tangents(
    game: Game,
    policy: Float[Array, "I A"],
    rest: Float[np.ndarray, " L"],
    slope: Float[np.ndarray, " L"],
) -> Tangent:
    """Return the function that finds the lines of the value of `policy`."""
    opposed = _opposed(game)
    leaves = game.form.leaves
    own = np.asarray(leaves.payoff[1 - ASSISTANT], np.float64)

    def touching(s: float) -> _Line:
        payoff = (1 - s) * rest + s * slope
        there = replace(leaves, payoff=(np.where(opposed, -payoff, own), payoff))
        weighed = replace(game, form=replace(game.form, leaves=there))
        played = answered(weighed, ASSISTANT, policy, "against")
        return _Line(expected(game, played, rest), expected(game, played, slope))

    return touching


def _opposed(game: Game) -> np.ndarray:
    """Return which leaves pay the user the assistant's loss, [L]."""
    assert game.scenario is not None
    if game.game_class == "security":
        return np.ones(len(game.form.leaves.chance), bool)
    hostile = {part.name for part in game.scenario.intents if part.behaviour == "adversarial"}
    mine = [tag > 0 for name, tag in intent_tags(game).items() if name in hostile]
    return np.any(mine, axis=0) if mine else np.zeros(len(game.form.leaves.chance), bool)


def _pieces(touching: Tangent, none: float) -> Pieces:
    """Return all lines of a concave value."""
    return _between(touching, (0.0, touching(0.0)), (1.0, touching(1.0)), none)


def _between(
    touching: Tangent, low: tuple[float, _Line], high: tuple[float, _Line], none: float
) -> Pieces:
    """Return the lines from `low` to `high`, two weights with a line that touches at each."""
    (s, left), (t, right) = low, high
    if left.at(t) <= right.at(t) + none or right.at(s) <= left.at(s) + none or t - s < SHORTEST:
        # One of them touches at both ends, and a concave value has no room between.
        return [(s, left if left.at(t) <= right.at(t) + none else right)]
    above, below = right.at(s) - left.at(s), left.at(t) - right.at(t)
    meeting = s + (t - s) * above / (above + below)
    middle = touching(meeting)
    if middle.at(meeting) >= left.at(meeting) - none:
        return [(s, left), (meeting, right)]
    return [
        *_between(touching, low, (meeting, middle), none),
        *_between(touching, (meeting, middle), high, none),
    ]


def _compared(weight: str, first: Pieces, second: Pieces, none: float) -> BreakEven:
    """Return where the first value overtakes the second or is overtaken."""
    starts = sorted({s for s, _ in first} | {s for s, _ in second})
    points: list[float] = []
    ahead: list[int | None] = []

    def found(start: float, difference: float) -> None:
        who = None if abs(difference) <= none else int(difference < 0)
        if not ahead or ahead[-1] != who:
            points.extend([start] if ahead else [])
            ahead.append(who)

    for s, t in pairwise([*starts, 1.0]):
        (a, c), (b, d) = _line(first, s), _line(second, s)
        rest, slope = a - b, c - d
        begin, end = (1 - s) * rest + s * slope, (1 - t) * rest + t * slope
        begin, end = (0.0 if abs(x) <= none else x for x in (begin, end))
        found(s / (1 - s), begin or end)
        if begin * end < 0:
            found(-rest / slope, end)
    return BreakEven(weight, tuple(points), tuple(ahead))


def _line(pieces: Pieces, s: float) -> _Line:
    """Return the line that holds from `s` on."""
    return next(line for start, line in reversed(pieces) if start <= s)
