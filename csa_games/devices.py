"""Laying a game over several devices: blocks of public histories, a shard for each.

The looped level of a dialogue holds nearly all of its rows, and its blocks have nothing to do with
one another: given the plans that lead to them, each is updated on its own. So its rows are split
along the axis of blocks, and everything else, small, is on every device. What crosses between
devices in an iteration is the values of the level's parents and what leaves see of the plan, both
by the collectives that XLA inserts; the sums are those of one device, in the same order.
"""

import os
from contextlib import suppress
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from csa_games.arrays import Array
from csa_games.fold import Rows
from csa_games.game import ASSISTANT, Grid, Level, SequenceForm

_EVERYWHERE = PartitionSpec()  # type: ignore[no-untyped-call]
_SPLIT = PartitionSpec("histories")  # type: ignore[no-untyped-call]


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_all_cores() -> None:
    """Make JAX take each core that this process may use for a device, which large games share.

    Where JAX has devices already, it keeps them.
    """
    with suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", cores())  # type: ignore[no-untyped-call]


def spread(form: SequenceForm) -> SequenceForm:
    """Return `form` with the blocks of its looped level, if any, laid over all devices of JAX."""
    if not is_looped(form) or len(jax.devices()) == 1:
        return form
    mesh = Mesh(np.array(jax.devices()), ("histories",))
    user, assistant = form.treeplex
    levels = tuple(_on(level, mesh) for level in assistant.levels)
    return replace(form, treeplex=(user, replace(assistant, levels=levels)))


def is_looped(form: SequenceForm) -> bool:
    """Return whether `form` has a level whose blocks are visited one after the other."""
    levels = form.treeplex[ASSISTANT].levels
    return any(isinstance(level, Grid) and level.looped for level in levels)


def placed(form: SequenceForm, pair: tuple[Rows, Rows]) -> tuple[Rows, Rows]:
    """Return both players' rows on the devices that the levels of `form` are laid over."""
    first, second = (
        tuple(map(_put, treeplex.levels, rows))
        for treeplex, rows in zip(form.treeplex, pair, strict=True)
    )
    return first, second


def everywhere(form: SequenceForm, tree: Any) -> Any:
    """Return the arrays of `tree`, the same on every device that `form` is laid over."""
    for level in form.treeplex[ASSISTANT].levels:
        if isinstance(level, Grid) and level.mesh is not None:
            return jax.device_put(tree, NamedSharding(level.mesh, _EVERYWHERE))
    return jax.device_put(tree)


def _on(level: Level | Grid, mesh: Mesh) -> Level | Grid:
    if isinstance(level, Grid) and level.looped:
        return replace(level, mesh=mesh)
    return level


def _put(level: Level | Grid, rows: Array) -> Array:
    if not isinstance(level, Grid) or level.mesh is None:
        return rows
    split = NamedSharding(level.mesh, _SPLIT)
    if isinstance(rows, jax.core.Tracer):  # being compiled, it is not moved but made there
        return jax.lax.with_sharding_constraint(rows, split)  # type: ignore[no-untyped-call]
    return jax.device_put(rows, split)
