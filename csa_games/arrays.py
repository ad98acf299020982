"""One spelling for code that runs on numpy and on JAX arrays alike."""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

Array = np.ndarray | jax.Array


def namespace(array: Any) -> ModuleType:
    """Return the array API namespace (`numpy` or `jax.numpy`) that `array` belongs to.

    A certificate passes numpy arrays through the same fold that a solver runs under `jit`.
    """
    return array.__array_namespace__()


def sum_of_actions(numbers: Float[Array, "*K A N"]) -> Float[Array, "*K N"]:
    """Return the sum over the actions of each infoset.

    On a device it is a product with ones. XLA makes a kernel of its own of that; a reduction it
    may run slowly (measured: float32 on CPU), or fuse into all that reads it and repeat it there.
    """
    if isinstance(numbers, np.ndarray):
        return numbers.sum(axis=-2)
    ones = jnp.ones(numbers.shape[-2], numbers.dtype)
    return jnp.einsum("...an,a->...n", numbers, ones, precision="highest")
