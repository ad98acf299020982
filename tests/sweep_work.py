"""Work for the sweeps of the tests: quick, or as slow as it is told to be."""

import os
import time
from pathlib import Path


def square(cell):
    """Return two rows: a number and its square, and something undefined."""
    x = cell["x"]
    if cell.get("log"):
        with Path(cell["log"]).open("a") as file:
            file.write(f"{x} {os.getpid()}\n")
    time.sleep(cell.get("seconds", 0.0))
    return [{"x": x, "square": x * x}, {"x": x, "nothing": float("nan")}]


def fails(cell):
    """Raise for one of the cells."""
    if cell["x"] == 1:
        raise ValueError("one is no number")
    return [{"x": cell["x"]}]
