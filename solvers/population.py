"""The best policy against a fixed population: users who react by probabilities, and never choose.

Where every intent is a kernel nobody plays against the assistant. Its game is a partially
observable Markov decision process, whose hidden state is the intent (and what the kernel still
remembers), whose observations are asks and signals, and whose belief is the posterior over intents
(Kaelbling, Littman & Cassandra 1998). An infoset is a history of observations and own responses, so
the optimality equation over beliefs is one backward pass over the assistant's treeplex: at each
infoset the best response, weighted by how likely each intent is to lead there.
"""

from time import perf_counter

import numpy as np

from csa_games.errors import InputError
from csa_games.evaluate import infoset_reach
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER, Game, Solution
from solvers.response import best_response, certify


def solve(game: Game) -> Solution:
    """Return the assistant's best policy against users who are all kernels; exact, in one pass.

    It is optimal from every infoset on that some user leads to, also from those that the policy's
    own choices avoid; among equally good responses it takes the first. Where no user ever leads it
    is uniform. Runs on both layouts; in the factored one time and memory grow with the assistant's
    infosets, not with histories.

    Raises `InputError` where somebody of positive probability chooses: then the best policy depends
    on whom one supposes to know it.
    """
    _refuse_choice(game)
    began = perf_counter()
    treeplex = game.form.treeplex
    anything = uniform(treeplex[ASSISTANT])
    nobody = uniform(treeplex[USER])  # no infosets, or those of intents that never come
    best, _ = best_response(game, ASSISTANT, (nobody, anything))
    _, others = infoset_reach(game, ASSISTANT, (nobody, anything))
    return certify(
        game,
        (nobody, np.where(others[:, None] > 0, best, anything)),
        method="population",
        steps=1,
        seconds=perf_counter() - began,
        status="exact",
    )


INSTEAD = {
    "adversarial": "lp or pcfr+",
    "rational": "commitment",
    "quantal": "commitment",
}
"""By behaviour of those who choose, the method that takes them into account."""


def _refuse_choice(game: Game) -> None:
    """Raise `InputError` where anybody but the assistant has something to choose."""
    if game.scenario is None:
        if infosets := game.form.treeplex[USER].infosets:
            raise InputError(
                f"population cannot solve {game.name}: {game.names.players[USER]} chooses at "
                f"{infosets:,} infosets, and it expects a game in which only "
                f"{game.names.players[ASSISTANT]} does"
            )
        return
    faults = [
        f"population cannot solve {game.name}: its intent {intent.name!r} is {intent.behaviour}, "
        f"expected kernels only; use the method {INSTEAD[intent.behaviour]}"
        for intent in game.scenario.intents
        if intent.behaviour in INSTEAD and intent.prior.value > 0
    ]
    if faults:
        raise InputError(*faults)
