"""From a history to the row that decides: the state's own, or the first below it on the ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from csa_games.guard.bundle import Terms
from csa_games.guard.keys import Turn, coarse_key, state_key
from csa_games.guard.plays import COARSE, NOISE, Play
from csa_games.guard.signals import ASK, SIGNAL, read, shown
from csa_games.guard.store import Store


class MalformedError(ValueError):
    """What was handed over is not a history, or not a conversation."""


class Told(NamedTuple):
    """A history in the scenario's names, the last turn still to be answered.

    An ask or a signal is None, and a response `UNKNOWN`, where there is no name for what was found;
    `why` says what was found in the first such place, `since` is the position of its turn.
    """

    turns: tuple[Turn, ...]
    why: str = ""
    since: int = 0


UNKNOWN = "?"  # no name can be that


def turns_from(terms: Terms, history: object) -> Told:
    """Return what a history tells.

    Turns are mappings with "ask", "signal" and "response", or tuples in this order. An ask and a
    signal are names, None, or what a classifier emitted with the reader to read it by, as in
    {"reader": "guard", "score": 0.3}. Raises `MalformedError`, a sentence, for what is no history:
    responses are ours, so there must be one in every turn but the last.
    """
    told = observations_from(terms, history)
    for k, turn in enumerate(told.turns[:-1], start=1):
        if turn.response is None:
            raise MalformedError(f"Turn {k} has no response, expected one before turn {k + 1}.")
    if told.turns[-1].response is not None:
        raise MalformedError(
            f"Turn {len(told.turns)}, the last, has a response already; there is nothing to decide."
        )
    return told


def observations_from(terms: Terms, history: object) -> Told:
    """Return what `turns_from` does, whichever turns have a response."""
    given = _given(history)
    if given is None:
        raise MalformedError(
            f"The history is of type {type(history).__name__}, expected a list of turns."
        )
    turns, why, since = [], "", 0
    for k, cells in enumerate(given):
        turn, fault = _turn(terms, k + 1, cells)
        turns.append(turn)
        if fault and not why:
            why, since = fault, k
    if not turns:
        raise MalformedError("The history has no turns, expected at least the one to answer.")
    return Told(tuple(turns), why, since)


def _given(history: object) -> Sequence[object] | None:
    """Return what a history holds, None where it is no list."""
    # The plain types first: asking whether anything else is a sequence takes longer than the rest.
    if isinstance(history, (list, tuple)):
        return history
    listed = isinstance(history, Sequence) and not isinstance(history, (str, bytes))
    return history if listed else None  # type: ignore[return-value]


def _turn(terms: Terms, number: int, given: object) -> tuple[Turn, str]:
    """Return a turn in names, and a sentence about the first cell without one, or nothing."""
    if type(given) is dict or isinstance(given, Mapping):
        cells: tuple[Any, ...] = (given.get("ask"), given.get("signal"), given.get("response"))
    elif isinstance(given, (tuple, list)) and len(given) in (2, 3):
        cells = (*given, None)[:3]
    else:
        raise MalformedError(
            f"Turn {number} is of type {type(given).__name__}, expected a mapping with ask, signal "
            "and response, or a tuple of them."
        )
    ask, signal, response = cells
    if isinstance(response, str):
        response = str.__str__(response)  # of subclasses, such as enumerations, the text
    if (
        type(ask) is type(signal) is str
        and ask in terms.asks
        and signal in terms.signals
        and (response is None or (type(response) is str and response in terms.responses))
    ):
        return Turn(ask, signal, response), ""
    if response is not None and type(response) is not str:
        raise MalformedError(
            f"The response of turn {number} is of type {type(response).__name__}, expected text."
        )
    ask, no_ask = _read(terms, ASK, terms.asks, ask)
    signal, no_signal = _read(terms, SIGNAL, terms.signals, signal)
    no_response = ""
    if response is not None and response not in terms.responses:
        response, no_response = UNKNOWN, _none_of(response, terms.responses)
    found = ((ASK, no_ask), (SIGNAL, no_signal), ("response", no_response))
    why = next((f"The {what} of turn {number} {fault}." for what, fault in found if fault), "")
    return Turn(ask, signal, response), why


def _read(terms: Terms, what: str, names: Sequence[str], given: object) -> tuple[str | None, str]:
    """Return the name that an ask or a signal stands for, or None and what was found instead."""
    if given is None:
        return None, "is missing"
    if isinstance(given, str):
        text = str.__str__(given)
        return (text, "") if text in names else (None, _none_of(text, names))
    if not isinstance(given, Mapping):
        return None, f"is of type {type(given).__name__}, expected a name"
    named = given.get("reader")
    reader = terms.readers.get(named) if isinstance(named, str) else None
    if reader is None or reader.gives != what:
        able = [other.name for other in terms.readers.values() if other.gives == what]
        return None, (
            f"names the reader {shown(named)}, expected one that gives the {what}: "
            f"{', '.join(able) or 'there is none'}"
        )
    name, why = read(reader, given)
    return name, why and f"is missing, by the reader {reader.name}: {why}"


def _none_of(name: str, names: Sequence[str]) -> str:
    return f"is {name[:40]!r}, which is none of {', '.join(names)}"


class Found(NamedTuple):
    """The row that decides, and how it was found.

    `key` is the state's own, None when names or the length are unknown to the scenario, so that
    only finitely many histories have one. `rung` is 0 for the state's own row, 1 and up for the
    coarser ones, then the constant response. `why` says why not the state's own, or nothing.
    """

    row: Play
    rung: int
    key: str | None
    why: str


def find(terms: Terms, store: Store, turns: Sequence[Turn], why: str = "") -> Found:
    """Return the row for the state that `turns` have led to: its own if it can be trusted.

    `why` says why the turns make no state, when they do not: then one of them lacks a name. A
    conversation that the policy has ended gets the constant response for good: a coarser row keeps
    nothing of why it was ended, and going on must not undo it.
    """
    if len(turns) > terms.turns:
        why = f"The history has {len(turns)} turns, but the scenario ends after turn {terms.turns}."
    key = None if why else state_key(turns)
    why = why or _ended(terms, turns)
    if key is not None and not why:
        row = store.play(key)
        if row is None:
            why = (
                "The row of this state is damaged."
                if store.holds(key)
                else "The scenario holds this state to be impossible."
            )
        elif row.trust == NOISE:
            why = (
                "The row of this state is noise: the policy's own play leads here with probability "
                f"{row.own_reach:.1e}, and the row is not refined."
            )
        else:
            return Found(row, 0, key, "")
    last = turns[-1]
    stopped = any(turn.response in terms.ending_responses for turn in turns)
    for k, features in enumerate(() if stopped else terms.rungs):
        # What was not seen cannot be kept.
        if ("ask" in features and last.ask is None) or (
            "signal" in features and last.signal is None
        ):
            continue
        row = store.play(coarse_key(turns, features))
        if row is not None:
            return Found(row, k + 1, key, why)
    return Found(constant(terms), len(terms.rungs) + 1, key, why)


def constant(terms: Terms) -> Play:
    """Return what is below all rows: the default response, about which nothing is known."""
    return Play(
        key=coarse_key((Turn("", ""),), ()),
        trust=COARSE,
        own_reach=None,
        probabilities=tuple(float(name == terms.default) for name in terms.responses),
    )


def _ended(terms: Terms, turns: Sequence[Turn]) -> str:
    """Return a sentence if the conversation was over before this decision, or nothing."""
    for number, turn in enumerate(turns, start=1):
        if turn.ask in terms.ending_asks:
            return f"The ask {turn.ask} of turn {number} ends the conversation."
        if turn.response in terms.ending_responses:
            return f"The response {turn.response} of turn {number} ended the conversation."
    return ""
