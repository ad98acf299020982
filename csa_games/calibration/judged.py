"""Rows of a fitted scenario whose labels are a judge's, corrected for its known mistakes.

A judge that labelled the log was tried on things of known labels, which gave counts of what it said
of what. A row whose *outcomes* it labelled is then a mixture of its rows, and `confusion` tells the
mixture: openings and reactions where it labelled asks, and priors where it labelled types. That is
sound if its mistakes depend on the true label alone, not on the intent, the response or the turn.

Where a judged label is what a row is *given*, rows of several true labels are mixed in it, and no
row can be corrected by itself: kernels of a judged type or strategy and channels of a judged ask
stay as they are, which is said.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Int

from csa_games.calibration.confusion import deconvolved
from csa_games.calibration.estimates import Estimates, prior_of
from csa_games.calibration.mapping import Mapping as Reading
from csa_games.calibration.rows import Layout, Row
from csa_games.errors import InputError
from csa_games.scenario import Scenario

SURE = 10**12  # times that a judge was right about who left, which needs no judge


@dataclass(frozen=True)
class Corrected:
    """Estimates of which those of judged outcomes are corrected; `naive` are the others' shares.

    `naive` is by field and outcome, of corrected rows alone; `said` are sentences.
    """

    estimates: Estimates
    naive: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    said: tuple[str, ...] = ()


def corrected(
    base: Scenario,
    reading: Reading,
    wanted: Layout,
    found: Estimates,
    draw: np.random.Generator,
) -> Corrected:
    """Return the estimates `found` of rows `wanted`, corrected for the judge that `reading` names.

    A row that was never seen stays as it is. Raises `InputError` for names that `base` has not, for
    labels that the judge was never tried on, and for what it said of nothing that may be.
    """
    judge = reading.judge
    if judge is None:
        return Corrected(found)
    asks, types = confusion(base, reading)
    values = {name: getattr(found, name).copy() for name in ("value", "low", "high")}
    naive: dict[str, dict[str, float]] = {}
    prior = prior_of(wanted.base)
    for k, row in enumerate(wanted.rows):
        said_of = types if row.kind == "prior" else None if row.kind == "signal" else asks
        if said_of is None or found.n[k] == 0:
            continue
        width = len(row.outcomes)
        # What was seen, each sighting worth what clusters leave of it.
        alpha = found.value[k, :width] * (found.effective[k] + prior[k].sum())
        seen = np.maximum(alpha - prior[k, :width], 0.0)
        seen = np.where(seen > 1e-9 * seen.sum(), seen, 0.0)
        true = _possible(base, row, seen > 0, said_of)
        untried = [row.outcomes[i] for i in true if not said_of[i].any()]
        if untried:
            kind = "types" if row.kind == "prior" else "asks"
            raise InputError(
                f"judge.{kind}: found nothing that was said of {untried[0]!r}, which {row.label} "
                "may be, expected how often the judge said what of it"
            )
        shares = deconvolved(seen, said_of[true], draw, level=found.level)
        for name, numbers in values.items():
            numbers[k] = 0.0
            numbers[k, true] = getattr(shares, name)
        naive[row.field] = dict(zip(row.outcomes, shares.naive.tolist(), strict=True))
    return Corrected(replace(found, **values), naive, tuple(_said(reading, naive)))


def confusion(
    base: Scenario, reading: Reading
) -> tuple[Int[np.ndarray, "B B"] | None, Int[np.ndarray, "T T"] | None]:
    """Return how often the judge of `reading` said what of asks, and of types; None if neither.

    Who ends a conversation is seen by everybody: of asks that do, nothing need be said.
    """
    judge = reading.judge
    assert judge is not None
    ends = [part.ends is not None for part in base.asks]
    asks = _table("asks", judge.asks, [part.name for part in base.asks])
    if asks is not None:
        sure = np.flatnonzero(np.array(ends) & ~asks.any(axis=1))
        asks[sure, sure] = SURE
    return asks, _table("types", judge.types, [part.name for part in base.intents])


def _table(
    kind: str, given: Mapping[str, Mapping[str, int]] | None, names: list[str]
) -> Int[np.ndarray, "L L"] | None:
    if not given:
        return None
    for name in [*given, *(name for row in given.values() for name in row)]:
        if name not in names:
            raise InputError(f"judge.{kind}: found {name!r}, expected one of {', '.join(names)}")
    return np.array([[given.get(true, {}).get(said, 0) for said in names] for true in names])


def _possible(
    base: Scenario, row: Row, seen: np.ndarray, said_of: Int[np.ndarray, "L L"]
) -> Int[np.ndarray, " P"]:
    """Return the true labels that a row may have.

    They are those that the base deems possible, and what was seen though it is said of none of
    them, if the intent may ask it.
    """
    may = np.zeros(len(row.outcomes), bool)
    may[: len(row.base)] = np.array(row.base) > 0
    unexplained = seen & ~(said_of[may] > 0).any(axis=0)
    if row.kind != "prior":
        whose = base.intents[row.intents[0]]
        for name in (row.outcomes[j] for j in np.flatnonzero(unexplained)):
            if name not in whose.asks:
                raise InputError(
                    f"judge.asks: {row.label}: found {name!r} in the log, which the judge says of "
                    f"nothing that {whose.name} may ask; expected a mistake that it is known to "
                    "make"
                )
    return np.flatnonzero(may | unexplained)


def _said(reading: Reading, naive: Mapping[str, object]) -> list[str]:
    """Return sentences on what was corrected, and what could not be."""
    judge = reading.judge
    assert judge is not None
    said = []
    if judge.asks:
        said += [
            "Openings and reactions are corrected for the judge's mistakes about asks, which are "
            "taken to depend on the ask alone. Channels are of asks as they were judged."
        ]
    if judge.types and "priors" in naive:
        said.append("Priors are corrected for the judge's mistakes about types.")
    if judge.types:
        said.append(
            "Kernels and channels are of types as they were judged: mistakes about types mix them, "
            "and are not corrected there."
        )
    return said
