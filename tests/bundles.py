"""Solved dialogues and their tables, each made once for all tests; and how to forge a bundle."""

import hashlib
import json
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from random_scenarios import random_policy

import solvers
from csa_games.dialogue import dialogue_game
from csa_games.game import Game, Policy, Solution
from csa_games.guard.bundle import (
    FILES,
    MANIFEST,
    PLAYS,
    ROWS,
    BundleError,
    canonical,
    integrity,
    listing,
    parse,
    terms_of,
)
from csa_games.guard.plays import TRUST, pack_plays
from csa_games.guard.store import Store
from csa_games.override import override
from csa_games.scenario import Scenario, builtin_scenarios, read_scenario, scenario_from
from csa_games.table import Table, tabulate
from solvers.response import certify


@cache
def builtin(name: str, turns: int | None = None) -> Scenario:
    scenario = read_scenario(builtin_scenarios()[name])
    return scenario if turns is None else override(scenario, {"turns": turns})


@cache
def solved(name: str) -> tuple[Game, Solution]:
    """Return a built-in scenario, large ones cut to two turns, with a solution of it."""
    game = dialogue_game(builtin(name, {"crisis_guidance": 2, "customer_service": 2}.get(name)))
    return game, solvers.solve(game, "pcfr+", target=1e-4, max_steps=300)


@cache
def table(name: str) -> Table:
    return tabulate(*solved(name))


@cache
def unsolved() -> Table:
    """Return crisis_guidance of two turns with a random policy: enough where none is played for."""
    game = dialogue_game(builtin("crisis_guidance", 2))
    return tabulate(game, certified(game, random_policy(game, 1)))


@cache
def refined() -> tuple[Game, Solution]:
    """Return crisis_guidance of two turns with a solution among trembling hands."""
    game = dialogue_game(builtin("crisis_guidance", 2))
    return game, solvers.solve(game, "cfr-refined", target=1e-3)


def certified(game: Game, policy: Policy) -> Solution:
    return certify(game, policy, method="given", steps=0, seconds=0.0, status="max_steps")


def with_veiled_ask(scenario: Scenario) -> Scenario:
    """Return csa_oneshot with an ask that only the malicious make, and that passes as harmless."""
    content = scenario.model_dump(mode="json", exclude_none=True)
    content["asks"].append({"name": "veiled", "description": "The ask as a story."})
    content["intents"][2]["asks"].append("veiled")
    content["channel"].append(
        {
            "intents": ["malicious"],
            "asks": ["veiled"],
            "probabilities": {"clear": 0.9, "flag": 0.1},
            "source": "assumption: a story passes",
        }
    )
    return scenario_from(content, "csa_oneshot with a veiled ask")


@cache
def veiled() -> tuple[Game, Solution]:
    game = dialogue_game(with_veiled_ask(builtin("csa_oneshot")))
    return game, solvers.solve(game, "lp")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def sealed(files: dict[str, bytes], edit: Callable[[dict[str, Any]], object] = lambda m: None):
    """Return `files` as a forger leaves them: the manifest edited, every hash and digest right."""
    manifest = parse(files[MANIFEST])
    edit(manifest)
    with suppress(BundleError, struct.error):  # of rows that nobody can read there is none
        store = Store(files[ROWS], files[PLAYS], terms_of(manifest))
        manifest["rows"]["digest"] = store.digest()
    manifest["files"] = listing({name: files[name] for name in files if name in FILES})
    forged = files | {MANIFEST: canonical(manifest)}
    assert integrity(forged) == [], "the forger did a bad job"
    return forged


def store_of(files: dict[str, bytes]) -> Store:
    return Store(files[ROWS], files[PLAYS], terms_of(parse(files[MANIFEST])))


def sql(files: dict[str, bytes], *statements: str) -> dict[str, bytes]:
    """Return `files` with the rows changed by SQL, and the plays of those that still make one."""
    changed = rows_changed(files, *statements)
    terms = terms_of(parse(files[MANIFEST]))
    shares = ", ".join(f"probability_{name}" for name in terms.responses)
    plays = []
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(changed[ROWS])
        connection.text_factory = lambda data: data.decode(errors="replace")
        query = f"SELECT key, trust, own_reach, {shares} FROM assistant"
        for key, trust, *numbers in connection.execute(query):
            proper = all(isinstance(cell, float | None) for cell in numbers)
            if isinstance(key, str) and trust in TRUST and proper:
                digest = hashlib.blake2b(key.encode(), digest_size=16).digest()
                plays.append((digest, trust, *numbers))
    file = BytesIO()
    pack_plays(file, len(terms.responses), len(plays), sorted(plays))
    return changed | {PLAYS: file.getvalue()}


def rows_changed(files: dict[str, bytes], *statements: str) -> dict[str, bytes]:
    """Return `files` with the rows changed by SQL, and the plays as they were."""
    connection = sqlite3.connect(":memory:")
    connection.deserialize(files[ROWS])
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    data = connection.serialize()
    connection.close()
    return files | {ROWS: data}


def edited_json(
    files: dict[str, bytes], name: str, edit: Callable[[Any], object]
) -> dict[str, bytes]:
    content = json.loads(files[name])
    edit(content)
    return files | {name: canonical(content)}


def row_of(rows, key: str) -> int:
    return rows.keys.index(key)


def near(found, expected, within=1e-12):
    return np.allclose(found, expected, rtol=0, atol=within)
