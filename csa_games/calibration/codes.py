"""Conversations as arrays of small numbers, the names of a scenario in the order of its file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int

from csa_games.calibration.log import Conversation
from csa_games.calibration.mapping import Mapping as Reading
from csa_games.errors import InputError
from csa_games.scenario import Scenario

NOT_RECORDED = -1
_UNKNOWN = -2

FIELDS = ("type", "ask", "signal", "strategy", "reaction")
"""The fields of a log that hold labels."""


@dataclass(frozen=True)
class Codes:
    """Conversations as numbers; `NOT_RECORDED` where a log says nothing. N of them, E events.

    An event's reaction is the ask of the next one. Groups are numbered as they come, by `Coder`.
    """

    intent: Int[np.ndarray, " N"]
    group: Int[np.ndarray, " N"]
    conversation: Int[np.ndarray, " E"]  # which of the N an event belongs to, ascending
    turn: Int[np.ndarray, " E"]  # its place in the conversation, from 0
    ask: Int[np.ndarray, " E"]
    signal: Int[np.ndarray, " E"]
    response: Int[np.ndarray, " E"]
    reaction: Int[np.ndarray, " E"]


@dataclass(frozen=True)
class Fault:
    """Something wrong in a line of a log: where, and a sentence; unknown labels by field."""

    line: int
    sentence: str
    field: str = ""
    label: str = ""


Numbered = Mapping[str | None, int]


@dataclass(frozen=True)
class Coder:
    """Turns labels into numbers; made by `coder`. It numbers the groups that it meets."""

    names: Mapping[str, Numbered]
    ends: Int[np.ndarray, " B"]  # 1 for asks that end the conversation
    by_group: bool
    groups: dict[str, int] = field(default_factory=dict)


def coder(reading: Reading, scenario: Scenario) -> Coder:
    """Return what codes a log as `reading` says; raises `InputError` for names not in `scenario`.

    A name that the mapping never uses is no fault: logs seldom show all that may happen.
    """
    intents = [part.name for part in scenario.intents]
    asks = [part.name for part in scenario.asks]
    known = {
        "type": ("types", reading.types, intents),
        "ask": ("asks", reading.asks, asks),
        "signal": ("signals", reading.signals, [part.name for part in scenario.signals]),
        "strategy": ("strategies", reading.strategies, [part.name for part in scenario.responses]),
        "reaction": ("reactions", reading.reactions, asks),
    }
    faults = [
        f"{table}: found {name!r} for {label!r}, expected a name of {scenario.name}: "
        f"{', '.join(expected)}"
        for table, given, expected in known.values()
        for label, name in (given or {}).items()
        if name and name not in expected
    ]
    faults += [
        f"latent: found {name!r}, expected intents of {scenario.name}: {', '.join(intents)}"
        for name in reading.latent
        if name not in intents
    ]
    if faults:
        raise InputError(*dict.fromkeys(faults))
    names: dict[str, Numbered] = {}
    for kind, (_, given, expected) in known.items():
        if kind == "reaction" and given is None:
            given = reading.asks
        number = {name: k for k, name in enumerate(expected)}
        labels = {name: name for name in expected} if given is None else given
        names[kind] = {
            None: NOT_RECORDED,
            **{label: number[name] if name else NOT_RECORDED for label, name in labels.items()},
        }
    ends = np.array([part.ends is not None for part in scenario.asks], np.int64)
    return Coder(names, ends, reading.cluster == "group")


@dataclass
class _Labels:
    """The labels of a piece of a log, conversation by conversation and event by event.

    Flat lists of strings: objects of their own for each event would keep the garbage collector
    busier than the rest of the reading.
    """

    line: list[int] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    group: list[str | None] = field(default_factory=list)
    type: list[str | None] = field(default_factory=list)
    t: list[int] = field(default_factory=list)
    ask: list[str | None] = field(default_factory=list)
    signal: list[str | None] = field(default_factory=list)
    strategy: list[str | None] = field(default_factory=list)
    reaction: list[str | None] = field(default_factory=list)


def encode(coder: Coder, numbered: Iterable[tuple[int, Conversation]]) -> tuple[Codes, list[Fault]]:
    """Return (line, conversation) pairs as numbers, and what is wrong with them.

    What is wrong is coded as not recorded.
    """
    labels = _labels(numbered)
    lengths = np.array(labels.length, np.int64)
    conversation = np.repeat(np.arange(len(lengths)), lengths)
    turn = np.arange(len(conversation)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    faults: list[Fault] = []

    def coded(kind: str) -> Int[np.ndarray, " C"]:
        given: list[str | None] = getattr(labels, kind)
        number = coder.names[kind].get
        found = np.fromiter((number(label, _UNKNOWN) for label in given), np.int32, len(given))
        for k in np.flatnonzero(found == _UNKNOWN).tolist():
            line = labels.line[k if kind == "type" else conversation[k]]
            faults.append(_unknown(coder, kind, str(given[k]), line))
        return np.maximum(found, NOT_RECORDED)

    intent, ask, signal, response, reaction = map(coded, FIELDS)
    before = np.flatnonzero(joined(conversation, np.array(labels.t, np.int64)))
    after = before + 1

    def fault(k: int, sentence: str) -> None:
        faults.append(Fault(labels.line[conversation[k]], f"events[{turn[k]}]{sentence}"))

    differ = (reaction[before] >= 0) & (ask[after] >= 0) & (reaction[before] != ask[after])
    for k in after[differ].tolist():
        reacted = labels.reaction[k - 1]
        fault(k, f".ask: found {labels.ask[k]!r} after the reaction {reacted!r}, expected the same")
    reaction[before] = np.where(reaction[before] >= 0, reaction[before], ask[after])
    ask[after] = np.where(ask[after] >= 0, ask[after], reaction[before])
    more = np.append(conversation[1:] == conversation[:-1], False)[: len(turn)]
    for k in np.flatnonzero((ask >= 0) & (coder.ends[ask] > 0) & ((response >= 0) | more)).tolist():
        said = labels.ask[k] or labels.reaction[k - 1]
        fault(k, f": found more after {said!r}, expected nothing: it ends the conversation")

    group = np.full(len(lengths), NOT_RECORDED)
    if coder.by_group:
        for k, (line, label) in enumerate(zip(labels.line, labels.group, strict=True)):
            if label is None:
                sentence = "group: is missing, expected one: the mapping says that they cluster"
                faults.append(Fault(line, sentence))
            else:
                group[k] = coder.groups.setdefault(label, len(coder.groups))
    return Codes(intent, group, conversation, turn, ask, signal, response, reaction), faults


def joined(
    conversation: Int[np.ndarray, " E"], time: Int[np.ndarray, " E"]
) -> Bool[np.ndarray, " D"]:
    """Return for each event but the last whether the next one follows it, without a gap in t."""
    same = conversation[1:] == conversation[:-1]
    return same & ((time[1:] == time[:-1] + 1) | (time[1:] < 0) | (time[:-1] < 0))


def _labels(numbered: Iterable[tuple[int, Conversation]]) -> _Labels:
    found = _Labels()
    for line, one in numbered:
        found.line.append(line)
        found.length.append(len(one.events))
        found.group.append(one.group)
        found.type.append(one.type)
        for event in one.events:
            found.t.append(NOT_RECORDED if event.t is None else event.t)
            found.ask.append(event.ask)
            found.signal.append(event.signal)
            found.strategy.append(event.strategy)
            found.reaction.append(event.reaction)
    return found


def _unknown(coder: Coder, kind: str, label: str, line: int) -> Fault:
    """Return the fault of a label that nothing maps."""
    known = [str(name) for name in coder.names[kind] if name is not None]
    listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return Fault(line, f"{kind}: found {label!r}, expected one of {listed}", kind, label)
