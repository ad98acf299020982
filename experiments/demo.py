"""From a scenario to a guarded decision, by the commands that a user would type.

Run with `make demo`, or `python -m experiments.demo [FOLDER]`; results go to `demo/` by default.
"""

import shlex
import sys
from pathlib import Path

from csa_games.cli import main as csa
from csa_games.guard import Guard

SCENARIO = "crisis_guidance"
TARGET = "1e-3"
CONVERSATION = [
    ("contextualised", "unsure", "asks about a dangerous subject, with a story"),
    ("plain", "unsure", "asks again, without it"),
    ("contextualised", "flag", "presses on"),
]
"""What a user does, turn by turn, and what the classifier makes of it."""


def main(folder: str = "demo") -> int:
    """Run every step into `folder` and return the first exit code that is not 0."""
    run, page, bundle = (f"{folder}/{name}" for name in ("run", "report.html", "bundle"))
    Path(folder).mkdir(parents=True, exist_ok=True)
    for command in (
        ["solve", SCENARIO, "--target", TARGET, "--out", run],
        ["report", run, "-o", page],
        ["export", run, bundle],
        ["verify", bundle],
    ):
        print(f"\n$ csa {shlex.join(command)}", flush=True)
        code = csa(command)
        if code != 0:
            return code
    replay(bundle)
    print(f"\nThe result as a page: {page}. A bundle for a guard: {bundle}/.")
    return 0


def replay(bundle: str) -> None:
    """Print what a guard with `bundle` answers to `CONVERSATION`, and why."""
    guard = Guard.load(bundle)
    print("\nA conversation, as the guard decides it (an example key; use a secret of your own):")
    history: list[dict[str, str]] = []
    for number, (ask, signal, words) in enumerate(CONVERSATION, 1):
        now = {"ask": ask, "signal": signal}
        decision = guard.decide([*history, now], conversation="demo")
        print(f"\nTurn {number}. The user {words}: {ask}. The classifier says: {signal}.")
        print(f"  -> {decision.action} ({decision.mechanism}). {decision.text}")
        print(f"  Why: {decision.explanation}")
        history.append({**now, "response": decision.action})
        if decision.mechanism == "route":
            print("  The conversation goes to a person and ends here.")
            return


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
