"""Intents that nobody has labelled, told apart by what conversations show (`mixture`).

The contexts of a mixture are the opening, the reaction to each response (of each turn, where a base
kernel lists turns) and the signal on each ask. An intent that chooses its asks has rows of its own
there, which serve to tell it apart and are not written. Rows of the scenario that pool contexts
take their expected counts together.

How much a sighting is worth follows from the variances of the mixture: by how much they exceed
those of as many labelled sightings. Like the variances themselves that is for many conversations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int, Integer

from csa_games.calibration.codes import Codes
from csa_games.calibration.mixture import (
    LEAST,
    PIECE,
    UNKNOWN,
    Mixture,
    Sample,
    fit_mixture,
    flat,
    held_out,
    information,
    inverted,
    matched,
    posterior,
    sample,
)
from csa_games.calibration.rows import NO_ROW, Layout
from csa_games.errors import InputError
from csa_games.scenario import Scenario

COMPARED = 5000  # conversations, at most, that numbers of kinds are compared on
NEGLIGIBLE = 1e-6  # expected sightings that are none
NOTABLE = 0.05  # of the largest change along a direction: what is named


@dataclass(frozen=True)
class Criteria:
    """How well so many kinds describe conversations: low BIC, high held-out log-likelihood."""

    bic: float
    held_out: float


@dataclass(frozen=True)
class Direction:
    """Probabilities that the likelihood hardly moves with, if they change together.

    `worth` is how many labelled sightings tell as much of it, less than 1. `changes` has their
    changes, the largest being 1, by row and outcome; small ones are left out.
    """

    worth: float
    changes: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Contexts:
    """Where outcomes of a mixture are counted: columns of its D outcomes."""

    opening: int
    after: Int[np.ndarray, "H R"]  # the first column of each context
    signal: Int[np.ndarray, " B"]
    context: Int[np.ndarray, " D"]
    latent: tuple[int, ...]  # the intents that conversations without a type may have


@dataclass
class Shown:
    """What conversations of latent intents have shown, gathered piece by piece."""

    contexts: Contexts
    seen: list[Integer[np.ndarray, "N D"]] = field(default_factory=list)
    kind: list[Int[np.ndarray, " N"]] = field(default_factory=list)

    def add(self, codes: Codes) -> None:
        """Add the conversations of `codes` that are, or may be, of a latent intent."""
        seen, kind = shown(codes, self.contexts)
        self.seen.append(seen)
        self.kind.append(kind)


@dataclass(frozen=True)
class Told:
    """What a mixture tells of latent intents, for the rows of a layout."""

    mixture: Mixture
    rows: Float[np.ndarray, "K W"]  # expected counts
    deff: Float[np.ndarray, " K"]  # by what to divide them
    mine: Int[np.ndarray, " K"]  # 1 for rows of latent intents
    criteria: Mapping[int, Criteria] = field(default_factory=dict)  # by number of kinds
    flat: tuple[Direction, ...] = ()


def contexts(base: Scenario, wanted: Layout, latent: Sequence[str]) -> Contexts:
    """Return the contexts of a mixture of the intents `latent`."""
    names = [part.name for part in base.intents]
    who = tuple(names.index(name) for name in latent)
    asks, signals = len(base.asks), len(base.signals)
    turns, _, responses = wanted.after.shape
    by_turn = any(
        isinstance(table, list)
        for i in who
        for kernel in [base.intents[i].kernel]
        if kernel is not None
        for table in kernel.after.values()
    )
    times = turns if by_turn else 1
    after = asks + asks * np.arange(times * responses).reshape(times, responses)
    begin = asks * (1 + times * responses)
    return Contexts(
        0,
        np.broadcast_to(after, (turns, responses)),
        begin + signals * np.arange(asks),
        np.concatenate(
            [
                np.repeat(np.arange(1 + times * responses), asks),
                1 + times * responses + np.repeat(np.arange(asks), signals),
            ]
        ),
        who,
    )


def shown(
    codes: Codes, contexts: Contexts
) -> tuple[Integer[np.ndarray, "N D"], Int[np.ndarray, " N"]]:
    """Return how often conversations of latent or unknown intents show what, and their kinds."""
    kinds = np.full(max(int(codes.intent.max(initial=0)), *contexts.latent) + 1, -2)
    kinds[list(contexts.latent)] = np.arange(len(contexts.latent))
    kind = np.where(codes.intent < 0, UNKNOWN, kinds[codes.intent])
    of, turn = codes.conversation, np.minimum(codes.turn, len(contexts.after) - 1)
    opens = (codes.turn == 0) & (codes.ask >= 0)
    answered = (codes.response >= 0) & (codes.reaction >= 0)
    heard = (codes.ask >= 0) & (codes.signal >= 0)
    outcomes = len(contexts.context)
    cell = np.concatenate(
        [
            of[opens] * outcomes + contexts.opening + codes.ask[opens],
            of[answered] * outcomes
            + contexts.after[turn[answered], codes.response[answered]]
            + codes.reaction[answered],
            of[heard] * outcomes + contexts.signal[codes.ask[heard]] + codes.signal[heard],
        ]
    )
    seen = np.bincount(cell, minlength=len(codes.intent) * outcomes)
    seen = np.minimum(seen, np.iinfo(np.uint16).max).astype(np.uint16)
    kept = kind > -2
    return seen.reshape(len(codes.intent), outcomes)[kept], kind[kept]


def believed(base: Scenario, wanted: Layout, contexts: Contexts) -> Float[np.ndarray, "Z D"]:
    """Return the rows of the base scenario by context, even ones where it has none."""
    rows = np.zeros((len(contexts.latent), len(contexts.context)))
    for z, k, begin, row in _places(base, wanted, contexts):
        width = len(row)
        rows[z, begin : begin + width] = wanted.base[k, :width] if k != NO_ROW else row
    rows = np.maximum(rows, 1e-3)  # so that what the base deems impossible can still come up
    total = np.stack([np.bincount(contexts.context, row)[contexts.context] for row in rows])
    return rows / total


def told(base: Scenario, wanted: Layout, gathered: Shown, draw: np.random.Generator) -> Told:
    """Return what conversations without a type tell of the latent intents.

    Raises `InputError` if there are none, or if a row is shared with an intent that is not latent.
    """
    contexts = gathered.contexts
    _check_rows(base, wanted, contexts)
    seen, kind = np.concatenate(gathered.seen), np.concatenate(gathered.kind)
    if not (kind == UNKNOWN).any():
        raise InputError("latent: found no conversation without a type, expected some")
    given = sample(seen, contexts.context, kind)
    begin = believed(base, wanted, contexts)
    kinds = len(contexts.latent)
    allowed = np.zeros(begin.shape, bool)
    for z, _, column, row in _places(base, wanted, contexts):
        allowed[z, column : column + len(row)] = row > 0
    mixture = fit_mixture(given, kinds, draw, begin=begin, allowed=allowed)
    if not (kind >= 0).any():
        mixture = matched(mixture, _expected(mixture, given), begin, allowed)
    expected, known = _expected(mixture, given), information(mixture, given)
    variance = inverted(mixture, given.context, known)
    rows, deff, mine = _rows(base, wanted, contexts, mixture, expected, variance)
    directions = zip(*flat(mixture, given.context, known, expected), strict=True)
    unmoved = tuple(_direction(base, contexts, worth, change) for worth, change in directions)
    return Told(mixture, rows, deff, mine, flat=unmoved)


def compared(gathered: Shown, draw: np.random.Generator) -> dict[int, Criteria]:
    """Return how well as many kinds as there are latent intents do, one fewer and one more.

    Labels play no part in it.
    """
    contexts = gathered.contexts
    seen = np.concatenate(gathered.seen)
    part = seen[np.sort(draw.choice(len(seen), min(len(seen), COMPARED), replace=False))]
    given, kinds = sample(part, contexts.context), len(contexts.latent)
    return {
        number: Criteria(
            fit_mixture(given, number, draw, starts=4, most_steps=500).bic,
            held_out(part, contexts.context, number, draw, folds=2),
        )
        for number in (kinds - 1, kinds, kinds + 1)
    }


def _places(
    base: Scenario, wanted: Layout, contexts: Contexts
) -> Iterator[tuple[int, int, int, Float[np.ndarray, " W"]]]:
    """Yield, for each kind and context: both, the row of the layout, and even probabilities."""
    asks = [part.name for part in base.asks]
    times = len(np.unique(contexts.after[:, 0]))
    for z, i in enumerate(contexts.latent):
        legal = np.array([ask in base.intents[i].asks for ask in asks], np.float64)
        yield z, int(wanted.opening[i]), contexts.opening, legal / legal.sum()
        for t in range(times):
            for r, begin in enumerate(contexts.after[t].tolist()):
                yield z, int(wanted.after[t, i, r]), begin, legal / legal.sum()
        for b, begin in enumerate(contexts.signal.tolist()):
            even = np.full(wanted.signals, 1 / wanted.signals)
            yield z, int(wanted.signal[i, b]), begin, even


def _expected(mixture: Mixture, given: Sample) -> Float[np.ndarray, "Z D"]:
    """Return how often each kind is expected to have shown each outcome."""
    total = np.zeros_like(mixture.rows)
    for begin in range(0, len(given.seen), PIECE):
        part = slice(begin, begin + PIECE)
        some = Sample(given.seen[part], given.context, given.times[part], given.kind[part])
        total += (some.times[:, None] * posterior(mixture, some)).T @ some.seen
    return total


def _direction(
    base: Scenario, contexts: Contexts, worth: float, change: Float[np.ndarray, " P"]
) -> Direction:
    """Return a flat direction with the names of what changes along it."""
    kinds = len(contexts.latent)
    who = [base.intents[i].name for i in contexts.latent]
    changes: dict[str, dict[str, float]] = {}
    for name, amount in zip(who, change[:kinds].tolist(), strict=True):
        if abs(amount) >= NOTABLE:
            changes.setdefault("shares", {})[name] = amount
    for intent, row in zip(who, change[kinds:].reshape(kinds, -1), strict=True):
        for (label, outcome), amount in zip(_named(base, contexts), row.tolist(), strict=True):
            if abs(amount) >= NOTABLE:
                changes.setdefault(f"{intent} {label}", {})[outcome] = amount
    return Direction(float(worth), changes)


def _named(base: Scenario, contexts: Contexts) -> list[tuple[str, str]]:
    """Return what each column of a mixture is: a row, without whose it is, and an outcome."""
    asks, signals = ([part.name for part in parts] for parts in (base.asks, base.signals))
    times = len(np.unique(contexts.after[:, 0]))
    labels = [
        f"after {part.name}" + (f", turn {t + 1}" if times > 1 else "")
        for t in range(times)
        for part in base.responses
    ]
    return [
        *((label, ask) for label in ("opens", *labels) for ask in asks),
        *((f"asking {ask}", signal) for ask in asks for signal in signals),
    ]


def _rows(
    base: Scenario,
    wanted: Layout,
    contexts: Contexts,
    mixture: Mixture,
    expected: Float[np.ndarray, "Z D"],
    variance: tuple[Float[np.ndarray, " Z"], Float[np.ndarray, "Z D"]],
) -> tuple[Float[np.ndarray, "K W"], Float[np.ndarray, " K"], Int[np.ndarray, " K"]]:
    """Return expected counts by row, by what to divide them, and whose rows are latent."""
    of_weight, of_rows = variance
    rows, spread = np.zeros_like(wanted.base), np.zeros(len(wanted.base))
    mine = np.zeros(len(wanted.base), np.int64)
    for z, k, begin, row in _places(base, wanted, contexts):
        if k != NO_ROW:
            part = slice(begin, begin + len(row))
            often = np.where(expected[z, part] > NEGLIGIBLE, expected[z, part], 0.0)
            rows[k, : len(row)] += often
            spread[k] += often.sum() ** 2 * of_rows[z, part].sum()
            mine[k] = 1
    if wanted.prior != NO_ROW:
        latent = list(contexts.latent)
        rows[wanted.prior, latent] = mixture.weight * mixture.conversations
        spread[wanted.prior] = mixture.conversations**2 * of_weight.sum()
        mine[wanted.prior] = 1
    n = rows.sum(axis=1)
    share = rows / np.where(n > 0, n, 1.0)[:, None]
    alone = n * (share * (1 - share)).sum(axis=1)
    told = alone > LEAST
    deff = np.where(told, spread / np.where(told, alone, 1.0), 1.0)
    return rows, np.maximum(deff, 1.0), mine


def _check_rows(base: Scenario, wanted: Layout, contexts: Contexts) -> None:
    """Raise `InputError` for channels that latent intents share with others."""
    names = [part.name for part in base.intents]
    faults = [
        f"{row.field}: found {', '.join(names[i] for i in row.intents)} in one channel, expected "
        f"none that are latent ({', '.join(names[i] for i in contexts.latent)}) with others: give "
        f"them channels of their own in {base.name}"
        for row in wanted.rows
        if row.kind == "signal" and 0 < len({*row.intents} - {*contexts.latent}) < len(row.intents)
    ]
    if faults:
        raise InputError(*faults)
