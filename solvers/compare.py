"""Policies of the assistant side by side, each against users who make the most of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float

from csa_games.arrays import Array
from csa_games.evaluate import MEASURES
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER, Game
from solvers.response import best_response, refuse_quantal, value


@dataclass(frozen=True)
class Row:
    """What an assistant's policy is worth against users who best-respond to it.

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

    Strategic users best-respond to the policy and kernels are what they are. In the security class
    the value is therefore guaranteed: no behaviour of the strategic users makes it less. In a
    general-sum game it is what the policy earns from these best responses, the first among equals.

    Raises `InputError` for games with quantal intents, and for policies that are not of this game.
    """
    refuse_quantal(game, "a comparison")
    rows: list[Row] = []
    for name, assistant in policies.items():
        treeplex = game.form.treeplex
        user, _ = best_response(game, USER, (uniform(treeplex[USER]), assistant))
        played = (user, assistant)
        worth = float(value(game, played)[ASSISTANT])
        reference = rows[0].value if rows else worth
        outcomes = {measure: dict(of(game, played)) for measure, of in MEASURES.items()}
        rows.append(Row(name, worth, worth - reference, outcomes))
    return rows
