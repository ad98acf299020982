"""Dialogue scenarios by brute force: every conversation listed, and each valued on its own.

Works on the parsed TOML of a scenario alone and shares no code with the library. Also here: random
scenarios, small enough to list.
"""

import copy
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Turn = tuple[str, str | None, str | None]
"""(ask, signal, response); nothing follows an ask that ends the conversation."""

Choice = tuple[int, str, str]
"""(player, infoset, action)."""


@dataclass(frozen=True)
class Conversation:
    """A complete history of a scenario: a leaf of its game."""

    intent: str
    turns: tuple[Turn, ...]
    chance: float
    choices: tuple[Choice, ...]  # what the players did, in order
    payoffs: tuple[float, float]
    tags: Mapping[str, float]  # those that are not 0

    def last(self, player: int) -> tuple[str, str] | None:
        """Return the last (infoset, action) of a player."""
        own = [choice[1:] for choice in self.choices if choice[0] == player]
        return own[-1] if own else None


class Brute:
    """A scenario file's content, looked up the slow way."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.turns: int = content["turns"]
        self.intents = {part["name"]: part for part in content["intents"]}
        self.ask_ends = {part["name"]: part.get("ends") for part in content["asks"]}
        self.signals = [part["name"] for part in content["signals"]]
        self.response_ends = {
            part["name"]: part.get("ends", False) for part in content["responses"]
        }

    def conversations(self) -> list[Conversation]:
        """Return every conversation that chance allows."""
        return [
            self.conversation(intent, turns)
            for intent in self.intents
            if self.intents[intent]["prior"]["value"] > 0
            for turns in self._histories(intent)
        ]

    def _histories(self, intent: str) -> Iterator[tuple[Turn, ...]]:
        unfinished: list[tuple[Turn, ...]] = [()]
        while unfinished:
            past = unfinished.pop()
            for ask in self._possible_asks(intent, past):
                if self.ask_ends[ask]:
                    yield (*past, (ask, None, None))
                    continue
                for signal in self.signals:
                    if self._sigma(intent, ask, signal) > 0:
                        for response, ends in self.response_ends.items():
                            longer = (*past, (ask, signal, response))
                            if ends or len(longer) == self.turns:
                                yield longer
                            else:
                                unfinished.append(longer)

    def _kernel(self, intent: str, past: tuple[Turn, ...]) -> dict[str, float] | None:
        if self.intents[intent]["behaviour"] != "kernel":
            return None
        return self.reaction(intent, len(past), past[-1][2] if past else None)

    def reaction(self, intent: str, t: int, last: str | None) -> dict[str, float]:
        """Return a kernel's asks in turn t, the last response having been given in turn t - 1."""
        kernel = self.intents[intent]["kernel"]
        if last is None:
            return kernel["opening"]
        after = kernel["after"][last]
        return after[t - 1] if isinstance(after, list) else after

    def _possible_asks(self, intent: str, past: tuple[Turn, ...]) -> list[str]:
        kernel = self._kernel(intent, past)
        if kernel is None:
            return self.intents[intent]["asks"]
        return [ask for ask, p in kernel.items() if p > 0]

    def _sigma(self, intent: str, ask: str, signal: str) -> float:
        for channel in self.content["channel"]:
            if intent in channel["intents"] and ask in channel["asks"]:
                return float(channel["probabilities"].get(signal, 0))
        raise LookupError(intent, ask)

    def _cell(self, component: str, intent: str, ask: str, response: str, t: int) -> float:
        return number(self._group(component, intent, ask, response)["values"][response], t)

    def _group(self, component: str, intent: str, ask: str, response: str) -> dict[str, Any]:
        for group in self.content["payoff"][component]:
            meant = intent in group.get("intents", [intent]) and ask in group.get("asks", [ask])
            if meant and response in group["values"]:
                return group
        raise LookupError(component, intent, ask, response)

    def _severity(self, intent: str, ask: str, response: str) -> float:
        category = self._group("risk", intent, ask, response)["category"]
        for part in self.content["categories"]:
            if part["name"] == category:
                return float(part["severity"]["value"])
        raise LookupError(category)

    def _displacement(self, intent: str, t: int) -> float:
        for part in self.content["payoff"]["displacement"]:
            if intent in part["intents"]:
                return number(part["value"], t)
        raise LookupError(intent)

    def _effort(self, intent: str, ask: str, t: int) -> float:
        for part in self.content["payoff"].get("effort", []):
            if intent in part["intents"]:
                return number(part["values"][ask], t)
        return 0.0

    def conversation(self, intent: str, turns: tuple[Turn, ...]) -> Conversation:
        """Return one conversation, valued from its beginning to its end."""
        chance = float(self.intents[intent]["prior"]["value"])
        choices: list[Choice] = []
        discount = float(self.content["discount"]["value"])
        sums = dict.fromkeys(
            ["satisfaction", "risk", "cost", "displacement", "effort", "harm"], 0.0
        )
        for t, (ask, signal, response) in enumerate(turns):
            past = turns[:t]
            scale = discount**t
            kernel = self._kernel(intent, past)
            if kernel is None:
                seen = "/".join(f"{before[0]}>{before[2]}" for before in past)
                choices.append((0, f"{intent}|{seen}", ask))
            else:
                chance *= float(kernel[ask])
            sums["effort"] += scale * self._effort(intent, ask, t)
            if self.ask_ends[ask] == "migrate":
                sums["displacement"] += scale * self._displacement(intent, t)
            if signal is None or response is None:
                continue
            chance *= self._sigma(intent, ask, signal)
            history = [f"{before[0]}:{before[1]}>{before[2]}" for before in past]
            choices.append((1, "/".join([*history, f"{ask}:{signal}"]), response))
            where = (intent, ask, response)
            harm = self._cell("risk", *where, t)
            sums["satisfaction"] += scale * self._cell("satisfaction", *where, t)
            sums["harm"] += scale * harm
            sums["risk"] += scale * harm * self._severity(*where)
            sums["cost"] += scale * self._cell("cost", *where, t)

        weight = {name: float(part["value"]) for name, part in self.content["weights"].items()}
        assistant = (
            weight["alpha"] * sums["satisfaction"]
            - weight["beta"] * sums["risk"]
            - weight["gamma"] * sums["cost"]
            - weight["psi"] * sums["displacement"]
        )
        return Conversation(
            intent,
            turns,
            chance,
            tuple(choices),
            (self._user_payoff(intent, assistant, sums), assistant),
            {name: x for name, x in sums.items() if x and name != "harm"}
            | {f"intent:{intent}": 1.0}
            | self._ending(turns[-1]),
        )

    def _user_payoff(self, intent: str, assistant: float, sums: Mapping[str, float]) -> float:
        behaviours = {part["behaviour"] for part in self.intents.values()}
        mine = self.intents[intent]
        if behaviours <= {"adversarial", "kernel"} or mine["behaviour"] == "adversarial":
            return -assistant
        if mine["behaviour"] == "kernel":
            return 0.0
        return (
            float(mine["weights"]["satisfaction"]) * sums["satisfaction"]
            + float(mine["weights"]["risk"]) * sums["harm"]
            - sums["effort"]
        )

    def _ending(self, last: Turn) -> dict[str, float]:
        ask, _, response = last
        if self.ask_ends[ask]:
            return {{"leave": "left", "migrate": "migrated"}[self.ask_ends[ask]]: 1.0}
        return {"handed over": 1.0} if self.response_ends[response] else {}


def number(value: float | list[float], t: int) -> float:
    return float(value[t] if isinstance(value, list) else value)


# Random scenarios.


@dataclass(frozen=True)
class Shape:
    """How many of what a random scenario has; `seed` fixes the rest."""

    turns: int
    behaviours: tuple[str, ...]
    talking: int
    ways_out: int
    signals: int
    responses: int
    seed: int


shapes = st.builds(
    Shape,
    turns=st.integers(1, 3),
    behaviours=st.lists(
        st.sampled_from(["kernel", "adversarial", "rational", "quantal"]), min_size=1, max_size=3
    ).map(tuple),
    talking=st.integers(1, 2),
    ways_out=st.integers(0, 2),
    signals=st.integers(1, 2),
    responses=st.integers(1, 3),
    seed=st.integers(0, 2**20),
)


def random_content(shape: Shape) -> dict[str, Any]:
    """Return the content of a scenario file: zeros, per-turn numbers and endings included."""
    draw = random.Random(repr(shape))
    talking = [f"talk{k}" for k in range(shape.talking)]
    ways_out = [f"out{k}" for k in range(shape.ways_out)]
    signals = [f"signal{k}" for k in range(shape.signals)]
    responses = [f"answer{k}" for k in range(shape.responses)]
    ends = {name: k > 0 and draw.random() < 0.3 for k, name in enumerate(responses)}
    source = "assumption: drawn at random"

    def sourced(value: float) -> dict[str, Any]:
        return {"value": value, "source": source}

    def distribution(names: list[str]) -> dict[str, float]:
        weights = [draw.choice([0, 0, 1, 2, 3]) for _ in names]
        weights[draw.randrange(len(names))] += 1
        return {name: w / sum(weights) for name, w in zip(names, weights, strict=True)}

    def per_turn(low: float, high: float) -> float | list[float]:
        longer = draw.choice([0, 0, 1])  # than the conversation
        numbers = [round(draw.uniform(low, high), 2) for _ in range(shape.turns + longer)]
        return numbers if draw.random() < 0.5 else numbers[0]

    def reaction(names: list[str]) -> dict[str, float] | list[dict[str, float]]:
        longer = draw.choice([0, 0, 1])  # than the conversation
        rows = [distribution(names) for _ in range(shape.turns - 1 + longer)]
        return rows if rows and draw.random() < 0.5 else distribution(names)

    priors = distribution([f"intent{k}" for k in range(len(shape.behaviours))])
    intents, channel, effort = [], [], []
    for k, behaviour in enumerate(shape.behaviours):
        asks = draw.sample(talking, draw.randint(1, len(talking)))
        name, own = f"intent{k}", asks + draw.sample(ways_out, draw.randint(0, len(ways_out)))
        part = {"name": name, "description": "x", "behaviour": behaviour, "asks": own,
                "prior": sourced(priors[name])}  # fmt: skip
        if behaviour == "kernel":
            opening = distribution(own)
            if not any(opening[ask] for ask in asks):
                opening = {asks[0]: 1.0}
            after = {r: reaction(own) for r in responses if not ends[r]}
            part["kernel"] = {"opening": opening, "after": after, "source": source}
        if behaviour in ("rational", "quantal"):
            part["weights"] = {"satisfaction": draw.uniform(-1, 1), "risk": draw.uniform(-1, 1),
                               "source": source}  # fmt: skip
            values = {ask: per_turn(0, 1) for ask in own}
            effort.append({"intents": [name], "values": values, "source": source})
        if behaviour == "quantal":
            part["rationality"] = sourced(2.0)
        intents.append(part)
        for ask in asks:
            channel.append({"intents": [name], "asks": [ask], "source": source,
                            "probabilities": distribution(signals)})  # fmt: skip

    def cells(low: float, high: float, **more: Any) -> list[dict[str, Any]]:
        return [
            {"intents": [part["name"]], "values": {r: per_turn(low, high) for r in responses},
             "source": source, **more}
            for part in intents
        ]  # fmt: skip

    return {
        "format": 1,
        "name": "random",
        "title": "Random",
        "question": "Does it add up?",
        "turns": shape.turns,
        "discount": sourced(draw.choice([1.0, 0.9, 0.5])),
        "sources": {},
        "weights": {
            weight: sourced(draw.choice([0.0, 1.0, 2.5]))
            for weight in ("alpha", "beta", "gamma", "psi")
        },
        "intents": intents,
        "asks": [{"name": name, "description": "x"} for name in talking]
        + [
            {"name": name, "description": "x", "ends": draw.choice(["leave", "migrate"])}
            for name in ways_out
        ],
        "signals": [{"name": name, "description": "x"} for name in signals],
        "responses": [
            {"name": name, "description": "x", "mechanism": "pass", "ends": ends[name]}
            for name in responses
        ],
        "categories": [{"name": "harm", "description": "x", "severity": sourced(3.0)}],
        "channel": channel,
        "payoff": {
            "satisfaction": cells(-1, 1),
            "risk": cells(0, 1, category="harm"),
            "cost": cells(0, 1),
            "displacement": [
                {"intents": [part["name"] for part in intents], "value": per_turn(0, 1),
                 "source": source}
            ],
            "effort": effort,
        },
        "fallback": {"rungs": [], "response": responses[0]},
        "baselines": {
            "comply": responses[0],
            "refuse": responses[-1],
            "threshold": dict.fromkeys(signals, responses[0]),
        },
    }  # fmt: skip


# Variants of the built-in scenarios that have what those have not.


def two_turns(content: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(content) | {"turns": 2}


def discounted_and_per_turn(content: dict[str, Any]) -> dict[str, Any]:
    content = two_turns(content)
    content["discount"]["value"] = 0.9
    content["payoff"]["satisfaction"][0]["values"]["comply"] = [1.0, 0.25]
    content["payoff"]["risk"][-1]["values"]["comply"] = [0.5, 0.75]
    content["payoff"]["displacement"][1]["value"] = [0.5, 2.0]
    return content


def self_interested(content: dict[str, Any]) -> dict[str, Any]:
    """Make benign users rational and distressed ones quantal, with effort."""
    content = two_turns(content)
    names = ["benign", "distressed"]
    for part in content["intents"]:
        if part["name"] in names:
            part["behaviour"] = "rational" if part["name"] == "benign" else "quantal"
            del part["kernel"]
            part["weights"] = {"satisfaction": 1.0, "risk": 0.5, "source": "assumption"}
            content["payoff"].setdefault("effort", []).append(
                {"intents": [part["name"]], "source": "assumption",
                 "values": {ask: [0.1 * k, 0.2 * k] for k, ask in enumerate(part["asks"])}}
            )  # fmt: skip
        if part["behaviour"] == "quantal":
            part["rationality"] = {"value": 3.0, "source": "assumption"}
    return content


def all_kernels(content: dict[str, Any]) -> dict[str, Any]:
    """Leave nobody strategic, an ask that is never made, and an intent of prior zero."""
    content = two_turns(content)
    benign = next(part for part in content["intents"] if part["name"] == "benign")
    for part in content["intents"]:
        if part["behaviour"] != "kernel":
            part["behaviour"] = "kernel"
            part["kernel"] = copy.deepcopy(benign["kernel"])
            part["kernel"]["opening"] = {"disguised": 1.0, "plain": 0.0}
            benign["prior"] = {"value": benign["prior"]["value"] + part["prior"]["value"],
                               "source": "assumption"}  # fmt: skip
            part["prior"] = {"value": 0.0, "source": "assumption"}
    return content
