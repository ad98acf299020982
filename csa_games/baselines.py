"""What an assistant would do without solving the game: the policies a solution has to beat."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int

from csa_games.dialogue import tables
from csa_games.errors import InputError
from csa_games.evaluate import posterior
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER, Game
from csa_games.guard.keys import Turn, turns_of
from csa_games.scenario import Scenario

Baseline = Callable[[Game], Float[np.ndarray, "I A"]]
"""A dialogue -> the assistant's policy."""


def always_comply(game: Game) -> Float[np.ndarray, "I A"]:
    """Return the assistant's policy that always plays the scenario's complying response."""
    return _always(game, _scenario(game).baselines.comply)


def always_refuse(game: Game) -> Float[np.ndarray, "I A"]:
    """Return the assistant's policy that always plays the scenario's refusing response."""
    return _always(game, _scenario(game).baselines.refuse)


def threshold(game: Game) -> Float[np.ndarray, "I A"]:
    """Return the assistant's policy that answers each signal as the scenario's threshold rule."""
    return _by_signal(game, _scenario(game).baselines.threshold)


def refuse_on_flag(game: Game) -> Float[np.ndarray, "I A"]:
    """Return the assistant's policy of a filter: it lets through or refuses, by the last signal.

    It complies with what the scenario's threshold rule complies with, and refuses all the rest.
    """
    plain = _scenario(game).baselines
    filtered = {
        signal: plain.comply if response == plain.comply else plain.refuse
        for signal, response in plain.threshold.items()
    }
    return _by_signal(game, filtered)


def myopic_bayes(game: Game) -> Float[np.ndarray, "I A"]:
    """Return the assistant's policy of a Bayesian who looks one turn ahead.

    The posterior over intents follows from the prior, the kernels and the classifier, strategic
    intents being taken to pick uniformly among their asks that do not end the conversation. The
    response with the best expected payoff of the turn is played, the first among equals.
    """
    scenario = _scenario(game)
    belief = posterior(game, (_uniform_talk(game), uniform(game.form.treeplex[ASSISTANT])))
    table, weights = tables(scenario), scenario.weights
    worth = (
        weights.alpha.value * table.satisfaction
        - weights.beta.value * table.risk
        - weights.gamma.value * table.cost
    )  # [H, T, B, R]; discounting scales a turn, and changes no choice
    ask = {part.name: b for b, part in enumerate(scenario.asks)}
    now = np.array([len(turns) - 1 for turns in _states(game)], int)
    asked = np.array([ask[turns[-1].ask or ""] for turns in _states(game)], int)
    expected = np.einsum("it,itr->ir", belief, worth[now, :, asked])
    return _pure(game, expected.argmax(axis=-1))


BASELINES: dict[str, Baseline] = {
    "always comply": always_comply,
    "always refuse": always_refuse,
    "refuse on flag": refuse_on_flag,
    "threshold": threshold,
    "myopic Bayes": myopic_bayes,
}
"""Policies to compare a solution with, by the name that reports use."""


def _scenario(game: Game) -> Scenario:
    if game.scenario is None:
        raise InputError(f"{game.name} is no dialogue: it has no responses that comply or refuse")
    return game.scenario


def _states(game: Game) -> list[tuple[Turn, ...]]:
    """Return what the assistant has seen at each of its infosets."""
    return [turns_of(key) for key in game.names.infosets[ASSISTANT]]


def _pure(game: Game, response: Int[np.ndarray, " I"]) -> Float[np.ndarray, "I A"]:
    """Return the policy that plays response number `response[i]` at infoset i."""
    return np.eye(game.form.treeplex[ASSISTANT].width)[response]


def _always(game: Game, name: str) -> Float[np.ndarray, "I A"]:
    names = [response.name for response in _scenario(game).responses]
    return _pure(game, np.full(game.form.treeplex[ASSISTANT].infosets, names.index(name)))


def _by_signal(game: Game, rule: Mapping[str, str]) -> Float[np.ndarray, "I A"]:
    """Return the policy that answers the last signal as `rule` says, signal -> response."""
    column = {part.name: r for r, part in enumerate(_scenario(game).responses)}
    played = [column[rule[turns[-1].signal or ""]] for turns in _states(game)]
    return _pure(game, np.array(played, int))


def _uniform_talk(game: Game) -> Float[np.ndarray, "I A"]:
    """Return the user's policy that is uniform over the asks that do not end the conversation."""
    ends = {ask.name for ask in _scenario(game).asks if ask.ends is not None}
    weight = np.array(uniform(game.form.treeplex[USER]))
    for i, asks in enumerate(game.names.actions[USER]):
        weight[i, [k for k, ask in enumerate(asks) if ask in ends]] = 0
    return weight / weight.sum(axis=-1, keepdims=True)
