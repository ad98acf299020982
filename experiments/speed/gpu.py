"""The engine on an accelerator, in one command: `python -m experiments.speed.gpu --out DIR`.

It needs this tree and wheels: JAX for the accelerator, and OpenSpiel for two of the games. What the
bar asks of a GPU is timed, and two things are checked: that two runs on the device end with the
same bits, and that its certified values are those of the CPU. `--quick` does so on small games, and
on a machine without a GPU everything runs on the CPU, which the report then says.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

import solvers
from experiments.speed.bandwidth import bandwidth, device_bandwidth
from experiments.speed.bar import HUGE, ON_GPU, OUR_CFR_PLUS
from experiments.speed.race import cores, track_of
from experiments.speed.racers import our_game
from experiments.speed.results import (
    GAMES,
    QUICK_SECONDS,
    SECONDS,
    keep,
    measured,
    save,
    speed_jobs,
)

WHOLE = (*(game for game, _ in ON_GPU), HUGE)
QUICK = ("leduc", "dialogue_1e4")
CHECKED = ("leduc", "dialogue_5e5")
STEPS = 200  # of a run that is checked


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and check, write the results and the report, and return 1 where a check failed."""
    parser = argparse.ArgumentParser(prog="python -m experiments.speed.gpu")
    parser.add_argument("--quick", action="store_true", help="small games, for seconds each")
    parser.add_argument("--games", nargs="+", choices=GAMES, metavar="GAME", help="only these")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(arguments)
    games = args.games or (QUICK if args.quick else WHOLE)
    # The processes that are timed need the device's memory, of which JAX takes most beforehand.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    moved = bandwidth(len(cores())) | device_bandwidth()
    checks = [agreement(game) for game in (args.games or (QUICK if args.quick else CHECKED))]

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    for found, _ in checks:
        say(found)
    jobs = speed_jobs(games, OUR_CFR_PLUS, QUICK_SECONDS if args.quick else SECONDS)
    command = " ".join(["python -m experiments.speed.gpu", *(arguments or sys.argv[1:])])
    results = measured(jobs, command, moved, say, lambda results: keep(results, args.out))
    save(results | {"checks": [found for found, _ in checks]}, args.out)
    return 0 if all(good for _, good in checks) else 1


def agreement(name: str) -> tuple[str, bool]:
    """Return whether runs on JAX's device agree with one another and with the CPU, in a sentence.

    The games are zero-sum, so two values differ by no more than what both certificates leave open.
    """
    game = our_game(track_of(name))
    first, second = (solvers.solve(game, "cfr+", target=0.0, max_steps=STEPS) for _ in range(2))
    with jax.default_device(jax.devices("cpu")[0]):
        other = solvers.solve(game, "cfr+", target=0.0, max_steps=STEPS)
    same = all(map(np.array_equal, first.policy, second.policy))
    apart = float(abs(first.value - other.value).max())
    near = apart <= first.nash_conv + other.nash_conv
    device = jax.devices()[0]
    said = (
        f"{name}: two runs on {device.platform} have {'the same' if same else 'DIFFERENT'} bits; "
        f"values there and on the CPU are {apart:.3g} apart, NashConvs {first.nash_conv:.3g} and "
        f"{other.nash_conv:.3g}" + ("" if near else ": TOO FAR")
    )
    return said, same and near


if __name__ == "__main__":
    sys.exit(main())
