"""Rows of probabilities that a log may tell, and where in a log each is to be found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from csa_games.scenario import Scenario

Kind = Literal["opening", "after", "signal", "prior"]

NO_ROW = -1


@dataclass(frozen=True)
class Row:
    """Probabilities of a scenario, and what of a log they are the frequencies of.

    Opening: first asks. After: what is asked next after `response`, in `turns`. Signal: verdicts on
    `asks`. Prior: intents. All of conversations with `intents`.
    """

    field: str  # where it stands in the file, such as intents.benign.kernel.after.comply
    label: str  # for people
    kind: Kind
    outcomes: tuple[str, ...]
    base: tuple[float, ...]  # what the scenario says, by outcome
    intents: tuple[int, ...]
    turns: tuple[int, ...] = ()
    response: int = NO_ROW
    asks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Rows, and for whatever an event may be the row that it counts for, or `NO_ROW`.

    Turns from the last one of the scenario on count as its last.
    """

    rows: tuple[Row, ...]
    base: Float[np.ndarray, "K W"]  # 0 beyond the outcomes of a row
    opening: Int[np.ndarray, " T"]
    after: Int[np.ndarray, "H T R"]
    signal: Int[np.ndarray, "T B"]
    prior: int
    signals: int  # Y


def layout(scenario: Scenario, rows: Sequence[Row]) -> Layout:
    """Return `rows` of `scenario` with the way from events to them."""
    intents, asks = len(scenario.intents), len(scenario.asks)
    base = np.zeros((len(rows), max((len(row.base) for row in rows), default=1)))
    opening = np.full(intents, NO_ROW)
    after = np.full((scenario.turns, intents, len(scenario.responses)), NO_ROW)
    signal = np.full((intents, asks), NO_ROW)
    prior = NO_ROW
    for k, row in enumerate(rows):
        base[k, : len(row.base)] = row.base
        match row.kind:
            case "opening":
                opening[list(row.intents)] = k
            case "after":
                after[np.ix_(row.turns, row.intents, [row.response])] = k
            case "signal":
                signal[np.ix_(row.intents, row.asks)] = k
            case "prior":
                prior = k
    return Layout(tuple(rows), base, opening, after, signal, prior, len(scenario.signals))
