"""Small dialogues in the normal form: all pure policies of both, conversation by conversation.

Shares no code with the library; behavioural policies are as good as mixtures (Kuhn 1953).
"""

import itertools

import numpy as np
from brute_dialogue import Brute, Shape
from hypothesis import strategies as st

TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
"""Options of scipy's linprog."""


class NormalForm:
    """The pure policies of a dialogue of kernels and adversarial users."""

    def __init__(self, content):
        self.brute = Brute(content)
        self.talks = self.brute.conversations()
        self.prior = {n: part["prior"]["value"] for n, part in self.brute.intents.items()}
        self.plays = [self._plays(player) for player in (0, 1)]

    def _plays(self, player):
        """Return, per conversation, which pure policies of a player lead to it."""
        places = {}
        for talk in self.talks:
            for who, infoset, action in talk.choices:
                if who == player:
                    places.setdefault(infoset, {}).setdefault(action)
        labels = list(places)
        policies = [
            dict(zip(labels, actions, strict=True))
            for actions in itertools.product(*(places[label] for label in labels))
        ]
        return np.array(
            [
                [
                    all(play[h] == a for who, h, a in talk.choices if who == player)
                    for play in policies
                ]
                for talk in self.talks
            ],
            float,
        )

    @property
    def pure(self):
        """Return how many pure policies the assistant has."""
        return self.plays[1].shape[1]

    def matrix(self, measure, intent=None):
        """Return the expectation of a measure, given an intent or not, [users', assistant's]."""
        weight = np.array([talk.chance * number(talk, measure) for talk in self.talks])
        if intent is not None:
            weight = weight * [talk.intent == intent for talk in self.talks] / self.prior[intent]
        return self.plays[0].T @ (weight[:, None] * self.plays[1])


def number(talk, measure):
    """Return what a conversation adds to the expectation of a measure."""
    if measure == "payoff":
        return talk.payoffs[1]
    if measure == "harmed":
        return float(talk.tags.get("risk", 0) > 0)
    if measure.startswith("gives:"):
        return float(measure.removeprefix("gives:") in [said for _, _, said in talk.turns])
    return talk.tags.get(measure, 0)


def _shape(kind, behaviours, ways_out, seed):
    turns, talking, signals, responses = kind
    return Shape(turns, behaviours, talking, ways_out, signals, responses, seed)


shapes = st.builds(
    _shape,
    st.sampled_from([(1, 2, 2, 3), (2, 1, 1, 3), (1, 1, 2, 3), (2, 1, 2, 1), (2, 2, 1, 1)]),
    st.sampled_from(
        [
            ("kernel",),
            ("adversarial",),
            ("kernel", "adversarial"),
            ("kernel", "kernel"),
            ("adversarial", "kernel", "kernel"),
            ("adversarial", "kernel", "adversarial"),
        ]
    ),
    st.integers(0, 1),
    st.integers(0, 2**20),
)
"""Dialogues in the security class with at most some hundred pure policies a player."""
