"""The method that suits a game, by its class and its size, and why."""

from typing import NamedTuple

from csa_games.evaluate import histories
from csa_games.game import USER, Game
from solvers.milp import MOST_BINARIES, MOST_HISTORIES, size
from solvers.response import quantal_intents

MOST_EXACT = 50_000
"""Histories up to which the linear program of a zero-sum game takes seconds."""


class Choice(NamedTuple):
    """A method of `solvers.SOLVERS`, and a sentence that says why."""

    method: str
    why: str


def choose(game: Game) -> Choice:
    """Return the method that answers the usual question about `game` best, for what it costs.

    Where nobody reacts the assistant has an exact best policy; against minimisers it is an
    equilibrium policy; and against users with interests of their own a commitment, because a policy
    that is deployed is observed.
    """
    found = histories(game)
    if game.scenario is not None and not game.form.treeplex[USER].levels:
        return Choice("population", "no intent chooses its asks: the population is fixed")
    if game.game_class != "general-sum":
        what = "the security class" if game.game_class == "security" else "a zero-sum game"
        if found <= MOST_EXACT:
            return Choice("lp", f"{what} with {found:,} histories, few enough to be exact")
        return Choice("pcfr+", f"{what} with {found:,} histories, too many for a linear program")
    if quantal := quantal_intents(game):
        return Choice(
            "commitment-gradient",
            f"a general-sum game whose intents {', '.join(map(repr, quantal))} are quantal",
        )
    _, binaries = size(game, 1)
    if found <= MOST_HISTORIES and binaries <= MOST_BINARIES:
        return Choice(
            "commitment-milp",
            f"a general-sum game with {found:,} histories, few enough to be exact",
        )
    return Choice(
        "commitment-gradient",
        f"a general-sum game with {found:,} histories, too many for an exact program",
    )
