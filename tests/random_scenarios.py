"""Random small scenarios: every behaviour, numbers by turn, asks and responses that end."""

import random
from typing import Any

import numpy as np

from csa_games.fold import legal_mask
from csa_games.game import Game, Policy
from csa_games.scenario import Scenario, scenario_from

SOURCE = "assumption: random"
BEHAVIOURS = ("adversarial", "rational", "quantal", "kernel")


def random_scenario(seed: int, *, security: bool = False) -> Scenario:
    """Return the scenario of `seed`; in the security class if `security`, else mostly not."""
    draw = random.Random(seed)
    turns = draw.choice([1, 2, 2, 3])
    most = 4 if turns < 3 else 2
    asks = ["plain", *draw.sample(["veiled", "leave", "migrate"], draw.randint(0, most - 1))]
    ends = {"leave": "leave", "migrate": "migrate"}
    talking = [ask for ask in asks if ask not in ends]
    signals = ["clear", "flag"][: draw.randint(1, 2)]
    responses = ["comply", "refuse", "refer"][: draw.randint(1, 3)]
    kinds = BEHAVIOURS if not security else ("adversarial", "kernel")
    intents = {name: draw.choice(kinds) for name in ("one", "two", "three")[: draw.randint(1, 3)]}
    continuing = [response for response in responses if response != "refer"]

    def shares(names: list[str], sure: int | None = None) -> dict[str, float]:
        """Draw probabilities, some of them 0, branches never taken; but not the `sure` one's."""
        weights = [draw.choice([0, 1, 2, 5]) for _ in names]
        weights[draw.randrange(len(weights)) if sure is None else sure] += 1
        return {name: w / sum(weights) for name, w in zip(names, weights, strict=True)}

    def reaction(names: list[str]) -> dict[str, float] | list[dict[str, float]]:
        if draw.random() < 0.5:
            return shares(names)
        return [shares(names) for _ in range(turns)]  # one more than there is a next turn for

    def number(low: float, high: float) -> float | list[float]:
        if draw.random() < 0.5:
            return round(draw.uniform(low, high), 3)
        return [round(draw.uniform(low, high), 3) for _ in range(turns)]

    def quantity(low: float, high: float) -> dict[str, Any]:
        return {"value": round(draw.uniform(low, high), 3), "source": SOURCE}

    may = {
        name: [ask for ask in asks if ask == talking[0] or draw.random() < 0.7] for name in intents
    }
    prior = shares(list(intents))

    def intent(name: str) -> dict[str, Any]:
        part = {
            "name": name,
            "description": "Somebody.",
            "prior": {"value": prior[name], "source": SOURCE},
            "behaviour": intents[name],
            "asks": may[name],
        }
        if intents[name] == "kernel":
            after = {response: reaction(may[name]) for response in continuing}
            part["kernel"] = {"source": SOURCE, "opening": shares(may[name], 0), "after": after}
        if intents[name] in ("rational", "quantal"):
            part["weights"] = {
                "satisfaction": round(draw.uniform(0, 2), 3),
                "risk": round(draw.uniform(-1, 2), 3),
                "source": SOURCE,
            }
        if intents[name] == "quantal":
            part["rationality"] = quantity(0.5, 5)
        return part

    def cells(low: float, high: float) -> list[dict[str, Any]]:
        return [
            {
                "intents": [name],
                "values": {response: number(low, high) for response in responses},
                "source": SOURCE,
            }
            for name in intents
        ]

    content = {
        "format": 1,
        "name": f"random_{seed}",
        "title": "A random scenario",
        "question": "Does it add up?",
        "turns": turns,
        "discount": quantity(0.5, 1),
        "sources": {},
        "weights": {
            "alpha": quantity(0, 2),
            "beta": quantity(0, 2),
            "gamma": quantity(0, 1),
            "psi": quantity(0, 1),
        },
        "intents": [intent(name) for name in intents],
        "asks": [
            {"name": ask, "description": "An ask."} | ({"ends": ends[ask]} if ask in ends else {})
            for ask in asks
        ],
        "signals": [{"name": signal, "description": "A verdict."} for signal in signals],
        "responses": [
            {
                "name": response,
                "description": "A response.",
                "mechanism": "text",
                "text": f"I {response}.",
                "ends": response == "refer",
            }
            for response in responses
        ],
        "categories": [
            {"name": "harm", "description": "Harm.", "severity": quantity(0, 3)},
        ],
        "channel": [
            {
                "intents": [name],
                "asks": [ask],
                "probabilities": shares(signals),
                "source": SOURCE,
            }
            for name in intents
            for ask in talking
        ],
        "payoff": {
            "satisfaction": cells(-1, 1),
            "risk": [part | {"category": "harm"} for part in cells(0, 1)],
            "cost": cells(0, 1),
            "displacement": [
                {"intents": [name], "value": number(0, 1), "source": SOURCE} for name in intents
            ],
            "effort": [
                {
                    "intents": [name],
                    "values": {ask: number(0, 0.5) for ask in may[name]},
                    "source": SOURCE,
                }
                for name, behaviour in intents.items()
                if behaviour in ("rational", "quantal")
            ],
        },
        "fallback": {"rungs": [["turn", "ask"], ["signal"]], "response": responses[0]},
        "baselines": {
            "comply": responses[0],
            "refuse": responses[-1],
            "threshold": dict.fromkeys(signals, responses[0]),
        },
    }
    return scenario_from(content, "a random scenario")


def random_policy(game: Game, seed: int) -> Policy:
    """Return a policy of random rows, a third of them nearly pure so that some states are rare."""
    draw = np.random.default_rng(seed)
    parts = []
    for treeplex in game.form.treeplex:
        legal = np.asarray(legal_mask(treeplex))
        sharp = draw.choice([1.0, 1.0, 12.0], size=(len(legal), 1))
        weight = np.where(legal, draw.exponential(size=legal.shape) ** sharp, 0.0)
        parts.append(weight / weight.sum(axis=-1, keepdims=True))
    return parts[0], parts[1]
