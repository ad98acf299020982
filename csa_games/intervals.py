"""Intervals of rows of probabilities: their ends, and which of them leave something open.

A row of a kernel or a channel lies anywhere in its box that sums to 1. An end that the file leaves
out is the probability itself.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from csa_games.scenario import Channel, Kernel, Scenario

End = Literal["low", "high"]
ENDS: tuple[End, End] = ("low", "high")


def rows_at(scenario: Scenario, end: End) -> Scenario:
    """Return `scenario` with these ends of intervals in place of its rows of probabilities.

    They are bounds: such a row hardly ever sums to 1, and nothing is checked.
    """
    intents = [
        part if part.kernel is None else part.model_copy(update={"kernel": at(part.kernel, end)})
        for part in scenario.intents
    ]
    channel = [
        part.model_copy(update={"probabilities": _signals_at(part, end)})
        for part in scenario.channel
    ]
    return scenario.model_copy(update={"intents": intents, "channel": channel})


def at(kernel: Kernel, end: End) -> Kernel:
    """Return a kernel with these ends of intervals in place of its probabilities."""
    ends = getattr(kernel, end)
    if ends is None:
        return kernel
    after = {
        response: [row | bound for row, bound in zip(rows, ends.after[response], strict=True)]
        if isinstance(rows, list)
        else rows | ends.after[response]
        for response, rows in kernel.after.items()
        if response in ends.after
    }
    rows = {"opening": kernel.opening | ends.opening, "after": kernel.after | after}
    return kernel.model_copy(update=rows)


def _signals_at(channel: Channel, end: End) -> Mapping[str, float]:
    return channel.probabilities | (getattr(channel, end) or {})


def row_after(kernel: Kernel, response: str, turn: int) -> tuple[str, Mapping[str, float]]:
    """Return the label of the row that follows `response` in `turn`, counted from 1, and it.

    The label is "after RESPONSE" or, where that differs by turn, "after RESPONSE in turn 1".
    """
    given = kernel.after[response]
    if isinstance(given, list):
        return f"after {response} in turn {turn}", given[turn - 1]
    return f"after {response}", given


def kernels_in_doubt(scenario: Scenario) -> dict[str, tuple[str, ...]]:
    """Return the rows of kernels whose intervals leave something open, by intent.

    Of intents of positive prior, and of rows that a conversation has turns for: "opening", or
    labelled as by `row_after`.
    """
    found = {
        intent.name: tuple(_open_rows(scenario, intent.kernel))
        for intent in scenario.intents
        if intent.kernel is not None and intent.prior.value > 0
    }
    return {name: rows for name, rows in found.items() if rows}


def _open_rows(scenario: Scenario, kernel: Kernel) -> Iterator[str]:
    low, high = at(kernel, "low"), at(kernel, "high")
    if low.opening != high.opening:
        yield "opening"
    for response, given in kernel.after.items():
        turns = scenario.turns if isinstance(given, list) else min(scenario.turns, 2)
        for turn in range(1, turns):
            label, least = row_after(low, response, turn)
            if least != row_after(high, response, turn)[1]:
                yield label


def channels_in_doubt(scenario: Scenario) -> dict[str, tuple[str, ...]]:
    """Return the asks whose signals have intervals that leave something open, by intent.

    Of intents of positive prior.
    """
    coming = {part.name for part in scenario.intents if part.prior.value > 0}
    found: dict[str, tuple[str, ...]] = {}
    for channel in scenario.channel:
        if _signals_at(channel, "low") != _signals_at(channel, "high"):
            for name in channel.intents:
                if name in coming:
                    found[name] = (*found.get(name, ()), *channel.asks)
    return found
