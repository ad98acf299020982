"""What a classifier is worth: the best policy's value with it, without it, and with a perfect one.

In the factored layout of a dialogue leaves do not tell signals: those enter through the channel
alone. A game with another classifier is therefore the same game with other levels of the assistant
and another channel, without building anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from csa_games.errors import InputError
from csa_games.game import ASSISTANT, USER, Game, Grid, Names, Solution, Treeplex

Interval = tuple[float, float]
"""(at least, at most)."""


@dataclass(frozen=True)
class ClassifierWorth:
    """The most that any policy is worth to the assistant, in payoff units, each between two bounds.

    `actual` is with the scenario's classifier, `none` without any signal, and `perfect` with one
    that tells the intent. More information never hurts who commits to its use of it, so the three
    ascend.
    """

    none: Interval
    actual: Interval
    perfect: Interval

    @property
    def worth(self) -> Interval:
        """What the classifier is worth: its decision value."""
        return _less(self.actual, self.none)

    @property
    def ceiling(self) -> Interval:
        """What the best conceivable classifier would be worth."""
        return _less(self.perfect, self.none)


def classifier_worth(game: Game, solve: Callable[[Game], Solution]) -> ClassifierWorth:
    """Return what the classifier of a dialogue is worth, by solving it with three classifiers.

    `solve` returns a policy with a certificate that bounds the best: in the security class any
    solver's, and elsewhere a commitment. Signals of another classifier are what an infoset of the
    changed games is named by, so their policies fit no table.

    Raises `InputError` for games that are not in the factored layout, and for solutions that do not
    bound what the best policy is worth.
    """
    signal = game.form.signal
    if signal is None or game.scenario is None:
        raise InputError(
            f"{game.name}: found a game without a channel, expected a dialogue in the factored "
            "layout, as csa_games.load returns it"
        )
    intents, asks, _ = signal.shape
    perfect = np.repeat(np.eye(intents)[:, None], asks, axis=1)
    return ClassifierWorth(
        none=bounds_of(solve(with_channel(game, np.ones((intents, asks, 1))))),
        actual=bounds_of(solve(game)),
        perfect=bounds_of(solve(with_channel(game, perfect))),
    )


def bounds_of(solution: Solution) -> Interval:
    """Return what the best policy is worth to the assistant, at least and at most.

    Raises `InputError` for a solution of a general-sum game that is no commitment.
    """
    found = solution.commitment
    if found is not None and found.leader == ASSISTANT:
        return found.strong, found.bound
    if solution.game_class == "general-sum":
        raise InputError(
            f"found a policy of {solution.game} by {solution.method}, which says nothing of the "
            "best one in a general-sum game; expected a commitment of the assistant"
        )
    value = float(solution.value[ASSISTANT])
    return value - float(solution.gap[USER]), value + float(solution.gap[ASSISTANT])


def with_channel(game: Game, signal: Float[np.ndarray, "T B Y"]) -> Game:
    """Return a dialogue in the factored layout with another classifier: σ(signal | intent, ask).

    Its infosets are numbered, not named, and its scenario is still that of `game`.
    """
    user, assistant = game.form.treeplex
    grids = tuple(
        replace(grid, signals=signal.shape[2])
        for grid in assistant.levels
        if isinstance(grid, Grid)
    )
    changed = Treeplex(grids, assistant.width)
    form = replace(game.form, treeplex=(user, changed), signal=signal)
    numbered = tuple(map(str, range(changed.infosets)))
    responses = (game.names.actions[ASSISTANT][0],) * changed.infosets
    names = Names(
        players=game.names.players,
        infosets=(game.names.infosets[USER], numbered),
        actions=(game.names.actions[USER], responses),
    )
    return replace(game, form=form, names=names)


def _less(one: Interval, other: Interval) -> Interval:
    return one[0] - other[1], one[1] - other[0]
