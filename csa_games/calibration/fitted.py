"""A base scenario with what a log tells in the place of what it assumed.

Rows of probabilities are written with their intervals, ends rounded outwards, so that
`solvers.robust` holds over just what the fit says. A row that was never seen stays what it is. If
the base gives it an interval, that stays as well. If not, and the log does tell other reactions of
the same intent (of signals: other signals), the interval is that of the estimates' prior, nearly
everything: the log was the chance to see what follows, and nobody has. Of an intent that the log
tells nothing of, rows are not in question: they are the base's, as sure as it is of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from csa_games.calibration.channel import channel_rows
from csa_games.calibration.counts import Counts
from csa_games.calibration.estimates import (
    Estimate,
    Estimates,
    design_effect,
    dirichlet,
    estimates,
)
from csa_games.calibration.kernel import kernel_content, kernel_rows
from csa_games.calibration.latent import Told
from csa_games.calibration.mapping import Mapping as Reading
from csa_games.calibration.prior import REFUSAL, prior_row
from csa_games.calibration.rows import NO_ROW, Layout, Row, layout
from csa_games.errors import InputError
from csa_games.intervals import ENDS, End, rows_at
from csa_games.scenario import Scenario, scenario_from
from csa_games.toml_text import toml_text

DIGITS = 6


@dataclass(frozen=True)
class Fitted:
    """A fitted scenario, the estimates in it by row, and what to know before believing them."""

    scenario: Scenario
    rows: tuple[Row, ...]
    estimates: Estimates
    remarks: tuple[str, ...]


def fittable(base: Scenario, reading: Reading) -> Layout:
    """Return the rows of `base` that a log like `reading` may tell."""
    rows = [*kernel_rows(base), *channel_rows(base)]
    if reading.design == "population":
        rows.append(prior_row(base, reading.design))
    return layout(base, rows)


def fit(
    base: Scenario,
    reading: Reading,
    wanted: Layout,
    counts: Counts,
    *,
    level: float = 0.9,
    latent: Told | None = None,
) -> Fitted:
    """Return `base` fitted to closed `counts` of the rows `wanted`.

    Rows of latent intents are those that a mixture has told, where there is one. A row that was
    never seen stays what it is, and so does its source. Raises `InputError` if the log tells
    nothing of any row, or shows users who ask what the base says that they do not.
    """
    if not 0 < level < 1:
        raise InputError(f"found the level {level}, expected a number between 0 and 1, such as 0.9")
    if not counts.conversations.sum():
        raise InputError(f"found no conversation in {reading.name}, expected some")
    _check_asks(base, counts)
    if latent is None:
        found = estimates(_typed(wanted, counts), wanted.base, level)
    else:
        mine = latent.mine > 0
        often = np.where(mine[:, None], _with_typed(wanted, counts, latent), counts.rows)
        deff = np.where(mine, latent.deff, design_effect(counts, level))
        found = dirichlet(often.astype(np.float64), wanted.base, deff, level)
    return _assembled(base, reading, wanted, counts, found, latent)


def _assembled(
    base: Scenario,
    reading: Reading,
    wanted: Layout,
    counts: Counts,
    found: Estimates,
    latent: Told | None,
) -> Fitted:
    """Return `base` with the estimates `found` of the rows `wanted`, and what to say of them."""
    if not found.n.any():
        raise InputError(_nothing_told(base, reading, counts))
    found = _of_base(base, wanted, found)
    seen = {row.field for row, n in zip(wanted.rows, found.n, strict=True) if n > 0}
    tables = {
        row.field: _rounded(row, value)
        for row, value, n in zip(wanted.rows, found.value, found.n, strict=True)
        if n > 0
    }
    low, high = _ends(wanted.rows, tables, found)
    remarks = tuple(_remarks(base, reading, counts, wanted, found, latent))
    content = base.model_dump(mode="json", exclude_none=True)
    content["name"] = f"{base.name.removesuffix('_fitted')[:33]}_fitted"
    content["title"] = f"{base.title.removesuffix(_FITTED)}{_FITTED}"
    content["notes"] = "\n".join([base.notes, *remarks]).strip()
    content["sources"] = {
        **content["sources"],
        reading.name: {"cite": reading.cite, "evidence": "measured"},
    }
    for part in content["intents"]:
        at = f"intents.{part['name']}.kernel"
        mine = [row for row in wanted.rows if row.field.startswith(f"{at}.")]
        if any(row.field in seen for row in mine):
            source = _source(reading, wanted, found, mine, part["kernel"]["source"], at)
            nothing = _emptied(part["kernel"])
            part["kernel"] = {
                **kernel_content(part["kernel"], at, mine, tables),
                "low": kernel_content(nothing, at, mine, low),
                "high": kernel_content(nothing, at, mine, high),
                "source": source,
            }
    for k, part in enumerate(content["channel"]):
        at = f"channel[{k}]"
        if at in seen:
            mine = [row for row in wanted.rows if row.field == at]
            source = _source(reading, wanted, found, mine, part["source"], at)
            part.update(probabilities=tables[at], low=low[at], high=high[at], source=source)
        elif at in low:
            part.update(low=low[at], high=high[at])
    if "priors" in seen:
        _set_priors(content["intents"], reading, wanted, found, tables["priors"])
    scenario = scenario_from(content, content["name"])
    return Fitted(scenario, wanted.rows, found, remarks)


_FITTED = ", fitted to a log"


def fitted_toml(fitted: Fitted) -> str:
    """Return the fitted scenario as the text of a scenario file."""
    return toml_text(fitted.scenario.model_dump(mode="json", exclude_none=True))


def listed(fitted: Fitted) -> dict[str, dict[str, Estimate]]:
    """Return every estimate, by field and outcome; impossible outcomes are left out."""
    found = fitted.estimates
    out: dict[str, dict[str, Estimate]] = {}
    for k, row in enumerate(fitted.rows):
        n = float(found.n[k])
        how = "Dirichlet posterior, clustered" if n > 0 else "the base scenario: never seen"
        out[row.field] = {
            name: Estimate(
                value=float(found.value[k, b]),
                low=float(found.low[k, b]),
                high=float(found.high[k, b]),
                n=n,
                effective=float(found.effective[k]),
                level=found.level,
                how=how,
            )
            for b, name in enumerate(row.outcomes)
            if found.high[k, b] > 0
        }
    return out


def _rounded(row: Row, value: Float[np.ndarray, " W"]) -> dict[str, float]:
    """Return probabilities by outcome, few digits of them, that still sum to 1."""
    units = 10**DIGITS
    whole = np.round(value[: len(row.outcomes)] * units).astype(np.int64)
    whole[whole.argmax()] += units - whole.sum()
    return {
        name: number / units
        for name, number in zip(row.outcomes, whole.tolist(), strict=True)
        if number > 0
    }


def _set_priors(
    intents: list[dict[str, Any]],
    reading: Reading,
    wanted: Layout,
    found: Estimates,
    priors: Mapping[str, float],
) -> None:
    n, k = found.n[wanted.prior], wanted.prior
    source = f"{reading.name}: share of {n:,.0f} conversations, {found.level:.0%} interval"
    for i, part in enumerate(intents):
        value = priors.get(part["name"], 0.0)
        part["prior"] = {
            "value": value,
            "low": min(value, _down(found.low[k, i])),
            "high": max(value, -_down(-found.high[k, i])),
            "source": source,
        }


def _source(
    reading: Reading, wanted: Layout, found: Estimates, rows: Sequence[Row], old: str, at: str
) -> str:
    """Return the source of rows that the log tells, some of them perhaps not."""
    told = [k for k, row in enumerate(wanted.rows) if row in rows and found.n[k] > 0]
    n, effective = found.n[told].sum(), found.effective[told].sum()
    radius = max(_distance(found, k) for k in told)
    text = (
        f"{reading.name}: {n:,.0f} observations (worth {effective:,.0f}), {found.level:.0%} "
        f"intervals within {radius:.3f}"
    )
    unseen = [
        row.field.removeprefix(f"{at}.") for row in rows if wanted.rows.index(row) not in told
    ]
    if unseen:
        text += f"; {', '.join(unseen)} never seen, as before: {old}"
    return text if len(text) <= 400 else text[:399] + "…"


def _distance(found: Estimates, k: int) -> float:
    return float(np.maximum(found.high[k] - found.value[k], found.value[k] - found.low[k]).max())


def _of_base(base: Scenario, wanted: Layout, found: Estimates) -> Estimates:
    """Return `found` with the base's intervals of rows that were never seen, where they stay.

    That is where it has some, and where the log tells nothing of the kind: see the module.
    """
    told = {
        (row.kind == "signal", i)
        for row, n in zip(wanted.rows, found.n, strict=True)
        if n > 0 and row.kind != "prior"
        for i in row.intents
    }
    own = {end: _base_ends(base, end) for end in ENDS}
    low, high = found.low.copy(), found.high.copy()
    for k, row in enumerate(wanted.rows):
        least, most = (own[end][row.field] for end in ENDS)
        chance = row.kind != "prior" and {(row.kind == "signal", i) for i in row.intents} & told
        if found.n[k] == 0 and (least != most or not chance):
            low[k, : len(least)], high[k, : len(most)] = least, most
    return replace(found, low=low, high=high)


def _base_ends(base: Scenario, end: End) -> dict[str, tuple[float, ...]]:
    """Return these ends of the intervals of all rows of the base, by field."""
    there = rows_at(base, end)
    ends = {row.field: row.base for row in (*kernel_rows(there), *channel_rows(there))}
    given = [(getattr(part.prior, end), part.prior.value) for part in base.intents]
    return ends | {"priors": tuple(value if bound is None else bound for bound, value in given)}


def _ends(
    rows: Sequence[Row], tables: Mapping[str, Mapping[str, float]], found: Estimates
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Return the low and the high ends of rows that have intervals, by field and outcome.

    They are rounded outwards, and hold the values of `tables` or, of rows not there, of the base.
    """
    least: dict[str, dict[str, float]] = {}
    most: dict[str, dict[str, float]] = {}
    for k, row in enumerate(rows):
        given = tables.get(row.field, dict(zip(row.outcomes, row.base, strict=True)))
        possible = [b for b in range(len(row.outcomes)) if found.high[k, b] > 0]
        if np.array_equal(found.low[k], found.high[k]):
            continue
        least[row.field], most[row.field] = {}, {}
        for b in possible:
            name = row.outcomes[b]
            value = given.get(name, 0.0)
            least[row.field][name] = min(value, _down(found.low[k, b]))
            most[row.field][name] = max(value, -_down(-found.high[k, b]))
    return least, most


def _down(number: float) -> float:
    """Return the largest number of few digits that is not above `number`."""
    near = round(float(number), DIGITS)
    return near if near <= number else round(near - 10**-DIGITS, DIGITS)


def _emptied(kernel: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a kernel with nothing in its tables."""
    after: dict[str, Any] = {
        response: [{} for _ in rows] if isinstance(rows, list) else {}
        for response, rows in kernel.get("after", {}).items()
    }
    return {"opening": {}, "after": after}


def _typed(wanted: Layout, counts: Counts) -> Counts:
    """Return `counts` without those of the priors, if some conversations have no type.

    Who is left without a type is hardly ever a matter of chance.
    """
    if wanted.prior == NO_ROW or not counts.conversations[-1]:
        return counts
    rows = counts.rows.copy()
    rows[wanted.prior] = 0
    return replace(counts, rows=rows)


def _with_typed(wanted: Layout, counts: Counts, latent: Told) -> Float[np.ndarray, "K W"]:
    """Return the expected counts of a mixture, and in the priors who is of no latent intent."""
    rows = latent.rows.copy()
    if wanted.prior != NO_ROW:
        others = rows[wanted.prior] == 0
        rows[wanted.prior, others] = counts.rows[wanted.prior, others]
    return rows


def _check_asks(base: Scenario, counts: Counts) -> None:
    """Raise `InputError` where users ask what the base scenario says that they do not."""
    faults = []
    for i, intent in enumerate(base.intents):
        asked = counts.reactions[i].sum(axis=(0, 1, 2)) + counts.signals[i].sum(axis=1)
        faults += [
            f"found {asked[b]:,} times {ask.name!r} of the intent {intent.name}, whose asks in "
            f"{base.name} are {', '.join(intent.asks)}: add it there, or map it to another"
            for b, ask in enumerate(base.asks)
            if asked[b] and ask.name not in intent.asks
        ]
    if faults:
        raise InputError(*faults)


def _nothing_told(base: Scenario, reading: Reading, counts: Counts) -> str:
    untyped = int(counts.conversations[-1])
    if untyped == counts.conversations.sum():
        return (
            f"{reading.name}: found no conversation with a type, expected some: name what they may "
            'be in the mapping, latent = ["...", "..."], or map types to intents'
        )
    return (
        f"{reading.name}: found nothing that {base.name} could use: no opening ask or reaction of "
        "an intent with a kernel, and no signal on an ask"
    )


def _remarks(
    base: Scenario,
    reading: Reading,
    counts: Counts,
    wanted: Layout,
    found: Estimates,
    latent: Told | None,
) -> list[str]:
    """Return sentences on what the log tells, and what it does not."""
    total, untyped = int(counts.conversations.sum()), int(counts.conversations[-1])
    said = [f"Fitted to {total:,} conversations of {reading.name}; the rest is of {base.name}."]
    if reading.design in REFUSAL:
        said.append(f"Priors are those of {base.name}: {REFUSAL[reading.design]}.")
    if reading.design == "filtered":
        said.append(
            "Kernels and channels are those of what passed the filter; if signals or reactions had "
            "a part in it, they are not those of all conversations."
        )
    elif untyped and latent is None:
        said.append(f"Priors are those of {base.name}: {untyped:,} conversations have no type.")
    if latent is not None:
        said += _of_mixture(reading, latent)
    elif untyped:
        said.append(f"{untyped:,} conversations have no type, and were not used.")
    unseen = [k for k, row in enumerate(wanted.rows) if found.n[k] == 0 and row.kind != "prior"]
    anything = [wanted.rows[k].label for k in unseen if (found.low[k] < found.high[k]).any()]
    certain = [wanted.rows[k].label for k in unseen if (found.low[k] == found.high[k]).all()]
    flat = [
        row.label
        for row, n, worth in zip(wanted.rows, found.n, found.effective, strict=True)
        if n >= 20 and worth < 1
    ]
    if flat:
        said.append(f"Seen, but what was seen hardly tells: {', '.join(flat)}.")
    if anything:
        said.append(
            "Never seen, and left as they are with the intervals of their prior, in which a robust "
            f"policy expects the worst: {', '.join(anything)}."
        )
    if certain:
        said.append(
            f"Never seen, nor anything of the kind, and as sure as {base.name} is of them: "
            f"{', '.join(certain)}."
        )
    return said


def _of_mixture(reading: Reading, latent: Told) -> list[str]:
    """Return sentences on intents that were told apart without a label."""
    mixture = latent.mixture
    shares = ", ".join(
        f"{name} {share:.3f}" for name, share in zip(reading.latent, mixture.weight, strict=True)
    )
    criteria = ", ".join(
        f"{kinds}: BIC {found.bic:,.0f}, held out {found.held_out:,.0f}"
        for kinds, found in latent.criteria.items()
    )
    said = [
        f"Told apart without labels, by a mixture of {mixture.conversations:,} conversations: "
        f"{shares}."
    ]
    if latent.criteria:
        likely = max(latent.criteria, key=lambda kinds: latent.criteria[kinds].held_out)
        fewer = " Fewer explain held-out ones better." if likely < len(reading.latent) else ""
        said.append(f"Kinds, on part of the conversations: {criteria}.{fewer}")
    if reading.cluster == "group":
        said.append("Intervals of these intents take conversations as independent, not as grouped.")
    if not mixture.converged:
        said.append("The mixture had not settled when its steps were used up.")
    return said
