"""Policies of the assistant side by side, each against users who know it and react to it."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float

from csa_games.arrays import Array
from csa_games.evaluate import MEASURES
from csa_games.game import ASSISTANT, Game
from solvers.reaction import answered
from solvers.response import value


@dataclass(frozen=True)
class Row:
    """What an assistant's policy is worth against users who react to it.

    `value` is the assistant's expected payoff and `difference` that of the first policy compared,
    subtracted from it, both in payoff units. `outcomes` holds every measure of
    `csa_games.evaluate.MEASURES` by intent.
    """

    name: str
    value: float
    difference: float
    outcomes: Mapping[str, Mapping[str, float]]


def compare(game: Game, policies: Mapping[str, Float[Array, "I A"]]) -> list[Row]:
    """Return one row for each of the assistant's `policies`, in their order.

    Each intent reacts by its own behaviour (`solvers.reaction`), and best responses break ties
    against the assistant. In the security class the value is therefore guaranteed: no behaviour of
    the strategic users makes it less. In a general-sum game it is the weak value of the policy as a
    commitment. Raises `InputError` for policies that are not of this game.
    """
    rows: list[Row] = []
    for name, assistant in policies.items():
        played = answered(game, ASSISTANT, assistant, "against")
        worth = float(value(game, played)[ASSISTANT])
        reference = rows[0].value if rows else worth
        outcomes = {measure: dict(of(game, played)) for measure, of in MEASURES.items()}
        rows.append(Row(name, worth, worth - reference, outcomes))
    return rows
