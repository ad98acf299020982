"""The JSON Schemas of what a bundle holds, made of the shapes that the guard checks.

They say of types, ranges and spelling what `csa_games.guard.shapes` says; how fields have to fit
together is checked by the guard alone. JSON Schema takes 1.0 for a whole number, the guard does
not: manifests spell real numbers as strings.
"""

from collections.abc import Callable
from typing import Any

from csa_games.guard.bundle import (
    GOLDEN,
    MANIFEST,
    RESPONSES,
    RESPONSES_SHAPE,
    SCENARIO,
    SHAPE,
    SIGNATURE,
)
from csa_games.guard.golden import PROBE
from csa_games.guard.shapes import Each, Maybe, Text, Whole
from csa_games.guard.signing import ENVELOPE, KEY
from csa_games.scenario import json_schema

DRAFT = "https://json-schema.org/draft/2020-12/schema"

TYPES: dict[type, dict[str, Any]] = {
    object: {},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    dict: {"type": "object"},
}


def schema_of(shape: Any) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a shape of `csa_games.guard.shapes`."""
    match shape:
        case dict():
            fields = {
                name: schema_of(part.part if isinstance(part, Maybe) else part)
                for name, part in shape.items()
            }
            for name, part in shape.items():
                if isinstance(part, Maybe):
                    fields[name] = {"anyOf": [fields[name], {"type": "null"}]}
            required = [name for name, part in shape.items() if not isinstance(part, Maybe)]
            return {"type": "object", "properties": fields, "required": required}
        case Each(part):
            return {"type": "object", "additionalProperties": schema_of(part)}
        case [part]:
            return {"type": "array", "items": schema_of(part)}
        case Text(pattern, said):
            # In some dialects $ also matches before a line end.
            whole = f"^(?:{pattern})$(?!\\n)"
            return {"type": "string", "pattern": whole, "description": said}
        case Whole(least, most):
            limit = {} if most is None else {"maximum": most}
            return {"type": "integer", "minimum": least, **limit}
        case type():
            return dict(TYPES[shape])
        case _:
            return {"const": shape}


def _titled(title: str, shape: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {"$schema": DRAFT, "title": title, **schema_of(shape)}


def _bundle() -> dict[str, Any]:
    scenario = json_schema()
    parts = {
        MANIFEST: schema_of(SHAPE),
        RESPONSES: schema_of(RESPONSES_SHAPE),
        SCENARIO: {name: scenario[name] for name in scenario if name not in ("$schema", "$defs")},
        GOLDEN: {"type": "array", "items": schema_of(PROBE)},
        SIGNATURE: schema_of(ENVELOPE),
    }
    return {
        "$schema": DRAFT,
        "title": "the JSON files of a bundle by name, and of golden.jsonl its lines",
        "type": "object",
        "properties": parts,
        "required": [name for name in parts if name != SIGNATURE],
        "$defs": scenario["$defs"],
    }


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "scenario": json_schema,
    "manifest": _titled(MANIFEST, SHAPE),
    "responses": _titled(RESPONSES, RESPONSES_SHAPE),
    "probe": _titled(f"a line of {GOLDEN}", PROBE),
    "signature": _titled(SIGNATURE, ENVELOPE),
    "key": _titled("a key file", KEY),
    "bundle": _bundle,
}
"""Every published schema by what it is of."""
