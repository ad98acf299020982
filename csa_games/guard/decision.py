"""What a guard says about a turn. What few hosts ask for is made when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from csa_games.guard.bundle import Terms, pairs
from csa_games.guard.explain import choice_in_words, row_in_words, state_in_words
from csa_games.guard.keys import turns_of
from csa_games.guard.ladder import Found
from csa_games.guard.store import Row, Store


@dataclass(frozen=True)
class Decision:
    """What the guard says, and everything needed to see why.

    `probabilities` and `values` are by response, `posterior` by intent; they and `margin` are None
    where they are undefined. `values` are expected payoffs of the whole conversation to the
    assistant, given this state and that response, both sides playing the policy afterwards;
    `margin` is how far the best of them is above the second best, whatever the row plays: about 0
    where it mixes with reason. `trust` is the mark of the row that decided. `key` is the state's
    own, None for a state that the scenario has no names for; `key_used` is that of the row that
    decided, `rung` its place on the ladder: 0 exact, 1 and up coarser, the last the constant.
    `scope` is the keyed hash of the conversation, by which `u` was drawn; None where there was no
    conversation. Unless `keyed`, both are of the published test key, and anyone can predict them.
    """

    action: str
    mechanism: str
    text: str
    reason: str
    explanation: str
    probabilities: dict[str, float]
    posterior: dict[str, float] | None
    values: dict[str, float] | None
    margin: float | None
    trust: str
    key: str | None
    key_used: str
    rung: int
    scope: str | None
    u: float
    keyed: bool
    revision: str

    def as_dict(self) -> dict[str, Any]:
        """Return the decision as JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Chosen(NamedTuple):
    """The row that decides, the position of the response that it plays, and the draw, if any."""

    found: Found
    k: int
    u: float | None


def derived(**known: Any) -> Decision:
    """Return the decision of these `known` fields, and of what the others are made of.

    Making an explanation takes longer than deciding. All that it needs is in the decision and in
    the rows, which a decision keeps open.
    """
    decision = object.__new__(_Derived)
    object.__setattr__(decision, "__dict__", known)  # one step, however many the fields
    return decision


class _Derived(Decision):
    """A decision whose longer fields are made of the row that decided, when they are asked for."""

    _terms: Terms
    _chosen: Chosen
    _store: Store

    @cached_property
    def _row(self) -> Row | None:
        found = self._chosen.found
        return None if found.rung > len(self._terms.rungs) else self._store.get(found.row.key)

    @cached_property
    def explanation(self) -> str:
        """Which row decided, who it takes the user to be, and why this response."""
        terms, row, (found, k, u) = self._terms, self._row, self._chosen
        told = ["" if found.key is None else state_in_words(turns_of(found.key))]
        told += [found.why, row_in_words(terms, row, found.rung)]
        if row is not None:
            told.append(choice_in_words(terms, row, k, u))
        if not self.keyed and u is not None and found.row.probabilities[k] < 1:
            told.append("No secret is configured: anyone can predict this draw.")
        told.append(f"Policy {terms.name} by {terms.method}, revision {self.revision[:12]}.")
        return " ".join(filter(None, told))

    @cached_property
    def probabilities(self) -> dict[str, float]:
        """What the row plays, by response."""
        return dict(pairs(self._terms.responses, self._chosen.found.row.probabilities))

    @cached_property
    def posterior(self) -> dict[str, float] | None:
        """Who the row takes the user to be, by intent."""
        return self._row and _named(self._terms.intents, self._row.posterior)

    @cached_property
    def values(self) -> dict[str, float] | None:
        """What each response is worth."""
        return self._row and _named(self._terms.responses, self._row.values)

    @cached_property
    def margin(self) -> float | None:
        """How far the best response is above the second best."""
        return self._row and self._row.margin


def _named(names: Sequence[str], numbers: Sequence[float] | None) -> dict[str, float] | None:
    return None if numbers is None else dict(pairs(names, numbers))
