"""A validator for the part of JSON Schema (draft 2020-12) that pydantic writes.

It refuses keywords that it does not know, so that it cannot pass what it did not check.
"""

import re
from collections.abc import Iterator
from typing import Any

TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}
ANNOTATIONS = {"title", "description", "default", "$schema", "$defs"}


def violations(value: Any, schema: dict, root: dict, where: str = "$") -> Iterator[str]:
    """Yield every place in `value` that breaks `schema`."""

    def inside(part: Any, rule: dict, step: str) -> Iterator[str]:
        return violations(part, rule, root, f"{where}.{step}")

    for keyword, rule in schema.items():
        match keyword:
            case "$ref":
                yield from violations(value, root["$defs"][rule.removeprefix("#/$defs/")], root)
            case "type":
                fits = isinstance(value, TYPES[rule])
                if not fits or (isinstance(value, bool) and rule in ("number", "integer")):
                    yield f"{where} is no {rule}"
            case "enum":
                if value not in rule:
                    yield f"{where} is none of {rule}"
            case "const":
                if value != rule or isinstance(value, bool) != isinstance(rule, bool):
                    yield f"{where} is not {rule}"
            case "anyOf":
                if all(any(violations(value, option, root)) for option in rule):
                    yield f"{where} fits no option"
            case "properties" if isinstance(value, dict):
                for name in rule.keys() & value.keys():
                    yield from inside(value[name], rule[name], name)
            case "patternProperties" if isinstance(value, dict):
                for pattern, below in rule.items():
                    for name in (name for name in value if re.search(pattern, name)):
                        yield from inside(value[name], below, name)
            case "additionalProperties" if isinstance(value, dict):
                for name in value.keys() - schema.get("properties", {}).keys():
                    if rule is False:
                        yield f"{where}.{name} is not allowed"
                    else:
                        yield from inside(value[name], rule, name)
            case "propertyNames" if isinstance(value, dict):
                for name in value:
                    yield from inside(name, rule, name)
            case "required" if isinstance(value, dict):
                yield from (f"{where}.{name} is missing" for name in rule if name not in value)
            case "items" if isinstance(value, list):
                for k, entry in enumerate(value):
                    yield from inside(entry, rule, str(k))
            case "minItems" | "minProperties" if isinstance(value, list | dict):
                if len(value) < rule:
                    yield f"{where} has fewer than {rule} entries"
            case "maxItems" | "maxProperties" if isinstance(value, list | dict):
                if len(value) > rule:
                    yield f"{where} has more than {rule} entries"
            case "minLength" | "maxLength" | "pattern" if isinstance(value, str):
                low = keyword == "minLength" and len(value) < rule
                high = keyword == "maxLength" and len(value) > rule
                if low or high or (keyword == "pattern" and not re.search(rule, value)):
                    yield f"{where} breaks {keyword} {rule}"
            case "exclusiveMinimum" if isinstance(value, int | float):
                if not value > rule:
                    yield f"{where} breaks {keyword} {rule}"
            case "minimum" | "maximum" if isinstance(value, int | float):
                fits = value >= rule if keyword == "minimum" else value <= rule
                if not fits:  # so that nan does not
                    yield f"{where} breaks {keyword} {rule}"
            case _ if keyword not in ANNOTATIONS and keyword not in KNOWN:
                raise NotImplementedError(keyword)


KNOWN = {
    "properties", "patternProperties", "additionalProperties", "propertyNames", "required",
    "items", "minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength",
    "pattern", "minimum", "maximum", "exclusiveMinimum",
}  # fmt: skip
"""Keywords that say nothing about values of another type than theirs."""
