"""What a guard will do, before it does: how far its rows reach, and what it falls back to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from csa_games.guard.certificate import Certificate, certify, dialogue_from
from csa_games.guard.decide import Guard
from csa_games.guard.keys import turns_of
from csa_games.guard.ladder import find
from csa_games.guard.plays import COARSE, NOISE, TRUST


class Share(NamedTuple):
    """How many rows, and which share of the decisions they make if everybody plays the policy."""

    rows: int
    decisions: float


def coverage(guard: Guard) -> dict[str, Share]:
    """Return the share of each mark of trust among the rows of states; reads every row.

    Shares of decisions sum to 1; those of rows that are noise are made by the ladder.
    """
    rows = dict.fromkeys(TRUST, 0)
    reach = dict.fromkeys(TRUST, 0.0)
    for row in guard.store.assistant():
        rows[row.trust] += 1
        reach[row.trust] += 0.0 if row.trust == COARSE else row.reach
    total = sum(reach.values()) or 1.0
    return {trust: Share(rows[trust], reach[trust] / total) for trust in TRUST if trust != COARSE}


def rung_without(guard: Guard, feature: str) -> tuple[str, ...] | None:
    """Return what is kept by the first rung that a state without `feature` may take.

    `feature` is "ask" or "signal". None where there is no such rung: then the constant response
    decides.
    """
    return next((rung for rung in guard.terms.rungs if feature not in rung), None)


def likeliest(guard: Guard, scenario: Mapping[str, Any]) -> Certificate:
    """Return value and gap of the policy that plays the likeliest response of every row.

    That is what a guard with `argmax` does, and it is another policy than the one in the bundle:
    this is its own certificate, recomputed from `scenario`, the content of scenario.json, as
    `verify` does for the rows as they are. Takes as long.
    """
    policy = {}
    for row in guard.store.assistant():
        if row.trust == COARSE:
            continue
        shares = row.probabilities
        if row.trust == NOISE:
            shares = find(guard.terms, guard.store, turns_of(row.key)).row.probabilities
        best = max(range(len(shares)), key=shares.__getitem__)
        policy[row.key] = tuple(float(k == best) for k in range(len(shares)))
    return certify(dialogue_from(scenario), policy, guard.store.user())
