"""The guard: a checked bundle that turns a history into a decision."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from csa_games.errors import InputError
from csa_games.guard.bundle import (
    GOLDEN,
    MANIFEST,
    RESPONSES,
    RESPONSES_SHAPE,
    ROWS,
    SIGNATURE,
    BundleError,
    Terms,
    integrity,
    pairs,
    parse,
    read_files,
    sha256,
    terms_of,
)
from csa_games.guard.explain import choice_in_words, row_in_words, state_in_words
from csa_games.guard.keys import Turn
from csa_games.guard.ladder import Found, MalformedError, constant, find, turns_from
from csa_games.guard.sampling import TEST_KEY, draw, pick, scope_of
from csa_games.guard.shapes import misfits
from csa_games.guard.signing import Key, check, read_keys
from csa_games.guard.store import Store

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
        return asdict(self)


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
    def load(
        cls, folder: Path | str, secret: bytes | None = None, keys: Path | str | None = None
    ) -> Guard:
        """Return the guard of the bundle in `folder`, after checking it.

        Every file must be the one that the manifest lists, and the bundle's own probes must come
        out as recorded. The same `secret` draws the same responses in every process; without one,
        draws can be predicted, and every decision says so. `keys` is a folder of key files: with
        it, the bundle must be signed by one of them. Raises `BundleError` for a bundle that must
        not be served, `InputError` where there is no folder, the secret is none, or no key there
        verifies.
        """
        if secret is not None and not (isinstance(secret, bytes) and secret):
            raise InputError(f"the secret is {type(secret).__name__}, expected bytes, at least one")
        trusted = None if keys is None else read_keys(keys)
        return from_files(read_files(folder), secret, trusted)

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
            return self._decide(turns_from(history), scope)
        except MalformedError as error:
            return self._refuse(str(error), scope)
        except Exception as error:  # hosts pass on what clients send, and it must get an answer
            return self._refuse(f"Reading the history raised {type(error).__name__}.", scope)

    def _decide(self, turns: Sequence[Turn], scope: str) -> Decision:
        found = find(self.terms, self.store, turns)
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
        where = "" if found.key is None else state_in_words(turns)
        return self._decision(reason, found, k, scope, u, (where, found.why))

    def _refuse(self, why: str, scope: str | None) -> Decision:
        found = Found(constant(self.terms), len(self.terms.rungs) + 1, None, why)
        return self._decision(ERROR, found, pick(found.row.probabilities, 0.0), scope, 0.0, (why,))

    def _decision(
        self, reason: str, found: Found, k: int, scope: str | None, u: float, words: Sequence[str]
    ) -> Decision:
        terms, row = self.terms, found.row
        told = [*words, row_in_words(terms, row, found.rung)]
        if found.rung <= len(terms.rungs):
            told.append(choice_in_words(terms, row, k, u))
        if self.secret is None and row.probabilities[k] < 1:
            told.append("No secret is configured: anyone can predict this draw.")
        told.append(f"Policy {terms.name} by {terms.method}, revision {self.revision[:12]}.")
        action = terms.responses[k]
        return Decision(
            action=action,
            mechanism=self.responses[action]["mechanism"],
            text=self.responses[action]["text"],
            reason=reason,
            explanation=" ".join(filter(None, told)),
            probabilities=dict(pairs(terms.responses, row.probabilities)),
            posterior=_named(terms.intents, row.posterior),
            values=_named(terms.responses, row.values),
            margin=row.margin,
            trust=row.trust,
            key=found.key,
            key_used=row.key,
            rung=found.rung,
            scope=scope,
            u=u,
            keyed=self.secret is not None,
            revision=self.revision,
        )


def from_files(
    files: Mapping[str, bytes], secret: bytes | None = None, keys: Sequence[Key] | None = None
) -> Guard:
    """Return the guard of the bundle with these `files`, name -> content; errors as `load`."""
    from csa_games.guard.golden import faults  # its probes are decided by guards

    found = integrity(files)
    if found:
        raise BundleError(*found)
    if keys is not None:
        faulty = check(files[MANIFEST], files.get(SIGNATURE), keys).faults
        if faulty:
            raise BundleError(*faulty)
    terms = terms_of(parse(files[MANIFEST]))
    guard = Guard(
        terms=terms,
        responses=responses_from(files[RESPONSES], terms),
        store=Store(files[ROWS], terms),
        revision=sha256(files[MANIFEST]),
        secret=secret,
    )
    found = faults(guard, files[GOLDEN])
    if found:
        raise BundleError(*found)
    return guard


def responses_from(data: bytes, terms: Terms) -> dict[str, dict[str, str]]:
    """Return mechanism and text of each response, of the content of responses.json."""
    try:
        content = parse(data)
    except ValueError as error:
        raise BundleError(f"{RESPONSES}: not a JSON file: {error}") from None
    found = list(misfits(RESPONSES_SHAPE, content))
    if not found and set(content) != set(terms.responses):
        found = [f"found {', '.join(content)}, expected {', '.join(terms.responses)}"]
    if found:
        raise BundleError(*(f"{RESPONSES}: {fault}" for fault in found))
    return {
        name: {what: content[name][what] for what in ("mechanism", "text")}
        for name in terms.responses
    }


def _named(names: Sequence[str], numbers: Sequence[float] | None) -> dict[str, float] | None:
    return None if numbers is None else dict(pairs(names, numbers))
