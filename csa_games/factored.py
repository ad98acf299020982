"""A scenario as a game in the factored layout: no history of signals is ever enumerated.

Turn by turn, everything that leaves depend on is computed for all intents and public histories at
once, as arrays [T, P, Q] over intents, histories of asks and histories of responses that go on (see
`csa_games.grid`). Their number grows with public histories; the signals, which multiply histories
by Y every turn, enter through the channel alone.

Letters, besides those of `csa_games.game` and `csa_games.grid`: H turns, R responses (the A of the
assistant).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import overload

import numpy as np
from jaxtyping import Bool, Float, Int

from csa_games.dialogue import (
    COMPONENTS,
    ENDINGS,
    Tables,
    against_the_assistant,
    dialogue_root,
    in_security_class,
    own_payoff,
    tables,
)
from csa_games.game import Game, Grid, Leaves, Level, Names, SequenceForm, Treeplex
from csa_games.grid import largest_block, public_sequences
from csa_games.guard.keys import Turn, state_key, user_key
from csa_games.scenario import Ask, Response, Scenario
from csa_games.segments import segments

BLOCK = 16_384
"""The most rows of a block, so that what an iteration needs of one stays in a core's cache."""

LOOPED = 500_000
"""The rows from which on a level is visited block by block; below, its arrays fit into a cache."""


@dataclass(frozen=True)
class _Parts:
    """The sizes and index lists that the layout is made of."""

    table: Tables
    turns: int  # H, or 1 where every response ends the conversation
    strategic: Int[np.ndarray, " T_s"]  # which intents choose their asks
    talking: Int[np.ndarray, " B"]  # the asks that go on
    ending: Int[np.ndarray, " B_e"]
    migrates: Bool[np.ndarray, " B_e"]
    open: Int[np.ndarray, " G"]  # the responses that go on
    responses: int  # R
    slot: Int[np.ndarray, "T B_all"]  # the action that an ask is at an intent's infosets

    @property
    def width(self) -> int:
        """How many asks the strategic intent with the most of them has."""
        return max((int(self.table.legal[i].sum()) for i in self.strategic), default=1)


@dataclass(frozen=True)
class _Histories:
    """What leads to a turn: arrays over (intent, asks so far, responses so far)."""

    possible: Bool[np.ndarray, "T P Q"]
    chance: Float[np.ndarray, "T P Q"]
    user: Int[np.ndarray, "T P Q"]  # the user's last sequence, 0 for kernels
    within: Int[np.ndarray, "T P Q"]  # the same, counted from its level's first
    public: Int[np.ndarray, "T P Q"]  # the assistant's last public sequence
    sums: Float[np.ndarray, "6 T P Q"]  # COMPONENTS so far, and what the user gained


@dataclass(frozen=True)
class _Ends:
    """Leaves of one kind, flat."""

    intent: Int[np.ndarray, " L"]
    how: Int[np.ndarray, " L"]  # the index in ENDINGS, -1 where the last turn ended it
    chance: Float[np.ndarray, " L"]
    user: Int[np.ndarray, " L"]
    public: Int[np.ndarray, " L"]
    sums: Float[np.ndarray, "6 L"]


def factored_game(scenario: Scenario) -> Game:
    """Return the game of `scenario` in the factored layout, for the user (0) and assistant (1).

    It is the game of `dialogue.dialogue_game`, with these differences in how it is written down:
    leaves carry no signals, infosets come in the order of the grid, and infosets of the assistant
    that no intent can lead to are there too, with a counterfactual reach of 0.
    """
    parts = _parts(scenario)
    levels, leaves = _walk(scenario, parts)
    grids = tuple(_grid(parts, turn) for turn in range(parts.turns))
    user = Treeplex(levels, parts.width)
    assistant = Treeplex(grids, parts.responses)
    public = 1 + sum(public_sequences(grid, len(parts.table.prior)) for grid in grids)
    sequence = (_joined(leaves, "user"), _joined(leaves, "public"))
    payoff = _payoffs(scenario, _joined(leaves, "intent"), _joined(leaves, "sums"))
    form = SequenceForm(
        treeplex=(user, assistant),
        leaves=Leaves(
            sequence=sequence,
            chance=_joined(leaves, "chance"),
            payoff=payoff,
            gather=(segments(sequence[0], user.sequences), segments(sequence[1], public)),
        ),
        signal=parts.table.signal[:, parts.talking],
    )
    keys, whose = _user_keys(scenario, parts)
    offered = {
        intent.name: tuple(np.array([ask.name for ask in scenario.asks])[legal].tolist())
        for intent, legal in zip(scenario.intents, parts.table.legal, strict=True)
    }
    responses = tuple(response.name for response in scenario.responses)
    return Game(
        name=scenario.name,
        form=form,
        names=Names(
            players=("user", "assistant"),
            infosets=(keys, _StateKeys(scenario, parts, grids)),
            actions=(
                tuple(offered[intent] for intent in whose),
                _Repeated(responses, assistant.infosets),
            ),
        ),
        root=lambda: dialogue_root(scenario),
        game_class="security" if in_security_class(scenario) else "general-sum",
        tags=_Tags(scenario),
        scenario=scenario,
    )


def _parts(scenario: Scenario) -> _Parts:
    table = tables(scenario)
    ends = np.array([ask.ends is not None for ask in scenario.asks])
    closes = np.array([response.ends for response in scenario.responses])
    ending = np.flatnonzero(ends)
    return _Parts(
        table=table,
        turns=1 if closes.all() else scenario.turns,
        strategic=np.flatnonzero(table.strategic),
        talking=np.flatnonzero(~ends & table.legal.any(axis=0)),
        ending=ending,
        migrates=np.array([scenario.asks[b].ends == "migrate" for b in ending], dtype=bool),
        open=np.flatnonzero(~closes),
        responses=len(closes),
        slot=np.cumsum(table.legal, axis=1) - 1,
    )


def _grid(parts: _Parts, turn: int) -> Grid:
    whole = Grid(
        turn=turn,
        asks=len(parts.talking),
        signals=parts.table.signal.shape[2],
        responses=parts.responses,
        open=tuple(parts.open.tolist()),
        block=len(parts.open) ** turn,
    )
    if turn + 1 < parts.turns or turn == 0 or whole.infosets * whole.responses < LOOPED:
        return whole
    return replace(whole, block=largest_block(whole, BLOCK), looped=True)


def _walk(scenario: Scenario, parts: _Parts) -> tuple[tuple[Level, ...], list[_Ends]]:
    """Return the user's levels and all leaves, turn by turn."""
    table, shape = parts.table, (len(parts.table.prior), 1, 1)
    now = _Histories(
        possible=np.ones(shape, bool),
        chance=table.prior.reshape(shape),
        user=np.zeros(shape, np.int64),
        within=np.zeros(shape, np.int64),
        public=np.zeros(shape, np.int64),
        sums=np.zeros((6, *shape)),
    )
    levels: list[Level] = []
    leaves: list[_Ends] = []
    slots, first, public = 1, 1, 1  # of the user's level above, and the first numbers of this turn
    for turn in range(parts.turns):
        chooses = now.possible & table.strategic[:, None, None]
        number = np.cumsum(chooses).reshape(chooses.shape) - 1
        count = int(chooses.sum())
        if count:
            legal = np.arange(parts.width) < table.legal.sum(axis=1)[:, None]  # [T, A]
            parent = now.within[chooses].astype(np.int32)
            intent = np.nonzero(chooses)[0]
            levels.append(Level(legal[intent].T[None], parent, segments(parent, slots)))
        ended, now = _turn(scenario, parts, turn, now, (number, count, first, public))
        leaves += ended
        slots, first = count * parts.width, first + count * parts.width
        public += public_sequences(_grid(parts, turn), shape[0])
    return tuple(levels), leaves


def _turn(
    scenario: Scenario,
    parts: _Parts,
    turn: int,
    before: _Histories,
    numbers: tuple[Int[np.ndarray, "T P Q"], int, int, int],
) -> tuple[list[_Ends], _Histories]:
    """Return the leaves of a turn and the histories that go on from it.

    `numbers` are those of the users' infosets within their level, how many there are, and the first
    sequence and public sequence of the turn.
    """
    table, (number, count, first, first_public) = parts.table, numbers
    intents, p, q = before.possible.shape
    worth = scenario.discount.value**turn
    over = (slice(None), None, None)  # what depends on the intent, over its histories

    # [T, P, Q, B_all]
    possible = before.possible[..., None] & table.legal[over]
    if turn == 0:
        reaction = table.opening[:, None]
    else:
        said = parts.open[np.arange(q) % len(parts.open)]
        reaction = table.after[turn - 1, said].transpose(1, 0, 2)
    chosen = np.where(table.strategic[:, None, None], 1.0, reaction)  # [T, Q, B_all]
    chance = before.chance[..., None] * chosen[:, None]
    within = np.where(
        table.strategic[:, None, None, None], parts.slot[over] * count + number[..., None], 0
    )
    user = np.where(table.strategic[:, None, None, None], first + within, 0)
    sums = np.repeat(before.sums[..., None], len(table.effort[turn, 0]), axis=-1)
    sums[4] += worth * table.effort[turn][over]

    exits = parts.ending
    left = sums[..., exits]
    left[3] += worth * table.displacement[turn][over][..., None] * parts.migrates
    who = np.arange(intents).reshape(-1, 1, 1, 1)
    how = parts.migrates.astype(np.int64)
    at = (chance[..., exits], user[..., exits], before.public[..., None])
    ended = [_ends(possible[..., exits], who, how, *at, left)]

    # [T, P, Q, B, R]
    talk = parts.talking
    shape = (intents, p, q, len(talk), parts.responses)
    wide = lambda x: np.broadcast_to(x[..., talk, None], shape)
    possible, chance, user, within = map(wide, (possible, chance, user, within))
    level = (p, len(talk), parts.responses, q, intents)
    order = np.arange(first_public, first_public + np.prod(level)).reshape(level)
    public = order.transpose(4, 0, 3, 1, 2)
    sums = np.repeat(sums[..., talk, None], parts.responses, axis=-1)
    gains = (table.satisfaction, table.risk, table.cost)
    for k, grid in enumerate(gains):
        sums[k] += worth * grid[turn][:, talk][over]
    sums[5] += worth * own_payoff(scenario, table)[turn][:, talk][over]

    last = turn + 1 == parts.turns
    closes = np.array([response.ends for response in scenario.responses])
    here = np.ones(parts.responses, bool) if last else closes
    who = np.arange(intents).reshape(-1, 1, 1, 1, 1)
    how = np.where(closes, ENDINGS.index("handed over"), -1)
    ended.append(_ends(possible & here, who, how, chance, user, public, sums))

    go = lambda x: _going(x[..., parts.open])
    after = _Histories(*map(go, (possible, chance, user, within, public, sums)))
    return ended, after


def _going(x: np.ndarray) -> np.ndarray:
    """Return numbers [..., T, P, Q, B, G] over the next turn's histories [..., T, P·B, Q·G]."""
    *lead, intents, p, q, b, g = x.shape
    return np.swapaxes(x, -3, -2).reshape(*lead, intents, p * b, q * g)


def _ends(
    here: Bool[np.ndarray, "*Shape"],
    intent: np.ndarray,
    how: np.ndarray,
    chance: np.ndarray,
    user: np.ndarray,
    public: np.ndarray,
    sums: np.ndarray,
) -> _Ends:
    """Return the leaves where it is `here` that histories end, in the order of public sequences."""
    intent, how, chance, user, public = (
        np.broadcast_to(x, here.shape)[here] for x in (intent, how, chance, user, public)
    )
    # So that summing into public sequences reads straight on.
    order = np.argsort(public, kind="stable")
    return _Ends(
        intent[order],
        how[order],
        chance[order],
        user[order],
        public[order],
        sums[:, here][:, order],
    )


def _joined(leaves: list[_Ends], name: str) -> np.ndarray:
    joined = np.concatenate([getattr(ends, name) for ends in leaves], axis=-1)
    return joined.astype(np.int32) if joined.dtype.kind == "i" else joined


def _payoffs(
    scenario: Scenario, intent: Int[np.ndarray, " L"], sums: Float[np.ndarray, "6 L"]
) -> tuple[Float[np.ndarray, " L"], Float[np.ndarray, " L"]]:
    """Return the user's and the assistant's payoffs, from the components and the user's gain."""
    satisfaction, risk, cost, displacement, effort, gained = sums
    weights = scenario.weights
    assistant = (
        weights.alpha.value * satisfaction
        - weights.beta.value * risk
        - weights.gamma.value * cost
        - weights.psi.value * displacement
    )
    negated = np.array([against_the_assistant(scenario, part) for part in scenario.intents])
    return np.where(negated[intent], -assistant, gained - effort), assistant


class _Tags(Mapping[str, np.ndarray]):
    """The tags of the leaves, made when first asked for: they take more memory than the game."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        _, leaves = _walk(self._scenario, _parts(self._scenario))
        intent, how = _joined(leaves, "intent"), _joined(leaves, "how")
        sums = dict(zip(COMPONENTS, _joined(leaves, "sums"), strict=False))
        endings = {name: (how == k).astype(float) for k, name in enumerate(ENDINGS)}
        intents = {
            f"intent:{part.name}": (intent == k).astype(float)
            for k, part in enumerate(self._scenario.intents)
        }
        return sums | endings | intents

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def _user_keys(scenario: Scenario, parts: _Parts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys of the users' infosets, in their order, and the intents they are of."""
    asks, responses = _names(scenario.asks, parts.talking), _names(scenario.responses, parts.open)
    keys, whose = [], []
    for turn in range(parts.turns):
        for i in parts.strategic:
            intent, legal = scenario.intents[i].name, parts.table.legal[i, parts.talking]
            for asked in product(range(len(asks)), repeat=turn):
                if not legal[list(asked)].all():
                    continue
                for answered in product(responses, repeat=turn):
                    public = list(zip((asks[b] for b in asked), answered, strict=True))
                    keys.append(user_key(intent, public))
                    whose.append(intent)
    return tuple(keys), tuple(whose)


def _names(named: Sequence[Ask] | Sequence[Response], which: np.ndarray) -> list[str]:
    return [named[k].name for k in which]


class _StateKeys(Sequence[str]):
    """The keys of the assistant's infosets, spelled when asked for: there can be millions."""

    def __init__(self, scenario: Scenario, parts: _Parts, grids: tuple[Grid, ...]) -> None:
        self._asks = _names(scenario.asks, parts.talking)
        self._responses = _names(scenario.responses, parts.open)
        self._signals = [signal.name for signal in scenario.signals]
        self._grids = grids

    def __len__(self) -> int:
        return sum(grid.infosets for grid in self._grids)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[str, ...]: ...
    def __getitem__(self, i: int | slice) -> str | tuple[str, ...]:
        if isinstance(i, slice):
            return tuple(map(self._spelled, range(*i.indices(len(self)))))
        return self._spelled(range(len(self))[i])

    def _spelled(self, i: int) -> str:
        for grid in self._grids:
            if i < grid.infosets:
                break
            i -= grid.infosets
        t = grid.turn
        _, q, z = grid.axes
        i, signals = divmod(i, z)
        asked, answered = divmod(i, q)
        asks = _digits(asked, grid.asks, t + 1)
        heard = _digits(signals, grid.signals, t + 1)
        said = [*(self._responses[a] for a in _digits(answered, len(grid.open), t)), None]
        return state_key(
            [
                Turn(self._asks[b], self._signals[y], a)
                for b, y, a in zip(asks, heard, said, strict=True)
            ]
        )


def _digits(number: int, base: int, count: int) -> list[int]:
    """Return the `count` digits of `number`, the first turn's in front."""
    digits = []
    for _ in range(count):
        number, digit = divmod(number, base)
        digits.append(digit)
    return digits[::-1]


class _Repeated(Sequence[tuple[str, ...]]):
    """The same labels at every infoset."""

    def __init__(self, labels: tuple[str, ...], count: int) -> None:
        self._labels, self._range = labels, range(count)

    def __len__(self) -> int:
        return len(self._range)

    @overload
    def __getitem__(self, i: int) -> tuple[str, ...]: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[tuple[str, ...], ...]: ...
    def __getitem__(self, i: int | slice) -> tuple[str, ...] | tuple[tuple[str, ...], ...]:
        if isinstance(i, slice):
            return (self._labels,) * len(self._range[i])
        self._range[i]  # raises IndexError beyond the end
        return self._labels
