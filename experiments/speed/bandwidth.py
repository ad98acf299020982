"""How fast this machine moves memory, in the manner of STREAM (McCalpin 1995), and multiplies.

Bytes are counted as STREAM counts them: what the loop reads and writes, without the lines that a
cache reads before it overwrites them.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from time import perf_counter

import numpy as np

ELEMENTS = 2**25  # float64: 256 MB per array, far more than any cache
PIECE = 2**15  # of the triad: numpy needs two passes, so the second has to come from the cache
SMALL = 2**13  # of a copy within a core's cache: 64 KB, twice
TURNS = 2**12  # of that copy
MATRIX = 1024
TRIALS = 7


def bandwidth(threads: int, elements: int = ELEMENTS) -> dict[str, float]:
    """Return the best bytes per second of a copy and a triad, by one thread and by `threads`.

    Also those of a copy that stays in the cache, and the best operations per second of a product of
    float64 matrices, which is as near to what the processor can do as programs come.
    """
    a, b, c = (np.full(elements, value) for value in (1.0, 2.0, 3.0))

    def copy(part: slice) -> None:
        np.copyto(a[part], b[part])

    def triad(part: slice) -> None:
        for start in range(part.start, part.stop, PIECE):
            piece = slice(start, min(start + PIECE, part.stop))
            np.multiply(c[piece], 3.0, out=a[piece])
            np.add(a[piece], b[piece], out=a[piece])

    def copy_in_cache(part: slice) -> None:
        source, target = a[:small].copy(), b[:small].copy()
        for _ in range(TURNS):
            np.copyto(target, source)

    small = min(SMALL, elements)
    return {
        "copy_one_thread": _best(copy, elements, 1, 16),
        "copy": _best(copy, elements, threads, 16),
        "triad": _best(triad, elements, threads, 24),
        # Every core has a cache of its own, and so short a loop leaves threads waiting for Python.
        "cache_copy": threads * _best(copy_in_cache, TURNS * small, 1, 16),
        "operations": _products(),
    }


def device_bandwidth(elements: int = ELEMENTS) -> dict[str, float | str]:
    """Return the best bytes per second of a copy by JAX on its default device, in float32."""
    import jax
    import jax.numpy as jnp

    # A plain copy could be optimised away, and a new result each time would measure page faults.
    copies = jax.jit(lambda x: jax.lax.fori_loop(0, TRIALS, lambda _, y: y + 1, x))
    source = jnp.zeros(2 * elements, jnp.float32)
    copies(source).block_until_ready()

    def seconds() -> float:
        start = perf_counter()
        copies(source).block_until_ready()
        return perf_counter() - start

    device = jax.devices()[0]
    best = min(seconds() for _ in range(TRIALS)) / TRIALS
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "device_copy": 16 * elements / best,
    }


def _products() -> float:
    """Return the best operations per second of a product of matrices, by numpy's own threads."""
    left = right = np.full((MATRIX, MATRIX), 1.0)
    seconds = []
    for _ in range(TRIALS):
        start = perf_counter()
        left @ right
        seconds.append(perf_counter() - start)
    return 2 * MATRIX**3 / min(seconds)


def _best(loop: Callable[[slice], None], elements: int, threads: int, per_element: int) -> float:
    """Return the most bytes per second that `threads` reach, each on a part of its own."""
    edges = [elements * k // threads for k in range(threads + 1)]
    parts = [slice(a, b) for a, b in pairwise(edges)]
    seconds = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(TRIALS):
            start = perf_counter()
            list(pool.map(loop, parts))
            seconds.append(perf_counter() - start)
    return per_element * elements / min(seconds)
