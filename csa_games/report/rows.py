"""The rows of a policy that matter most: where play leads, and what is done there."""

from dataclasses import dataclass

import numpy as np

from csa_games.evaluate import action_values, infoset_reach, posterior
from csa_games.game import ASSISTANT, Game, Policy
from csa_games.guard.keys import Turn, turns_of

LIKELY = 1e-6


@dataclass(frozen=True)
class Row:
    """One infoset: (action, probability, value) each, the posterior, and the margin.

    Values are expected payoffs of the whole game, given that the infoset is reached and the action
    taken; the margin is how far the best is ahead of the next best, nan for a single action.
    """

    label: str
    turns: tuple[Turn, ...]  # of a dialogue's assistant; none otherwise
    reach: float
    actions: tuple[tuple[str, float, float], ...]
    posterior: tuple[float, ...]
    margin: float


@dataclass(frozen=True)
class Excerpt:
    """The most reached rows, and what is left out."""

    rows: tuple[Row, ...]
    covered: float  # the share of all decisions that these rows take
    likely: int  # rows reached in at least one of a million conversations
    total: int


def most_reached(game: Game, policy: Policy, player: int, count: int) -> Excerpt:
    """Return the `count` most reached infosets of `player`, the most reached first."""
    own, others = infoset_reach(game, player, policy)
    reach = own * others
    order = [i for i in np.argsort(-reach, kind="stable")[:count].tolist() if reach[i] > 0]
    talk = game.scenario is not None and player == ASSISTANT
    values = action_values(game, player, policy)
    beliefs = posterior(game, policy) if talk else np.zeros((len(reach), 0))
    labels, actions = game.names.infosets[player], game.names.actions[player]
    rows = np.asarray(policy[player], dtype=np.float64)

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
            tuple(map(float, beliefs[i])),
            float(worth[-1] - worth[-2]) if count > 1 else float("nan"),
        )

    total = float(reach.sum())
    return Excerpt(
        tuple(row(i) for i in order),
        float(reach[order].sum()) / total if total > 0 else 0.0,
        int((reach >= LIKELY).sum()),
        len(reach),
    )
