"""What JSON values must look like: a small language, and what does not fit, in sentences.

A shape is a type (`str`, `bool`, `dict`, `float` for any number, `object` for anything), a
constant, `[shape]` for a list, `{name: shape}` for fields, or one of the classes below. More fields
than named are fine. `csa_games.schemas` says the same as JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`; None is no limit."""

    least: int
    most: int | None = None


@dataclass(frozen=True)
class Text:
    """A text that `pattern` matches as a whole; `said` is what it holds, in words."""

    pattern: str
    said: str


@dataclass(frozen=True)
class Maybe:
    """A field that may be missing or null."""

    part: Any


@dataclass(frozen=True)
class Each:
    """An object with a value of this shape under every name."""

    part: Any


REAL = Text(
    # What repr gives for finite floats, but for those of 1e308 and more.
    r"-?([0-9]{1,16}\.[0-9]{1,40}|"
    r"[0-9](\.[0-9]{1,17})?e(-[0-9]{2,3}|\+([1-9][0-9]|[12][0-9]{2}|30[0-7])))",
    "a real number as a string",
)
"""A real number, which a manifest spells as a string: the `repr` of a float."""

HASH = Text("[0-9a-f]{64}", "a SHA-256 in hexadecimal")

MOMENT = Text(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?",
    "a date such as 2027-03-31, or a moment such as 2027-03-31T12:00:00Z",
)


def misfits(shape: Any, value: Any, where: str = "") -> Iterator[str]:
    """Yield a sentence for each part of `value` that is not of `shape`: where, found, expected."""
    at = f"{where}: " if where else ""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{at}found {short(value)}, expected fields"
            return
        for name, part in shape.items():
            field = f"{where}.{name}" if where else name
            if name in value:
                yield from misfits(part, value[name], field)
            elif not isinstance(part, Maybe):
                yield f"{field}: is missing"
    elif isinstance(shape, Each):
        if not isinstance(value, dict):
            yield f"{at}found {short(value)}, expected fields"
            return
        for name, entry in value.items():
            yield from misfits(shape.part, entry, f"{where}.{name}" if where else name)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{at}found {short(value)}, expected a list"
            return
        for k, entry in enumerate(value):
            yield from misfits(shape[0], entry, f"{where}[{k}]")
    elif isinstance(shape, Maybe):
        if value is not None:
            yield from misfits(shape.part, value, where)
    elif isinstance(shape, Text):
        if not (isinstance(value, str) and re.fullmatch(shape.pattern, value)):
            yield f"{at}found {short(value)}, expected {shape.said}"
    elif isinstance(shape, Whole):
        if type(value) is not int:
            yield f"{at}found {short(value)}, expected int"
        elif value < shape.least or (shape.most is not None and value > shape.most):
            most = "" if shape.most is None else f" to {shape.most}"
            yield f"{at}found {short(value)}, expected a whole number from {shape.least}{most}"
    elif shape is float:
        if type(value) not in (int, float):
            yield f"{at}found {short(value)}, expected a number"
    elif isinstance(shape, type):
        if shape is not object and type(value) is not shape:
            yield f"{at}found {short(value)}, expected {shape.__name__}"
    elif type(value) is not type(shape) or value != shape:
        yield f"{at}found {short(value)}, expected {shape!r}"


def short(value: object) -> str:
    """Return `value` as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
