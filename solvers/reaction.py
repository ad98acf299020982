"""How the users of a game react to a policy that they know: each intent by its own behaviour.

The *leader* has committed to a policy and the *follower* chooses knowing it. Adversarial and
rational followers best-respond to their own payoff; where several actions are equally good to them
the leader's payoff depends on which they take, so a commitment has two values: *strong* with ties
broken for the leader, *weak* with ties broken against it (von Stengel & Zamir 2010). Quantal
followers choose by the logit rule at every infoset (agent form, McKelvey & Palfrey 1998),

    sigma(a | I)  proportional to  exp(lambda E[u | I, a])

where the expectation is conditional on reaching I, so that lambda has the unit 1/payoff
(`csa_games.logit`); where nobody else leads, that is even play. Kernels are part of chance.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float

from csa_games.arrays import Array
from csa_games.evaluate import choosing_intents
from csa_games.fold import (
    backup,
    expectation,
    legal_rows,
    reach,
    rows_of,
    table_of,
)
from csa_games.game import USER, Game, Policy, SequenceForm
from csa_games.logit import arrivals, given_reach, soft
from solvers.response import checked

Ties = Literal["for", "against"]

TIE = 1e-7
"""Actions whose values, given the infoset, differ by less than this share of the follower's payoff
range are equally good: above what solvers leave in a plan, far below what a user would notice."""


def rationality(game: Game, follower: int) -> Float[np.ndarray, " I"]:
    """Return lambda at each of the follower's infosets, in 1/payoff; infinite for best responses.

    Only users of a dialogue scenario are ever quantal.
    """
    infosets = game.form.treeplex[follower].infosets
    if game.scenario is None or follower != USER:
        return np.full(infosets, np.inf)
    given = {
        intent.name: intent.rationality.value if intent.rationality is not None else np.inf
        for intent in game.scenario.intents
    }
    return np.array([given[intent] for intent in choosing_intents(game)], dtype=np.float64)


def reaction(
    game: Game, follower: int, policy: Float[Array, "I A"], ties: Ties = "for"
) -> Float[np.ndarray, "I_f A_f"]:
    """Return how the follower reacts to the leader's `policy`, as a policy.

    `ties` says for whom best responses choose among actions that are equally good to the follower
    (within `TIE`): for the leader, or against it. Raises `InputError` when `policy` is none of the
    leader's.
    """
    form, leader = game.form, 1 - follower
    treeplex = form.treeplex[follower]
    theirs = checked(game, leader, policy)
    plan = reach(form.treeplex[leader], rows_of(form.treeplex[leader], theirs))
    own = expectation(form, follower, _float64(form.leaves.payoff[follower]), plan)
    reached = arrivals(form, follower, plan)
    slack = [TIE * payoff_range(form, follower) * part for part in reached]
    wide = (treeplex.infosets, treeplex.width)
    lambdas = rows_of(treeplex, np.broadcast_to(rationality(game, follower)[:, None], wide))
    exact = [np.isinf(part) for part in lambdas]
    legal = legal_rows(treeplex)
    logit: dict[int, Array] = {}
    good: dict[int, Array] = {}

    def best(q: Array, k: int) -> Array:
        finite = np.where(exact[k], 0.0, lambdas[k])
        logit[k] = soft(finite * given_reach(q, reached[k]), legal[k])
        most = np.where(legal[k], q, -np.inf).max(axis=-2)
        good[k] = legal[k] & (q >= (most - slack[k])[:, None])
        return np.where(exact[k][:, 0], most, (logit[k] * q).sum(axis=-2))

    backup(treeplex, own, best)
    sign = 1.0 if ties == "for" else -1.0
    chosen: dict[int, Array] = {}

    def break_ties(q: Array, k: int) -> Array:
        choice = np.where(good[k], sign * q, -np.inf).argmax(axis=-2)
        first = np.arange(q.shape[-2])[:, None] == choice[:, None]
        chosen[k] = np.where(exact[k], first, logit[k])
        return (chosen[k] * q).sum(axis=-2)

    backup(
        treeplex,
        expectation(form, follower, _float64(form.leaves.payoff[leader]), plan),
        break_ties,
    )
    return np.asarray(table_of(treeplex, tuple(chosen[k] for k in range(len(legal)))))


def answered(game: Game, leader: int, policy: Float[Array, "I A"], ties: Ties = "for") -> Policy:
    """Return the leader's `policy` and the follower's reaction to it, as a pair by player."""
    other = reaction(game, 1 - leader, policy, ties)
    mine = _float64(policy)
    return (mine, other) if leader == 0 else (other, mine)


def payoff_range(form: SequenceForm, player: int) -> float:
    """Return the player's largest payoff at a leaf less its smallest, 1 where that is nothing."""
    payoff = np.asarray(form.leaves.payoff[player])
    return float(np.ptp(payoff)) or 1.0


def _float64(numbers: Array) -> np.ndarray:
    return np.asarray(numbers, np.float64)
