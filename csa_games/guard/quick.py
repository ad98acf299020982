"""Histories in which everything is as it should be, read at once; the ladder takes a closer look.

Most histories are of this kind, and what a turn of it adds to the key of its state depends on its
names alone, so that it can be looked up. Names that are unknown, a conversation that was over
before, or anything else than plain lists, tuples and dictionaries of text are for
`csa_games.guard.ladder`, which says what is wrong with them.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from csa_games.guard.bundle import Terms
from csa_games.guard.keys import BETWEEN, Turn, state_key


class Speller:
    """Spells the keys of the states of a scenario."""

    def __init__(self, terms: Terms) -> None:
        asks = [ask for ask in terms.asks if ask not in terms.ending_asks]
        responses = [name for name in terms.responses if name not in terms.ending_responses]
        self._turns = terms.turns
        self._past = {turn: _spelled(*turn) for turn in product(asks, terms.signals, responses)}
        last = {(*seen, None): _spelled(*seen) for seen in product(asks, terms.signals)}
        self._last = last | {(ask, signal): part for (ask, signal, _), part in last.items()}

    def key(self, history: Any) -> str | None:
        """Return the key of the state that `history` has led to, or None: look closer.

        A key that is returned is the one that `state_key` builds of the turns that the ladder
        reads.
        """
        if type(history) not in (list, tuple) or not 0 < len(history) <= self._turns:
            return None
        try:
            parts = [self._past[_cells(turn)] for turn in history[:-1]]
            parts.append(self._last[_cells(history[-1])])
        except Exception:  # no such name, or nothing that could be one
            return None
        return BETWEEN.join(parts)


def _cells(turn: Any) -> tuple[Any, ...]:
    if type(turn) is dict:
        return turn.get("ask"), turn.get("signal"), turn.get("response")
    if isinstance(turn, (tuple, list)):
        return tuple(turn)
    raise TypeError


def _spelled(ask: str, signal: str, response: str | None = None) -> str:
    return state_key((Turn(ask, signal, response),))
