"""Counting decisions from many threads, without a lock on the way."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

Kind = tuple[str, str, str, str]
"""What a decision is counted by: its action, reason, revision and arm."""


@dataclass(frozen=True)
class Counters:
    """What a deployment has done so far: a snapshot, and every number only ever grows.

    `decisions` has a number for each (action, reason, revision, arm) that has occurred.
    `activations` are bundles that went into service, the first included, `failures` those that were
    refused; `unlogged` are decisions that the audit log failed to record.
    """

    decisions: Mapping[Kind, int]
    activations: int
    failures: int
    unlogged: int


class Tally:
    """Counts by kind; `add` takes no lock, `total` sums over threads."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._threads: list[tuple[threading.Thread, dict[Kind, int]]] = []
        self._ended: Counter[Kind] = Counter()

    def add(self, kind: Kind) -> None:
        """Count one of `kind`."""
        try:
            counts = self._local.counts
        except AttributeError:
            counts = self._local.counts = self._register()
        counts[kind] = counts.get(kind, 0) + 1

    def total(self) -> dict[Kind, int]:
        """Return how many there have been of each kind."""
        with self._lock:
            total = Counter(self._ended)
            for _, counts in self._threads:
                total.update(counts.copy())  # a copy: its thread goes on counting
        return dict(total)

    def _register(self) -> dict[Kind, int]:
        counts: dict[Kind, int] = {}
        with self._lock:
            # Servers that start a thread for each request must not leave one entry for each behind.
            going = []
            for thread, theirs in self._threads:
                if thread.is_alive():
                    going.append((thread, theirs))
                else:
                    self._ended.update(theirs)
            self._threads = [*going, (threading.current_thread(), counts)]
        return counts
