"""How far the belief behind a row may be off before another response is best.

At an infoset let μ be the posterior over intents and Q[i, r] what response r is worth there given
intent i, everybody playing on as before. The best response r* is ahead of another r by μ·d with
d = Q[:, r*] − Q[:, r]. A belief ν at which the two tie has ν·d = 0. The total variation distance
½ Σ|ν − μ| of the nearest such belief, the probability that has to be moved, is the row's distance
to flip. A row that mixes with reason has two best responses, and a distance of 0.

Letters are those of `csa_games.game`; A is the number of responses.
"""

import numpy as np
from jaxtyping import Float

from csa_games.errors import InputError
from csa_games.evaluate import intent_reach, intent_tags
from csa_games.fold import backup, expectation, mean_of, reach, rows_of, table_of
from csa_games.game import ASSISTANT, USER, Game, Policy

ROUNDING = 1e-13  # of the largest value, or of 1: a lead that is none


def values_by_intent(game: Game, policy: Policy) -> Float[np.ndarray, "I T A"]:
    """Return the assistant's expected payoff of the whole game given infoset, intent and response.

    Afterwards `policy` is followed. Intents that cannot be at an infoset are nan there; the mean of
    the others under the posterior is `csa_games.evaluate.action_values`.
    """
    form = game.form
    treeplex = form.treeplex[ASSISTANT]
    own = rows_of(treeplex, np.asarray(policy[ASSISTANT], np.float64))
    theirs = rows_of(form.treeplex[USER], np.asarray(policy[USER], np.float64))
    plan = reach(form.treeplex[USER], theirs)
    payoff = np.asarray(form.leaves.payoff[ASSISTANT], np.float64)
    worth = np.stack(
        [
            table_of(treeplex, backup(treeplex, part, mean_of(own))[0])
            for part in (
                expectation(form, ASSISTANT, tag * payoff, plan)
                for tag in intent_tags(game).values()
            )
        ],
        axis=1,
    )
    mass = intent_reach(game, policy)[:, :, None]
    return np.divide(worth, mass, out=np.full_like(worth, np.nan), where=mass > 0)


def distance_to_flip(
    posterior: Float[np.ndarray, "I T"],
    values: Float[np.ndarray, "I T A"],
    toward: int | None = None,
) -> Float[np.ndarray, " I"]:
    """Return how much probability must move before another response is best, at each infoset.

    `posterior` is `csa_games.evaluate.posterior` and `values` are `values_by_intent`. With
    `toward`, the number of an intent j, all the others lose to it in proportion,
    ν = (1 − e) μ + e 1_j, which ties with r at  e = μ·d / (μ·d − d_j)  where d_j ≤ 0, and moves
    e (1 − μ_j). Without, probability moves from and to whichever intents need least of it: to the
    one where d is least, from those where it is largest first, each giving no more than it has.
    That greedy rule is exact, the linear program being a fractional knapsack (Dantzig 1957).

    0 where two are best already. Infinite where no belief in the intents that can be there makes
    another response best, so with a single response, and toward intents that cannot be there; nan
    at infosets that nobody leads to.
    """
    intents = values.shape[1]
    if toward is not None and not 0 <= toward < intents:
        raise InputError(f"found the intent {toward}, expected a number from 0 to {intents - 1}")
    possible = ~np.isnan(values).any(axis=-1)  # [I, T]
    belief = np.where(possible, posterior, 0.0)
    known = np.where(possible[..., None], values, 0.0)
    mean = np.einsum("it,ita->ia", belief, known)
    best = mean.argmax(axis=-1)
    ahead = np.take_along_axis(known, best[:, None, None], axis=2) - known  # d, [I, T, A]
    lead = np.einsum("it,ita->ia", belief, ahead)
    lead[lead <= ROUNDING * np.abs(known).max(initial=1.0)] = 0.0
    if toward is None:
        moved = _least_moved(belief, ahead, lead, possible)
    else:
        moved = _moved_toward(belief[:, toward], ahead[:, toward], lead)
        moved[~possible[:, toward, None] & (lead > 0)] = np.inf
    np.put_along_axis(moved, best[:, None], np.inf, axis=1)  # it cannot overtake itself
    nearest = moved.min(axis=-1)
    return np.where(possible.any(axis=-1), nearest, np.nan)


def _moved_toward(
    share: Float[np.ndarray, " I"], there: Float[np.ndarray, "I A"], lead: Float[np.ndarray, "I A"]
) -> Float[np.ndarray, "I A"]:
    """Return the probability moved to one intent of that `share`; `there` is d given the intent."""
    ties = (there <= 0) & (lead > 0)
    part = np.divide(lead, lead - there, out=np.full_like(lead, np.inf), where=ties)
    part[lead == 0] = 0.0
    return np.multiply(part, 1 - share[:, None], out=part, where=np.isfinite(part))


def _least_moved(
    belief: Float[np.ndarray, "I T"],
    ahead: Float[np.ndarray, "I T A"],
    lead: Float[np.ndarray, "I A"],
    possible: np.ndarray,
) -> Float[np.ndarray, "I A"]:
    """Return the least probability that must move for each response to tie with the best."""
    worst = np.where(possible[..., None], ahead, np.inf).min(axis=1, keepdims=True)
    gain = np.where(
        possible[..., None], ahead - worst, 0.0
    )  # what moving a unit takes off the lead
    order = np.argsort(-gain, axis=1, kind="stable")
    gain = np.take_along_axis(gain, order, axis=1)
    has = np.take_along_axis(np.broadcast_to(belief[..., None], gain.shape), order, axis=1)
    takes = gain * has
    left = lead[:, None] - (np.cumsum(takes, axis=1) - takes)  # of the lead, before each intent
    part = np.divide(left, gain, out=np.zeros_like(gain), where=gain > 0)
    moved = np.clip(part, 0.0, has).sum(axis=1)
    # All on the intent where d is least leaves d there: below 0, or no belief makes them tie.
    return np.where(worst[:, 0] > 0, np.inf, moved)
