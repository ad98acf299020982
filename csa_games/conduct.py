"""What a policy does, summed over the conversations it leads to: the data behind the pictures."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float

from csa_games.evaluate import infoset_reach, posterior, response_use
from csa_games.game import ASSISTANT, USER, Game, Policy
from csa_games.guard.keys import state_key, turns_of

Kind = TypeVar("Kind", bound=Hashable)

Feature = Literal["turn", "ask", "signal"]
"""What an assistant's situation is told by, apart from the conversation before it."""


@dataclass(frozen=True)
class Choice:
    """What is chosen in one kind of situation: its infosets' policies, weighted by their reach.

    `spread` is how much the choice depends on what the kind leaves out: the mean total variation
    distance between an infoset's own policy and `shares`, 0 where all of them agree.
    """

    reach: float  # the mean number of visits; in a single turn, the share of conversations
    shares: Float[np.ndarray, " A"]  # sum to 1
    spread: float


def responses_by(
    game: Game, policy: Policy, features: Sequence[Feature] = ("turn", "ask", "signal")
) -> dict[tuple[str, ...], Choice]:
    """Return what the assistant chooses by the given features of its situation.

    Keys are the features' values, as in ("1", "plain", "clear"); situations that nobody's play
    leads to are left out. Shares are in the order of the scenario's responses. Without any feature
    the one key is (): all that the assistant does.
    """
    kinds = []
    for key in game.names.infosets[ASSISTANT]:
        ask, _, signal = key[key.rfind("/") + 1 :].partition(":")
        full = {"turn": str(1 + key.count("/")), "ask": ask, "signal": signal}
        kinds.append(tuple(full[feature] for feature in features))
    own, others = infoset_reach(game, ASSISTANT, policy)
    return _grouped(kinds, own * others, np.asarray(policy[ASSISTANT], dtype=np.float64))


def shares_by_intent(game: Game, policy: Policy) -> dict[str, Float[np.ndarray, " R"]]:
    """Return what each intent is answered, over all turns, as shares of its answers.

    An intent that never gets an answer is left out.
    """
    shares = {}
    for intent, often in response_use(game, policy).items():
        answers = np.array(list(often.values()))
        if answers.sum() > 0:
            shares[intent] = answers / answers.sum()
    return shares


def asks_by(game: Game, policy: Policy) -> dict[tuple[str, int, str], Choice]:
    """Return what the strategic intents ask, by (intent, turn, the assistant's last response).

    The last response is "" in the first turn; shares are in the order of the scenario's asks, and
    reach is given the intent.
    """
    assert game.scenario is not None, "only dialogues have asks"
    asks = [ask.name for ask in game.scenario.asks]
    kinds, rows = [], []
    for label, actions, row in zip(
        game.names.infosets[USER],
        game.names.actions[USER],
        np.asarray(policy[USER], dtype=np.float64),
        strict=True,
    ):
        intent, _, public = label.partition("|")
        rounds = public.split("/") if public else []
        last = rounds[-1].partition(">")[2] if rounds else ""
        kinds.append((intent, 1 + len(rounds), last))
        # An infoset's columns are the asks legal there; put them where the scenario lists them.
        by_name = dict(zip(actions, row, strict=False))
        rows.append([by_name.get(name, 0.0) for name in asks])
    own, others = infoset_reach(game, USER, policy)
    joint = _grouped(kinds, own * others, np.reshape(rows, (len(kinds), len(asks))))
    prior = {intent.name: intent.prior.value for intent in game.scenario.intents}
    return {kind: replace(it, reach=it.reach / prior[kind[0]]) for kind, it in joint.items()}


def _grouped(
    kinds: Sequence[Kind], weight: Float[np.ndarray, " I"], rows: Float[np.ndarray, "I A"]
) -> dict[Kind, Choice]:
    """Return the choice in each kind of infoset that is reached at all."""
    members: dict[Kind, list[int]] = {}
    for i, kind in enumerate(kinds):
        members.setdefault(kind, []).append(i)
    choices = {}
    for kind, where in members.items():
        total = float(weight[where].sum())
        if total > 0:
            share = weight[where] / total
            mean = share @ rows[where]
            apart = float(share @ np.abs(rows[where] - mean).sum(axis=-1)) / 2
            choices[kind] = Choice(total, mean, apart)
    return choices


def typical_conversations(game: Game, policy: Policy) -> tuple[int, ...]:
    """Return one conversation for each first signal, as the assistant's infoset it ends in.

    Each begins with the most reached ask under that signal, and goes on with the most reached next
    infoset until the game is over; in the order of the scenario's signals.
    """
    assert game.scenario is not None, "only dialogues have signals"
    own, others = infoset_reach(game, ASSISTANT, policy)
    weight = own * others
    keys = game.names.infosets[ASSISTANT]
    first: dict[str, list[int]] = {}
    following: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        before, answered, _ = key.rpartition(">")  # the last response and what follows it, cut off
        if answered:
            following.setdefault(before, []).append(i)
        else:
            first.setdefault(key.partition(":")[2], []).append(i)

    def most(candidates: Iterable[int]) -> int | None:
        best = max(candidates, key=lambda i: weight[i], default=None)
        return None if best is None or weight[best] == 0 else best

    ends = []
    for signal in game.scenario.signals:
        here, after = None, most(first.get(signal.name, ()))
        while after is not None:
            here = after
            after = most(following.get(keys[here], ()))
        if here is not None:
            ends.append(here)
    return tuple(ends)


def posterior_path(game: Game, policy: Policy, infoset: int) -> Float[np.ndarray, "K T"]:
    """Return the prior over intents and the posterior at each of the turns up to `infoset`."""
    assert game.scenario is not None, "only dialogues have intents"
    prior = np.array([intent.prior.value for intent in game.scenario.intents])
    keys = game.names.infosets[ASSISTANT]
    turns = turns_of(keys[infoset])
    visited = [
        keys.index(state_key((*turns[:t], turns[t]._replace(response=None))))
        for t in range(len(turns))
    ]
    return np.stack([prior, *posterior(game, policy)[visited]])
