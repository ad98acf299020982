"""What the assistant does, in sentences."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from csa_games.conduct import Choice, responses_by
from csa_games.game import Game, Policy

ALIKE = 0.05  # asks whose answers differ by less, in total variation, share a sentence
DEPENDS = 0.1  # a mean distance that a reader should be told of
WORTH_SAYING = 0.03


@dataclass(frozen=True)
class Sentence:
    """What follows a signal and any of these asks: the likely responses, the likeliest first.

    `every` says that the asks are all there are; `depends` that the answer is an average over
    conversations which are answered differently, because of what was said before.
    """

    signal: str
    asks: tuple[str, ...]
    every: bool
    reach: float
    responses: tuple[tuple[str, float], ...]
    depends: bool


def sentences(game: Game, policy: Policy, turn: int) -> tuple[Sentence, ...]:
    """Return what the assistant does in `turn`, by signal and ask, in the scenario's order."""
    scenario = game.scenario
    assert scenario is not None, "only dialogues have asks and signals"
    choices = responses_by(game, policy)
    asks = [ask.name for ask in scenario.asks if ask.ends is None]
    names = [response.name for response in scenario.responses]
    said = []
    for signal in scenario.signals:
        groups: list[list[tuple[str, Choice]]] = []
        for ask in asks:
            choice = choices.get((str(turn), ask, signal.name))
            if choice is None:
                continue
            near = (g for g in groups if _distance(g[0][1].shares, choice.shares) < ALIKE)
            group = next(near, None)
            if group is None:
                groups.append(group := [])
            group.append((ask, choice))
        for group in groups:
            reach = sum(choice.reach for _, choice in group)
            weight = np.array([choice.reach for _, choice in group]) / reach
            shares = weight @ np.stack([choice.shares for _, choice in group])
            order = np.argsort(-shares, kind="stable")
            said.append(
                Sentence(
                    signal.name,
                    tuple(ask for ask, _ in group),
                    len(group) == len(asks),
                    reach,
                    tuple((names[r], float(shares[r])) for r in order if shares[r] >= WORTH_SAYING),
                    bool(weight @ [choice.spread for _, choice in group] > DEPENDS),
                )
            )
    return tuple(said)


def _distance(one: Float[np.ndarray, " A"], other: Float[np.ndarray, " A"]) -> float:
    """Return the total variation distance of two distributions."""
    return float(np.abs(one - other).sum()) / 2
