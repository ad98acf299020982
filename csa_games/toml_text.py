"""Content as TOML that people read: numbers by name on one line, everything else in tables."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def toml_text(content: Mapping[str, Any]) -> str:
    """Return `content` (tables, lists, text, numbers, truth values; no null) as TOML.

    Reading it back gives the same content, floats bit for bit; keys within a table may change their
    order.
    """
    return "\n".join(_table(content, "")).strip("\n") + "\n"


def _table(content: Mapping[str, Any], at: str) -> Iterator[str]:
    """Yield the lines of a table: what fits a line first, as TOML wants it, then further tables."""
    below = {key: value for key, value in content.items() if not _short(value)}
    for key, value in content.items():
        if key not in below:
            yield f"{_key(key)} = {_inline(value)}"
    for key, value in below.items():
        name = f"{at}.{_key(key)}".removeprefix(".")
        if isinstance(value, Mapping):
            if any(map(_short, value.values())):
                yield from ("", f"[{name}]")
            yield from _table(value, name)
            continue
        for entry in value:
            yield from ("", f"[[{name}]]")
            yield from _table(entry, name)


def _short(value: Any) -> bool:
    """Return whether a value goes on one line: no tables but of numbers, and quantities."""
    if isinstance(value, Mapping):
        return "value" in value or all(map(_numbers, value.values()))
    tables = isinstance(value, list | tuple) and all(isinstance(one, Mapping) for one in value)
    return not tables or all(map(_short, value))


def _numbers(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_numbers, value))
    return isinstance(value, int | float)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {_inline(entry)}" for key, entry in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_inline, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"found {value!r}, expected what TOML can hold")


def _text(value: str) -> str:
    # JSON escapes what TOML wants escaped, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _text(key)
