"""A game-theoretic response planner for constructive AI safety.

    game = csa_games.load("crisis_guidance")
    table = csa_games.tabulate(game, solution)

Both names are imported on first use, so that `import csa_games.guard` stays free of numpy and JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from csa_games.loading import load
    from csa_games.table import tabulate

__all__ = ["load", "tabulate"]

_HOME = {"load": "csa_games.loading", "tabulate": "csa_games.table"}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(set(globals()) | set(__all__))
