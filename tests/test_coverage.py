"""Simulation-based calibration: intervals hold the scenarios that logs were simulated from.

Scenarios are drawn at random, logs simulated from them and fitted back (Talts et al. 2018, with
coverage in the place of ranks).
"""

import numpy as np
import pytest
from random_scenarios import random_scenario

from csa_games.calibration.counts import closed, count
from csa_games.calibration.estimates import estimates
from csa_games.calibration.fitted import fittable
from csa_games.calibration.mapping import mapping_from
from csa_games.calibration.simulate import simulate

RUNS = 200
LEVEL = 0.9
READING = mapping_from(
    {"format": 1, "name": "simulated", "cite": "Simulated.", "design": "designed"}, "map.toml"
)


def possible(scenario, wanted):
    """Return rows that deem possible all that users may do: what a base that knows no more has."""
    even = np.zeros_like(wanted.base)
    for k, row in enumerate(wanted.rows):
        for b, name in enumerate(row.outcomes):
            even[k, b] = row.kind == "signal" or name in scenario.intents[row.intents[0]].asks
    return even


def covered(seed, conversations):
    """Return whether each true probability is within its interval, for rows that were seen."""
    scenario = random_scenario(seed, security=True)
    wanted = fittable(scenario, READING)
    drawn = simulate(scenario, conversations, np.random.default_rng(seed))
    found = estimates(closed(count(drawn, wanted)), possible(scenario, wanted), LEVEL)
    truth = wanted.base
    inside = (found.low <= truth) & (truth <= found.high)
    # Of what is impossible, or sure, intervals that reach 0 and 1 always hold the truth.
    return inside[(truth > 0) & (truth < 1) & (found.n[:, None] > 0)]


@pytest.mark.parametrize("conversations", [40, 120, 300])
def test_intervals_hold_the_truth_as_often_as_they_say(conversations):
    inside = np.concatenate([covered(seed, conversations) for seed in range(RUNS)])
    assert len(inside) > 600
    assert 0.85 <= inside.mean() <= 0.95
