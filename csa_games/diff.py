"""Two bundles side by side: what another revision would do otherwise, where, and to whom.

What counts is what the guard serves, ladder included. Rows are read in the order of their keys from
both bundles at once, so that memory does not grow with them; only `measured` builds games.

Letters: p, q what the two serve in a state, by response. The state has *moved* by the total
variation ½ Σ_r |p_r − q_r|: the least share of answers that differ, however draws are coupled. (The
guard binds draws to the revision, so that where both mix, more answers differ.)
"""

import csv
import heapq
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from csa_games.dialogue import sizes
from csa_games.errors import InputError
from csa_games.evaluate import value_and_gap
from csa_games.factored import factored_game
from csa_games.files import replacing
from csa_games.fold import legal_mask
from csa_games.game import ASSISTANT, USER, Game
from csa_games.guard.bundle import MANIFEST, SCENARIO, BundleError, parse, sha256
from csa_games.guard.decide import Guard
from csa_games.guard.keys import turns_of
from csa_games.guard.ladder import find
from csa_games.guard.plays import COARSE, NOISE
from csa_games.guard.store import Row
from csa_games.outcomes import OUTCOMES
from csa_games.scenario import Scenario, scenario_from

ROUNDING = 1e-12  # a state that has moved by less has not moved
MOST_INFOSETS = 100_000
"""Information sets up to which games are built. Measured: 20,000 take 5 s on two busy cores."""

Pair = tuple[float, float]
"""A number of the first bundle and one of the second."""


@dataclass(frozen=True)
class Side:
    """A bundle to compare: its guard, and its manifest and scenario as JSON values."""

    folder: str
    guard: Guard
    manifest: dict[str, Any]
    scenario: dict[str, Any]


class Change(NamedTuple):
    """A value that differs; `path` leads to it as in `csa_games.override`, None is nothing."""

    path: str
    a: Any
    b: Any


class Moved(NamedTuple):
    """What both bundles serve in a state, in the first one's order of responses.

    `reach` is what each bundle's own rows say, 0 where it has none: the probability of the state
    under everybody's play, noise rows as they are stored. `trust` is None where there is no row:
    the ladder serves there, as on noise. `moved` is the total variation.
    """

    key: str
    reach: Pair
    trust: tuple[str | None, str | None]
    a: tuple[float, ...]
    b: tuple[float, ...]
    moved: float

    @property
    def weight(self) -> float:
        """By how much answers move here in an average conversation: the mean of both reaches."""
        return self.moved * (self.reach[0] + self.reach[1]) / 2


@dataclass(frozen=True)
class Difference:
    """What differs between two bundles.

    `rows` counts states: in both, moved, only_a, only_b. `share` is that of the answers that move,
    by the reach of each bundle, and `top` the states where most of them are, the largest weight
    first. `responses` is how often each response is given per conversation, by intent and response.
    """

    a: Side
    b: Side
    manifest: tuple[Change, ...]
    scenario: tuple[Change, ...]
    rows: Mapping[str, int]
    share: Pair
    top: tuple[Moved, ...]
    responses: Mapping[str, Mapping[str, Pair]]

    @property
    def identical(self) -> bool:
        """Whether both are the same revision: every file is the same."""
        return self.a.guard.revision == self.b.guard.revision


class Worth(NamedTuple):
    """What a policy is worth in the scenario of one bundle, against the users in its rows.

    `value` is the assistant's payoff, `gain` what users could gain by reacting to the policy, and
    `guaranteed` what is left of the value if they do, None outside the security class.
    """

    scenario: str  # "a" or "b"
    policy: str  # "a" or "b"
    value: float
    gain: float
    guaranteed: float | None


@dataclass(frozen=True)
class Measured:
    """What takes a game: `outcomes` by measure and intent, each bundle in its own scenario."""

    outcomes: Mapping[str, Mapping[str, Pair]]
    worth: tuple[Worth, ...]


def open_side(folder: Path | str) -> Side:
    """Return the bundle in `folder`, checked as `Guard.load` does; errors are the same."""
    guard = Guard.load(folder)
    manifest = Path(folder, MANIFEST).read_bytes()
    content = Path(folder, SCENARIO).read_bytes()
    parsed = parse(manifest)
    listed = {entry["name"]: entry["sha256"] for entry in parsed["files"]}
    if sha256(manifest) != guard.revision or sha256(content) != listed[SCENARIO]:
        raise BundleError(f"{folder}: the files change while they are read")
    return Side(str(folder), guard, parsed, parse(content))


def difference(a: Side, b: Side, top: int = 10) -> Difference:
    """Return what differs between two bundles, with the `top` states that have moved most.

    Raises `InputError` where states of the one mean nothing in the other: asks, signals, responses
    and intents must have the same names.
    """
    check_compatible(a, b)
    count = dict.fromkeys(("both", "moved", "only_a", "only_b"), 0)
    total, changed = [0.0, 0.0], [0.0, 0.0]

    def counted() -> Iterator[Moved]:
        for state in compared(a, b, (use_a, use_b)):
            there = [trust is not None for trust in state.trust]
            count["both" if all(there) else "only_a" if there[0] else "only_b"] += 1
            for side, reach in enumerate(state.reach):
                total[side] += reach
                changed[side] += reach * state.moved
            if state.moved > ROUNDING:
                count["moved"] += 1
                yield state

    use_a, use_b = _Use(a), _Use(b)
    largest = heapq.nsmallest(top, counted(), key=lambda state: (-state.weight, state.key))
    return Difference(
        a=a,
        b=b,
        manifest=tuple(changes(a.manifest, b.manifest)),
        scenario=tuple(changes(a.scenario, b.scenario)),
        rows=count,
        share=(_ratio(changed[0], total[0]), _ratio(changed[1], total[1])),
        top=tuple(largest),
        responses={
            intent: {
                response: (use_a.often(intent, response), use_b.often(intent, response))
                for response in a.guard.terms.responses
            }
            for intent in a.guard.terms.intents
        },
    )


def check_compatible(a: Side, b: Side) -> None:
    """Raise `InputError` unless asks, signals, responses and intents have the same names."""
    faults = []
    for what in ("asks", "signals", "responses", "intents"):
        one, other = (set(getattr(side.guard.terms, what)) for side in (a, b))
        if one != other:
            faults.append(
                f"{a.folder} and {b.folder} cannot be compared: {what} found only in the first: "
                f"{_names(one - other)}; only in the second: {_names(other - one)}"
            )
    if faults:
        raise InputError(*faults)


def _names(found: set[str]) -> str:
    return ", ".join(sorted(found)) or "none"


class _Use:
    """How often each response is given by intent: sums over the states of one bundle.

    P(state, intent) is reach times posterior, so that the rows are enough.
    """

    def __init__(self, side: Side) -> None:
        terms = side.guard.terms
        self._prior = {part["name"]: part["prior"]["value"] for part in side.scenario["intents"]}
        self._intent = {name: i for i, name in enumerate(terms.intents)}
        self._response = {name: r for r, name in enumerate(terms.responses)}
        self._sums = [[0.0] * len(terms.responses) for _ in terms.intents]

    def add(self, row: Row, served: Sequence[float]) -> None:
        for sums, share in zip(self._sums, row.posterior or (), strict=False):
            often = row.reach * share
            for r, probability in enumerate(served):
                sums[r] += often * probability

    def often(self, intent: str, response: str) -> float:
        sums = self._sums[self._intent[intent]]
        return _ratio(sums[self._response[response]], self._prior[intent])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")


def compared(a: Side, b: Side, uses: "tuple[_Use, _Use] | None" = None) -> Iterator[Moved]:
    """Yield every state that one of two compatible bundles has a row for, ordered by key."""
    order = [b.guard.terms.responses.index(name) for name in a.guard.terms.responses]
    by_a, by_b = _Served(a), _Served(b)
    for one, other in _merged(_exact(a), _exact(b)):
        row = one or other
        assert row is not None, "merging yields what one of both has"
        p, q = by_a(row.key, one), by_b(row.key, other)
        for k, (found, served) in enumerate(((one, p), (other, q))):
            if uses and found:
                uses[k].add(found, served)
        q = tuple(q[r] for r in order)
        yield Moved(
            key=row.key,
            reach=(one.reach if one else 0.0, other.reach if other else 0.0),
            trust=(one.trust if one else None, other.trust if other else None),
            a=p,
            b=q,
            moved=sum(abs(x - y) for x, y in zip(p, q, strict=True)) / 2,
        )


def _exact(side: Side) -> Iterator[Row]:
    return (row for row in side.guard.store.assistant() if row.trust != COARSE)


def _merged(first: Iterator[Row], second: Iterator[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    """Yield the rows of the same key together; both come ordered by key."""
    one, other = next(first, None), next(second, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.key < other.key):
            yield one, None
            one = next(first, None)
        elif one is None or other.key < one.key:
            yield None, other
            other = next(second, None)
        else:
            yield one, other
            one, other = next(first, None), next(second, None)


class _Served:
    """What the guard of a bundle plays in a state: its row, or that of the ladder."""

    def __init__(self, side: Side) -> None:
        self._terms, self._store = side.guard.terms, side.guard.store
        self._ladder: dict[tuple[int, str | None, str | None], tuple[float, ...]] = {}

    def __call__(self, key: str, row: Row | None) -> tuple[float, ...]:
        if row is not None and row.trust != NOISE:
            return row.probabilities
        turns = turns_of(key)
        # Coarser rows keep some of these and nothing else (csa_games.guard.keys.FEATURES).
        seen = (len(turns), turns[-1].ask, turns[-1].signal)
        if seen not in self._ladder:
            self._ladder[seen] = find(self._terms, self._store, turns).row.probabilities
        return self._ladder[seen]


def write_rows(a: Side, b: Side, path: Path | str) -> None:
    """Write every state that has moved or that only one bundle has, as CSV ordered by key.

    Raises `InputError` for bundles that cannot be compared, `OSError`.
    """
    check_compatible(a, b)
    names = a.guard.terms.responses
    with replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(
            ["key", "moved", "reach_a", "reach_b", "trust_a", "trust_b"]
            + [f"probability_{name}_{side}" for side in "ab" for name in names]
        )
        for state in compared(a, b):
            if state.moved > ROUNDING or None in state.trust:
                cells = (state.key, state.moved, *state.reach, *state.trust, *state.a, *state.b)
                writer.writerow(["" if cell is None else cell for cell in cells])
        text.detach()  # what closes the file also puts it on the disk


def changes(a: Any, b: Any, path: str = "") -> Iterator[Change]:
    """Yield every value that differs between two JSON values, by dotted paths.

    Entries of lists go by their names where all have one, else by their position from 0.
    """
    a, b = _fields(a), _fields(b)
    if isinstance(a, dict) and isinstance(b, dict):
        for name in [*a, *(name for name in b if name not in a)]:
            yield from changes(a.get(name), b.get(name), f"{path}.{name}" if path else name)
    elif type(a) is not type(b) or a != b:
        yield Change(path, a, b)


def _fields(value: Any) -> Any:
    """Return a list of parts as fields, by name or position; all other values as they are."""
    if not isinstance(value, list):
        return value
    if not any(isinstance(part, dict | list) for part in value):
        return tuple(value)  # names or numbers are one value
    names = [part.get("name") if isinstance(part, dict) else None for part in value]
    named = None not in names and len(set(names)) == len(names)
    return {
        str(name if named else k): part
        for k, (name, part) in enumerate(zip(names, value, strict=True))
    }


# What takes a game.


def too_large(a: Side, b: Side) -> str:
    """Return why `measured` would take too long, or nothing."""
    for side in (a, b):
        if (count := sum(sizes(_scenario(side)).infosets)) > MOST_INFOSETS:
            return (
                f"{side.folder} has {count:,} information sets, more than {MOST_INFOSETS:,}: "
                "outcomes and values are left out"
            )
    return ""


def measured(a: Side, b: Side) -> Measured:
    """Return outcomes and values of what both bundles serve, computed exactly from their games."""
    check_compatible(a, b)
    same = a.scenario == b.scenario
    games = [factored_game(_scenario(a))]
    games.append(games[0] if same else factored_game(_scenario(b)))
    sides = {"a": (a, games[0]), "b": (b, games[1])}
    worth, outcomes = [], {}
    for name, (home, game) in sides.items():
        users = _users(home, game)
        for other, (side, _) in sides.items():
            policy = (users, _assistant(side, home, game))
            value, gap = value_and_gap(game.form, policy)
            secure = game.game_class == "security"
            left = float(value[ASSISTANT] - gap[USER]) if secure else None
            worth.append(Worth(name, other, float(value[ASSISTANT]), float(gap[USER]), left))
            if name == other:
                outcomes[name] = {what: dict(OUTCOMES[what](game, policy)) for what in OUTCOMES}
    paired = {
        what: {
            intent: (number, outcomes["b"][what][intent]) for intent, number in by_intent.items()
        }
        for what, by_intent in outcomes["a"].items()
    }
    return Measured(paired, tuple(worth))


def _scenario(side: Side) -> Scenario:
    return scenario_from(side.scenario, f"{side.folder}/{SCENARIO}")


def _assistant(side: Side, home: Side, game: Game) -> np.ndarray:
    """Return what the guard of `side` plays at every infoset [I, A] of the game of `home`."""
    guard, names = side.guard, home.guard.terms.responses
    order = [guard.terms.responses.index(name) for name in names]
    served = _Served(side)
    own = {row.key: served(row.key, row) for row in _exact(side)}
    rows = [own.get(key) or served(key, None) for key in game.names.infosets[ASSISTANT]]
    return np.asarray(rows, np.float64)[:, order]


def _users(side: Side, game: Game) -> np.ndarray:
    """Return the users' policy [I, A] in the rows of the bundle whose game this is."""
    rows, ask = side.guard.store.user(), {name: b for b, name in enumerate(side.guard.terms.asks)}
    policy = np.zeros(np.asarray(legal_mask(game.form.treeplex[USER])).shape)
    labels = zip(game.names.infosets[USER], game.names.actions[USER], strict=True)
    for i, (key, actions) in enumerate(labels):
        # An intent that nobody has plays anything.
        row = [rows[key][ask[label]] for label in actions] if key in rows else 1 / len(actions)
        policy[i, : len(actions)] = row
    return policy
