"""A deployment under load, as services run it: without executed annotations.

Two bundles are swapped a thousand times while threads decide; somebody tries ten thousand times in
one conversation; ten thousand try once.
"""

import json
import os
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from csa_games.guard import Deployment, Guard

SECRET = b"a secret of the tests"
SWAPS = 1000
TRIES = 10_000


def switch(link: Path, folder: Path) -> None:
    """Let a link lead to `folder` from one moment to the next, as an activation does."""
    link.with_name("next").symlink_to(folder)
    os.replace(link.with_name("next"), link)


def swap(bundles: Path, link: Path) -> dict:
    """Return what happened: calls, by revision, and the activations that were not what they ought.

    A ruling that is not, in every field, the decision of its own revision is an AssertionError.
    """
    guards = {
        guard.revision: guard
        for guard in (Guard.load(bundles / name, SECRET) for name in ("b1", "b2"))
    }
    cases = [([("plain", signal)], f"c{n}") for n in range(10) for signal in ("clear", "flag")]
    right = {
        (revision, n): guard.decide(*case).as_dict()
        for revision, guard in guards.items()
        for n, case in enumerate(cases)
    }
    switch(link, bundles / "b1")
    deployment = Deployment(link, secret=SECRET)
    over = threading.Event()

    def call(start: int) -> Counter:
        seen: Counter = Counter()
        while not over.is_set():
            n = (start + seen.total()) % len(cases)
            ruling = deployment.decide(*cases[n])
            revision = ruling.decision.revision
            assert ruling.decision.as_dict() == right[revision, n]
            assert ruling.sequence == guards[revision].terms.sequence
            assert ruling.enforced == right[revision, n]["action"]
            seen[revision] += 1
        return seen

    failed = []
    with ThreadPoolExecutor(2) as pool:
        callers = [pool.submit(call, 7 * k) for k in range(2)]
        try:
            for k in range(SWAPS):
                switch(link, bundles / ("b2" if k % 2 == 0 else "b1"))
                activation = deployment.reload(allow_rollback=True)
                if not activation.changed or activation.fault:
                    failed.append(activation.fault)
        finally:
            over.set()
        seen = sum((caller.result() for caller in callers), Counter())
    counters = deployment.counters
    return {
        "calls": seen.total(),
        "seen": seen,
        "failed": failed,
        "activations": counters.activations,
        "counted": sum(counters.decisions.values()),
    }


def draws(bundle: Path) -> dict:
    """Return what one conversation is answered, however often it asks, and what many are."""
    deployment = Deployment(bundle, secret=SECRET)
    asked = [("plain", "flag")]
    return {
        "retried": Counter(deployment.decide(asked, "c1").enforced for _ in range(TRIES)),
        "drawn": Counter(deployment.decide(asked, f"account {k}").enforced for k in range(TRIES)),
        "policy": deployment.decide(asked, "c1").decision.probabilities,
    }


if __name__ == "__main__":
    place, link = map(Path, sys.argv[1:])
    sys.stdout.write(json.dumps(swap(place, link) | draws(place / "b1")))
