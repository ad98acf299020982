"""What runs the cells of a sweep: this process, several, a Ray cluster, or Slurm.

An executor takes a function, the arguments of each call, and how many may run at once, and yields
(position, result) as calls return. What a call raises is raised, and calls not begun are dropped.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import sleep
from typing import Any

from csa_games.errors import InputError

Executor = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]], int, Path], Iterator[Any]]
"""(function, arguments of each call, workers, a folder for logs) -> (position, result), ..."""

POLL_SECONDS = 1.0


def local(
    task: Callable[..., Any], calls: Sequence[tuple[Any, ...]], workers: int, logs: Path
) -> Iterator[tuple[int, Any]]:
    """Run the calls in this process, one after another, or in several new ones."""
    if workers == 1:
        for k, call in enumerate(calls):
            yield k, task(*call)
        return
    # Forked processes would inherit JAX's threads in the middle of what they do.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        position = {pool.submit(task, *call): k for k, call in enumerate(calls)}
        for future in as_completed(position):
            yield position[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def on_ray(
    task: Callable[..., Any], calls: Sequence[tuple[Any, ...]], workers: int, logs: Path
) -> Iterator[tuple[int, Any]]:
    """Run the calls on the Ray cluster at RAY_ADDRESS, or on one of this machine's own.

    Raises `InputError` where Ray, an extra, is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before the import: nothing phones home
    try:
        import ray
    except ModuleNotFoundError:
        raise _missing("ray", "ray") from None
    mine = not ray.is_initialized()
    if mine:
        size = {} if "RAY_ADDRESS" in os.environ else {"num_cpus": workers}
        ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False, **size)
    try:
        remote = ray.remote(task)
        position = {remote.remote(*call): k for k, call in enumerate(calls)}
        waiting = list(position)
        while waiting:
            (done, *_), waiting = ray.wait(waiting)
            yield position[done], ray.get(done)
    finally:
        if mine:
            ray.shutdown()


def on_slurm(
    task: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    workers: int,
    logs: Path,
    cluster: str = "slurm",
) -> Iterator[tuple[int, Any]]:
    """Run the calls as an array of Slurm jobs, by submitit; `logs` has to be on a shared disk.

    Another `cluster` of submitit's, "local", runs them as processes of this machine. Raises
    `InputError` where submitit, an extra, or Slurm itself is not installed.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise _missing("submitit", "slurm") from None
    if cluster == "slurm" and shutil.which("srun") is None:
        raise InputError("the executor slurm needs Slurm, and found no srun on this machine")
    executor = submitit.AutoExecutor(folder=logs, cluster=cluster)
    parallel = {"slurm_array_parallelism": workers} if cluster == "slurm" else {}
    executor.update_parameters(timeout_min=24 * 60, cpus_per_task=1, **parallel)
    with executor.batch():
        jobs = [executor.submit(task, *call) for call in calls]
    waiting = dict(enumerate(jobs))
    try:
        while waiting:
            for k in [k for k, job in waiting.items() if job.done()]:
                yield k, waiting.pop(k).result()
            sleep(POLL_SECONDS if waiting else 0)
    finally:
        for job in waiting.values():
            job.cancel()


def _missing(package: str, extra: str) -> InputError:
    return InputError(
        f"the package {package!r} is not installed; pip install 'csa-games[{extra}]' adds it"
    )


EXECUTORS: dict[str, Executor] = {
    "local": local,
    "ray": on_ray,
    "slurm": partial(on_slurm, cluster="slurm"),
}
"""Every executor by name."""
