"""A run that tests kill: its module is loaded once, and every process forked from there."""

from multiprocessing.connection import Connection
from pathlib import Path

import jax
from known_games import LEDUC, game

import solvers
from solvers import driver

STEPS = 3000
OURS = game(LEDUC)  # built before forking; JAX starts its threads in the children only


def solve(folder: Path, cache: Path, told: Connection) -> None:
    """Solve Leduc in small pieces with a checkpoint after each; tell the steps done."""
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    driver.PIECE_SECONDS = 0.03
    driver.CHECKPOINT_SECONDS = 0.0
    driver.CHECKPOINT_SHARE = 1.0
    solvers.solve(
        OURS,
        "pcfr+",
        target=0.0,
        max_steps=STEPS,
        checkpoint=folder,
        progress=lambda now: told.send(now.step),
    )
