"""A bundle: a folder whose manifest lists every other file with its hash.

`manifest.json` is canonical JSON, and the SHA-256 of its bytes is the revision. Real numbers in it
are strings, the `repr` of a float, so that no reader rounds them; everywhere else they are numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

from csa_games.errors import InputError
from csa_games.guard.content import BundleError as BundleError
from csa_games.guard.content import Content, read
from csa_games.guard.content import sha256 as sha256
from csa_games.guard.keys import FEATURES, KEY_VERSION
from csa_games.guard.shapes import HASH, MOMENT, REAL, Each, Maybe, Whole, misfits, short
from csa_games.guard.signals import Reader, reader_faults, reader_from

First = TypeVar("First")
Second = TypeVar("Second")

SCHEMA = "csa-games/bundle"
READER = 2  # the `compat.min_reader` that this code understands

MANIFEST, ROWS, SCENARIO = "manifest.json", "policy.sqlite", "scenario.json"
PLAYS = "plays.bin"
RESPONSES, GOLDEN, CARD = "responses.json", "golden.jsonl", "CARD.md"
FILES = (CARD, GOLDEN, PLAYS, ROWS, RESPONSES, SCENARIO)
"""Every file that the manifest lists, sorted by name."""

SIGNATURE = "signature.dsse.json"
"""A file that a bundle may have beside: it signs all others, so that no other can list it."""

DRAW, SCOPE = "hmac-sha256", "hmac-sha256 of conversation"
"""How bundles draw, and by what: `csa_games.guard.sampling`."""


@dataclass(frozen=True)
class Terms:
    """The part of a manifest that deciding needs, checked."""

    name: str
    method: str
    turns: int
    asks: tuple[str, ...]
    ending_asks: tuple[str, ...]
    signals: tuple[str, ...]
    responses: tuple[str, ...]
    ending_responses: tuple[str, ...]
    intents: tuple[str, ...]
    rungs: tuple[tuple[str, ...], ...]
    default: str
    epoch: str
    not_after: str | None
    sequence: int
    readers: Mapping[str, Reader]


def canonical(value: Any) -> bytes:
    """Return `value` as canonical JSON: sorted keys, no blanks, UTF-8, no NaN."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def is_canonical(value: Any, data: bytes) -> bool:
    """Return whether `data` is how `canonical` writes `value`, which was read from it."""
    try:
        return canonical(value) == data
    except (ValueError, RecursionError):  # half a surrogate pair, or nested too deeply to write
        return False


def spelled(value: Any) -> Any:
    """Return the JSON value with every real number as a string, as manifests have them."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Mapping):
        return {name: spelled(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [spelled(part) for part in value]
    return value


def parse(data: bytes) -> Any:
    """Return the JSON value in `data`; ValueError also for NaN, a name twice, and deep nesting."""

    def refuse(number: str) -> Any:
        raise ValueError(f"{number} is no number")

    def once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(fields)
        if len(found) < len(fields):
            names = [name for name, _ in fields]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"it has the name {twice[:40]!r} twice")
        return found

    try:
        return json.loads(data.decode("utf-8"), parse_constant=refuse, object_pairs_hook=once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def pairs(first: Iterable[First], second: Iterable[Second]) -> Iterator[tuple[First, Second]]:
    """Return `zip`: its `strict` needs Python 3.10, and some platforms are older."""
    return zip(first, second)  # noqa: B905


def listing(files: Mapping[str, Content]) -> list[dict[str, Any]]:
    """Return the `files` field of a manifest: name, hash and size of each, sorted by name."""
    return [
        {"name": name, "sha256": sha256(files[name]), "bytes": len(files[name])}
        for name in sorted(files)
    ]


def read_files(folder: Path | str) -> dict[str, Any]:
    """Return the content of every file in `folder`; nothing of those that no bundle has.

    Contents are bytes; those of the rows and of the plays are `OnDisk` where they are many.

    Raises `InputError` where there is no such folder, `BundleError` for what cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: found no folder there, expected a bundle")
    files: dict[str, Content] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            raise BundleError(f"{path}: found something that is no file, expected only files")
        try:
            # What does not belong there is named, not read.
            known = path.name in (MANIFEST, SIGNATURE, *FILES)
            many = path.name in (ROWS, PLAYS)
            files[path.name] = read(path) if many else path.read_bytes() if known else b""
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from None
    return files


def integrity(files: Mapping[str, Any], check: bool = True) -> list[str]:
    """Return a sentence for each way in which `files` are not those that the manifest lists.

    Without `check`, files are not hashed: it is found out whether they are there, and their sizes.
    """
    if MANIFEST not in files:
        return [f"{MANIFEST}: is missing"]
    try:
        manifest = parse(files[MANIFEST])
    except ValueError as error:
        return [f"{MANIFEST}: not a JSON file: {error}"]
    found = (
        list(_unreadable(manifest))
        or list(misfits(SHAPE, manifest))
        or list(_contradictions(manifest))
    )
    if found:
        return [f"{MANIFEST}: {fault}" for fault in found]
    if not is_canonical(manifest, files[MANIFEST]):
        found.append(
            f"{MANIFEST}: the file is not canonical JSON, so its hash is not the revision of what "
            "it says; expected sorted keys, no blanks, each key once"
        )
    listed = {entry["name"]: entry for entry in manifest["files"]}
    if [entry["name"] for entry in manifest["files"]] != list(FILES):
        found.append(f"{MANIFEST}: files: found {list(listed)}, expected {list(FILES)}")
    for name in sorted(set(files) - set(listed) - {MANIFEST, SIGNATURE}):
        found.append(f"{name}: is in the folder, but not in the manifest")
    for name, entry in listed.items():
        if name not in files:
            found.append(f"{name}: is missing")
        elif len(files[name]) != entry["bytes"]:
            found.append(f"{name}: found {len(files[name])} bytes, expected {entry['bytes']}")
        elif check and (hashed := sha256(files[name])) != entry["sha256"]:
            found.append(f"{name}: found the SHA-256 {hashed}, expected {entry['sha256']}")
    return found


def repeated(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a manifest that repeat the scenario, of the content of its file."""

    def names(field: str, ending: bool = False) -> list[str]:
        return [part["name"] for part in scenario[field] if part.get("ends") or not ending]

    return {
        "name": scenario["name"],
        "turns": scenario["turns"],
        "intents": names("intents"),
        "asks": names("asks"),
        "ending_asks": names("asks", ending=True),
        "signals": names("signals"),
        "actions": names("responses"),
        "ending_actions": names("responses", ending=True),
        "fallback": scenario["fallback"],
        "readers": spelled(scenario.get("readers", [])),
    }


def responses_of(scenario: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of responses.json: how a host carries out each response."""
    return {
        part["name"]: {
            "mechanism": part["mechanism"],
            "text": part.get("text", ""),
            "ends": part.get("ends", False),
        }
        for part in scenario["responses"]
    }


def terms_of(manifest: Mapping[str, Any]) -> Terms:
    """Return what deciding needs of a manifest that `integrity` had no complaints about."""
    return Terms(
        name=manifest["name"],
        method=manifest["solution"]["method"],
        turns=manifest["turns"],
        asks=tuple(manifest["asks"]),
        ending_asks=tuple(manifest["ending_asks"]),
        signals=tuple(manifest["signals"]),
        responses=tuple(manifest["actions"]),
        ending_responses=tuple(manifest["ending_actions"]),
        intents=tuple(manifest["intents"]),
        rungs=tuple(map(tuple, manifest["fallback"]["rungs"])),
        default=manifest["fallback"]["response"],
        epoch=manifest["sampling"]["epoch"],
        not_after=manifest.get("not_after"),
        sequence=manifest["sequence"],
        readers={part["name"]: reader_from(part) for part in manifest["readers"]},
    )


def expiry(not_after: str) -> datetime:
    """Return the first moment at which a bundle with this `not_after` is past its time, in UTC.

    A date is meant to its end. Raises ValueError for what is no date.
    """
    if "T" in not_after:
        moment = datetime.strptime(not_after, "%Y-%m-%dT%H:%M:%SZ")
    else:
        moment = datetime.strptime(not_after, "%Y-%m-%d") + timedelta(days=1)
    return moment.replace(tzinfo=timezone.utc)  # noqa: UP017 - its alias needs Python 3.11


def _unreadable(manifest: Any) -> Iterator[str]:
    """Yield why this code cannot read such a manifest at all."""
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        yield f"schema: found {short(schema)}, expected {SCHEMA!r}"
        return
    compat = manifest.get("compat")
    least = compat.get("min_reader") if isinstance(compat, dict) else None
    if type(least) is not int or least > READER:
        yield f"compat.min_reader: found {short(least)}, expected at most {READER}"
    elif least < READER:
        yield f"compat.min_reader: found {short(least)}, expected {READER}; export the bundle again"
    if manifest.get("key_version") != KEY_VERSION:
        found = short(manifest.get("key_version"))
        yield f"key_version: found {found}, expected {KEY_VERSION}; its keys are built differently"


SHAPE: dict[str, Any] = {
    "schema": SCHEMA,
    "compat": {"min_reader": READER},
    "key_version": KEY_VERSION,
    "name": str,
    "sequence": Whole(1),
    "created": Maybe(str),
    "not_after": Maybe(MOMENT),
    "turns": Whole(1),
    "asks": [str],
    "ending_asks": [str],
    "signals": [str],
    "actions": [str],
    "ending_actions": [str],
    "intents": [str],
    "hit_policy": "UNIQUE",
    "completeness": "fallback",
    "fallback": {"rungs": [[str]], "response": str},
    "readers": [{"name": str, "gives": str, "kind": str}],
    "sampling": {"mode": DRAW, "scope": SCOPE, "epoch": str, "test_key": str},
    "trust": {"own_reach": REAL, "deviation": REAL, "loss": REAL, "epsilon": REAL},
    "solution": {
        "method": str,
        "class": str,
        "steps": Whole(0),
        "status": str,
        "dead_zone": REAL,
        "value": [REAL],
        "gap": [REAL],
        "nash_conv": REAL,
    },
    "served": {"value": [REAL], "gap": [REAL]},
    "rows": {
        "digest": HASH,
        "trusted": Whole(0),
        "refined": Whole(0),
        "noise": Whole(0),
        "deviation": Whole(0),
        "coarse": Whole(0),
        "user": Whole(0),
    },
    "provenance": dict,
    "files": [{"name": str, "sha256": HASH, "bytes": Whole(0)}],
}
"""What a manifest holds, in the language of `csa_games.guard.shapes`; more fields are fine."""


RESPONSES_SHAPE = Each({"mechanism": str, "text": str, "ends": bool})
"""What responses.json holds: how a host carries out each response, by name."""


def _contradictions(manifest: dict[str, Any]) -> Iterator[str]:
    """Yield where fields of the right shape do not fit together."""
    for field in ("asks", "signals", "actions", "intents"):
        names = manifest[field]
        if not names or len(set(names)) < len(names):
            yield f"{field}: found {names}, expected names, all different"
    for part, whole in (("ending_asks", "asks"), ("ending_actions", "actions")):
        if not set(manifest[part]) <= set(manifest[whole]):
            yield f"{part}: found {manifest[part]}, expected some of {manifest[whole]}"
    for field in ("solution", "served"):
        for what in ("value", "gap"):
            if len(manifest[field][what]) != 2:
                yield f"{field}.{what}: found {manifest[field][what]}, expected two numbers"
    epsilon = manifest["trust"]["epsilon"]
    if not 0 <= float(epsilon) < 1:
        yield f"trust.epsilon: found {epsilon!r}, expected a number from 0 to below 1"
    not_after = manifest.get("not_after")
    try:
        if not_after is not None:
            expiry(not_after)
    except (ValueError, OverflowError):
        yield f"not_after: found {not_after!r}, which is no date"
    fallback = manifest["fallback"]
    if fallback["response"] not in manifest["actions"]:
        yield (
            f"fallback.response: found {fallback['response']!r}, expected one of "
            f"{manifest['actions']}"
        )
    for k, rung in enumerate(fallback["rungs"]):
        if not rung or not set(rung) <= set(FEATURES):
            yield f"fallback.rungs[{k}]: found {rung}, expected some of {list(FEATURES)}"
    talking = [ask for ask in manifest["asks"] if ask not in manifest["ending_asks"]]
    yield from reader_faults(manifest["readers"], talking, manifest["signals"])
