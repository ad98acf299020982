"""Scenarios with some of their numbers replaced: for sweeps, what-ifs and checks."""

from collections.abc import Mapping, Sequence
from typing import Any

from csa_games.errors import InputError
from csa_games.scenario import Behaviour, Scenario, scenario_from

_ENDS = ("low", "high")


def override(scenario: Scenario, changes: dict[str, Any]) -> Scenario:
    """Return `scenario` with values replaced, checked again.

    A key is a dotted path that names list entries by their name or position from 0, such as
    "weights.beta", "intents.malicious.prior", "payoff.risk.3.values.comply" or "turns". A quantity
    takes a number and loses its interval, as do a cell of the payoff and a whole row of
    probabilities; the source of whatever is changed becomes an assumption that says what it was.
    Raises `InputError` for a path that leads
    nowhere, and for a result that is no scenario.
    """
    content = scenario.model_dump(mode="json")
    for path, value in changes.items():
        names = path.split(".")
        *above, key = names
        parts: list[Any] = [content]
        for name in above:
            parts.append(parts[-1][_key(parts[-1], name, path)])
        found = _key(parts[-1], key, path)
        target = parts[-1][found]
        whole = isinstance(value, dict) or not isinstance(target, dict)
        if not whole and {"value", "source"} <= target.keys():
            parts.append(target)
            found = "value"
        parts[-1][found] = value
        if found == "value":
            parts[-1].update({end: None for end in _ENDS if end in parts[-1]})
        for k, part in enumerate(parts[: len(names)]):
            if isinstance(part, dict):
                _forget_intervals(part, names[k:])
        sourced = [part for part in parts if isinstance(part, dict) and "source" in part]
        if sourced and found != "source":
            sourced[-1]["source"] = _overridden(sourced[-1]["source"])
    return scenario_from(content, f"{scenario.name} with {', '.join(changes)} overridden")


def _forget_intervals(part: dict[str, Any], names: Sequence[str]) -> None:
    """Take out of `part` the intervals of what `names` lead to: they stand beside the numbers."""
    step, *below = names
    for end in _ENDS:
        ends = part.get(end)
        if not isinstance(ends, dict):  # none, or of a quantity
            continue
        if step == "probabilities" or names == ["values"]:
            part[end] = None
        elif step == "values":
            ends.pop(below[0], None)
        elif step == "opening" or names == ["after"]:
            ends[step] = {}
        elif step == "after":
            ends["after"].pop(below[0], None)


def _key(part: Any, name: str, path: str) -> str | int:
    """Return the key or the position of `name` in `part`."""
    if isinstance(part, dict) and name in part:
        return name
    for k, entry in enumerate(part if isinstance(part, list) else []):
        if (isinstance(entry, dict) and entry.get("name") == name) or str(k) == name:
            return k
    raise InputError(f"{path}: a scenario has no {name!r} there")


def _overridden(source: str) -> str:
    marker = "assumption: overridden, was "
    return source if source.startswith(marker) else (marker + source)[:400]


def with_prior(scenario: Scenario, intent: str, probability: float) -> Scenario:
    """Return `scenario` with one intent's prior set, the others scaled to keep their ratios.

    Raises `InputError` for an intent that is not there, a probability outside [0, 1], and others
    that have no ratios because their priors are all zero.
    """
    priors = {part.name: part.prior.value for part in scenario.intents}
    if intent not in priors:
        raise InputError(f"found the intent {intent!r}, expected one of {', '.join(priors)}")
    if not 0 <= probability <= 1:
        raise InputError(f"found the prior {probability} for {intent}, expected one from 0 to 1")
    others = 1 - priors[intent]
    if others == 0 and probability < 1:
        raise InputError(
            f"found the prior {probability} for {intent}, expected 1: "
            "the other intents have none to share the rest by"
        )
    scale = (1 - probability) / others if others else 0.0
    changed = {name: p * scale for name, p in priors.items()} | {intent: probability}
    return override(scenario, {f"intents.{name}.prior": p for name, p in changed.items()})


def with_responses(scenario: Scenario, names: Sequence[str]) -> Scenario:
    """Return `scenario` with no other responses than those named, in its own order.

    What baselines and the fallback play instead of a response that is gone is their refusal. Raises
    `InputError` for names that it does not have, and when the refusal of the baselines is not kept.
    """
    known = [response.name for response in scenario.responses]
    if unknown := [name for name in names if name not in known]:
        raise InputError(f"found the response {unknown[0]!r}, expected some of {', '.join(known)}")
    refusal = scenario.baselines.refuse
    if refusal not in names:
        raise InputError(f"found the responses {', '.join(names)}, expected {refusal} among them")

    def kept(part: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in part.items() if name in names}

    content = scenario.model_dump(mode="json", exclude_none=True)
    content["responses"] = [part for part in content["responses"] if part["name"] in names]
    for intent in content["intents"]:
        if "kernel" in intent:
            for rows in [intent["kernel"], *(intent["kernel"].get(end, {}) for end in _ENDS)]:
                rows["after"] = kept(rows.get("after", {}))
    for component in ("satisfaction", "risk", "cost"):
        cells = content["payoff"][component]
        for part in cells:
            for field in {"values", *_ENDS} & part.keys():
                part[field] = kept(part[field])
        content["payoff"][component] = [part for part in cells if part["values"]]

    def instead(name: str) -> str:
        return name if name in names else refusal

    content["fallback"]["response"] = instead(content["fallback"]["response"])
    rules = content["baselines"]
    rules["comply"] = instead(rules["comply"])
    rules["threshold"] = {signal: instead(name) for signal, name in rules["threshold"].items()}
    return scenario_from(content, f"{scenario.name} with {', '.join(names)} alone")


def with_behaviour(
    scenario: Scenario,
    intent: str,
    behaviour: Behaviour,
    *,
    satisfaction: float = 0.0,
    risk: float = 1.0,
    rationality: float = 1.0,
    effort: Mapping[str, float] | None = None,
) -> Scenario:
    """Return `scenario` with another behaviour of a strategic `intent`.

    What rational and quantal users want is `satisfaction` and `risk`, so weighed, less `effort` by
    ask (0 where left out), all in units of payoff, and `rationality` is λ of quantal ones, in
    1/payoff; adversarial users have no use for them. Raises `InputError` for an intent that is not
    there or has a kernel, and for a result that is no scenario.
    """
    content = scenario.model_dump(mode="json", exclude_none=True)
    source = "assumption: another behaviour is tried"
    choosing = {part["name"]: part for part in content["intents"] if part["behaviour"] != "kernel"}
    if intent not in choosing:
        raise InputError(
            f"found the intent {intent!r}, expected one that chooses: {', '.join(choosing)}"
        )
    part = choosing[intent]
    for field in ("weights", "rationality"):
        part.pop(field, None)
    others = [tried for tried in content["payoff"]["effort"] if intent not in tried["intents"]]
    part["behaviour"] = behaviour
    if behaviour != "adversarial":
        part["weights"] = {"satisfaction": satisfaction, "risk": risk, "source": source}
        asks = dict.fromkeys(part["asks"], 0.0) | dict(effort or {})
        others.append({"intents": [intent], "values": asks, "source": source})
    if behaviour == "quantal":
        part["rationality"] = {"value": rationality, "source": source}
    content["payoff"]["effort"] = others
    return scenario_from(content, f"{scenario.name} with {intent} {behaviour}")
