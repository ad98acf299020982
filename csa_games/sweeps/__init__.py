"""Sweeps: many cells of work, each done once, on whatever runs them, and kept as they finish."""

from csa_games.sweeps.cells import Cell, Row, Sweep
from csa_games.sweeps.executors import EXECUTORS, Executor
from csa_games.sweeps.sweep import run

__all__ = ["EXECUTORS", "Cell", "Executor", "Row", "Sweep", "run"]
