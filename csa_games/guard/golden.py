"""Golden probes: decisions that a bundle brings along, so that every reader can test itself.

They are drawn under the published test key and bound to the word "golden" instead of a revision:
the revision is the hash of a manifest that lists the hash of these very probes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from csa_games.guard.bundle import GOLDEN, canonical, parse
from csa_games.guard.decide import Guard
from csa_games.guard.sampling import TEST_KEY
from csa_games.guard.shapes import Each, Maybe, Whole, misfits

CHECKED = ("key", "key_used", "rung", "reason", "probabilities", "scope", "u", "action")
PROBE: dict[str, Any] = {
    "history": object,
    "conversation": str,
    "key": Maybe(str),
    "key_used": str,
    "rung": Whole(0),
    "reason": str,
    "probabilities": Each(float),
    "u": float,
    "action": str,
}
"""What each line of golden.jsonl holds."""

LEAST_PROBES = 100  # probes of a bundle, unless it has fewer rows


def lines(guard: Guard, histories: Iterable[Any]) -> bytes:
    """Return golden.jsonl: what `guard` decides on each history, one canonical JSON line each."""
    test = _on_test_key(guard)
    probes = (_probe(test, history, f"golden {k}") for k, history in enumerate(histories))
    return b"".join(canonical(probe) + b"\n" for probe in probes)


def faults(guard: Guard, data: bytes) -> list[str]:
    """Return a sentence for each probe in `data` that `guard` decides otherwise."""
    test = _on_test_key(guard)
    found, count = [], 0
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            probe = parse(line)
        except ValueError as error:
            found.append(f"{GOLDEN}: line {number}: not JSON: {error}")
            continue
        unlike = list(misfits(PROBE, probe))
        if unlike:
            found += [f"{GOLDEN}: line {number}: not a probe: {fault}" for fault in unlike]
            continue
        count += 1
        try:
            decided = _probe(test, probe["history"], probe["conversation"])
        except Exception as error:  # rows of right hashes may still hold what is no number
            found.append(
                f"{GOLDEN}: line {number}: deciding raised {type(error).__name__}: {error}"
            )
            continue
        found += [
            f"{GOLDEN}: line {number}: {name}: the guard says {decided[name]!r}, "
            f"the probe expects {probe.get(name)!r}"
            for name in CHECKED
            if decided[name] != probe.get(name)
        ]
    if count == 0:
        found.append(f"{GOLDEN}: found no probes, expected some")
    return found


def _on_test_key(guard: Guard) -> Guard:
    return replace(guard, revision="golden", secret=TEST_KEY, argmax=False)


def _probe(guard: Guard, history: Any, conversation: Any) -> dict[str, Any]:
    decision = guard.decide(history, conversation).as_dict()
    return {"history": history, "conversation": conversation} | {
        name: decision[name] for name in CHECKED
    }
