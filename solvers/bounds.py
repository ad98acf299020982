"""Upper bounds on what any commitment is worth, for games too large for the exact program.

Each intent is bounded on its own, and the leader is supposed to know the rational and the quantal
ones when it meets them:

- With a rational intent the outcome is some lottery over histories, of which the follower gets at
  least what it can secure whatever the leader does. The most that is left for the leader is a
  linear program with one constraint, whose dual is a line search:

      min over mu >= 0 of  max over histories of  u(h) + mu (g(h) - secured)

  A quantal follower need not get what it could secure, so that only mu = 0 holds.
- The adversarial intents and the kernels remain, a zero-sum game, in which no policy guarantees
  more than a solution's value plus the leader's gap.

In truth the leader knows nothing of the sort and has one policy for all intents: the bound is safe,
not tight.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize_scalar

from csa_games.evaluate import choosing_intents, intent_tags
from csa_games.fold import legal_mask, parent_sequences, sequence_numbers
from csa_games.game import USER, Game, Solution

NAME = "relaxation: rational and quantal users at their best for a leader who knows them"


@dataclass(frozen=True)
class _Follower:
    """A follower that chooses for itself: its leaves, how likely it is, and what it can secure."""

    leaves: Bool[np.ndarray, " L"]
    probability: float
    secured: float  # -inf where its choices are not the best ones


def relaxed(game: Game, leader: int, zero_sum: Callable[[Game], Solution]) -> float:
    """Return an upper bound on the strong value of any commitment of `leader`, in payoff units.

    `zero_sum` solves the zero-sum game of what is left when rational and quantal intents are gone.
    """
    leaves = game.form.leaves
    payoff = np.asarray(leaves.payoff[leader], np.float64)
    gain = np.asarray(leaves.payoff[1 - leader], np.float64)
    total, rest = 0.0, payoff.copy()
    for one in _followers(game, 1 - leader):
        total += one.probability * _most(payoff[one.leaves], gain[one.leaves], one.secured)
        rest[one.leaves] = 0.0
    if not rest.any():
        return total
    pair = (rest, -rest) if leader == 0 else (-rest, rest)
    form = replace(game.form, leaves=replace(leaves, payoff=pair))
    solved = zero_sum(replace(game, form=form, game_class="zero-sum", scenario=None))
    return total + float(solved.value[leader] + solved.gap[leader])


def _followers(game: Game, follower: int) -> Iterator[_Follower]:
    """Yield those who choose for themselves: the intents of a dialogue, or the whole player."""
    if game.game_class != "general-sum":
        return
    secured = _secured(game, follower)
    first = parent_sequences(game.form.treeplex[follower]) == 0
    if game.scenario is None or follower != USER:
        before = np.asarray(game.form.leaves.sequence[follower]) == 0
        gain = np.asarray(game.form.leaves.payoff[follower])
        least = min(gain[before].min(initial=np.inf), secured[first].min(initial=np.inf))
        yield _Follower(np.ones(len(gain), bool), 1.0, float(least))
        return
    chooses, tags = choosing_intents(game), intent_tags(game)
    roots = {chooses[i]: secured[i] for i in np.flatnonzero(first).tolist()}
    for intent in game.scenario.intents:
        if intent.behaviour in ("rational", "quantal"):
            secures = intent.behaviour == "rational"
            yield _Follower(
                np.asarray(tags[intent.name]) > 0,
                intent.prior.value,
                float(roots[intent.name]) if secures else -np.inf,
            )


def _most(payoff: Float[np.ndarray, " L"], gain: Float[np.ndarray, " L"], secured: float) -> float:
    """Return the most that a lottery over leaves pays, of which the follower gets `secured`.

    Any mu gives a bound, so that the line search need not be exact.
    """
    most = float(payoff.max())
    best = payoff == most
    if gain[best].max() >= secured:
        return most

    def worth(mu: float) -> float:
        return float((payoff + mu * (gain - secured)).max())

    steepest = (most - float(payoff.min())) / max(float(gain.max()) - secured, 1e-12)
    found = minimize_scalar(worth, bounds=(0.0, steepest), method="bounded")
    return min(most, float(found.fun), worth(steepest))


def _secured(game: Game, follower: int) -> Float[np.ndarray, " I"]:
    """Return what the follower gets at the least from each infoset on, if it plays for that.

    Whatever others may do there, chance included, is supposed to be against it.
    """
    form, treeplex = game.form, game.form.treeplex[follower]
    numbers, legal = sequence_numbers(treeplex), legal_mask(treeplex)
    parent = parent_sequences(treeplex)
    least = np.full(treeplex.sequences, np.inf)
    gain = np.asarray(form.leaves.payoff[follower], np.float64)
    np.minimum.at(least, np.asarray(form.leaves.sequence[follower]), gain)
    secured, stop = np.zeros(treeplex.infosets), treeplex.infosets
    for level in reversed(treeplex.levels):
        here = slice(stop - level.infosets, stop)
        stop -= level.infosets
        options = np.where(legal[here], least[numbers[here]], -np.inf)
        secured[here] = options.max(axis=1)
        np.minimum.at(least, parent[here], secured[here])
    return secured
