"""What a scenario must satisfy beyond the types of its fields, as sentences."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from csa_games.guard.signals import reader_faults
from csa_games.scenario import (
    Cells,
    Distribution,
    Ends,
    Intent,
    Kernel,
    KernelEnds,
    Quantity,
    Scenario,
    citation_key,
)
from csa_games.words import counted

ROUNDING = 1e-9  # how far probabilities may be off 1

Cell = tuple[str, ...]
"""The names that a number stands for, such as (intent, ask, response)."""

Numbers = float | list[float]
"""A number, or one for each turn."""

Cover = Counter[Cell]
"""How often each cell is given a number."""


def faults(scenario: Scenario) -> Iterator[str]:
    """Yield a sentence for everything wrong in `scenario`: field, found, expected."""
    confused = [*_duplicates(scenario), *_unknown_names(scenario)]
    yield from confused
    yield from _sources(scenario)
    yield from _intervals(scenario)
    yield from _sums_to_one("intents", "priors", [part.prior.value for part in scenario.intents])
    for intent in scenario.intents:
        yield from _intent(scenario, intent)
    yield from _per_turn(scenario)
    yield from _guard(scenario)
    if not confused:  # else every missing cell would be an echo of those
        yield from _kernels(scenario)
        yield from _row_intervals(scenario)
        yield from _channel(scenario)
        yield from _components(scenario)


def covered(scenario: Scenario, cells: Cells) -> Iterator[tuple[str, str, str]]:
    """Yield the (intent, ask, response) triples that `cells` gives a value to."""
    for intent in cells.intents or _names(scenario.intents):
        for ask in cells.asks or _talking(scenario):
            for response in cells.values:
                yield intent, ask, response


def _names(parts: Iterable[BaseModel]) -> list[str]:
    return [part.name for part in parts]  # type: ignore[attr-defined]


def _talking(scenario: Scenario) -> list[str]:
    return [ask.name for ask in scenario.asks if ask.ends is None]


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "(none)"


def _parts(where: str, part: object) -> Iterator[tuple[str, object]]:
    """Yield (field, value) for everything inside `part`, at any depth."""
    if isinstance(part, BaseModel):
        inside = [(f".{name}", getattr(part, name)) for name in type(part).model_fields]
    elif isinstance(part, dict):
        inside = [(f".{name}", value) for name, value in part.items()]
    elif isinstance(part, list):
        names = [getattr(value, "name", None) for value in part]
        inside = [(f".{names[k]}" if names[k] else f"[{k}]", value) for k, value in enumerate(part)]
    else:
        return
    for step, value in inside:
        field = (where + step).removeprefix(".")
        yield field, value
        yield from _parts(field, value)


def _duplicates(scenario: Scenario) -> Iterator[str]:
    for field in ("intents", "asks", "signals", "responses", "categories"):
        yield from _once(field, "name", _names(getattr(scenario, field)))
    for intent in scenario.intents:
        yield from _once(f"intents.{intent.name}.asks", "ask", intent.asks)


def _once(field: str, kind: str, names: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{field}: found the {kind} {name!r} {count} times, expected it once"


def _unknown_names(scenario: Scenario) -> Iterator[str]:
    known = {
        "intent": _names(scenario.intents),
        "ask": _names(scenario.asks),
        "signal": _names(scenario.signals),
        "response": _names(scenario.responses),
        "category": _names(scenario.categories),
    }

    def check(field: str, kind: str, found: Iterable[str]) -> Iterator[str]:
        for name in dict.fromkeys(found):
            if name not in known[kind]:
                yield f"{field}: found the {kind} {name!r}, expected one of {_list(known[kind])}"

    for intent in scenario.intents:
        at = f"intents.{intent.name}"
        yield from check(f"{at}.asks", "ask", intent.asks)
        if intent.kernel is not None:
            yield from check(f"{at}.kernel.opening", "ask", intent.kernel.opening)
            yield from check(f"{at}.kernel.after", "response", intent.kernel.after)
            for where, row in _rows_after(intent.kernel):
                yield from check(f"{at}.kernel.{where}", "ask", row)
            for name, ends in _ends_of(intent.kernel):
                yield from check(f"{at}.kernel.{name}.opening", "ask", ends.opening)
                for where, row in _rows_after(ends):
                    yield from check(f"{at}.kernel.{name}.{where}", "ask", row)
    for k, channel in enumerate(scenario.channel):
        yield from check(f"channel[{k}].intents", "intent", channel.intents)
        yield from check(f"channel[{k}].asks", "ask", channel.asks)
        yield from check(f"channel[{k}].probabilities", "signal", channel.probabilities)
        for end in ("low", "high"):
            yield from check(f"channel[{k}].{end}", "signal", getattr(channel, end) or {})
    payoff = scenario.payoff
    for at, cells in _cells(scenario):
        yield from check(f"{at}.intents", "intent", cells.intents or [])
        yield from check(f"{at}.asks", "ask", cells.asks or [])
        yield from check(f"{at}.values", "response", cells.values)
    for k, risk in enumerate(payoff.risk):
        yield from check(f"payoff.risk[{k}].category", "category", [risk.category])
    for k, displacement in enumerate(payoff.displacement):
        yield from check(f"payoff.displacement[{k}].intents", "intent", displacement.intents)
    for k, effort in enumerate(payoff.effort):
        yield from check(f"payoff.effort[{k}].intents", "intent", effort.intents)
        yield from check(f"payoff.effort[{k}].values", "ask", effort.values)
    yield from check("fallback.response", "response", [scenario.fallback.response])
    baselines = scenario.baselines
    yield from check("baselines.comply", "response", [baselines.comply])
    yield from check("baselines.refuse", "response", [baselines.refuse])
    yield from check("baselines.threshold", "signal", baselines.threshold)
    yield from check("baselines.threshold", "response", baselines.threshold.values())


def _cells(scenario: Scenario) -> Iterator[tuple[str, Cells]]:
    for component in ("satisfaction", "risk", "cost"):
        for k, cells in enumerate(getattr(scenario.payoff, component)):
            yield f"payoff.{component}[{k}]", cells


def _sources(scenario: Scenario) -> Iterator[str]:
    if "assumption" in scenario.sources:
        yield "sources.assumption: is given, expected another name: this one means no source"
    for field, value in _parts("", scenario):
        if field.endswith(".source") and isinstance(value, str):
            key = citation_key(value)
            if key != "assumption" and key not in scenario.sources:
                yield (
                    f'{field}: found {key!r}, expected "assumption" or one of the sources '
                    f"{_list(scenario.sources)}, and remarks after a colon"
                )


def _intervals(scenario: Scenario) -> Iterator[str]:
    for field, value in _parts("", scenario):
        if isinstance(value, Quantity):
            low = -math.inf if value.low is None else value.low
            high = math.inf if value.high is None else value.high
            if low > high:
                yield f"{field}: found low = {low} and high = {high}, expected low <= high"
            elif not low <= value.value <= high:
                yield f"{field}.value: found {value.value}, expected it from {low} to {high}"
    for at, cells in _cells(scenario):
        for end, bounds in (("low", cells.low or {}), ("high", cells.high or {})):
            for response, bound in bounds.items():
                if response not in cells.values:
                    yield (
                        f"{at}.{end}: found {response!r}, "
                        f"expected one of its values: {_list(cells.values)}"
                    )
                    continue
                field, value = f"{at}.values.{response}", cells.values[response]
                yield from _ends(scenario, field, value, end, bound)
    for k, part in enumerate(scenario.payoff.displacement):
        field = f"payoff.displacement[{k}].value"
        for end, own in (("low", part.low), ("high", part.high)):
            if own is not None:
                yield from _ends(scenario, field, part.value, end, own)


def _row_intervals(scenario: Scenario) -> Iterator[str]:
    """Check the intervals of rows of probabilities.

    A row sums to 1, so that with its own values in its intervals they hold some row.
    """
    for k, channel in enumerate(scenario.channel):
        for end, row in (("low", channel.low or {}), ("high", channel.high or {})):
            yield from _row_ends(f"channel[{k}].probabilities", channel.probabilities, end, row)
    for intent in scenario.intents:
        if intent.kernel is not None:
            yield from _kernel_ends(intent, intent.kernel)


def _kernel_ends(intent: Intent, kernel: Kernel) -> Iterator[str]:
    """Check that the intervals of a kernel are of its rows, around them, and of possible asks."""
    at = f"intents.{intent.name}.kernel"
    for end, ends in _ends_of(kernel):
        yield from _row_ends(f"{at}.opening", kernel.opening, end, ends.opening)
        for response, given in ends.after.items():
            field, rows = f"{at}.{end}.after.{response}", kernel.after.get(response)
            if rows is None:
                yield f"{field}: is given, expected one of {_list(kernel.after)}"
            elif isinstance(rows, list) and isinstance(given, list) and len(rows) == len(given):
                for k, (row, bounds) in enumerate(zip(rows, given, strict=True)):
                    yield from _row_ends(f"{at}.after.{response}[{k}]", row, end, bounds)
            elif isinstance(rows, dict) and isinstance(given, dict):
                yield from _row_ends(f"{at}.after.{response}", rows, end, given)
            else:
                yield f"{field}: found {_count(given)}, expected {_count(rows)}, as in after"
        rows_of_end = {"opening": ends.opening, **dict(_rows_after(ends))}
        for name, bounds in rows_of_end.items():
            for ask, bound in bounds.items():
                if bound > 0 and ask not in intent.asks:
                    yield (
                        f"{at}.{end}.{name}.{ask}: found {bound}, expected 0: "
                        f"the intent's asks are {_list(intent.asks)}"
                    )


def _count(rows: dict[str, float] | list[dict[str, float]]) -> str:
    return f"{counted(len(rows), 'table')} in a list" if isinstance(rows, list) else "one table"


def _row_ends(field: str, row: Distribution, end: str, ends: Ends) -> Iterator[str]:
    """Check that a row's probabilities are within the low or high ends of their intervals."""
    for name, bound in ends.items():
        yield from _outside(f"{field}.{name}", row.get(name, 0.0), end, bound)


def _ends(
    scenario: Scenario, field: str, value: Numbers, end: str, bound: Numbers
) -> Iterator[str]:
    """Check that a value is, turn by turn, within the low or high end of its interval."""
    turns = zip(_by_turn(scenario, value), _by_turn(scenario, bound), strict=False)
    for one, other in turns:  # of lists as long as they must be, which is checked elsewhere
        yield from _outside(field, one, end, other)


def _outside(field: str, value: float, end: str, bound: float) -> Iterator[str]:
    words, sign = ("at least", 1) if end == "low" else ("at most", -1)
    if sign * value < sign * bound:
        yield f"{field}: found {value}, expected {words} {bound}, its {end}"


def _by_turn(scenario: Scenario, number: Numbers) -> list[float]:
    return number if isinstance(number, list) else [number] * scenario.turns


def _sums_to_one(field: str, what: str, numbers: Iterable[float]) -> Iterator[str]:
    total = math.fsum(numbers)
    if abs(total - 1) > ROUNDING:
        yield f"{field}: found {what} that sum to {total:.12g}, expected 1"


NEEDED = {
    "kernel": ("kernel",),
    "rational": ("weights",),
    "quantal": ("weights", "rationality"),
    "adversarial": (),
}


def _intent(scenario: Scenario, intent: Intent) -> Iterator[str]:
    at = f"intents.{intent.name}"
    if set(intent.asks) <= {ask.name for ask in scenario.asks if ask.ends}:
        yield (
            f"{at}.asks: found {_list(intent.asks)}, "
            "expected at least one ask that does not end the conversation"
        )
    for field in ("kernel", "weights", "rationality"):
        given = getattr(intent, field) is not None
        if given and field not in NEEDED[intent.behaviour]:
            yield f"{at}.{field}: is given, expected none for the behaviour {intent.behaviour!r}"
        if not given and field in NEEDED[intent.behaviour]:
            yield f"{at}.{field}: is missing, expected one for the behaviour {intent.behaviour!r}"
    if intent.rationality is not None and intent.rationality.value <= 0:
        yield (
            f"{at}.rationality.value: found {intent.rationality.value}, expected a number above 0"
        )


def _per_turn(scenario: Scenario) -> Iterator[str]:
    payoff = scenario.payoff
    numbers: list[tuple[str, Numbers]] = [
        (f"{at}.{name}.{response}", value)
        for at, cells in _cells(scenario)
        for name in ("values", "low", "high")
        for response, value in (getattr(cells, name) or {}).items()
    ]
    numbers += [
        (f"payoff.displacement[{k}].{name}", number)
        for k, displacement in enumerate(payoff.displacement)
        for name in ("value", "low", "high")
        if (number := getattr(displacement, name)) is not None
    ]
    numbers += [
        (f"payoff.effort[{k}].values.{ask}", value)
        for k, effort in enumerate(payoff.effort)
        for ask, value in effort.values.items()
    ]
    for field, value in numbers:
        if isinstance(value, list) and len(value) < scenario.turns:
            yield (
                f"{field}: found {len(value)} numbers, "
                f"expected one number, or at least {scenario.turns} (one for each turn)"
            )


def _guard(scenario: Scenario) -> Iterator[str]:
    """Check what only a guard or a comparison reads."""
    for response in scenario.responses:
        if response.mechanism in ("text", "steer") and not response.text.strip():
            yield (
                f"responses.{response.name}.text: found nothing, "
                f"expected what the mechanism {response.mechanism!r} is to say"
            )
    for k, rung in enumerate(scenario.fallback.rungs):
        yield from _once(f"fallback.rungs[{k}]", "feature", rung)
    rungs = [_list(sorted(rung)) for rung in scenario.fallback.rungs]
    yield from _once("fallback.rungs", "rung", rungs)
    readers = [reader.model_dump(exclude_none=True) for reader in scenario.readers]
    yield from reader_faults(readers, _talking(scenario), _names(scenario.signals))
    silent = [name for name in _names(scenario.signals) if name not in scenario.baselines.threshold]
    if silent:
        yield f"baselines.threshold: found nothing for {_list(silent)}, expected a response to each"


def _ends_of(kernel: Kernel) -> Iterator[tuple[str, KernelEnds]]:
    """Yield the low and the high ends of a kernel's intervals, where it has them."""
    for name, ends in (("low", kernel.low), ("high", kernel.high)):
        if ends is not None:
            yield name, ends


def _rows_after(kernel: Kernel | KernelEnds) -> Iterator[tuple[str, Distribution]]:
    """Yield (field, numbers by ask) for what follows each response."""
    for response, given in kernel.after.items():
        if isinstance(given, list):
            yield from ((f"after.{response}[{k}]", row) for k, row in enumerate(given))
        else:
            yield f"after.{response}", given


def _kernels(scenario: Scenario) -> Iterator[str]:
    goes_on = [response.name for response in scenario.responses if not response.ends]
    for intent in scenario.intents:
        if intent.kernel is None:
            continue
        at = f"intents.{intent.name}.kernel"
        rows = {"opening": intent.kernel.opening}
        rows |= dict(_rows_after(intent.kernel))
        for name, row in rows.items():
            yield from _sums_to_one(f"{at}.{name}", "probabilities", row.values())
            for ask, probability in row.items():
                if probability > 0 and ask not in intent.asks:
                    yield (
                        f"{at}.{name}.{ask}: found probability {probability}, expected 0: "
                        f"the intent's asks are {_list(intent.asks)}"
                    )
        if not any(intent.kernel.opening.get(ask, 0) > 0 for ask in _talking(scenario)):
            yield (
                f"{at}.opening: found only asks that end the conversation, "
                f"expected one of {_list(_talking(scenario))} to have a probability above 0"
            )
        silent = [name for name in goes_on if name not in intent.kernel.after]
        if silent and scenario.turns > 1:
            yield f"{at}.after: found nothing for {_list(silent)}, expected the asks after each"
        for response in intent.kernel.after:
            if response not in goes_on:
                yield f"{at}.after.{response}: is given, expected none: it ends the conversation"
        for response, given in intent.kernel.after.items():
            if isinstance(given, list) and len(given) < scenario.turns - 1:
                yield (
                    f"{at}.after.{response}: found {len(given)} tables of probabilities, expected "
                    f"one, or at least {scenario.turns - 1} (one for each turn but the last)"
                )


def _channel(scenario: Scenario) -> Iterator[str]:
    given: Cover = Counter()
    for k, channel in enumerate(scenario.channel):
        probabilities = channel.probabilities.values()
        yield from _sums_to_one(f"channel[{k}].probabilities", "probabilities", probabilities)
        yield from _only_talking(f"channel[{k}].asks", scenario, channel.asks)
        given.update((intent, ask) for intent in channel.intents for ask in channel.asks)
    yield from _cover("channel", _answered(scenario), given)


def _components(scenario: Scenario) -> Iterator[str]:
    wanted = [
        (*meeting, response)
        for meeting in _answered(scenario)
        for response in _names(scenario.responses)
    ]
    given: dict[str, Cover] = {}
    for at, cells in _cells(scenario):
        yield from _only_talking(f"{at}.asks", scenario, cells.asks or [])
        given.setdefault(at.split("[")[0], Counter()).update(covered(scenario, cells))
    for component in ("satisfaction", "risk", "cost"):
        field = f"payoff.{component}"
        yield from _cover(field, wanted, given.get(field, Counter()))

    migrating = {ask.name for ask in scenario.asks if ask.ends == "migrate"}
    able = [(part.name,) for part in scenario.intents if migrating & set(part.asks)]
    moved: Cover = Counter(
        (name,) for part in scenario.payoff.displacement for name in part.intents
    )
    yield from _cover("payoff.displacement", able, moved)

    selfless = [part.name for part in scenario.intents if part.weights is None]
    for k, effort in enumerate(scenario.payoff.effort):
        for name in effort.intents:
            if name in selfless:
                yield (
                    f"payoff.effort[{k}].intents: found {name!r}, "
                    "expected intents with a payoff of their own (rational or quantal)"
                )
    own = [
        (part.name, ask)
        for part in scenario.intents
        if part.weights is not None
        for ask in part.asks
    ]
    tried: Cover = Counter(
        (name, ask)
        for part in scenario.payoff.effort
        for name in part.intents
        for ask in part.values
    )
    yield from _cover("payoff.effort", own, tried)


def _answered(scenario: Scenario) -> list[tuple[str, str]]:
    """Return every (intent, ask) that the assistant may have to answer."""
    talking = _talking(scenario)
    return [(part.name, ask) for part in scenario.intents for ask in part.asks if ask in talking]


def _only_talking(field: str, scenario: Scenario, asks: Iterable[str]) -> Iterator[str]:
    for ask in asks:
        if ask not in _talking(scenario):
            yield f"{field}: found {ask!r}, expected no ask that ends the conversation"


def _cover(field: str, wanted: Iterable[Cell], given: Cover) -> Iterator[str]:
    """Check that every wanted cell is given, and none twice."""
    missing: dict[Cell, list[str]] = {}
    for cell in wanted:
        if cell not in given:
            missing.setdefault(cell[:-1], []).append(cell[-1])
    for group, names in missing.items():
        yield f"{field}: found nothing for {' / '.join((*group, _list(names)))}, expected a value"
    for cell, count in given.items():
        if count > 1:
            yield f"{field}: found {count} values for {' / '.join(cell)}, expected one"
