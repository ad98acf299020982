"""What solving many priors of one dialogue at once costs, against solving one."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

from experiments.speed.job import Job, Note
from experiments.speed.racers import METHODS, Track

BATCH = 256
WINDOW = 0.5  # seconds of a trial, at least


def batch(job: Job, note: Note) -> None:
    """Note milliseconds per iteration for one dialogue, and for `BATCH` priors of it at once.

    As `solvers.together.solve_many` iterates them. Ours alone. For the roofline, also the bytes of
    an iteration of one of them (see `bar.moved_bytes`) and its operations as XLA counts them.
    """
    import jax

    from csa_games.fold import coupled
    from solvers import cfr
    from solvers.driver import default_dead_zone
    from solvers.regret import VARIANTS
    from solvers.together import runs

    start = perf_counter()
    forms = [game.form for game in prior_sweep(job.track, BATCH)]
    note({"setup_seconds": perf_counter() - start, "batch": BATCH})
    dead_zone = default_dead_zone(forms[0])
    variant = VARIANTS[METHODS[job.engine]]

    def milliseconds(advance: Callable[[Any, int], Any], state: Any) -> float:
        def seconds(steps: int) -> float:
            start = perf_counter()
            jax.tree.leaves(advance(state, steps))[0].block_until_ready()
            return perf_counter() - start

        seconds(1)  # compiles
        steps = 1
        while seconds(steps) < WINDOW:
            steps *= 2
        return 1000 * median(seconds(steps) for _ in range(5)) / steps

    with jax.enable_x64(True):
        one = jax.device_put(forms[0])
        alone = cfr.init(one)
        ready = coupled(one)
        step = jax.jit(partial(cfr.step, horizon=1e6, dead_zone=dead_zone))
        cost = step.lower(ready, variant, alone).compile().cost_analysis() or {}
        note(
            {
                "state_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(alone)),
                "game_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(ready)),
                "operations": cost.get("flops", 0.0),
            }
        )
        run = partial(cfr.run, horizon=1e6, dead_zone=dead_zone)
        note({"one_ms": milliseconds(lambda state, n: run(one, variant, state, n), alone)})
    many, states = runs(forms, [variant] * BATCH, [dead_zone] * BATCH, horizon=1e6)
    note({"batches": len(states), "batch_ms": milliseconds(many, states)})


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
