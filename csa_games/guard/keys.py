"""The keys of table rows, built here and nowhere else: by the exporter and by the guard.

A state is what the assistant has seen: for each turn the ask, the signal and, but for the last
turn, its own response. Names hold only a-z, 0-9 and _, so the marks between them are unambiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

KEY_VERSION = 1

BETWEEN = "/"  # turns

FEATURES = ("turn", "ask", "signal")
"""What a coarser row may keep of a state: the number of its last turn, its ask and its signal."""


class Turn(NamedTuple):
    """One turn as the assistant sees it; `response` is None while it is being decided.

    `ask` and `signal` are None where there is no name for what was seen, or nothing was: such a
    turn has no key.
    """

    ask: str | None
    signal: str | None
    response: str | None = None


def state_key(turns: Sequence[Turn]) -> str:
    """Return the key of the assistant's information set: `plain:clear>guide/plain:flag`."""
    parts = []
    for turn in turns:
        seen = f"{turn.ask}:{turn.signal}"
        parts.append(seen if turn.response is None else f"{seen}>{turn.response}")
    return BETWEEN.join(parts)


def turns_of(key: str) -> tuple[Turn, ...]:
    """Return the turns that `state_key` made `key` from."""
    turns = []
    for part in key.split(BETWEEN):
        ask, _, rest = part.partition(":")
        signal, _, response = rest.partition(">")
        turns.append(Turn(ask, signal, response or None))
    return tuple(turns)


def coarse_key(turns: Sequence[Turn], features: Sequence[str]) -> str:
    """Return the key of a coarser row: `~turn=2,ask=plain,signal=flag`, keeping `features`.

    Without features it is `~`, the key of the constant below all rows.
    """
    last = turns[-1]
    full = {"turn": str(len(turns)), "ask": last.ask, "signal": last.signal}
    return "~" + ",".join(f"{name}={full[name]}" for name in features)


def user_key(intent: str, public: Sequence[tuple[str, str]]) -> str:
    """Return the key of a user's information set: `malicious|plain>guide/plain>clarify`.

    `public` holds the (ask, response) of every turn so far; users do not see signals.
    """
    return intent + "|" + "/".join(ask + ">" + response for ask, response in public)


def intent_of(key: str) -> str:
    """Return the intent that `user_key` made `key` for."""
    return key.partition("|")[0]
