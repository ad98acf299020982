"""Decide from a bundle, and verify one, with the standard library alone.

    guard = Guard.load("bundle/", secret=b"...")
    decision = guard.decide([("plain", "flag")], conversation="account 17")
    decision.action, decision.reason, decision.explanation

Nothing here imports numpy or JAX, prints, or uses the network.
"""

from csa_games.guard.bundle import BundleError
from csa_games.guard.decide import REASONS, Guard
from csa_games.guard.decision import Decision
from csa_games.guard.deployment import Activation, Deployment, Ruling
from csa_games.guard.verify import Report, verify

__all__ = [
    "REASONS",
    "Activation",
    "BundleError",
    "Decision",
    "Deployment",
    "Guard",
    "Report",
    "Ruling",
    "verify",
]
