"""The guard: a checked bundle that turns a history into a decision."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from csa_games.errors import InputError
from csa_games.guard.bundle import (
    GOLDEN,
    MANIFEST,
    RESPONSES,
    ROWS,
    BundleError,
    Terms,
    integrity,
    parse,
    read_files,
    sha256,
    terms_of,
)
from csa_games.guard.decision import Chosen, Decision, derived
from csa_games.guard.ladder import Found, MalformedError, constant, find, turns_from
from csa_games.guard.quick import Speller
from csa_games.guard.sampling import TEST_KEY, draw, pick, scope_of
from csa_games.guard.store import NOISE, Store

MATCH, SPLIT, BACKOFF, DEFAULT, ERROR = "MATCH", "SPLIT", "BACKOFF", "DEFAULT", "ERROR"
REASONS = {
    MATCH: "the row of this very state, which always plays one response",
    SPLIT: "the row of this very state, which mixes responses",
    BACKOFF: "a coarser row, as the table has none to trust for this state",
    DEFAULT: "the constant response, as no coarser row applies either",
    ERROR: "the constant response, as what came in is no history or no conversation",
}
"""Why a decision is what it is. The share of BACKOFF and DEFAULT is the alarm for drift."""

SCOPE = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, eq=False)
class Guard:
    """A bundle, checked and ready to decide. It never changes, and threads may share it.

    `Guard.load` makes one. Its fields are what the manifest says about deciding, what is in
    `responses.json`, the rows, the revision that draws are bound to and the secret that keys them.
    """

    terms: Terms
    responses: Mapping[str, Mapping[str, Any]]
    store: Store
    revision: str
    secret: bytes | None = field(default=None, repr=False)

    @classmethod
    def load(cls, folder: Path | str, secret: bytes | None = None, *, check: bool = True) -> Guard:
        """Return the guard of the bundle in `folder`, after checking it.

        Every file must be the one that the manifest lists, and the bundle's own probes must come
        out as recorded; `csa_games.guard.content` says how far rows that are too many for memory
        are the ones that were checked. Without `check`, only the manifest is, and that files are
        there and of their size: what was damaged or changed after the export is served. The same
        `secret` draws the same responses in every process; without one, draws can be predicted, and
        every decision says so. Raises `BundleError` for a bundle that must not be served,
        `InputError` where there is no folder or the secret is none.
        """
        if secret is not None and not (isinstance(secret, bytes) and secret):
            raise InputError(f"the secret is {type(secret).__name__}, expected bytes, at least one")
        return from_files(read_files(folder), secret, check)

    def decide(self, history: object, conversation: object) -> Decision:
        """Return the decision for the last turn of `history`; never raises.

        `history` is a sequence of turns, each a mapping with "ask", "signal" and, except in the
        last, "response", or a tuple in that order. `conversation` is a text that draws stick to:
        an identity that the client cannot choose, because a chat id is drawn again by opening a new
        chat. States that the table does not know go down the ladder of the manifest; what is no
        history at all gets the constant response, with the reason ERROR.
        """
        if not isinstance(conversation, str):
            return self._refuse(
                f"The conversation is of type {type(conversation).__name__}, expected text.", None
            )
        return self.decide_in(history, scope_of(self.secret or TEST_KEY, conversation))

    def decide_in(self, history: object, scope: object) -> Decision:
        """Return what `decide` does for a conversation whose `scope`, as in a log, is at hand.

        `csa_games.guard.sampling.scope_of` makes scopes. What is none gets the reason ERROR.
        """
        if not (isinstance(scope, str) and SCOPE.fullmatch(scope)):
            # What was mistaken for a scope may be an id, which is nobody's business.
            return self._refuse("The scope is not one: expected 64 hexadecimal digits.", None)
        try:
            return self._drawn(self._found(history), scope)
        except MalformedError as error:
            return self._refuse(str(error), scope)
        except Exception as error:  # hosts pass on what clients send, and it must get an answer
            return self._refuse(f"Reading the history raised {type(error).__name__}.", scope)

    @cached_property
    def _speller(self) -> Speller:
        return Speller(self.terms)

    def _found(self, history: object) -> Found:
        key = self._speller.key(history)
        row = None if key is None else self.store.get(key)
        if row is None or row.trust == NOISE:
            return find(self.terms, self.store, turns_from(history))
        return Found(row, 0, key, "")

    def _drawn(self, found: Found, scope: str) -> Decision:
        u = draw(
            self.secret or TEST_KEY,
            scope,
            # A state outside the game draws by its coarse row: else a client could draw as often as
            # it likes, by one impossible history after the other.
            found.row.key if found.key is None else found.key,
            self.revision,
            self.terms.epoch,
        )
        k = pick(found.row.probabilities, u)
        if found.rung > 0:
            reason = BACKOFF if found.rung <= len(self.terms.rungs) else DEFAULT
        else:
            reason = MATCH if found.row.probabilities[k] == 1 else SPLIT
        return self._decision(reason, Chosen(found, k, u), scope)

    def _refuse(self, why: str, scope: str | None) -> Decision:
        found = Found(constant(self.terms), len(self.terms.rungs) + 1, None, why)
        return self._decision(ERROR, Chosen(found, pick(found.row.probabilities, 0.0), 0.0), scope)

    def _decision(self, reason: str, chosen: Chosen, scope: str | None) -> Decision:
        found, k, u = chosen
        action = self.terms.responses[k]
        response = self.responses[action]
        return derived(
            self.terms,
            chosen,
            action=action,
            mechanism=response["mechanism"],
            text=response["text"],
            reason=reason,
            margin=found.row.margin,
            trust=found.row.trust,
            key=found.key,
            key_used=found.row.key,
            rung=found.rung,
            scope=scope,
            u=u,
            keyed=self.secret is not None,
            revision=self.revision,
        )


def from_files(files: Mapping[str, Any], secret: bytes | None = None, check: bool = True) -> Guard:
    """Return the guard of the bundle with these `files`, name -> content; errors as `load`."""
    from csa_games.guard.golden import faults  # its probes are decided by guards

    found = integrity(files, check)
    if found:
        raise BundleError(*found)
    terms = terms_of(parse(files[MANIFEST]))
    guard = Guard(
        terms=terms,
        responses=responses_from(files[RESPONSES], terms),
        store=Store(files[ROWS], terms),
        revision=sha256(files[MANIFEST]),
        secret=secret,
    )
    found = faults(guard, files[GOLDEN]) if check else []
    if found:
        raise BundleError(*found)
    return guard


def responses_from(data: bytes, terms: Terms) -> dict[str, dict[str, str]]:
    """Return mechanism and text of each response, of the content of responses.json."""
    try:
        content = parse(data)
        return {
            name: {what: str(content[name][what]) for what in ("mechanism", "text")}
            for name in terms.responses
        }
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{RESPONSES}: expected mechanism and text of each of {', '.join(terms.responses)}, "
            f"found {type(error).__name__}: {error}"
        ) from None
