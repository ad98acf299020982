"""From a history to the row that decides: the state's own, or the first below it on the ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from csa_games.guard.bundle import Terms
from csa_games.guard.keys import Turn, coarse_key, state_key
from csa_games.guard.store import COARSE, NOISE, Row, Store


class MalformedError(ValueError):
    """What was handed over is not a history, or not a conversation."""


def turns_from(history: object) -> tuple[Turn, ...]:
    """Return the turns of a history, the last of them still to be answered.

    Turns are mappings with "ask", "signal" and "response", or tuples in this order. Raises
    `MalformedError`, a sentence, for anything else.
    """
    if isinstance(history, (str, bytes)) or not isinstance(history, Sequence):
        raise MalformedError(
            f"The history is of type {type(history).__name__}, expected a list of turns."
        )
    if not history:
        raise MalformedError("The history has no turns, expected at least the one to answer.")
    turns = tuple(_turn(k + 1, given) for k, given in enumerate(history))
    for k, turn in enumerate(turns):
        if turn.response is None and k + 1 < len(turns):
            raise MalformedError(f"Turn {k + 1} has no response, expected one before turn {k + 2}.")
    if turns[-1].response is not None:
        raise MalformedError(
            f"Turn {len(turns)}, the last, has a response already; there is nothing to decide."
        )
    return turns


def _turn(number: int, given: object) -> Turn:
    if isinstance(given, Mapping):
        cells: tuple[Any, ...] = (given.get("ask"), given.get("signal"), given.get("response"))
    elif isinstance(given, (tuple, list)) and len(given) in (2, 3):
        cells = (*given, None)[:3]
    else:
        raise MalformedError(
            f"Turn {number} is of type {type(given).__name__}, expected a mapping with ask, signal "
            "and response, or a tuple of them."
        )
    ask, signal, response = cells
    for what, cell in (("ask", ask), ("signal", signal), ("response", response)):
        if type(cell) is not str and not (what == "response" and cell is None):
            raise MalformedError(
                f"The {what} of turn {number} is of type {type(cell).__name__}, expected text."
            )
    return Turn(ask, signal, response)


class Found(NamedTuple):
    """The row that decides, and how it was found.

    `key` is the state's own, None when names or the length are unknown to the scenario, so that
    only finitely many histories have one. `rung` is 0 for the state's own row, 1 and up for the
    coarser ones, then the constant response. `why` says why not the state's own, or nothing.
    """

    row: Row
    rung: int
    key: str | None
    why: str


def find(terms: Terms, store: Store, turns: Sequence[Turn]) -> Found:
    """Return the row for the state that `turns` have led to: its own if it can be trusted."""
    fault = _unknown(terms, turns)
    key = None if fault else state_key(turns)
    why = fault or _ended(terms, turns)
    if key is not None and not why:
        row = store.get(key)
        if row is None:
            why = "The scenario holds this state to be impossible."
        elif row.trust == NOISE:
            why = (
                "The row of this state is noise: the policy's own play leads here with probability "
                f"{row.own_reach:.1e}, and the row is not refined."
            )
        else:
            return Found(row, 0, key, "")
    last = turns[-1]
    for k, features in enumerate(terms.rungs):
        # Keys are made of known names only: a client's text must not spell another key.
        if "ask" in features and last.ask not in terms.asks:
            continue
        if "signal" in features and last.signal not in terms.signals:
            continue
        row = store.get(coarse_key(turns, features))
        if row is not None:
            return Found(row, k + 1, key, why)
    return Found(constant(terms), len(terms.rungs) + 1, key, why)


def constant(terms: Terms) -> Row:
    """Return the row below all others: the default response, about which nothing is known."""
    return Row(
        key=coarse_key((Turn("", ""),), ()),
        trust=COARSE,
        own_reach=None,
        reach=0.0,
        margin=None,
        loss=None,
        probabilities=tuple(float(name == terms.default) for name in terms.responses),
        posterior=None,
        values=None,
    )


def _unknown(terms: Terms, turns: Sequence[Turn]) -> str:
    """Return a sentence about the first thing that the scenario has no name for, or nothing."""
    if len(turns) > terms.turns:
        return (
            f"The history has {len(turns)} turns, but the scenario ends after turn {terms.turns}."
        )
    known = {"ask": terms.asks, "signal": terms.signals, "response": terms.responses}
    for number, turn in enumerate(turns, start=1):
        for what, names in known.items():
            name = getattr(turn, what)
            if name is not None and name not in names:
                return (
                    f"The {what} of turn {number} is {name[:40]!r}, which is none of "
                    f"{', '.join(names)}."
                )
    return ""


def _ended(terms: Terms, turns: Sequence[Turn]) -> str:
    """Return a sentence if the conversation was over before this decision, or nothing."""
    for number, turn in enumerate(turns, start=1):
        if turn.ask in terms.ending_asks:
            return f"The ask {turn.ask} of turn {number} ends the conversation."
        if turn.response in terms.ending_responses:
            return f"The response {turn.response} of turn {number} ended the conversation."
    return ""
