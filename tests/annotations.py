"""Annotations as executed by the tests: jaxtyping's check of arrays, and beartype's of all else.

jaxtyping's import hook (`--jaxtyping-packages`) decorates every function, and each call then binds
its arguments, opens a scope of dimensions, and checks the parameters twice. Walking a tree is
millions of calls of functions that name no array: for those beartype alone checks the same. Where
arrays are named, parameters and result are checked in one go, within one scope.
"""

import dataclasses
import inspect
from typing import Any, get_args, get_type_hints

import jaxtyping

DECORATE = jaxtyping.jaxtyped


def install() -> None:
    """Let jaxtyping's import hook, which looks its decorator up in the package, find this one."""
    jaxtyping.jaxtyped = jaxtyped


def jaxtyped(fn: Any = None, *, typechecker: Any = None) -> Any:
    """Return a function, or a dataclass, with the checks that its annotations ask for."""
    if fn is None:
        return lambda fn: jaxtyped(fn, typechecker=typechecker)
    if dataclasses.is_dataclass(fn) and inspect.isfunction(vars(fn).get("__init__")):
        fn.__init__ = jaxtyped(fn.__init__, typechecker=typechecker)
        return fn
    if not inspect.isfunction(fn):
        return DECORATE(fn, typechecker=typechecker)
    try:
        hints = get_type_hints(fn)
    except Exception:  # a class defined below, or imported for mypy: jaxtyping allows any
        return DECORATE(fn, typechecker=typechecker)
    checked = typechecker(fn)
    if any(map(_names_arrays, hints.values())):
        return DECORATE(checked, typechecker=None)
    return checked


def _names_arrays(hint: Any) -> bool:
    if isinstance(hint, list):  # the parameters of a Callable
        return any(map(_names_arrays, hint))
    if getattr(hint, "__module__", "").startswith("jaxtyping"):
        return True
    return any(map(_names_arrays, get_args(hint)))
