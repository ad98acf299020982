"""What a scenario must satisfy beyond the types of its fields, as sentences."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from pydantic import BaseModel

from csa_games.scenario import Cells, Chance, Intent, Quantity, Scenario, citation_key

ROUNDING = 1e-9  # how far probabilities may be off 1


def faults(scenario: Scenario) -> Iterator[str]:
    """Yield a sentence for everything wrong in `scenario`: field, found, expected."""
    doubled = list(_duplicates(scenario))
    yield from doubled
    yield from _sources("", scenario, scenario)
    unknown = list(_unknown_names(scenario))
    yield from unknown
    yield from _intervals("", scenario)
    yield from _priors(scenario)
    for intent in scenario.intents:
        yield from _intent(scenario, intent)
    yield from _per_turn(scenario)
    if not doubled and not unknown:  # else every missing cell would be an echo of those
        yield from _kernels(scenario)
        yield from _channel(scenario)
        yield from _cells(scenario)


def _names(parts: Iterable[BaseModel]) -> list[str]:
    return [part.name for part in parts]  # type: ignore[attr-defined]


def _duplicates(scenario: Scenario) -> Iterator[str]:
    for field in ("intents", "asks", "signals", "responses", "categories"):
        for name, count in Counter(_names(getattr(scenario, field))).items():
            if count > 1:
                yield f"{field}: the name {name!r} is given {count} times, expected once"


def _sources(where: str, part: object, scenario: Scenario) -> Iterator[str]:
    """Check every `source` below `part`."""
    for field, value in _children(where, part):
        if field.endswith(".source") and isinstance(value, str):
            key = citation_key(value)
            if key != "assumption" and key not in scenario.sources:
                yield (
                    f'{field}: found {key!r}, expected "assumption" or one of the sources '
                    f"{_list(scenario.sources)}"
                )
        else:
            yield from _sources(field, value, scenario)


def _intervals(where: str, part: object) -> Iterator[str]:
    for field, value in _children(where, part):
        if isinstance(value, Quantity | Chance):
            low = value.value if value.low is None else value.low
            high = value.value if value.high is None else value.high
            if not low <= value.value <= high:
                yield f"{field}: found {value.value} outside its interval [{low}, {high}]"
        yield from _intervals(field, value)


def _children(where: str, part: object) -> Iterator[tuple[str, object]]:
    """Yield (field, value) for everything directly inside `part`."""
    if isinstance(part, BaseModel):
        for name in type(part).model_fields:
            yield (f"{where}.{name}" if where else name), getattr(part, name)
    elif isinstance(part, dict):
        for name, value in part.items():
            yield f"{where}.{name}", value
    elif isinstance(part, list):
        for k, value in enumerate(part):
            name = getattr(value, "name", None)
            yield (f"{where}.{name}" if name else f"{where}[{k}]"), value


def _unknown_names(scenario: Scenario) -> Iterator[str]:
    intents, asks = _names(scenario.intents), _names(scenario.asks)
    signals, responses = _names(scenario.signals), _names(scenario.responses)
    categories = _names(scenario.categories)

    def known(field: str, found: Iterable[str], expected: list[str], kind: str) -> Iterator[str]:
        for name in found:
            if name not in expected:
                yield f"{field}: found the {kind} {name!r}, expected one of {_list(expected)}"

    for intent in scenario.intents:
        at = f"intents.{intent.name}"
        yield from known(f"{at}.asks", intent.asks, asks, "ask")
        if intent.kernel is not None:
            yield from known(f"{at}.kernel.opening", intent.kernel.opening, asks, "ask")
            yield from known(f"{at}.kernel.after", intent.kernel.after, responses, "response")
            for response, row in intent.kernel.after.items():
                yield from known(f"{at}.kernel.after.{response}", row, asks, "ask")
    for k, channel in enumerate(scenario.channel):
        yield from known(f"channel[{k}].intents", channel.intents, intents, "intent")
        yield from known(f"channel[{k}].asks", channel.asks, asks, "ask")
        yield from known(f"channel[{k}].probabilities", channel.probabilities, signals, "signal")
    for component in ("satisfaction", "risk", "cost"):
        for k, cells in enumerate(getattr(scenario.payoff, component)):
            at = f"payoff.{component}[{k}]"
            yield from known(f"{at}.intents", cells.intents or [], intents, "intent")
            yield from known(f"{at}.asks", cells.asks or [], asks, "ask")
            yield from known(f"{at}.values", cells.values, responses, "response")
    for k, risk in enumerate(scenario.payoff.risk):
        yield from known(f"payoff.risk[{k}].category", [risk.category], categories, "category")
    for k, displacement in enumerate(scenario.payoff.displacement):
        at = f"payoff.displacement[{k}].intents"
        yield from known(at, displacement.intents, intents, "intent")
    for k, effort in enumerate(scenario.payoff.effort):
        yield from known(f"payoff.effort[{k}].intents", effort.intents, intents, "intent")
        yield from known(f"payoff.effort[{k}].values", effort.values, asks, "ask")
    yield from known("fallback.response", [scenario.fallback.response], responses, "response")
    baselines = scenario.baselines
    yield from known("baselines.comply", [baselines.comply], responses, "response")
    yield from known("baselines.refuse", [baselines.refuse], responses, "response")
    yield from known("baselines.threshold", baselines.threshold, signals, "signal")
    yield from known("baselines.threshold", baselines.threshold.values(), responses, "response")
    missing = [signal for signal in signals if signal not in baselines.threshold]
    if missing:
        yield f"baselines.threshold: nothing for the signals {_list(missing)}, expected a response"


def _priors(scenario: Scenario) -> Iterator[str]:
    yield from _sums_to_one(
        "intents", "priors", [intent.prior.value for intent in scenario.intents]
    )


def _sums_to_one(field: str, what: str, numbers: Iterable[float]) -> Iterator[str]:
    total = math.fsum(numbers)
    if abs(total - 1) > ROUNDING:
        yield f"{field}: the {what} sum to {total:.12g}, expected 1"


def _intent(scenario: Scenario, intent: Intent) -> Iterator[str]:
    at = f"intents.{intent.name}"
    for ask, count in Counter(intent.asks).items():
        if count > 1:
            yield f"{at}.asks: the ask {ask!r} is given {count} times, expected once"
    ends = {ask.name: ask.ends for ask in scenario.asks}
    if all(ends.get(ask) for ask in intent.asks):
        yield f"{at}.asks: only asks that end the conversation, expected one that does not"
    wanted = {
        "kernel": ("kernel",),
        "rational": ("weights",),
        "quantal": ("weights", "rationality"),
        "adversarial": (),
    }[intent.behaviour]
    for field in ("kernel", "weights", "rationality"):
        given = getattr(intent, field) is not None
        if given and field not in wanted:
            yield f"{at}.{field}: is given, but a {intent.behaviour} intent has none"
        if not given and field in wanted:
            yield f"{at}.{field}: is missing, a {intent.behaviour} intent needs it"
    if intent.rationality is not None and intent.rationality.value <= 0:
        yield f"{at}.rationality: found {intent.rationality.value}, expected a number above 0"


def _kernels(scenario: Scenario) -> Iterator[str]:
    continuing = [response.name for response in scenario.responses if not response.ends]
    for intent in scenario.intents:
        if intent.kernel is None:
            continue
        at = f"intents.{intent.name}.kernel"
        rows = {"opening": intent.kernel.opening}
        rows |= {f"after.{name}": row for name, row in intent.kernel.after.items()}
        for name, row in rows.items():
            yield from _sums_to_one(f"{at}.{name}", "probabilities", row.values())
            for ask, probability in row.items():
                if probability > 0 and ask not in intent.asks:
                    yield (
                        f"{at}.{name}: found probability {probability} for the ask {ask!r}, which "
                        f"is not among the intent's asks {_list(intent.asks)}"
                    )
        needed = continuing if scenario.turns > 1 else []
        for response in needed:
            if response not in intent.kernel.after:
                yield f"{at}.after.{response}: is missing, expected the asks after this response"
        for response in intent.kernel.after:
            if response not in continuing:
                yield f"{at}.after.{response}: is given, but this response ends the conversation"


def _channel(scenario: Scenario) -> Iterator[str]:
    ends = {ask.name for ask in scenario.asks if ask.ends}
    legal = {(i.name, ask) for i in scenario.intents for ask in i.asks if ask not in ends}
    given: Counter[tuple[str, str]] = Counter()
    for k, channel in enumerate(scenario.channel):
        probabilities = channel.probabilities.values()
        yield from _sums_to_one(f"channel[{k}].probabilities", "probabilities", probabilities)
        for ask in channel.asks:
            if ask in ends:
                yield f"channel[{k}].asks: the ask {ask!r} ends the conversation and has no signal"
        given.update((intent, ask) for intent in channel.intents for ask in channel.asks)
    yield from _cover("channel", legal, given)


def _cells(scenario: Scenario) -> Iterator[str]:
    intents, asks = scenario.intents, scenario.asks
    talking = [ask.name for ask in asks if not ask.ends]
    wanted = {
        (i.name, ask, response.name)
        for i in intents
        for ask in i.asks
        if ask in talking
        for response in scenario.responses
    }
    for component in ("satisfaction", "risk", "cost"):
        given: Counter[tuple[str, ...]] = Counter()
        for cells in getattr(scenario.payoff, component):
            given.update(covered(scenario, cells))
        yield from _cover(f"payoff.{component}", wanted, given)
    leaving = Counter((intent,) for part in scenario.payoff.displacement for intent in part.intents)
    migrating = {ask.name for ask in asks if ask.ends == "migrate"}
    able = {(i.name,) for i in intents if migrating & set(i.asks)}
    yield from _cover("payoff.displacement", able, leaving)
    trying = Counter(
        (intent, ask)
        for part in scenario.payoff.effort
        for intent in part.intents
        for ask in part.values
    )
    own = {(i.name, ask) for i in intents if i.weights is not None for ask in i.asks}
    yield from _cover("payoff.effort", own, trying)


def covered(scenario: Scenario, cells: Cells) -> Iterator[tuple[str, str, str]]:
    """Yield the (intent, ask, response) triples that `cells` gives a value to."""
    for intent in cells.intents or _names(scenario.intents):
        for ask in cells.asks or [ask.name for ask in scenario.asks if not ask.ends]:
            for response in cells.values:
                yield intent, ask, response


def _cover(
    field: str, wanted: Iterable[tuple[str, ...]], given: Counter[tuple[str, ...]]
) -> Iterator[str]:
    """Check that every wanted cell is given, and none twice."""
    for cell in sorted(set(wanted) - set(given)):
        yield f"{field}: nothing for {_list(cell)}, expected a value"
    for cell, count in given.items():
        if count > 1:
            yield f"{field}: {count} values for {_list(cell)}, expected one"


def _per_turn(scenario: Scenario) -> Iterator[str]:
    def check(
        field: str, value: float | list[float], extra: Callable[[float], str]
    ) -> Iterator[str]:
        numbers = value if isinstance(value, list) else [value]
        if isinstance(value, list) and len(value) != scenario.turns:
            yield f"{field}: found {len(value)} numbers, expected 1 or {scenario.turns}, one a turn"
        for number in numbers:
            if fault := extra(number):
                yield f"{field}: found {number}, expected {fault}"

    def anything(number: float) -> str:
        return ""

    def share(number: float) -> str:
        return "" if 0 <= number <= 1 else "a number from 0 to 1"

    for component, extra in (("satisfaction", anything), ("risk", share), ("cost", anything)):
        for k, cells in enumerate(getattr(scenario.payoff, component)):
            for response, value in cells.values.items():
                yield from check(f"payoff.{component}[{k}].values.{response}", value, extra)
    for k, displacement in enumerate(scenario.payoff.displacement):
        yield from check(f"payoff.displacement[{k}].value", displacement.value, anything)
    for k, effort in enumerate(scenario.payoff.effort):
        for ask, value in effort.values.items():
            yield from check(f"payoff.effort[{k}].values.{ask}", value, anything)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "(none)"
