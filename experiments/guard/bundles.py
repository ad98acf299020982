"""The bundles that are measured: a scenario solved and exported, and one of made-up numbers.

A table of 10^7 rows takes more time and memory to solve than a benchmark should. So there is one of
a size to choose: keys of a built-in scenario of five turns, numbers that are random, written by the
writer of all bundles. A guard cannot tell them apart, but nobody should play it.
"""

import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import solvers
from csa_games.factored import factored_game
from csa_games.guard.bundle import (
    CARD,
    GOLDEN,
    MANIFEST,
    PLAYS,
    RESPONSES,
    ROWS,
    SCENARIO,
    canonical,
    listing,
    parse,
    repeated,
    responses_of,
    sha256,
    spelled,
    terms_of,
)
from csa_games.guard.content import read
from csa_games.guard.decide import Guard, responses_from
from csa_games.guard.golden import lines
from csa_games.guard.keys import BETWEEN, Turn, state_key, turns_of
from csa_games.guard.plays import TRUST, TRUSTED
from csa_games.guard.store import Store, pack
from csa_games.override import override
from csa_games.scenario import Scenario, builtin_scenarios, read_scenario
from csa_games.table import tabulate

NAME = "crisis_guidance"
TURNS, STEPS = 4, 2  # few steps: how good the policy is does not matter here, how large it is does
MADE_UP_TURNS = 5


def solved(folder: Path, turns: int = TURNS) -> None:
    """Write a bundle of `NAME`, of so many turns, to `folder`."""
    game = factored_game(_scenario(turns))
    tabulate(game, solvers.solve(game, "pcfr+", target=0.0, max_steps=STEPS)).save(folder)


def made_up(folder: Path, like: Path, count: int, seed: int) -> None:
    """Write a bundle of `count` rows of random numbers to `folder`, otherwise as the one `like`.

    The digest in its manifest is none, which a guard does not check and `verify` does.
    """
    folder.mkdir()
    scenario = _made_up_scenario()
    manifest = parse((like / MANIFEST).read_bytes()) | repeated(scenario)
    counts = dict.fromkeys(TRUST, 0) | {"user": 0, TRUSTED: count}
    manifest["rows"] = counts | {"digest": sha256(b"none")}
    terms = terms_of(manifest)
    pack(folder, terms, _rows(scenario, count, seed), ())
    responses = canonical(responses_of(scenario))
    rows, plays = read(folder / ROWS), read(folder / PLAYS)
    guard = Guard(terms, responses_from(responses, terms), Store(rows, plays, terms), revision="")
    keys = made_up_keys(count)
    probes = [list(map(_cells, turns_of(keys[k * (count // 100)]))) for k in range(100)]
    files: dict[str, Any] = {
        CARD: (like / CARD).read_bytes(),
        GOLDEN: lines(guard, probes),
        PLAYS: plays,
        ROWS: rows,
        RESPONSES: responses,
        SCENARIO: canonical(scenario),
    }
    files[MANIFEST] = canonical(spelled(manifest) | {"files": listing(files)})
    for name in files.keys() - {ROWS, PLAYS}:
        (folder / name).write_bytes(files[name])


def made_up_keys(count: int) -> "Keys":
    """Return the keys of the bundle that `made_up` writes."""
    return Keys(_made_up_scenario(), count)


class Keys:
    """So many keys of states in the last turn of a scenario, evenly spread, in their order."""

    def __init__(self, scenario: dict[str, Any], count: int) -> None:
        asks, signals, responses = (
            [part["name"] for part in scenario[field] if not part.get("ends")]
            for field in ("asks", "signals", "responses")
        )
        last = sorted(state_key([Turn(*seen)]) for seen in product(asks, signals))
        past = sorted(state_key([Turn(*turn)]) for turn in product(asks, signals, responses))
        *early, late = [past] * (scenario["turns"] - 1)
        self._heads = [BETWEEN.join(parts) + BETWEEN for parts in product(*early)]
        self._tails = [BETWEEN.join(parts) for parts in product(late, last)]
        self.count = count

    def __getitem__(self, n: int) -> str:
        every = len(self._heads) * len(self._tails)
        head, tail = divmod(n * every // self.count, len(self._tails))
        return self._heads[head] + self._tails[tail]


def _rows(scenario: dict[str, Any], count: int, seed: int) -> Iterator[tuple[Any, ...]]:
    draw = random.Random(seed)
    R, T = len(scenario["responses"]), len(scenario["intents"])
    pool = []
    for _ in range(997):  # different rows; a prime, so that neighbours on a page differ
        own_reach, reach, margin, *others = (draw.random() for _ in range(3 + T + R))
        weights = [draw.random() for _ in range(R)]
        shares = [weight / sum(weights) for weight in weights]
        pool.append(("trusted", own_reach, reach, margin, None, *shares, *others))
    keys = Keys(scenario, count)
    for n in range(count):
        yield keys[n], *pool[n % len(pool)]


def _made_up_scenario() -> dict[str, Any]:
    scenario = _scenario(MADE_UP_TURNS).model_dump(mode="json", exclude_none=True)
    content: dict[str, Any] = parse(canonical(scenario))
    return content


def _scenario(turns: int) -> Scenario:
    return override(read_scenario(builtin_scenarios()[NAME]), {"turns": turns})


def _cells(turn: Turn) -> list[str | None]:
    return list(turn) if turn.response else list(turn)[:2]
