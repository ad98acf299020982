"""A table as the files of a bundle; `csa_games.guard` reads and verifies them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from csa_games.errors import InputError
from csa_games.guard.bundle import (
    CARD,
    DRAW,
    FILES,
    GOLDEN,
    MANIFEST,
    PLAYS,
    READER,
    RESPONSES,
    ROWS,
    SCENARIO,
    SCHEMA,
    SCOPE,
    SIGNATURE,
    canonical,
    expiry,
    listing,
    parse,
    repeated,
    responses_of,
    sha256,
    spelled,
    terms_of,
)
from csa_games.guard.card import card
from csa_games.guard.content import read
from csa_games.guard.decide import Guard, responses_from
from csa_games.guard.golden import LEAST_PROBES, lines
from csa_games.guard.keys import KEY_VERSION, turns_of
from csa_games.guard.plays import DEVIATION, NOISE, REFINED, TRUSTED
from csa_games.guard.sampling import TEST_KEY
from csa_games.guard.shapes import MOMENT, misfits
from csa_games.guard.signing import Key, sign
from csa_games.guard.store import Store, pack
from csa_games.table import LEAST_OWN_REACH, LEAST_SHARE, MOST_LOSS, Table, records


def write_bundle(
    folder: Path,
    table: Table,
    sequence: int,
    created: str | None,
    provenance: Mapping[str, Any],
    not_after: str | None = None,
    key: Key | None = None,
) -> str:
    """Write the files of the bundle of `table` into `folder`, an empty one; return its revision.

    The arguments are those of `Table.save`, and the `key` that signs. The same ones give the same
    bytes. Rows go straight to their files. Raises `InputError` when `provenance` is not JSON,
    `not_after` no date, or the key one that cannot sign.
    """
    # As its readers will find it: canonical JSON has its keys in another order.
    written = canonical(table.scenario.model_dump(mode="json", exclude_none=True))
    scenario = parse(written)
    if sequence < 1:
        raise InputError(f"sequence: found {sequence}, expected a whole number from 1")
    _check_date(not_after)
    try:
        made = parse(canonical(provenance))
    except (TypeError, ValueError) as error:
        raise InputError(f"the provenance is not JSON: {error}") from None
    refinement = table.solution.refinement
    manifest = {
        "schema": SCHEMA,
        "compat": {"min_reader": READER},
        "key_version": KEY_VERSION,
        "sequence": sequence,
        "created": created,
        "not_after": not_after,
        **repeated(scenario),
        "hit_policy": "UNIQUE",
        "completeness": "fallback",
        "sampling": {
            "mode": DRAW,
            "scope": SCOPE,
            "epoch": "",
            "test_key": TEST_KEY.decode(),
        },
        "trust": {
            "own_reach": LEAST_OWN_REACH,
            "deviation": LEAST_SHARE,
            "loss": MOST_LOSS,
            "epsilon": 0.0 if refinement is None else refinement.epsilon,
        },
        "solution": _certificate(table),
        "served": {"value": table.served[0].tolist(), "gap": table.served[1].tolist()},
        "provenance": made,
    }
    terms = terms_of(manifest)
    pack(folder, terms, _assistant_rows(table), _user_rows(table))
    rows, plays = read(folder / ROWS), read(folder / PLAYS)
    store = Store(rows, plays, terms)
    trust = Counter(table.exact.trust)
    manifest["rows"] = {
        "digest": store.digest(),
        **{kind: trust[kind] for kind in (TRUSTED, REFINED, NOISE, DEVIATION)},
        "coarse": len(table.coarse.keys),
        "user": len(table.users[0]),
    }
    manifest = spelled(manifest)
    responses = canonical(responses_of(scenario))
    guard = Guard(terms, responses_from(responses, terms), store, revision="")
    files: dict[str, Any] = {
        CARD: card(manifest, scenario, store).encode(),
        GOLDEN: lines(guard, _histories(table)),
        PLAYS: plays,
        ROWS: rows,
        RESPONSES: responses,
        SCENARIO: written,
    }
    files[MANIFEST] = canonical(manifest | {"files": listing(files)})
    if key is not None:
        files[SIGNATURE] = sign(files[MANIFEST], key)
    for name in files.keys() - {ROWS, PLAYS}:
        (folder / name).write_bytes(files[name])
    return sha256(files[MANIFEST])


def _check_date(not_after: str | None) -> None:
    """Raise `InputError` for what is no date; None is no limit."""
    try:
        right = not_after is None or (not any(misfits(MOMENT, not_after)) and expiry(not_after))
    except (ValueError, OverflowError):
        right = False
    if not right:
        raise InputError(f"not_after: found {not_after!r}, expected {MOMENT.said}")


def check_place(folder: Path) -> None:
    """Raise `InputError` unless a bundle may be written to `folder`.

    It may where there is nothing, an empty folder, or an earlier bundle and nothing besides.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, expected a folder to write the bundle to")
    if not folder.exists():
        return
    found = sorted(path.name for path in folder.iterdir())
    others = [name for name in found if name not in (MANIFEST, SIGNATURE, *FILES)]
    if others or (found and not _has_manifest(folder)):
        raise InputError(
            f"{folder} holds {', '.join(others[:5] or found[:5])} and is not a bundle, expected an "
            "earlier bundle, an empty folder or a new name"
        )


def _has_manifest(folder: Path) -> bool:
    try:
        manifest = parse((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("schema") == SCHEMA


def _certificate(table: Table) -> dict[str, Any]:
    solution = table.solution
    return {
        "method": solution.method,
        "class": solution.game_class,
        "steps": solution.steps,
        "status": solution.status,
        "dead_zone": float(solution.dead_zone),
        "value": [float(number) for number in solution.value],
        "gap": [float(number) for number in solution.gap],
        "nash_conv": solution.nash_conv,
    }


def _assistant_rows(table: Table) -> Iterator[tuple[Any, ...]]:
    for rows in (table.exact, table.coarse):  # "~" of coarser rows comes after all letters
        yield from records(rows, _by_key(rows.keys))


def _user_rows(table: Table) -> Iterator[tuple[Any, ...]]:
    keys, probabilities = table.users
    for n in _by_key(keys):
        yield keys[n], *probabilities[n].tolist()


def _by_key(keys: Sequence[str]) -> list[int]:
    return sorted(range(len(keys)), key=keys.__getitem__)


def _histories(table: Table) -> Iterator[Any]:
    """Yield what golden probes ask about: states all over the table, then what is none of them."""
    keys = sorted(table.exact.keys)
    for n in np.unique(np.linspace(0, len(keys) - 1, LEAST_PROBES).round().astype(int)):
        yield [list(turn)[: 3 if turn.response else 2] for turn in turns_of(keys[n])]
    (ask, *_) = [part.name for part in table.scenario.asks if not part.ends]
    signal, response = table.scenario.signals[0].name, table.scenario.responses[0].name
    yield [["no such ask", signal]]
    yield [[ask, "no such signal"]]
    yield [[ask, signal, "no such response"], [ask, signal]]
    yield [{"ask": ask, "signal": signal, "response": response}] * table.scenario.turns + [
        {"ask": ask, "signal": signal}
    ]
    for part in table.scenario.asks:
        if part.ends:
            yield [[part.name, signal]]
    for answer in table.scenario.responses:
        if answer.ends:
            yield [[ask, signal, answer.name], [ask, signal]]
    yield from (
        None,
        "text",
        [],
        [[]],
        [[ask]],
        [[ask, signal, response]],
        [[1, 2]],
        [{"ask": ask}],
    )
