"""The rows of a policy that matter most: where play leads, and what is done there."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from csa_games.evaluate import action_values, infoset_reach, intent_reach, own_reach
from csa_games.game import ASSISTANT, Game, Policy
from csa_games.guard.keys import Turn, turns_of

LIKELY = 1e-6


@dataclass(frozen=True)
class Row:
    """One infoset: (action, probability, value) each, the posterior, and the margin.

    Values are expected payoffs of the whole game, given that the infoset is reached and the action
    taken; the margin is how far the best is ahead of the next best, nan for a single action.
    `visits` is the share of each intent's conversations that get here, nan for a prior of 0.
    """

    label: str
    turns: tuple[Turn, ...]  # of a dialogue's assistant; none otherwise
    reach: float
    actions: tuple[tuple[str, float, float], ...]
    posterior: tuple[float, ...]
    visits: tuple[float, ...]
    margin: float


@dataclass(frozen=True)
class Excerpt:
    """Some rows, the most reached first, and what is left out."""

    rows: tuple[Row, ...]
    covered: float  # the share of all decisions that these rows take
    likely: int  # rows reached in at least one of a million conversations
    total: int


def most_reached(game: Game, policy: Policy, player: int, count: int) -> Excerpt:
    """Return the `count` most reached infosets of `player`, the most reached first."""
    reach = np.multiply(*infoset_reach(game, player, policy))
    return _excerpt(game, policy, player, reach, _first(reach, count))


def for_everyone(game: Game, policy: Policy, count: int, each: int) -> Excerpt:
    """Return the rows of the assistant in a dialogue that a reader may look for.

    Those are the `count` most reached, the `each` most reached given any intent in any turn, and
    the most reached of every turn, ask and signal: the intents of small prior have rows too.
    """
    visits = _visits(game, policy)
    reach = visits.sum(axis=-1)
    keys = [turns_of(key) for key in game.names.infosets[ASSISTANT]]
    chosen = set(_first(reach, count))
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, turns in enumerate(keys):
        groups.setdefault((len(turns),), []).append(i)
        groups.setdefault((len(turns), turns[-1].ask, turns[-1].signal), []).append(i)
    for group, members in groups.items():
        where = np.array(members)
        if len(group) > 1:
            chosen.update(where[_first(reach[where], 1)].tolist())
        else:
            for theirs in visits[where].T:
                chosen.update(where[_first(theirs, each)].tolist())
    return _excerpt(game, policy, ASSISTANT, reach, sorted(chosen))


def _first(reach: Float[np.ndarray, " I"], count: int) -> list[int]:
    """Return the `count` infosets of the largest `reach`, and of those only the reached ones."""
    order: list[int] = np.argsort(-reach, kind="stable")[:count].tolist()
    return [i for i in order if reach[i] > 0]


def _excerpt(
    game: Game, policy: Policy, player: int, reach: Float[np.ndarray, " I"], chosen: list[int]
) -> Excerpt:
    order = sorted(chosen, key=lambda i: (-reach[i], i))
    talk = game.scenario is not None and player == ASSISTANT
    values = action_values(game, player, policy)
    joint = _visits(game, policy) if talk else np.zeros((len(reach), 0))
    labels, actions = game.names.infosets[player], game.names.actions[player]
    rows = np.asarray(policy[player], dtype=np.float64)
    intents = game.scenario.intents if game.scenario is not None and talk else ()
    prior = np.array([intent.prior.value for intent in intents])
    shares = np.divide(joint, prior, out=np.full_like(joint, np.nan), where=prior > 0)

    def row(i: int) -> Row:
        count = len(actions[i])
        worth = np.sort(values[i, :count])
        return Row(
            labels[i],
            turns_of(labels[i]) if talk else (),
            float(reach[i]),
            tuple(
                (name, float(p), float(v))
                for name, p, v in zip(actions[i], rows[i, :count], values[i, :count], strict=True)
            ),
            tuple((joint[i] / joint[i].sum()).tolist()),
            tuple(shares[i].tolist()),
            float(worth[-1] - worth[-2]) if count > 1 else float("nan"),
        )

    total = float(reach.sum())
    return Excerpt(
        tuple(row(i) for i in order),
        float(reach[order].sum()) / total if total > 0 else 0.0,
        int((reach >= LIKELY).sum()),
        len(reach),
    )


def _visits(game: Game, policy: Policy) -> Float[np.ndarray, "I T"]:
    """Return the probability of every infoset of the assistant together with every intent."""
    return own_reach(game, ASSISTANT, policy)[:, None] * intent_reach(game, policy)
