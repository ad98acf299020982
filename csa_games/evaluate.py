"""What a policy does, exactly: reach, posteriors, action values, outcomes by intent.

Everything here is numpy in float64, from the policy alone; nothing is sampled.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import numpy as np
from jaxtyping import Float

from csa_games.arrays import Array, namespace
from csa_games.devices import everywhere, is_looped, placed
from csa_games.dialogue import COMPONENTS, ENDINGS, sizes
from csa_games.errors import InputError
from csa_games.fold import (
    Rows,
    Scalar,
    backup,
    coupled,
    expectation,
    legal_mask,
    mean_of,
    reach,
    rows_of,
    seen,
    sweep,
    table_of,
)
from csa_games.game import ASSISTANT, USER, Game, Policy, SequenceForm
from csa_games.guard.keys import intent_of
from csa_games.scenario import Scenario


def histories(game: Game) -> int:
    """Return how many complete histories `game` has, whatever its layout."""
    if game.scenario is None:
        return len(game.form.leaves.chance)
    return sizes(game.scenario).histories


def leaf_probabilities(game: Game, policy: Policy) -> Float[np.ndarray, " L"]:
    """Return the probability of every leaf under `policy` and chance; they sum to 1."""
    leaves, plans = game.form.leaves, _plans(game.form, policy)
    first, second = (seen(game.form, player, plans[player]) for player in (0, 1))
    return np.asarray(leaves.chance * first[leaves.sequence[0]] * second[leaves.sequence[1]])


def value_and_gap(
    form: SequenceForm, policy: Policy
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Return both players' expected payoffs, and what each would gain by a best response.

    In payoff units and float64; gaps are never negative except by rounding.
    """
    first, second = (
        rows_of(treeplex, np.asarray(table, np.float64))
        for treeplex, table in zip(form.treeplex, policy, strict=True)
    )
    return value_and_gap_of_rows(form, (first, second))


def value_and_gap_of_rows(
    form: SequenceForm, policy: tuple[Rows, Rows]
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]:
    """Return `value_and_gap` of rows in float64: numpy's, and JAX's of a form that is looped."""
    if not is_looped(form):
        worth, best = _worth(form, policy)
    else:  # block by block, for whole arrays may be too large
        with jax.enable_x64(True):
            ready = everywhere(form, form)
            worth, best = jax.device_get(_compiled_worth(ready, placed(form, policy)))
    return np.asarray(worth), np.asarray(best) - np.asarray(worth)


def _worth(form: SequenceForm, policy: tuple[Rows, Rows]) -> tuple[list[Scalar], list[Scalar]]:
    """Return, by player, the value of the policy and that of a best response to the other's."""
    worth, best, ready = [], [], coupled(form)
    for player in (0, 1):
        own, other = policy[player], policy[1 - player]
        worth.append(sweep(ready, player, own, other, own, _mean)[0])
        best.append(sweep(ready, player, own, other, own, _maximum)[0])
    return worth, best


_compiled_worth = jax.jit(_worth)


def _mean(q: Array, legal: Array, reach: Array, policy: Array) -> tuple[Array, tuple[()]]:
    return (policy * q).sum(axis=-2), ()


def _maximum(q: Array, legal: Array, reach: Array, policy: Array) -> tuple[Array, tuple[()]]:
    return namespace(q).where(legal, q, -np.inf).max(axis=-2), ()


def expected(game: Game, policy: Policy, number: Float[np.ndarray, " L"]) -> float:
    """Return the expectation of a `number` on leaves, such as a tag, under `policy`."""
    return float(leaf_probabilities(game, policy) @ number)


def infoset_reach(
    game: Game, player: int, policy: Policy
) -> tuple[Float[np.ndarray, " I"], Float[np.ndarray, " I"]]:
    """Return each infoset's (own reach, counterfactual reach); their product is its reach.

    Own reach is the probability that the player's own choices lead there, counterfactual reach
    that chance and the opponent do.
    """
    return own_reach(game, player, policy), _others_reach(game, player, policy)


def own_reach(game: Game, player: int, policy: Policy) -> Float[np.ndarray, " I"]:
    """Return the probability that `player`'s own choices lead to each of its infosets."""
    plan = _plans(game.form, policy)[player]
    # An infoset's own reach is what its actions share out between them.
    return np.asarray(table_of(game.form.treeplex[player], plan).sum(axis=-1))


def intent_reach(game: Game, policy: Policy) -> Float[np.ndarray, "I T"]:
    """Return the counterfactual reach of each of the assistant's infosets together with an intent.

    Row sums are the infosets' counterfactual reach; rows divided by them are posteriors. Intents
    are in the order of the scenario.
    """
    return np.stack(
        [_counterfactual(game, ASSISTANT, policy, tag) for tag in intent_tags(game).values()],
        axis=-1,
    )


def posterior(game: Game, policy: Policy) -> Float[np.ndarray, "I T"]:
    """Return P(intent | infoset) for the assistant; rows that cannot be reached are nan."""
    joint = intent_reach(game, policy)
    return _ratio(joint, joint.sum(axis=-1, keepdims=True))


def action_values(game: Game, player: int, policy: Policy) -> Float[np.ndarray, "I A"]:
    """Return `player`'s expected payoff of the whole game, given each infoset and each action.

    Afterwards `policy` is followed. Illegal actions and infosets that the others cannot lead to
    are nan. These are counterfactual values divided by counterfactual reach.
    """
    payoff = np.asarray(game.form.leaves.payoff[player])
    values, others = _backed_up(game, player, policy, payoff), _others_reach(game, player, policy)
    return _ratio(values, others[:, None] * legal_mask(game.form.treeplex[player]))


def intent_tags(game: Game) -> dict[str, Float[np.ndarray, " L"]]:
    """Return the tag of each intent of a dialogue, 1 on its leaves, in the scenario's order."""
    return {intent.name: _tag(game, f"intent:{intent.name}") for intent in _scenario(game).intents}


def choosing_intents(game: Game) -> tuple[str, ...]:
    """Return the intent that chooses at each of the user's infosets of a dialogue."""
    _scenario(game)
    return tuple(intent_of(key) for key in game.names.infosets[USER])


def by_intent(game: Game, policy: Policy, number: Float[np.ndarray, " L"]) -> dict[str, float]:
    """Return the expectation of `number` given each intent; nan for one of prior zero."""
    leaf = leaf_probabilities(game, policy)
    tags = intent_tags(game)
    totals = np.array([leaf @ (tag * number) for tag in tags.values()])
    masses = np.array([leaf @ tag for tag in tags.values()])
    return dict(zip(tags, _ratio(totals, masses).tolist(), strict=True))


def response_use(game: Game, policy: Policy) -> dict[str, dict[str, float]]:
    """Return how often each response is given per conversation, by intent and response.

    The numbers of an intent sum to the turns that the assistant answers; nan for one of prior zero.
    """
    scenario = _scenario(game)
    reached = own_reach(game, ASSISTANT, policy)[:, None] * intent_reach(game, policy)
    often = reached.T @ np.asarray(policy[ASSISTANT], dtype=np.float64)
    prior = np.array([intent.prior.value for intent in scenario.intents])
    responses = [response.name for response in scenario.responses]
    return {
        intent.name: dict(zip(responses, row, strict=True))
        for intent, row in zip(
            scenario.intents, _ratio(often, prior[:, None]).tolist(), strict=True
        )
    }


Measure = Callable[[Game, Policy], Mapping[str, float]]
"""(game, policy) -> a number per intent: an expectation, given that intent."""


def _measure(tag: str) -> Measure:
    return lambda game, policy: by_intent(game, policy, _tag(game, tag))


MEASURES: dict[str, Measure] = {
    "payoff": lambda game, policy: by_intent(
        game, policy, np.asarray(game.form.leaves.payoff[ASSISTANT])
    ),
    **{name: _measure(name) for name in (*COMPONENTS, *ENDINGS)},
}
"""Outcome measures by intent: the assistant's payoff and the payoff components per conversation,
and the shares of conversations that were left, that migrated, and that the assistant ended."""


def _scenario(game: Game) -> Scenario:
    if game.scenario is None:
        raise InputError(f"{game.name}: found a game without intents, expected a dialogue scenario")
    return game.scenario


def _tag(game: Game, name: str) -> Float[np.ndarray, " L"]:
    return game.tags.get(name, np.zeros_like(game.form.leaves.chance))


def _plans(form: SequenceForm, policy: Policy) -> tuple[Rows, Rows]:
    first, second = (
        reach(treeplex, rows_of(treeplex, np.asarray(table, np.float64)))
        for treeplex, table in zip(form.treeplex, policy, strict=True)
    )
    return first, second


def _backed_up(
    game: Game, player: int, policy: Policy, number: Float[np.ndarray, " L"]
) -> Float[np.ndarray, "I A"]:
    """Return the mass of `number` below each infoset and action, `player` having gone there.

    Weighted by the reach of chance and the opponent before, and by everybody's play after.
    """
    treeplex = game.form.treeplex[player]
    own = rows_of(treeplex, np.asarray(policy[player], np.float64))
    per_sequence = expectation(game.form, player, number, _plans(game.form, policy)[1 - player])
    values, _ = backup(treeplex, per_sequence, mean_of(own))
    return np.asarray(table_of(treeplex, values))


def _counterfactual(
    game: Game, player: int, policy: Policy, number: Float[np.ndarray, " L"]
) -> Float[np.ndarray, " I"]:
    """Return the mean of `_backed_up` over the actions of `policy`.

    Below an infoset the player's own choices sum to 1, so for a tag that is fixed by then, such as
    the intent, this is the probability that the others lead there and the tag is 1.
    """
    weights = np.asarray(policy[player], dtype=np.float64)
    return np.asarray((weights * _backed_up(game, player, policy, number)).sum(axis=-1))


def _others_reach(game: Game, player: int, policy: Policy) -> Float[np.ndarray, " I"]:
    return _counterfactual(game, player, policy, np.ones_like(game.form.leaves.chance))


def _ratio(number: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Return `number / mass`, nan where the mass is zero."""
    nothing = np.full_like(number, np.nan)
    return np.divide(number, mass, out=nothing, where=np.broadcast_to(mass > 0, number.shape))


Number = Callable[[], Float[np.ndarray, " L"]]
"""Makes a number per leaf."""


def leaf_numbers(game: Game) -> dict[str, Number]:
    """Return, by name, the measures of a dialogue that are expectations of a number on leaves.

    These are linear in each player's plan, so that programs can bound them. The payoff, its
    components and the endings are those of `MEASURES`. Two more are probabilities: "harmed", that a
    conversation does any harm at all, its risk being above 0, which is harmful compliance; and
    "gives:RESPONSE", that the response is given in it, once or more.
    """
    responses = [response.name for response in _scenario(game).responses]
    return {
        "payoff": lambda: np.asarray(game.form.leaves.payoff[ASSISTANT], np.float64),
        **{name: partial(_tag, game, name) for name in (*COMPONENTS, *ENDINGS)},
        "harmed": lambda: (_tag(game, "risk") > 0).astype(np.float64),
        **{f"gives:{name}": partial(_given, game, k) for k, name in enumerate(responses)},
    }


def _given(game: Game, response: int) -> Float[np.ndarray, " L"]:
    """Return 1 on leaves that come after `response`, given at any turn, and 0 on the others.

    The plan of a policy that would do everything but this, each with weight 1, is 1 where it was
    never given. In the factored layout signals sum to 1 on the way to each leaf, up to rounding.
    """
    treeplex = game.form.treeplex[ASSISTANT]
    anything_else = np.ones((treeplex.infosets, treeplex.width))
    anything_else[:, response] = 0.0
    never = seen(game.form, ASSISTANT, reach(treeplex, rows_of(treeplex, anything_else)))
    return 1.0 - np.rint(never[game.form.leaves.sequence[ASSISTANT]])
