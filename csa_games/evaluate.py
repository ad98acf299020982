"""What a policy does, exactly: reach, posteriors, action values, outcomes by intent.

Everything here is numpy in float64, from the policy alone; nothing is sampled.
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from csa_games.fold import backup, expectation, gradient, mean_of, reach
from csa_games.game import ASSISTANT, Game, Policy


def leaf_probabilities(game: Game, policy: Policy) -> Float[np.ndarray, " L"]:
    """Return the probability of every leaf under `policy` and chance; they sum to 1."""
    plans = _plans(game, policy)
    leaves = game.form.leaves
    own = plans[0][leaves.sequence[0]] * plans[1][leaves.sequence[1]]
    return np.asarray(leaves.chance * own)


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
    ones = np.ones_like(game.form.leaves.chance)
    return own_reach(game, player, policy), _counterfactual(game, player, policy, ones)


def own_reach(game: Game, player: int, policy: Policy) -> Float[np.ndarray, " I"]:
    """Return the probability that `player`'s own choices lead to each of its infosets."""
    treeplex = game.form.treeplex[player]
    plan = reach(treeplex, np.asarray(policy[player], dtype=np.float64))
    # An infoset's own reach is what its actions share out between them.
    return plan[1:].reshape(-1, treeplex.width).sum(axis=-1)


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
    total = joint.sum(axis=-1, keepdims=True)
    return np.divide(joint, total, out=np.full_like(joint, np.nan), where=total > 0)


def action_values(game: Game, player: int, policy: Policy) -> Float[np.ndarray, "I A"]:
    """Return the expected payoff of the whole game given each infoset is reached and each action
    is taken there, `policy` being followed afterwards; nan where it cannot be reached.

    These are counterfactual values divided by counterfactual reach.
    """
    plans = _plans(game, policy)
    treeplex = game.form.treeplex[player]
    counterfactual, _ = backup(
        treeplex,
        gradient(game.form, player, plans[1 - player]),
        mean_of(np.asarray(policy[player], dtype=np.float64)),
    )
    _, others = infoset_reach(game, player, policy)
    return np.divide(
        counterfactual,
        others[:, None],
        out=np.full_like(counterfactual, np.nan),
        where=others[:, None] > 0,
    )


def intent_tags(game: Game) -> dict[str, Float[np.ndarray, " L"]]:
    """Return the tag of each intent of a dialogue, 1 on its leaves, in the scenario's order."""
    assert game.scenario is not None, "only dialogues have intents"
    zero = np.zeros_like(game.form.leaves.chance)
    return {
        intent.name: game.tags.get(f"intent:{intent.name}", zero)
        for intent in game.scenario.intents
    }


Measure = Callable[[Game, Policy], Mapping[str, float]]
"""(game, policy) -> a number per intent: an expectation, given that intent."""


def by_intent(game: Game, policy: Policy, number: Float[np.ndarray, " L"]) -> dict[str, float]:
    """Return the expectation of `number` given each intent; nan for one of prior zero."""
    leaf = leaf_probabilities(game, policy)
    outcome = {}
    for name, tag in intent_tags(game).items():
        mass = float(leaf @ tag)
        outcome[name] = float(leaf @ (tag * number)) / mass if mass > 0 else float("nan")
    return outcome


def _tag(name: str) -> Measure:
    return lambda game, policy: by_intent(
        game, policy, game.tags.get(name, np.zeros_like(game.form.leaves.chance))
    )


def _closed(game: Game, policy: Policy) -> Mapping[str, float]:
    assert game.scenario is not None
    zero = np.zeros_like(game.form.leaves.chance)
    ends = [response.name for response in game.scenario.responses if response.ends]
    total = sum((game.tags.get(f"ended:{name}", zero) for name in ends), start=zero)
    return by_intent(game, policy, total)


def _left(kind: str) -> Measure:
    def measure(game: Game, policy: Policy) -> Mapping[str, float]:
        assert game.scenario is not None
        zero = np.zeros_like(game.form.leaves.chance)
        asks = [ask.name for ask in game.scenario.asks if ask.ends == kind]
        total = sum((game.tags.get(f"ended:{name}", zero) for name in asks), start=zero)
        return by_intent(game, policy, total)

    return measure


MEASURES: dict[str, Measure] = {
    "payoff": lambda game, policy: by_intent(
        game, policy, np.asarray(game.form.leaves.payoff[ASSISTANT])
    ),
    "satisfaction": _tag("satisfaction"),
    "risk": _tag("risk"),
    "cost": _tag("cost"),
    "displacement": _tag("displacement"),
    "effort": _tag("effort"),
    "left": _left("leave"),
    "migrated": _left("migrate"),
    "handed over": _closed,
}
"""Outcome measures by intent: payoff components per conversation, and shares of conversations."""


def _plans(game: Game, policy: Policy) -> tuple[np.ndarray, np.ndarray]:
    first, second = (
        reach(treeplex, np.asarray(part, dtype=np.float64))
        for treeplex, part in zip(game.form.treeplex, policy, strict=True)
    )
    return first, second


def _counterfactual(
    game: Game, player: int, policy: Policy, number: Float[np.ndarray, " L"]
) -> Float[np.ndarray, " I"]:
    """Return the mass of `number` that the others' play carries to each infoset of `player`.

    Below an infoset the player's own choices sum to 1, so a tag backed up under its policy's mean
    comes out weighted by the counterfactual reach alone.
    """
    treeplex = game.form.treeplex[player]
    weights = np.asarray(policy[player], dtype=np.float64)
    plans = _plans(game, policy)
    per_sequence = expectation(game.form, player, number, plans[1 - player])
    values, _ = backup(treeplex, per_sequence, mean_of(weights))
    return (weights * values).sum(axis=-1)
