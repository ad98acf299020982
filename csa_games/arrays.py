"""One spelling for code that runs on numpy and on JAX arrays alike."""

from types import ModuleType
from typing import Any

import jax
import numpy as np

Array = np.ndarray | jax.Array


def namespace(array: Any) -> ModuleType:
    """Return the array API namespace (`numpy` or `jax.numpy`) that `array` belongs to.

    A certificate passes numpy arrays through the same fold that a solver runs under `jit`.
    """
    return array.__array_namespace__()
