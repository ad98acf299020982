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

    In float32 on a device it is a product with ones: XLA's reduction over a middle axis is then
    several times slower than in float64 (measured on CPU, jax 0.10).
    """
    if isinstance(numbers, np.ndarray) or numbers.dtype != jnp.float32:
        return numbers.sum(axis=-2)
    ones = jnp.ones(numbers.shape[-2], numbers.dtype)
    return jnp.einsum("...an,a->...n", numbers, ones, precision="highest")
