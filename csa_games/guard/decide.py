"""The guard: a checked bundle that turns a history into a decision."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from csa_games.errors import InputError
from csa_games.guard.bundle import (
    GOLDEN,
    MANIFEST,
    PLAYS,
    RESPONSES,
    RESPONSES_SHAPE,
    ROWS,
    SIGNATURE,
    BundleError,
    Terms,
    integrity,
    parse,
    read_files,
    sha256,
    terms_of,
)
from csa_games.guard.decision import Chosen, Decision, derived
from csa_games.guard.keys import Turn
from csa_games.guard.ladder import (
    Found,
    MalformedError,
    constant,
    find,
    observations_from,
    turns_from,
)
from csa_games.guard.plays import NOISE, TRUST
from csa_games.guard.quick import Speller
from csa_games.guard.sampling import TEST_KEY, draw, pick, scope_of
from csa_games.guard.shapes import misfits
from csa_games.guard.signing import Key, read_keys
from csa_games.guard.signing import check as check_signature
from csa_games.guard.store import Store

MATCH, SPLIT, BACKOFF, DEFAULT, ERROR = "MATCH", "SPLIT", "BACKOFF", "DEFAULT", "ERROR"
STALE, DISABLED = "STALE", "DISABLED"
REASONS = {
    MATCH: "the row of this very state, which always plays one response",
    SPLIT: "the row of this very state, which mixes responses",
    BACKOFF: "a coarser row, as the table has none to trust for this state",
    DEFAULT: "the constant response, as no coarser row applies either",
    ERROR: "the constant response, as what came in is no history or no conversation",
    STALE: "as it would be, but of a bundle that is past its time",
    DISABLED: "nothing was decided, as the deployment is switched off",
}
"""Why a decision is what it is. The share of BACKOFF and DEFAULT is the alarm for drift."""

SCOPE = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, eq=False)
class Guard:
    """A bundle, checked and ready to decide. It never changes, and threads may share it.

    `Guard.load` makes one. Its fields are what the manifest says about deciding, what is in
    `responses.json`, the rows, the revision that draws are bound to and the secret that keys them.
    With `argmax` it plays the likeliest response of a row and draws nothing: that is another policy
    than the one in the bundle, and neither value nor gap of the certificate are its own.
    """

    terms: Terms
    responses: Mapping[str, Mapping[str, Any]]
    store: Store
    revision: str
    secret: bytes | None = field(default=None, repr=False)
    argmax: bool = False

    @classmethod
    def load(
        cls,
        folder: Path | str,
        secret: bytes | None = None,
        keys: Path | str | None = None,
        *,
        check: bool = True,
    ) -> Guard:
        """Return the guard of the bundle in `folder`, after checking it.

        Every file must be the one that the manifest lists, and the bundle's own probes must come
        out as recorded; `csa_games.guard.content` says how far rows that are too many for memory
        are the ones that were checked. Without `check`, only the manifest is, and that files are
        there and of their size: what was damaged or changed after the export is served. The same
        `secret` draws the same responses in every process; without one, draws can be predicted, and
        every decision says so. `keys` is a folder of key files: with it, the bundle must be signed
        by one of them, and its files are hashed even without `check`. Raises `BundleError` for a
        bundle that must not be served, `InputError` where there is no folder, the secret is none,
        or no key there verifies.
        """
        if secret is not None and not (isinstance(secret, bytes) and secret):
            raise InputError(f"the secret is {type(secret).__name__}, expected bytes, at least one")
        trusted = None if keys is None else read_keys(keys)
        return from_files(read_files(folder), secret, trusted, check=check)

    def decide(self, history: object, conversation: object) -> Decision:
        """Return the decision for the last turn of `history`; never raises.

        `history` is a sequence of turns, each a mapping with "ask", "signal" and, except in the
        last, "response", or a tuple in that order. Asks and signals are names, None, or what a
        classifier emitted together with the name of a reader: {"reader": "guard", "score": 0.3}.
        `conversation` is a text that draws stick to: an identity that the client cannot choose,
        because a chat id is drawn again by opening a new chat. States that the table does not know,
        and turns whose ask or signal is missing or cannot be read, go down the ladder of the
        manifest; what is no history at all gets the constant response, with the reason ERROR.
        """
        if not isinstance(conversation, str):
            return self._refuse(
                f"The conversation is of type {type(conversation).__name__}, expected text.", None
            )
        return self._decide(history, scope_of(self.secret or TEST_KEY, conversation))

    def decide_in(self, history: object, scope: object) -> Decision:
        """Return what `decide` does for a conversation whose `scope`, as in a log, is at hand.

        `csa_games.guard.sampling.scope_of` makes scopes. What is none gets the reason ERROR.
        """
        if not isinstance(scope, str) or SCOPE.fullmatch(scope) is None:
            # What was mistaken for a scope may be an id, which is nobody's business.
            return self._refuse("The scope is not one: expected 64 hexadecimal digits.", None)
        return self._decide(history, scope)

    def _decide(self, history: object, scope: str) -> Decision:
        try:
            return self._decision(self._choose(self._found(history), scope), scope)
        except MalformedError as error:
            return self._refuse(str(error), scope)
        except Exception as error:  # hosts pass on what clients send, and it must get an answer
            return self._refuse(f"Reading the history raised {type(error).__name__}.", scope)

    def follow(self, observations: object, conversation: object) -> tuple[Decision, ...]:
        """Return the decision for each turn of a conversation, of its asks and signals alone.

        Hosts have the messages of a conversation, but not what was answered to them by which
        strategy. `observations` is a history without responses: the guard's own are filled in,
        which is exact, because draws are keyed. Whichever rung of the ladder decided a turn, what
        it played counts as the response of that turn; a turn without a name for ask or signal
        leaves the states of the scenario for good, so all after it are answered by the ladder, and
        so are turns after the last of the scenario or after the user has left. What the policy has
        ended stays ended: turns after that get the constant response. Three things make this
        another past than the one that happened: a host that carried out something else (as in
        shadow mode), a revision that has changed since, and a classifier that does not say the same
        again. A host that keeps its responses should pass them to `decide`. Never raises: what is
        no list of turns gets one decision with the reason ERROR. Takes time that is linear in the
        number of turns.
        """
        if not isinstance(conversation, str):
            return (self.decide(observations, conversation),)
        return self.follow_in(observations, scope_of(self.secret or TEST_KEY, conversation))

    def follow_in(self, observations: object, scope: object) -> tuple[Decision, ...]:
        """Return what `follow` does for a conversation whose `scope` is at hand."""
        if not isinstance(scope, str) or SCOPE.fullmatch(scope) is None:
            return (self.decide_in(observations, scope),)
        try:
            return tuple(
                self._decision(chosen, scope) for _, chosen in self._played(observations, scope)
            )
        except MalformedError as error:
            return (self._refuse(str(error), scope),)
        except Exception as error:
            return (self._refuse(f"Reading the history raised {type(error).__name__}.", scope),)

    def last_in(self, observations: object, scope: object) -> tuple[Decision, tuple[Turn, ...]]:
        """Return the last decision of `follow_in`, and the history that it was made for.

        The history is empty where there is none.
        """
        if not isinstance(scope, str) or SCOPE.fullmatch(scope) is None:
            return self.decide_in(observations, scope), ()
        try:
            for turns, chosen in self._played(observations, scope):  # noqa: B007 - the last is meant
                pass
            return self._decision(chosen, scope), tuple(turns)
        except MalformedError as error:
            return self._refuse(str(error), scope), ()
        except Exception as error:
            return self._refuse(f"Reading the history raised {type(error).__name__}.", scope), ()

    def observed(self, history: object) -> tuple[Turn, ...]:
        """Return the turns of a history in the scenario's names, and nothing else of it.

        It is decided as the history is, but for the words of the explanation: an ask or a signal
        without a name is None, and an unknown response "?". What is no history has no turns.
        """
        try:
            return turns_from(self.terms, history).turns
        except Exception:
            return ()

    def _played(self, observations: object, scope: str) -> Iterator[tuple[list[Turn], Chosen]]:
        """Yield the turns so far, the same growing list each time, and what the last draws."""
        told = observations_from(self.terms, observations)
        turns: list[Turn] = []
        answered: str | None = None
        for k, turn in enumerate(told.turns):
            if turn.response is not None:
                raise MalformedError(
                    f"Turn {k + 1} has a response, expected none: the guard fills in its own."
                )
            if k > 0:
                turns[-1] = turns[-1]._replace(response=answered)
            turns.append(turn)
            found = find(self.terms, self.store, turns, told.why if k >= told.since else "")
            chosen = self._choose(found, scope)
            yield turns, chosen
            answered = self.terms.responses[chosen.k]

    @cached_property
    def _speller(self) -> Speller:
        return Speller(self.terms)

    def _found(self, history: object) -> Found:
        key = self._speller.key(history)
        row = None if key is None else self.store.play(key)
        if row is not None and row.trust != NOISE:
            return Found(row, 0, key, "")
        told = turns_from(self.terms, history)
        return find(self.terms, self.store, told.turns, told.why)

    def _choose(self, found: Found, scope: str) -> Chosen:
        probabilities = found.row.probabilities
        if self.argmax:
            return Chosen(
                found, max(range(len(probabilities)), key=probabilities.__getitem__), None
            )
        u = draw(
            self.secret or TEST_KEY,
            scope,
            # A state outside the game draws by its coarse row: else a client could draw as often as
            # it likes, by one impossible history, or one broken signal, after the other.
            found.row.key if found.key is None else found.key,
            self.revision,
            self.terms.epoch,
        )
        return Chosen(found, pick(probabilities, u), u)

    def _decision(self, chosen: Chosen, scope: str) -> Decision:
        found = chosen.found
        if found.rung > 0:
            reason = BACKOFF if found.rung <= len(self.terms.rungs) else DEFAULT
        else:
            reason = MATCH if found.row.probabilities[chosen.k] == 1 else SPLIT
        return self._derived(reason, chosen, scope)

    def _refuse(self, why: str, scope: str | None) -> Decision:
        found = Found(constant(self.terms), len(self.terms.rungs) + 1, None, why)
        return self._derived(ERROR, Chosen(found, pick(found.row.probabilities, 0.0), 0.0), scope)

    def _derived(self, reason: str, chosen: Chosen, scope: str | None) -> Decision:
        found, k, u = chosen
        action = self.terms.responses[k]
        response = self.responses[action]
        return derived(
            _terms=self.terms,
            _chosen=chosen,
            _store=self.store,
            action=action,
            mechanism=response["mechanism"],
            text=response["text"],
            reason=reason,
            trust=found.row.trust,
            key=found.key,
            key_used=found.row.key,
            rung=found.rung,
            scope=scope,
            u=0.0 if u is None else u,
            keyed=self.secret is not None,
            revision=self.revision,
        )


def from_files(
    files: Mapping[str, Any],
    secret: bytes | None = None,
    keys: Sequence[Key] | None = None,
    *,
    check: bool = True,
) -> Guard:
    """Return the guard of the bundle with these `files`, name -> content; errors as `load`."""
    from csa_games.guard.golden import faults  # its probes are decided by guards

    found = integrity(files, check or keys is not None)  # a signature is about the hashes
    if found:
        raise BundleError(*found)
    if keys is not None:
        faulty = check_signature(files[MANIFEST], files.get(SIGNATURE), keys).faults
        if faulty:
            raise BundleError(*faulty)
    manifest = parse(files[MANIFEST])
    terms = terms_of(manifest)
    guard = Guard(
        terms=terms,
        responses=responses_from(files[RESPONSES], terms),
        store=Store(files[ROWS], files[PLAYS], terms),
        revision=sha256(files[MANIFEST]),
        secret=secret,
    )
    plays, rows = guard.store.plays.count, sum(manifest["rows"][mark] for mark in TRUST)
    if plays != rows:
        raise BundleError(f"{PLAYS}: found {plays} plays, expected {rows}, one of each row")
    found = faults(guard, files[GOLDEN]) if check else []
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
