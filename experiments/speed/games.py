"""The games that are raced: benchmarks from the literature, and dialogues of four sizes and more.

OpenSpiel's games carry the parameters that published timings used, so that those can stand beside
ours. A dialogue is made by one rule from how many turns, asks, signals and responses it has: its
numbers are made up, but not its nature. Some users mean well, some cannot be told from those who
mean harm, every response trades help against risk, and asking in other words blurs the signal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

from csa_games.dialogue import tables
from csa_games.factored import factored_game
from csa_games.game import Game
from csa_games.scenario import Scenario, scenario_from

OPENSPIEL = {
    "kuhn": "kuhn_poker",
    "leduc": "leduc_poker",
    **{f"liars_dice_{n}": f"liars_dice(numdice=1,dice_sides={n})" for n in (3, 4, 5, 6)},
    **{
        f"goofspiel_{n}": "turn_based_simultaneous_game(game=goofspiel("
        f"num_cards={n},imp_info=True,points_order=descending))"
        for n in (4, 5)
    },
    # As Kim and Sandholm (arXiv 2605.14277) play it.
    **{
        f"battleship_{size}": f"battleship(board_height={height},board_width=2,"
        "ship_sizes=[2],ship_values=[1],num_shots=3)"
        for size, height in (("tiny", 2), ("small", 3))
    },
}
"""Name of a game -> load string of OpenSpiel."""


@dataclass(frozen=True)
class Shape:
    """How large a dialogue is: turns, asks that talk, signals, and responses, one of which ends.

    Two more asks end the conversation, by leaving and by migrating.
    """

    turns: int
    asks: int
    signals: int
    responses: int


DIALOGUES = {
    "dialogue_1e4": Shape(2, 3, 3, 6),
    "dialogue_5e5": Shape(3, 3, 3, 6),
    "dialogue_2e8": Shape(4, 4, 4, 6),
    "dialogue_1e9": Shape(5, 3, 3, 6),
    "dialogue_1e10": Shape(6, 3, 3, 5),  # for a GPU
}
"""Name of a game -> shape; the name tells about how many complete histories it has."""

ASSUMED = "assumption: made up by a rule, to measure speed with"

INTENTS = {
    "curious": (0.50, 0.0, False),
    "distressed": (0.20, 0.4, False),
    "misinformed": (0.15, 0.3, False),
    "dual_use": (0.10, 0.6, True),
    "malicious": (0.05, 1.0, True),
}
"""Intent -> prior, danger from 0 to 1, and whether it is adversarial (else a kernel)."""


def dialogue(name: str) -> Scenario:
    """Return the dialogue scenario called `name` in `DIALOGUES`; KeyError if there is none."""
    return dialogue_of(DIALOGUES[name], name)


def build(scenario: Scenario) -> Game:
    """Return the game of a dialogue in the layout that this library solves it in."""
    return factored_game(scenario)


def dialogue_of(shape: Shape, name: str = "dialogue") -> Scenario:
    """Return the scenario of `shape`, in the security class, all of its numbers made by rule.

    Ask 0 is the plainest and response 0 helps most; the last response hands over to a person and
    ends the conversation. Every intent may ask everything, and every signal is possible after every
    ask, so that no history is impossible. Raises `InputError` for shapes that are out of range.
    """
    talking = [f"ask_{b}" for b in range(shape.asks)]
    asks = [*talking, "leave", "migrate"]
    signals = [f"level_{y}" for y in range(shape.signals)]
    responses = [f"help_{a}" for a in range(shape.responses - 1)] + ["hand_over"]
    continuing = responses[:-1]
    plain = {ask: 1 - b / shape.asks for b, ask in enumerate(talking)}
    helps = {answer: 1 - a / len(continuing) for a, answer in enumerate(continuing)}
    helps["hand_over"] = 0.3

    def kernel(danger: float) -> dict[str, Any]:
        """Return reactions: who is helped stays, who is not goes or asks in other words."""

        def next_ask(help_: float) -> dict[str, float]:
            stay = {ask: (0.3 + 0.7 * help_) * plain[ask] ** 2 + 0.1 for ask in talking}
            return _shares(stay | {"leave": 0.9 - 0.6 * help_, "migrate": 0.05 + 0.3 * danger})

        opening = _shares({ask: plain[ask] ** 2 for ask in talking})
        after = {answer: next_ask(helps[answer]) for answer in continuing}
        return {"source": ASSUMED, "opening": opening, "after": after}

    def satisfaction(danger: float, ask: str, answer: str) -> float:
        wanted = 1 - 0.7 * danger  # how much help is what this user needs
        return round(wanted * (1 - (helps[answer] - wanted) ** 2) * (0.8 + 0.2 * plain[ask]), 4)

    def risk(danger: float, ask: str, answer: str) -> float:
        return round(danger * helps[answer] ** 2 * (0.5 + 0.5 * plain[ask]), 4)

    def cells(value: Any) -> list[dict[str, Any]]:
        return [
            {
                "intents": [intent],
                "asks": [ask],
                "values": {answer: value(danger, ask, answer) for answer in responses},
                "source": ASSUMED,
            }
            for intent, (_, danger, _) in INTENTS.items()
            for ask in talking
        ]

    content = {
        "format": 1,
        "name": name,
        "title": f"A dialogue of {shape.turns} turns, to measure speed with",
        "question": "How long does it take to solve this?",
        "turns": shape.turns,
        "discount": _assumed(0.95),
        "sources": {},
        "weights": {
            "alpha": _assumed(1.0),
            "beta": _assumed(4.0),
            "gamma": _assumed(1.0),
            "psi": _assumed(0.5),
        },
        "intents": [
            {
                "name": intent,
                "description": f"A user of danger {danger}.",
                "prior": _assumed(prior),
                "behaviour": "adversarial" if adversarial else "kernel",
                "asks": asks,
            }
            | ({} if adversarial else {"kernel": kernel(danger)})
            for intent, (prior, danger, adversarial) in INTENTS.items()
        ],
        "asks": [
            *({"name": ask, "description": "An ask; later ones are veiled."} for ask in talking),
            {"name": "leave", "description": "Ends the conversation.", "ends": "leave"},
            {"name": "migrate", "description": "Asks another service.", "ends": "migrate"},
        ],
        "signals": [
            {"name": signal, "description": "A verdict; later ones are graver."}
            for signal in signals
        ],
        "responses": [
            *(
                {
                    "name": answer,
                    "description": "A response; later ones help less.",
                    "mechanism": "steer",
                    "text": f"Help to the share {helps[answer]:.2f}.",
                }
                for answer in continuing
            ),
            {
                "name": "hand_over",
                "description": "Hands over to a person.",
                "mechanism": "route",
                "text": "A person takes over.",
                "ends": True,
            },
        ],
        "categories": [{"name": "harm", "description": "Harm.", "severity": _assumed(1.0)}],
        "channel": [
            {
                "intents": [intent],
                "asks": [ask],
                "probabilities": _binomial(signals, 0.2 + 0.6 * danger * plain[ask]),
                "source": ASSUMED,
            }
            for intent, (_, danger, _) in INTENTS.items()
            for ask in talking
        ],
        "payoff": {
            "satisfaction": cells(satisfaction),
            "risk": [part | {"category": "harm"} for part in cells(risk)],
            "cost": [
                {
                    "values": {**dict.fromkeys(continuing, 0.05), "hand_over": 0.4},
                    "source": ASSUMED,
                }
            ],
            "displacement": [
                {"intents": [intent], "value": danger, "source": ASSUMED}
                for intent, (_, danger, _) in INTENTS.items()
            ],
        },
        "fallback": {"rungs": [["turn", "ask", "signal"], ["signal"]], "response": continuing[-1]},
        "baselines": {
            "comply": responses[0],
            "refuse": continuing[-1],
            "threshold": {
                signal: continuing[y * (len(continuing) - 1) // max(1, shape.signals - 1)]
                for y, signal in enumerate(signals)
            },
        },
    }
    return scenario_from(content, name)


def payoff_range(scenario: Scenario) -> float:
    """Return the assistant's largest payoff less its smallest, over all complete histories.

    From the last turn back, by what each turn is worth on its own: for scenarios without
    impossible histories, such as `dialogue_of` makes.
    """
    table, weights = tables(scenario), scenario.weights
    worth = (
        weights.alpha.value * table.satisfaction
        - weights.beta.value * table.risk
        - weights.gamma.value * table.cost
    )
    talks = [ask.ends is None for ask in scenario.asks]
    closes = np.array([response.ends for response in scenario.responses])
    ends = []
    for i in range(len(scenario.intents)):
        low = high = 0.0
        for t in reversed(range(scenario.turns)):
            now = worth[t, i][talks]
            last = t + 1 == scenario.turns
            away = -weights.psi.value * float(table.displacement[t, i])
            after_low = now + np.where(closes | last, 0, low)
            after_high = now + np.where(closes | last, 0, high)
            discount = scenario.discount.value if t else 1.0
            low = discount * min(0.0, away, float(after_low.min()))
            high = discount * max(0.0, away, float(after_high.max()))
        ends.append((low, high))
    return max(high for _, high in ends) - min(low for low, _ in ends)


def _assumed(value: float) -> dict[str, Any]:
    return {"value": value, "source": ASSUMED}


def _shares(weights: dict[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _binomial(names: Sequence[str], p: float) -> dict[str, float]:
    n = len(names) - 1
    return {name: comb(n, k) * p**k * (1 - p) ** (n - k) for k, name in enumerate(names)}
