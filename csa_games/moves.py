"""A scenario with one of its numbers at an end of its interval, all others as they are.

A probability cannot move alone: the others of its row make room, each in proportion to how far it
is from the end of its own interval, so that the row stays within its intervals and sums to 1. Where
they have not enough room, it moves as far as they let it. Priors without an interval share what the
others leave in the ratios that they have, as they do for the robust solver; probabilities of
kernels and channels without one stay.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float

from csa_games.intervals import ENDS, End
from csa_games.intervals import at as kernel_at
from csa_games.override import override
from csa_games.scenario import Quantity, RiskCells, Scenario
from csa_games.words import join

Number = float | list[float]
"""A number, or one for each turn."""

Change = tuple[Any, Any]
"""What stands at a path, and what stands there at the end of the move: numbers, or a row."""


@dataclass(frozen=True)
class Move:
    """A number of a scenario, and the end of its interval to which it goes.

    `path` is that of `csa_games.override`, and leads to a row where the number is the probability
    of an `outcome`, else to the number itself. `end` is as far as it gets. `changes` has whatever
    changes with it, by path. `label` is for people.
    """

    label: str
    path: str
    outcome: str
    side: End
    value: Number
    end: Number
    changes: Mapping[str, Change]

    @property
    def name(self) -> str:
        """What is moved: the path, and the outcome in a row of probabilities."""
        return f"{self.path}: {self.outcome}" if self.outcome else self.path


def moves(scenario: Scenario) -> tuple[Move, ...]:
    """Return every number of `scenario` with an interval, moved to each end that is not its value.

    Priors, quantities, kernels, channels and payoff cells, in this order.
    """
    return (
        *_prior_moves(scenario),
        *_quantity_moves(scenario),
        *_kernel_moves(scenario),
        *_channel_moves(scenario),
        *_cell_moves(scenario),
    )


def moved(scenario: Scenario, move: Move, share: float = 1.0) -> Scenario:
    """Return `scenario` with a number moved by a `share` of the way to the end, 0 to 1."""
    return override(
        scenario,
        {path: _between(begin, end, share) for path, (begin, end) in move.changes.items()},
    )


def _between(begin: Any, end: Any, share: float) -> Any:
    """Return what is a `share` of the way from `begin` to `end`: exactly there for 0 and 1."""
    if isinstance(begin, Mapping):
        return {name: _between(value, end[name], share) for name, value in begin.items()}
    if isinstance(begin, list) or isinstance(end, list):
        return [
            _between(b, e, share)
            for b, e in zip(_listed(begin, end), _listed(end, begin), strict=True)
        ]
    return (1 - share) * begin + share * end


def _listed(number: Number, other: Number) -> list[float]:
    """Return a number for each turn, of one that may hold for all the turns of the `other`."""
    if isinstance(number, list):
        return number
    assert isinstance(other, list)
    return [number] * len(other)


def row_at(
    value: Float[np.ndarray, " W"],
    low: Float[np.ndarray, " W"],
    high: Float[np.ndarray, " W"],
    outcome: int,
    end: float,
) -> Float[np.ndarray, " W"]:
    """Return the row of probabilities `value` with one `outcome` moved towards `end`.

    The others stay between `low` and `high`, between which they are.
    """
    others = np.arange(len(value)) != outcome
    away = value[outcome] - end  # what the others have to take on
    room = np.where(others, high - value if away > 0 else value - low, 0.0)
    free = room.sum()
    if free <= 0:
        return value
    enough = abs(away) <= free
    taken = np.sign(away) * room * (abs(away) / free if enough else 1.0)
    found = value + taken
    found[outcome] = end if enough else value[outcome] - taken.sum()
    return found


def _row_moves(
    label: str,
    path: str,
    row: Mapping[str, float],
    low: Mapping[str, float],
    high: Mapping[str, float],
) -> Iterator[Move]:
    """Yield the moves of a row whose intervals end at the value where nothing else is said."""
    names = [*row, *(name for name in high if name not in row)]
    value = np.array([row.get(name, 0.0) for name in names])
    ends = {
        side: np.array([given.get(name, p) for name, p in zip(names, value.tolist(), strict=True)])
        for side, given in (("low", low), ("high", high))
    }
    begin = dict(zip(names, value.tolist(), strict=True))
    for b, name in enumerate(names):
        for side in ENDS:
            there = row_at(value, ends["low"], ends["high"], b, float(ends[side][b]))
            if there[b] != value[b]:
                end = dict(zip(names, there.tolist(), strict=True))
                changes = {path: (begin, end)}
                yield Move(f"{label}: {name}", path, name, side, begin[name], end[name], changes)


def _prior_moves(scenario: Scenario) -> Iterator[Move]:
    loose, begin, low, high = {}, {}, {}, {}
    for part in scenario.intents:
        prior = part.prior
        if prior.low is None or prior.high is None:
            loose[part.name] = prior.value
        else:
            begin[part.name], low[part.name], high[part.name] = prior.value, prior.low, prior.high
    rest = sum(loose.values())
    shares = {name: p / rest for name, p in loose.items()} if rest > 0 else {}
    of_rest = [rest] if shares else []
    value = np.array([*begin.values(), *of_rest])
    least = np.array([*low.values(), *(0.0 for _ in of_rest)])
    most = np.array([*high.values(), *(1.0 for _ in of_rest)])
    for b, name in enumerate(begin):
        for side in ENDS:
            to = least[b] if side == "low" else most[b]
            there = row_at(value, least, most, b, float(to))
            if there[b] == value[b]:
                continue
            end = dict(zip(begin, there.tolist(), strict=False))
            end |= {other: float(share * there[-1]) for other, share in shares.items()}
            changes = {f"intents.{who}.prior": ((begin | loose)[who], end[who]) for who in end}
            path = f"intents.{name}.prior"
            yield Move(f"prior of {name}", path, "", side, begin[name], end[name], changes)


def _quantity_moves(scenario: Scenario) -> Iterator[Move]:
    given: list[tuple[str, str, Quantity]] = [
        *((f"weight {name}", f"weights.{name}", part) for name, part in scenario.weights),
        ("discount", "discount", scenario.discount),
        *(
            (f"severity of {part.name}", f"categories.{part.name}.severity", part.severity)
            for part in scenario.categories
        ),
        *(
            (f"rationality of {part.name}", f"intents.{part.name}.rationality", part.rationality)
            for part in scenario.intents
            if part.rationality is not None
        ),
    ]
    for label, path, part in given:
        for side in ENDS:
            yield from _end(label, path, side, part.value, getattr(part, side))


def _end(label: str, path: str, side: End, value: Number, end: Number | None) -> Iterator[Move]:
    if end is not None and end != value:
        yield Move(label, path, "", side, value, end, {path: (value, end)})


def _kernel_moves(scenario: Scenario) -> Iterator[Move]:
    for intent in scenario.intents:
        kernel = intent.kernel
        if kernel is None:
            continue
        at, (low, high) = f"intents.{intent.name}.kernel", (kernel_at(kernel, end) for end in ENDS)
        opens = (kernel.opening, low.opening, high.opening)
        yield from _row_moves(f"{intent.name} opens", f"{at}.opening", *opens)
        last = scenario.turns - 1  # nobody reacts to a response of the last turn
        for response, given in kernel.after.items() if last else ():
            label, path = f"{intent.name} after {response}", f"{at}.after.{response}"
            tables: Any = (given, low.after[response], high.after[response])
            if not isinstance(given, list):
                yield from _row_moves(label, path, *tables)
                continue
            for t, rows in enumerate(islice(zip(*tables, strict=True), last)):
                yield from _row_moves(f"{label}, turn {t + 1}", f"{path}.{t}", *rows)


def _channel_moves(scenario: Scenario) -> Iterator[Move]:
    for k, part in enumerate(scenario.channel):
        label = f"{join(part.intents, 'or')} asking {join(part.asks, 'or')}"
        path = f"channel.{k}.probabilities"
        yield from _row_moves(label, path, part.probabilities, part.low or {}, part.high or {})


def _cell_moves(scenario: Scenario) -> Iterator[Move]:
    for component in ("satisfaction", "risk", "cost"):
        for k, cells in enumerate(getattr(scenario.payoff, component)):
            what = f"{component} ({cells.category})" if isinstance(cells, RiskCells) else component
            who = join(cells.intents or ["anybody"], "or")
            asking = f" asking {join(cells.asks, 'or')}" if cells.asks else ""
            for response, value in cells.values.items():
                path = f"payoff.{component}.{k}.values.{response}"
                for side in ENDS:
                    end = (getattr(cells, side) or {}).get(response)
                    yield from _end(f"{what} of {who}{asking}: {response}", path, side, value, end)
    for k, part in enumerate(scenario.payoff.displacement):
        for side in ENDS:
            label, end = f"displacement of {join(part.intents, 'or')}", getattr(part, side)
            yield from _end(label, f"payoff.displacement.{k}", side, part.value, end)
