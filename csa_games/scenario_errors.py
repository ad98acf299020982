"""Validation errors as sentences: which field, what was found, what was expected."""

import re
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class Expected:
    """What a field holds, in words; stands in for whatever pydantic would say of a wrong value."""

    words: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the schema of the annotated type with its error messages replaced."""
        return core_schema.custom_error_schema(
            handler(source), "unexpected", custom_error_message=self.words
        )


EXPECTED = {
    "model_type": "a table",
    "dict_type": "a table",
    "list_type": "a list",
    "tuple_type": "a list",
    "string_type": "text",
    "bool_type": "true or false",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
}
"""pydantic's error type -> what was expected, filled in from the error's context."""


def sentences(error: ValidationError, content: Any, model: type[BaseModel]) -> Iterator[str]:
    """Yield one sentence per fault that pydantic found when it read `content` as a `model`."""
    for fault in error.errors(include_url=False):
        location, kind = fault["loc"], fault["type"]
        where = spell(location, content)
        if kind == "missing":
            field = _model_at(model, location[:-1]).model_fields[str(location[-1])]
            yield f"{where}: is missing, expected: {field.description}"
        elif kind == "extra_forbidden":
            fields = ", ".join(_model_at(model, location[:-1]).model_fields)
            yield f"{where}: is not a field of a scenario, expected one of {fields}"
        elif location[-1:] == ("[key]",):
            where = spell(location[:-2], content)
            yield f"{where}: found the name {shown(fault['input'])}, expected {fault['msg']}"
        elif kind in EXPECTED:
            expected = EXPECTED[kind].format(**fault.get("ctx", {}))
            yield f"{where}: found {shown(fault['input'])}, expected {expected}"
        else:
            yield f"{where}: found {shown(fault['input'])}, expected {fault['msg']}"


def spell(location: tuple[int | str, ...], content: Any) -> str:
    """Return a location in `content` in words: intents.malicious.prior, channel[3].asks.

    An entry of a list goes by its name where that is unambiguous, else by its position from 0.
    """
    spelled = ""
    for part in location:
        if isinstance(part, int):
            names = [_name(entry) for entry in content]
            name = names[part]
            spelled += f".{name}" if name and names.count(name) == 1 else f"[{part}]"
        else:
            spelled += "." + (part if re.fullmatch(r"[\w-]{1,60}", part) else shown(part))
        content = _inside(content, part)
    return spelled.removeprefix(".") or "the file"


def _name(entry: Any) -> str | None:
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) and re.fullmatch(r"[a-z]\w{0,59}", name) else None


def _inside(content: Any, part: int | str) -> Any:
    if isinstance(content, Mapping):
        return content.get(part)
    return content[part] if isinstance(content, list) and isinstance(part, int) else None


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model that a location inside `model` lies in.

    Positions and the names that people gave lead into lists and tables, not into another model.
    """
    for part in location:
        if part in model.model_fields:
            model = next(_models(model.model_fields[str(part)].annotation), model)
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


class _Shown(reprlib.Repr):
    """A `repr` that stays short and defined, whatever somebody wrote into a file."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist = 3, 6
        self.maxstring = self.maxother = 60

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """Return that there is a table: its content would be long."""
        return "{...}" if x else "{}"

    def repr_int(self, x: int, level: int) -> str:
        """Return the digits of `x`, or its size: Python refuses to spell out very long ones."""
        return repr(x) if x.bit_length() < 100 else f"a whole number of {x.bit_length()} bits"


shown = _Shown().repr
"""Return a value found in a file, shortened."""
