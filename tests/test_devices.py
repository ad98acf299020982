"""Dialogues over several devices and several processes: the same numbers as on one.

Every count of devices is a process of its own, since JAX takes it once.
"""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest

RUN = """
import json, sys
import jax
devices, processes, rank = map(int, sys.argv[1:4])
jax.config.update("jax_num_cpu_devices", devices)
if processes > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(sys.argv[4], processes, rank)
from dataclasses import replace
import numpy as np
from csa_games import devices as placing
from csa_games.evaluate import value_and_gap_of_rows
from csa_games.factored import factored_game
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario
from solvers import cfr
from solvers.regret import VARIANTS

scenario = read_scenario(builtin_scenarios()["crisis_guidance"])
game = factored_game(override(scenario, {"turns": 2}))
user, assistant = game.form.treeplex
*above, last = assistant.levels
last = replace(last, block=1, looped=True)  # 45 blocks: no multiple of 2 or 4
form = replace(game.form, treeplex=(user, replace(assistant, levels=(*above, last))))
with jax.enable_x64(True):
    form = placing.spread(form)
    mesh = form.treeplex[1].levels[-1].mesh
    assert (mesh is None) == (devices * processes == 1)
    state = cfr.init(form)
    rows = [placing.placed(form, pair) for pair in state[:3]]
    state = cfr.State(*rows, placing.everywhere(form, state.t))
    form = placing.everywhere(form, form)
    state = cfr.run(form, VARIANTS["pcfr+"], state, 25, horizon=100.0, dead_zone=1e-8)
    part = state.regret[1][-1]
    assert len(part.sharding.device_set) == devices * processes
    averages = jax.jit(cfr.average_rows)(form, state.plan_sum)
    value, gap = value_and_gap_of_rows(form, averages)
    print(json.dumps([value.tolist(), gap.tolist()]))
"""


def found(devices, processes=1):
    """Return value [2] and gap [2] after 25 iterations, as every process finds them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(devices), str(processes), str(rank), address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    ended = [(process.communicate(timeout=300), process.returncode) for process in running]
    for (_, errors), code in ended:
        assert code == 0, errors[-2000:]
    return [json.loads(output.splitlines()[-1]) for (output, _), _ in ended]


@pytest.fixture(scope="module")
def alone():
    return found(1)[0]


@pytest.mark.parametrize("devices", [2, 4])
def test_virtual_devices_find_the_same_bits(alone, devices):
    np.testing.assert_array_equal(found(devices)[0], alone)


def test_two_processes_find_the_same_bits(alone):
    first, second = found(1, processes=2)
    np.testing.assert_array_equal(first, alone)
    np.testing.assert_array_equal(second, alone)
