"""A guard in service: which bundle decides, what the host carries out, and how bundles change.

    deployment = Deployment("bundles/current", secret=secret, mode="shadow")
    with deployment.watch(seconds=5):
        ruling = deployment.decide([("plain", "flag")], conversation="account 17")
        ruling.enforced, ruling.mechanism, ruling.text

The *verdict* is what the policy says, the ruling's `decision`; what is *enforced* is what the host
is to do about it, and differs in shadow mode and where the host's own rule for errors applies.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from csa_games.errors import InputError
from csa_games.guard.bundle import MANIFEST, BundleError, expiry, pairs, sha256
from csa_games.guard.counters import Counters, Tally
from csa_games.guard.decide import DEFAULT, DISABLED, ERROR, STALE, Guard
from csa_games.guard.decision import Decision
from csa_games.guard.keys import Turn
from csa_games.guard.plays import COARSE
from csa_games.guard.sampling import TEST_KEY, scope_of

OFF, SHADOW, ENFORCE = "off", "shadow", "enforce"
MODES = {
    OFF: "nothing is decided, and everything passes",
    SHADOW: "decisions are made, counted and logged, and everything passes",
    ENFORCE: "decisions are carried out",
}
FALLBACK, CLOSED, OPEN = "fallback", "closed", "open"
ON_ERROR = {
    FALLBACK: "the bundle's constant response",
    CLOSED: "the conversation is blocked",
    OPEN: "the conversation passes",
}
"""What is carried out where there is no history to decide on: a decision of the reason ERROR."""

PASS, BLOCK = "pass", "block"
STABLE, CANARY = "stable", "canary"

SHARE_BITS = 52  # of a scope, which choose the arm
TOLD = 5  # faults of a bundle that an activation tells
SETTLED = 2.0  # seconds after which a second change of a file gets another time


class Ruling(NamedTuple):
    """What a deployment says about a turn.

    `decision` is the verdict. `enforced` is the name of the response that the host is to carry out,
    or "pass" or "block" where that is none of the policy's; `mechanism` and `text` say how. `arm`
    is "stable" or "canary"; `id` is one of a kind; `turn` counts from 1, 0 where there is no
    history; `sequence` is the bundle's, 0 where there is no bundle; `latency_ns` is the time that
    deciding took.
    """

    decision: Decision
    enforced: str
    mechanism: str
    text: str
    mode: str
    arm: str
    id: str
    turn: int
    sequence: int
    latency_ns: int

    def as_dict(self) -> dict[str, Any]:
        """Return the ruling as JSON values."""
        return {**self._asdict(), "decision": self.decision.as_dict()}


class Activation(NamedTuple):
    """What came of trying to put a bundle into service.

    `changed` is whether another revision decides now than before. `revision` and `sequence` are of
    the bundle that decides, None and 0 where none does; `fault` says why a bundle was refused, None
    where none was.
    """

    changed: bool
    revision: str | None
    sequence: int
    fault: str | None


@runtime_checkable
class Log(Protocol):
    """Where rulings are recorded."""

    def record(self, ruling: Ruling, turns: Sequence[Turn]) -> bool | None:
        """Record `ruling`, made for `turns`; False if that could not be done.

        The turns hold names only, and are none where there was no history.
        """


class _Arm(NamedTuple):
    """A guard in service."""

    name: str
    guard: Guard
    expires: float  # seconds since the epoch


class Deployment:
    """Bundles in service; threads may share it, and `decide` and `follow` never raise.

    `folder` holds the bundle, or is a link to the folder that does. `secret` keys the draws and
    `keys` is the folder of keys that the bundle must be signed with, as `Guard.load` has them.
    `mode` is one of `MODES`, `on_error` one of `ON_ERROR`. `canary` is (folder, share): another
    bundle, for that share of the conversations, chosen by their scope, so that a conversation stays
    with it. Bundles with a sequence below `least_sequence` are refused. `audit` records each
    ruling. `emergency` is the host's own constant response, {"action", "mechanism", "text"}: with
    it, a deployment starts and answers without any bundle. `argmax` plays the likeliest response of
    each row, which is another policy than the one that the certificate is about.

    Raises `InputError`, for a bundle that must not be served `BundleError`, unless there is an
    `emergency` response; a canary that must not be served is left out, as `last` says.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        secret: bytes | None = None,
        keys: Path | str | None = None,
        mode: str = ENFORCE,
        on_error: str = FALLBACK,
        canary: tuple[Path | str, float] | None = None,
        least_sequence: int = 0,
        audit: Log | None = None,
        emergency: Mapping[str, str] | None = None,
        argmax: bool = False,
    ) -> None:
        _one_of("mode", mode, MODES)
        _one_of("on_error", on_error, ON_ERROR)
        if secret is not None and not (isinstance(secret, bytes) and secret):
            raise InputError(f"the secret is {type(secret).__name__}, expected bytes, at least one")
        share = 0.0 if canary is None else canary[1]
        if not 0 <= share <= 1:
            raise InputError(f"canary: found the share {share!r}, expected a number from 0 to 1")
        self.mode = mode
        self._on_error = on_error
        self._folders = {STABLE: Path(folder)}
        if canary is not None:
            self._folders[CANARY] = Path(canary[0])
        self._share = int(share * 2**SHARE_BITS)
        self._secret = secret
        self._keys = keys
        self._least_sequence = least_sequence
        self._audit = audit
        self._emergency = None if emergency is None else _emergency(emergency)
        self._argmax = argmax
        self._tally = Tally()
        self._lock = threading.Lock()  # of activations; decisions take none
        self._activations = self._failures = self._lost = 0
        self._name = os.urandom(6).hex()
        self._numbers = itertools.count(1)
        self._arms: Mapping[str, _Arm] = {}
        self.last, errors = self._activate(allow_rollback=False)
        if STABLE in errors and emergency is None:
            raise errors[STABLE]

    @property
    def guard(self) -> Guard | None:
        """The guard that decides, but for canaries; None while only the emergency response does."""
        return _guard(self._arms, STABLE)

    @property
    def canary(self) -> Guard | None:
        """The guard that decides for the share of conversations that are canaries, if any does."""
        return _guard(self._arms, CANARY)

    @property
    def counters(self) -> Counters:
        """What the deployment has done so far."""
        with self._lock:
            return Counters(self._tally.total(), self._activations, self._failures, self._lost)

    @property
    def revisions(self) -> list[str | None]:
        """The revisions in service: of the stable bundle, then of the canary where there is one."""
        arms = self._arms
        return [None if name not in arms else arms[name].guard.revision for name in self._folders]

    def reload(self, allow_rollback: bool = False) -> Activation:
        """Read the bundles again and put them into service if they may be; never raises.

        A bundle is verified as `Guard.load` does, its probes included, before anything changes.
        One that fails, or whose sequence is below that of the bundle in service, leaves that one
        where it is, and `fault` says why. `allow_rollback` accepts a lower sequence, but none
        below the least that the deployment was made with.
        """
        self.last, _ = self._activate(allow_rollback)
        return self.last

    def watch(self, seconds: float) -> Watch:
        """Return a thread that looks every `seconds` whether a bundle has changed, and reloads.

        It runs until its `stop`, or as long as the `with` block it is used in.
        """
        if not 0 < seconds < threading.TIMEOUT_MAX:
            raise InputError(f"watch: found {seconds!r}, expected a number of seconds above 0")
        return Watch(self, tuple(self._folders.values()), seconds)

    def decide(self, history: object, conversation: object, mode: str | None = None) -> Ruling:
        """Return the ruling on the last turn of `history`; never raises. See `Guard.decide`.

        `mode` is another than the deployment's, for this ruling alone.
        """
        began = time.perf_counter_ns()
        mode = mode if isinstance(mode, str) and mode in MODES else self.mode
        if mode == OFF:
            return self._disabled(began)
        arm, scope = self._arm_of(conversation)
        if arm is None:
            decision = self._constant(scope)
        elif scope is None:
            decision = arm.guard.decide(history, conversation)
        else:
            decision = arm.guard.decide_in(history, scope)
        return self._rule(decision, arm, history, mode, began)

    def follow(self, observations: object, conversation: object, mode: str | None = None) -> Ruling:
        """Return the ruling on the last of `observations`; never raises. See `Guard.follow`.

        What earlier turns were answered is what the policy would have enforced there. The audit
        log gets the history with these responses filled in. `mode` is as in `decide`.
        """
        began = time.perf_counter_ns()
        mode = mode if isinstance(mode, str) and mode in MODES else self.mode
        if mode == OFF:
            return self._disabled(began)
        arm, scope = self._arm_of(conversation)
        history: object = observations
        if arm is None:
            decision = self._constant(scope)
        elif scope is None:
            decision = arm.guard.decide(observations, conversation)
        else:
            decision, turns = arm.guard.last_in(observations, scope)
            history = turns or observations
        return self._rule(decision, arm, history, mode, began)

    def _arm_of(self, conversation: object) -> tuple[_Arm | None, str | None]:
        """Return who decides for a conversation, and its scope, None for what is none."""
        arms = self._arms  # once: another thread may swap them
        if not isinstance(conversation, str):
            return arms.get(STABLE), None
        scope = scope_of(self._secret or TEST_KEY, conversation)
        canary = arms.get(CANARY)
        if canary is not None and int(scope[: SHARE_BITS // 4], 16) < self._share:
            return canary, scope
        return arms.get(STABLE), scope

    def _rule(
        self, decision: Decision, arm: _Arm | None, history: object, mode: str, began: int
    ) -> Ruling:
        """Return the ruling that `decision` makes, counted and recorded."""
        reason = decision.reason
        if arm is not None and reason != ERROR and time.time() >= arm.expires:
            decision = replace(
                decision,
                reason=STALE,
                explanation=f"The bundle is past its time, {arm.guard.terms.not_after}; it still "
                f"decides, and otherwise the reason were {reason}. {decision.explanation}",
            )
        if mode == SHADOW or (reason == ERROR and self._on_error == OPEN):
            carried = (PASS, PASS, "")
        elif reason == ERROR and self._on_error == CLOSED:
            carried = (BLOCK, BLOCK, "")
        else:
            carried = (decision.action, decision.mechanism, decision.text)
        ruling = self._ruling(decision, carried, arm, _length(history), mode, began)
        if self._audit is not None:
            turns = () if arm is None else arm.guard.observed(history)
            try:
                recorded = self._audit.record(ruling, turns)
            except Exception:  # a full disk must not silence the guard, but it is told
                recorded = False
            if recorded is False:
                with self._lock:
                    self._lost += 1
        return ruling

    def _disabled(self, began: int) -> Ruling:
        guard = self.guard
        decision = _without_row(
            (PASS, PASS, ""),
            DISABLED,
            "The deployment is switched off.",
            None,
            "" if guard is None else guard.revision,
        )
        return self._ruling(decision, (PASS, PASS, ""), self._arms.get(STABLE), 0, OFF, began)

    def _constant(self, scope: str | None) -> Decision:
        assert self._emergency is not None, "without one, there is a bundle"
        why = "No bundle is in service, so the host's own constant response applies."
        return _without_row(self._emergency, DEFAULT, why, scope, "")

    def _ruling(
        self,
        decision: Decision,
        carried: tuple[str, str, str],
        arm: _Arm | None,
        turn: int,
        mode: str,
        began: int,
    ) -> Ruling:
        name = STABLE if arm is None else arm.name
        self._tally.add((decision.action, decision.reason, decision.revision, name))
        return Ruling(
            decision,
            *carried,
            mode,
            name,
            # Forked workers share the name and the numbers, but not the process.
            f"{self._name}-{os.getpid():x}-{next(self._numbers):x}",
            turn,
            0 if arm is None else arm.guard.terms.sequence,
            time.perf_counter_ns() - began,
        )

    def _activate(self, allow_rollback: bool) -> tuple[Activation, dict[str, InputError]]:
        with self._lock:
            arms, errors = dict(self._arms), {}
            for name, folder in self._folders.items():
                try:
                    arm = self._load(name, folder, allow_rollback)
                except InputError as error:
                    errors[name] = error
                    continue
                if name not in arms or arms[name].guard.revision != arm.guard.revision:
                    arms[name] = arm
                    self._activations += 1
            changed = {name: arm.guard.revision for name, arm in arms.items()} != {
                name: arm.guard.revision for name, arm in self._arms.items()
            }
            self._failures += len(errors)
            if changed:
                self._arms = arms  # one reference: a decision sees all of a change, or nothing
        stable = arms.get(STABLE)
        fault = " ".join(
            f"{'' if name == STABLE else 'The canary: '}{'; '.join(_few(error.faults))}."
            for name, error in errors.items()
        )
        activation = Activation(
            changed,
            None if stable is None else stable.guard.revision,
            0 if stable is None else stable.guard.terms.sequence,
            fault or None,
        )
        return activation, errors

    def _load(self, name: str, folder: Path, allow_rollback: bool) -> _Arm:
        """Return the arm of the bundle in `folder`; raises `InputError` when it must not serve."""
        try:
            # A link is followed once, so that all files come from where it leads now.
            place = folder.resolve()
            guard = Guard.load(place, self._secret, self._keys)
        except InputError:
            raise
        except Exception as error:  # whatever is wrong with a file, the last good one decides
            raise BundleError(
                f"{folder}: cannot be loaded: {type(error).__name__}: {error}"
            ) from None
        terms, serving = guard.terms, self._arms.get(name)
        if terms.sequence < self._least_sequence:
            raise BundleError(
                f"{folder}: found the sequence {terms.sequence}, expected {self._least_sequence} "
                "or more"
            )
        least = 0 if serving is None or allow_rollback else serving.guard.terms.sequence
        if terms.sequence < least:
            raise BundleError(
                f"{folder}: found the sequence {terms.sequence}, expected {least} or more, as the "
                "bundle in service has it; going back must be asked for"
            )
        expires = math.inf if terms.not_after is None else expiry(terms.not_after).timestamp()
        return _Arm(name, replace(guard, argmax=self._argmax), expires)


class Watch:
    """A thread that looks at bundles at fixed intervals, until `stop` or the end of a `with`."""

    def __init__(self, deployment: Deployment, folders: Sequence[Path], seconds: float) -> None:
        self._deployment = deployment
        self._folders = folders
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="csa-games watch", daemon=True)
        self._thread.start()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the thread, after the activation that it may be at."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        seen: list[_Looks] = [() for _ in self._folders]
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            looks = self._look(seen)
            if looks != seen:
                refused = not self._in_service() and self._deployment.reload().fault is not None
                # A folder may change while it is read, and back. What it looks like now need not be
                # dealt with again if it is in service, or was refused; nor may it be too new: what
                # was written just now may be written again without looking different.
                now = self._look(looks)
                dealt_with = (refused and now == looks) or self._in_service()
                seen = [files if dealt_with and _settled(files) else () for files in now]
            due += self._seconds * max(1, math.ceil((time.monotonic() - due) / self._seconds))

    def _look(self, before: Sequence[_Looks]) -> list[_Looks]:
        """Return what the folders look like; one that is away for a moment, as it did `before`."""
        return [_looks(folder) or looked for folder, looked in pairs(self._folders, before)]

    def _in_service(self) -> bool:
        return list(map(_revision, self._folders)) == self._deployment.revisions


_Looks = tuple[tuple[str, int, int, int], ...]


def _looks(folder: Path) -> _Looks:
    """Return name, time of change, size and inode of the files in `folder`, none if it is away."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.stat()) for entry in entries]
    except OSError:
        return ()
    return tuple(
        sorted((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in found)
    )


def _revision(folder: Path) -> str | None:
    """Return the revision that the bundle in `folder` has, if it is whole."""
    try:
        return sha256((folder / MANIFEST).read_bytes())
    except OSError:
        return None


def _settled(files: _Looks) -> bool:
    newest = max((changed for _, changed, _, _ in files), default=0)
    return abs(time.time_ns() - newest) > SETTLED * 10**9


def _few(faults: Sequence[str]) -> Sequence[str]:
    """Return the first faults, and how many more there are: every probe may have failed."""
    more = len(faults) - TOLD
    return faults if more <= 0 else (*faults[:TOLD], f"and {more} more like these")


def _guard(arms: Mapping[str, _Arm], name: str) -> Guard | None:
    arm = arms.get(name)
    return None if arm is None else arm.guard


def _length(history: object) -> int:
    try:
        return 0 if isinstance(history, (str, bytes)) else len(history)  # type: ignore[arg-type]
    except Exception:
        return 0


def _one_of(field: str, found: object, known: Mapping[str, str]) -> None:
    if found not in known:
        raise InputError(f"{field}: found {found!r}, expected one of {', '.join(known)}")


def _emergency(given: Mapping[str, str]) -> tuple[str, str, str]:
    fields = ("action", "mechanism", "text")
    for name in fields:
        if not isinstance(given.get(name), str):
            raise InputError(f"emergency: found no text for {name!r}, expected {', '.join(fields)}")
    return given["action"], given["mechanism"], given["text"]


def _without_row(
    carried: tuple[str, str, str], reason: str, why: str, scope: str | None, revision: str
) -> Decision:
    """Return a decision that no bundle has made."""
    action, mechanism, text = carried
    return Decision(
        action=action,
        mechanism=mechanism,
        text=text,
        reason=reason,
        explanation=why,
        probabilities={action: 1.0},
        posterior=None,
        values=None,
        margin=None,
        trust=COARSE,
        key=None,
        key_used="~",
        rung=1,
        scope=scope,
        u=0.0,
        keyed=False,
        revision=revision,
    )
