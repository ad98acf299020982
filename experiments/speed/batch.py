"""What solving many priors of one dialogue at once costs, against solving one."""

from collections.abc import Iterator
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from experiments.speed.job import Job, Note
from experiments.speed.racers import METHODS, Track

BATCH = 256
WINDOW = 0.5  # seconds of a trial, at least


def batch(job: Job, note: Note) -> None:
    """Note milliseconds per iteration for one dialogue, and for `BATCH` priors of it at once.

    Whatever numbers of the games differ are stacked and mapped over by `vmap`; what is the same is
    there once. Ours alone.
    """
    import jax

    from solvers import cfr
    from solvers.driver import default_dead_zone
    from solvers.regret import VARIANTS
    from solvers.together import stacked

    start = perf_counter()
    forms = [game.form for game in prior_sweep(job.track, BATCH)]
    note({"setup_seconds": perf_counter() - start, "batch": BATCH})
    dead_zone = default_dead_zone(forms[0])

    def run(form: Any, state: Any, steps: int) -> Any:
        return cfr.run(
            form, VARIANTS[METHODS[job.engine]], state, steps, horizon=1e6, dead_zone=dead_zone
        )

    def milliseconds(function: Any, form: Any, state: Any) -> float:
        def seconds(steps: int) -> float:
            start = perf_counter()
            jax.tree.leaves(function(form, state, steps))[0].block_until_ready()
            return perf_counter() - start

        seconds(1)  # compiles
        steps = 1
        while seconds(steps) < WINDOW:
            steps *= 2
        return 1000 * median(seconds(steps) for _ in range(5)) / steps

    with jax.enable_x64(True):
        one = jax.device_put(forms[0])
        alone = cfr.init(one)
        note({"one_ms": milliseconds(run, one, alone)})
        many, axes = stacked(forms)
        together = jax.tree.map(lambda leaf: np.stack([leaf] * BATCH), jax.device_get(alone))
        each = jax.jit(jax.vmap(run, in_axes=(axes, 0, None)))
        note({"batch_ms": milliseconds(each, jax.device_put(many), jax.device_put(together))})


def prior_sweep(track: Track, count: int) -> Iterator[Any]:
    """Yield the games of a dialogue with its malicious users `count` times as many as the last."""
    from csa_games.override import override
    from experiments.speed.games import INTENTS, build, dialogue

    assert track.dialogue is not None
    scenario = dialogue(track.dialogue)
    for k in range(count):
        share = 0.2 * (k + 1) / count
        others = {name: prior for name, (prior, _, _) in INTENTS.items() if name != "malicious"}
        scale = (1 - share) / sum(others.values())
        priors = {name: prior * scale for name, prior in others.items()} | {"malicious": share}
        yield build(override(scenario, {f"intents.{name}.prior": p for name, p in priors.items()}))
