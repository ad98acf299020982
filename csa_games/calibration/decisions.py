"""The turns of a log at which the assistant answered, with what was known before and came after.

What was known is the ask, the signal, the response before, the turn, the type where it is labelled,
the group, and whatever the log lists as covariates of the conversation or of the event (an event's
own go before those of its conversation). All turns are in memory at once, as `effect` needs them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from csa_games.calibration.check import sound
from csa_games.calibration.codes import NOT_RECORDED, Coder, Codes, joined
from csa_games.calibration.log import Conversation, Progress
from csa_games.errors import InputError
from csa_games.scenario import Scenario

KNOWN = ("turn", "ask", "signal", "before", "type", "group")
"""Covariates of every log; `before` is the response of the turn before."""

MOST_LABELS = 200  # of a covariate: each becomes a column

Given = Mapping[str, bool | float | str]


@dataclass(frozen=True)
class Decisions:
    """Turns at which the assistant answered, D of them; `NOT_RECORDED` where a log says nothing."""

    response: Int[np.ndarray, " D"]
    reaction: Int[np.ndarray, " D"]
    following: Int[np.ndarray, " D"]  # the response of the next turn
    outcome: Float[np.ndarray, " D"]  # of the conversation; nan where there is none
    cluster: Shaped[np.ndarray, " D"]  # the id of the conversation, or its group
    covariates: Mapping[str, Shaped[np.ndarray, " D"]]
    """Labels, "" where not recorded, or numbers, nan where not recorded."""


def decisions(
    paths: Sequence[Path | str],
    coder: Coder,
    scenario: Scenario,
    *,
    outcome: str | None = None,
    progress: Progress | None = None,
) -> Decisions:
    """Return the turns of the logs at `paths`, coded by `coder` with the names of `scenario`.

    `outcome` is the entry of the conversations' outcome to take; if an outcome is a number itself
    it goes by "outcome". Conversations of the same id count as one cluster. Raises `InputError`
    with the faults of the logs.
    """
    return _joined(
        [
            _taken(part, codes, coder, scenario, outcome)
            for part, codes in sound(paths, coder, progress)
        ]
    )


def matrix(
    covariates: Mapping[str, Shaped[np.ndarray, " D"]], names: Sequence[str]
) -> tuple[Float[np.ndarray, "D P"], tuple[str, ...]]:
    """Return the covariates `names` as columns, and what each column is.

    A label has a column of zeros and ones for each of its values. Numbers have mean 0 and standard
    deviation 1; where one was not recorded it is 0, and a column of its own says so. Columns that
    never vary are left out. Raises `InputError` for names that are not there, and for labels with
    more than `MOST_LABELS` values.
    """
    if unknown := [name for name in names if name not in covariates]:
        raise InputError(
            f"found no covariate {', '.join(map(repr, unknown))} in the log, expected some of "
            f"{', '.join(covariates)}"
        )
    columns: dict[str, Float[np.ndarray, " D"]] = {}
    for name in names:
        values = covariates[name]
        if values.dtype != object:
            known = np.isfinite(values)
            spread = float(values[known].std()) if known.any() else 0.0
            if spread > 0:
                columns[name] = np.where(known, (values - values[known].mean()) / spread, 0.0)
            columns[f"{name} not recorded"] = (~known).astype(np.float64)
            continue
        labels, number = np.unique(values, return_inverse=True)
        if len(labels) > MOST_LABELS:
            raise InputError(
                f"{name}: found {len(labels):,} labels, expected at most {MOST_LABELS} of a "
                "covariate; leave it out, or name coarser ones"
            )
        for k, label in enumerate(labels.tolist()):
            columns[f"{name} {label or 'not recorded'}"] = (number == k).astype(np.float64)
    varying = {name: column for name, column in columns.items() if np.ptp(column) > 0}
    count = len(next(iter(covariates.values())))
    stacked = np.stack(list(varying.values()), axis=1) if varying else np.zeros((count, 0))
    return stacked, tuple(varying)


@dataclass(frozen=True)
class _Part:
    """What `Decisions` holds, of a piece of a log; the log's own covariates turn by turn."""

    numbers: tuple[Shaped[np.ndarray, " D"], ...]  # response, reaction, following, outcome, cluster
    known: tuple[Shaped[np.ndarray, " D"], ...]  # in the order of `KNOWN`
    given: list[Given]


def _taken(
    part: Sequence[Conversation],
    codes: Codes,
    coder: Coder,
    scenario: Scenario,
    outcome: str | None,
) -> _Part:
    time = [NOT_RECORDED if event.t is None else event.t for one in part for event in one.events]
    follows = joined(codes.conversation, np.array(time, np.int64))
    nothing = np.array([NOT_RECORDED])
    following = np.append(np.where(follows, codes.response[1:], NOT_RECORDED), nothing)
    before = np.append(nothing, np.where(follows, codes.response[:-1], NOT_RECORDED))
    at = np.flatnonzero(codes.response >= 0)
    of = codes.conversation[at]

    def named(parts: Iterable[Any], numbers: Int[np.ndarray, " C"]) -> Shaped[np.ndarray, " C"]:
        # NOT_RECORDED is the last name.
        return np.array([*(part.name for part in parts), ""], object)[numbers]

    group = np.array([one.group or "" for one in part], object)
    own = np.array([one.id for one in part], object)
    came = np.array([_number(one.outcome, outcome) for one in part], np.float64)
    own_given = [one.covariates or {} for one in part]
    event_given = [event.covariates for one in part for event in one.events]
    given = [
        {**own_given[c], **more} if (more := event_given[k]) else own_given[c]
        for k, c in zip(at.tolist(), of.tolist(), strict=True)
    ]
    return _Part(
        (
            codes.response[at],
            codes.reaction[at],
            following[at],
            came[of],
            (group if coder.by_group else own)[of],
        ),
        (
            codes.turn[at].astype(str).astype(object),
            named(scenario.asks, codes.ask[at]),
            named(scenario.signals, codes.signal[at]),
            named(scenario.responses, before[at]),
            named(scenario.intents, codes.intent[of]),
            group[of],
        ),
        given,
    )


def _number(found: Any, entry: str | None) -> float:
    """Return the entry of an outcome as a number, nan where it is none."""
    if isinstance(found, dict):
        found = found.get(entry)
    elif entry != "outcome":
        return float("nan")
    return float(found) if isinstance(found, int | float) else float("nan")


def _joined(parts: Sequence[_Part]) -> Decisions:
    numbers = [np.concatenate(column) for column in zip(*(p.numbers for p in parts), strict=True)]
    known = [np.concatenate(column) for column in zip(*(p.known for p in parts), strict=True)]
    given = [one for part in parts for one in part.given]
    names = sorted({name for one in {id(one): one for one in given}.values() for name in one})
    if taken := [name for name in names if name in KNOWN]:
        raise InputError(
            f"covariates: found {', '.join(map(repr, taken))}, expected other names: every log "
            f"has {', '.join(KNOWN)}"
        )
    columns = {name: _column([one.get(name) for one in given]) for name in names}
    response, reaction, following, outcome, cluster = numbers
    return Decisions(
        response,
        reaction,
        following,
        outcome,
        cluster,
        {**dict(zip(KNOWN, known, strict=True)), **columns},
    )


def _column(values: Sequence[bool | float | str | None]) -> Shaped[np.ndarray, " D"]:
    """Return numbers if all that was recorded are, else labels."""
    if any(isinstance(value, str) for value in values):
        labels = [value if isinstance(value, str) else _label(value) for value in values]
        return np.array(labels, object)
    return np.array([np.nan if value is None else float(value) for value in values])


def _label(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
