"""The policies that a log shows, one for each group, next to a solved one.

The policy of a group is the share of each response to each (ask, signal) of its conversations, with
one sighting more of the shares whatever was seen. It is worth what the scenario says, exactly:
against users who choose as in the solution, if there is one, else evenly. Two policies differ by

    Σ_s reach(s) TV(π(s), π'(s)) / Σ_s reach(s),

over the states s that the solved policy reaches: the share of its answers that the other would give
otherwise, at least.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from csa_games.calibration.clustered import ratio
from csa_games.calibration.estimates import Estimate
from csa_games.calibration.logged import Logged
from csa_games.calibration.paths import Paths
from csa_games.calibration.policies import Home
from csa_games.evaluate import infoset_reach, value_and_gap
from csa_games.game import ASSISTANT, USER, Policy

MOST_GROUPS = 20
EVERYONE = "all conversations"


@dataclass(frozen=True)
class SeenPolicy:
    """A policy of the log.

    `value` is what it is worth in the scenario, to the scenario's users; `guaranteed` is what it
    leaves the assistant whatever users who choose do, nan unless the game is zero-sum. `less` is
    by how much the solved policy is worth more, and `distance` how much of it differs, both nan
    without one. `observed` is what the group's whole conversations were worth, types and all as
    they are in the log.
    """

    name: str
    conversations: int
    answers: int
    value: float
    guaranteed: float
    less: float
    distance: float
    observed: Estimate | None


def seen_policies(
    log: Logged,
    given: Paths,
    home: Home,
    users: Float[np.ndarray, "I A"],
    solved: Policy | None = None,
    *,
    level: float = 0.9,
) -> list[SeenPolicy]:
    """Return the policy of all conversations, and of the `MOST_GROUPS` largest groups, if any."""
    often = np.bincount(log.group[log.group >= 0], minlength=len(log.groups))
    largest = np.argsort(-often, kind="stable")[:MOST_GROUPS]
    chosen = {EVERYONE: np.ones(len(log.group), bool)}
    if len(log.groups) > 1:
        chosen |= {
            log.groups[g]: log.group == g for g in sorted(largest, key=log.groups.__getitem__)
        }
    best = None if solved is None else worth(home, solved)[0]
    found = []
    for name, these in chosen.items():
        table = empirical(log, home, these)
        answers = int(table.sum())
        if not answers:
            continue
        policy = users, shares(table)[home.last]
        value, guaranteed = worth(home, policy)
        mine = these[given.conversation]
        found.append(
            SeenPolicy(
                name,
                int(these.sum()),
                answers,
                value,
                guaranteed,
                np.nan if best is None else best - value,
                np.nan if solved is None else distance(home, solved, policy[ASSISTANT]),
                _observed(given, mine, level) if mine.any() else None,
            )
        )
    return found


def empirical(log: Logged, home: Home, these: Bool[np.ndarray, " N"]) -> Float[np.ndarray, "B Y R"]:
    """Return how often `these` conversations show each response by ask and signal."""
    codes, scenario = log.codes, home.scenario
    shape = len(scenario.asks), len(scenario.signals), len(scenario.responses)
    kept = these[codes.conversation] & (codes.ask >= 0) & (codes.signal >= 0)
    kept &= (codes.response >= 0) & (codes.turn < scenario.turns)
    found = np.zeros(shape)
    np.add.at(found, (codes.ask[kept], codes.signal[kept], codes.response[kept]), 1.0)
    return found


def shares(often: Float[np.ndarray, "B Y R"]) -> Float[np.ndarray, "B Y R"]:
    """Return shares of responses by ask and signal, with one sighting more as they are overall."""
    overall = often.sum(axis=(0, 1)) / often.sum()
    found: Float[np.ndarray, "B Y R"] = (often + overall) / (often.sum(axis=-1, keepdims=True) + 1)
    return found


def worth(home: Home, policy: Policy) -> tuple[float, float]:
    """Return what a policy is worth to its users, and to those who do their worst; or nan."""
    value, gap = value_and_gap(home.game.form, policy)
    secure = home.game.game_class == "security"
    return float(value[ASSISTANT]), float(value[ASSISTANT] - gap[USER]) if secure else np.nan


def distance(home: Home, solved: Policy, other: Float[np.ndarray, "I A"]) -> float:
    """Return how much of what the solved policy answers the other one would answer otherwise."""
    own, others = infoset_reach(home.game, ASSISTANT, solved)
    apart = np.abs(np.asarray(solved[ASSISTANT]) - other).sum(axis=1) / 2
    reach = own * others
    return float(reach @ apart / reach.sum())


def _observed(given: Paths, mine: Bool[np.ndarray, " N"], level: float) -> Estimate:
    return ratio(given.total[mine], np.ones(int(mine.sum())), given.cluster[mine], level)
