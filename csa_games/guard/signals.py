"""Readers: how what a classifier emits becomes one of the scenario's signals, or of its asks.

A reader *quantises*. A classifier's probabilities carry the prior of whatever it was trained on, so
they are never taken for the posterior over intents: they are an observation, cut into the few names
whose rates by intent the scenario's channel holds, and the table does the step of Bayes. Readers
stand in the scenario file, hence in scenario.json, and again in the manifest; the exporter and the
guard read with this one function.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

SCORE, LABEL, CHOICE = "score", "label", "choice"
SIGNAL, ASK = "signal", "ask"


class Reading(NamedTuple):
    """What was read: a name of the scenario, or None and a sentence about what was found."""

    name: str | None
    why: str = ""


@dataclass(frozen=True)
class Reader:
    """How a classifier's answers of one kind become names of the scenario.

    `gives` is "signal" or "ask", and `kind` one of

        score    a number from `least` to `most`; `names[k]` where k of the `edges`, which ascend,
                 are at or below it, so there is one name more than there are edges
        label    a text; `labels` has the name of each
        choice   a probability for each of several labels; the likeliest counts if it has `sure` or
                 more and reads otherwise than none that ties with it, else the name `otherwise`

    `refusal` is what a classifier's refusal to answer reads as; None where it reads as nothing.
    """

    name: str
    gives: str
    kind: str
    edges: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    least: float = 0.0
    most: float = 1.0
    labels: Mapping[str, str] | None = None
    sure: float = 0.0
    otherwise: str | None = None
    refusal: str | None = None


def reader_from(content: Mapping[str, Any]) -> Reader:
    """Return the reader that `content`, an entry of `readers` in scenario.json or a manifest, is.

    Numbers may be texts, as manifests have them. Raises KeyError, TypeError or ValueError when it
    is none.
    """
    kind = content["kind"]

    def number(field: str, otherwise: float) -> float:
        found = content.get(field)
        return otherwise if found is None else float(found)

    return Reader(
        name=content["name"],
        gives=content["gives"],
        kind=kind,
        edges=tuple(map(float, content.get("edges") or ())),
        names=tuple(content.get("names") or ()),
        least=number("least", 0.0),
        most=number("most", 1.0),
        labels=dict(content["labels"]) if kind in (LABEL, CHOICE) else None,
        sure=number("sure", 0.0),
        otherwise=content.get("otherwise"),
        refusal=content.get("refusal"),
    )


def emitted_of(answer: object) -> dict[str, object] | None:
    """Return what a classifier emitted, of its answer to one question of a decisions API.

    Answers of the type choice, predicate (or noul), score and refusal become `probabilities` with
    the `label` chosen, a `score` from 0 to 1, a `score` in levels with the `probabilities` of each,
    and a `refusal`. Probabilities may be a list of {value, probability} or a mapping. Confidences
    are left out: they repeat the probabilities. No answer is None, and what is no such answer is
    empty, which every reader finds malformed.
    """
    if answer is None:
        return None
    if not isinstance(answer, Mapping):
        return {}
    kind = answer.get("type")
    if kind == "refusal":
        return {"refusal": True}
    if kind == "predicate":
        return {"score": answer.get("probability")}
    if kind == "noul":
        return {"score": answer.get("noul")}
    if kind == "score":
        return {"score": answer.get("score"), "probabilities": _shares(answer, "label")}
    if kind == "choice":
        return {
            "label": _label_of(answer.get("choice")),
            "probabilities": _shares(answer, "value"),
        }
    return {}


def answers_of(response: object) -> dict[str, dict[str, object] | None]:
    """Return what was emitted for each question of a response, by the question's name.

    `response` has `answers`, a list of answers with their `name`, or a mapping name -> answer.
    """
    answers = response.get("answers") if isinstance(response, Mapping) else None
    if isinstance(answers, Mapping):
        named = answers.items()
    elif isinstance(answers, list):
        named = [(it.get("name"), it) for it in answers if isinstance(it, Mapping)]  # type: ignore[assignment]
    else:
        return {}
    return {name: emitted_of(answer) for name, answer in named if isinstance(name, str)}


def _shares(answer: Mapping[str, object], name: str) -> object:
    """Return the probabilities of an answer, by label; as they are, if they are no list."""
    shares = answer.get("probabilities")
    if not isinstance(shares, list) or not all(isinstance(share, Mapping) for share in shares):
        return shares
    labels = [_label_of(share.get(name)) for share in shares]
    if not all(isinstance(label, str) for label in labels):
        return shares
    return {label: share.get("probability") for label, share in zip(labels, shares)}  # noqa: B905 - no strict in Python 3.9


def _label_of(value: object) -> object:
    """Return a choice as a label: some choices are true and false."""
    return str(value).lower() if isinstance(value, bool) else value


FIELDS = {
    SCORE: ("edges", "names", "least", "most"),
    LABEL: ("labels",),
    CHOICE: ("labels", "sure", "otherwise"),
}
"""The fields of each kind of reader, beside those that all have."""


def reader_faults(
    readers: Sequence[Mapping[str, Any]], asks: Sequence[str], signals: Sequence[str]
) -> Iterator[str]:
    """Yield a sentence for everything wrong in `readers`, entries as `reader_from` takes them.

    `asks` are those that do not end a conversation: what ends one is no message to be read.
    """
    names = [content["name"] for content in readers]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"readers: found the reader {name!r} {names.count(name)} times, expected it once"
    for content in readers:
        at, kind = f"readers.{content['name']}", content["kind"]
        if kind not in FIELDS:
            yield f"{at}.kind: found {shown(kind)}, expected one of {', '.join(FIELDS)}"
            continue
        needed = {SCORE: ("edges", "names"), LABEL: ("labels",), CHOICE: ("labels", "otherwise")}
        missing = [field for field in needed[kind] if content.get(field) is None]
        for field in missing:
            yield f"{at}.{field}: is missing, expected some for the kind {kind!r}"
        for field in sorted({field for fields in FIELDS.values() for field in fields}):
            if field not in FIELDS[kind] and content.get(field) is not None:
                yield f"{at}.{field}: is given, expected none for the kind {kind!r}"
        if missing:
            continue
        try:
            reader = reader_from(content)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            yield f"{at}: cannot be read as a reader: {type(error).__name__}: {error}"
            continue
        if reader.gives not in (SIGNAL, ASK):
            yield f"{at}.gives: found {shown(reader.gives)}, expected {SIGNAL!r} or {ASK!r}"
            continue
        yield from _numbers(at, reader)
        given = {
            **{f"names[{k}]": name for k, name in enumerate(reader.names)},
            **{f"labels.{label}": name for label, name in (reader.labels or {}).items()},
            "otherwise": reader.otherwise,
            "refusal": reader.refusal,
        }
        known = signals if reader.gives == SIGNAL else asks
        for field, name in given.items():
            if name is not None and name not in known:
                yield (
                    f"{at}.{field}: found the {reader.gives} {shown(name)}, expected one of "
                    f"{', '.join(known)}"
                )


def _numbers(at: str, reader: Reader) -> Iterator[str]:
    edges = reader.edges
    if reader.kind == SCORE:
        if not -math.inf < reader.least < reader.most < math.inf:
            yield (
                f"{at}: found least = {reader.least:g} and most = {reader.most:g}, expected "
                "least < most"
            )
        if not edges or len(reader.names) != len(edges) + 1:
            yield (
                f"{at}.names: found {len(reader.names)} names and {len(edges)} edges, expected an "
                "edge or more, and one name more than edges"
            )
        # Both ends of the range are closed: a score of `most` has a name, and so has `least`.
        ascend = all(low < edge for low, edge in zip((reader.least, *edges), edges))  # noqa: B905
        if not (ascend and all(edge <= reader.most for edge in edges)):
            yield (
                f"{at}.edges: found {list(edges)}, expected numbers that ascend from above "
                f"{reader.least:g} to at most {reader.most:g}"
            )
    if reader.labels is not None and not reader.labels:
        yield f"{at}.labels: found none, expected a name for each label"
    if not 0 <= reader.sure <= 1:
        yield f"{at}.sure: found {reader.sure:g}, expected a number from 0 to 1"


def read(reader: Reader, emitted: object) -> Reading:
    """Return the name that `emitted` reads as, or None and why; any value gives one or the other.

    `emitted` is a mapping with `score`, `label` or `probabilities`, as the reader's kind has it, or
    with a true `refusal`; None stands for a classifier that said nothing. Other fields are left
    alone.
    """
    if emitted is None:
        return Reading(None, "the classifier said nothing")
    if not isinstance(emitted, Mapping):
        return Reading(None, f"{shown(emitted)} was found, expected what a classifier emits")
    refused = emitted.get("refusal")
    if refused is True:
        return Reading(reader.refusal, "" if reader.refusal else "the classifier refused")
    if refused is not None and refused is not False:
        return Reading(None, f"the refusal {shown(refused)} was found, expected true or false")
    return _KINDS[reader.kind](reader, emitted)


def _score(reader: Reader, emitted: Mapping[str, object]) -> Reading:
    score = emitted.get("score")
    number = _number(score, reader.least, reader.most)
    if number is None:
        return Reading(
            None,
            f"the score {shown(score)} was found, expected a number from {reader.least:g} to "
            f"{reader.most:g}",
        )
    return Reading(reader.names[bisect_right(reader.edges, number)])


def _label(reader: Reader, emitted: Mapping[str, object]) -> Reading:
    label, labels = emitted.get("label"), reader.labels or {}
    if type(label) is not str or label not in labels:
        return Reading(
            None, f"the label {shown(label)} was found, expected one of {', '.join(labels)}"
        )
    return Reading(labels[label])


def _choice(reader: Reader, emitted: Mapping[str, object]) -> Reading:
    shares, labels = emitted.get("probabilities"), reader.labels or {}
    if not isinstance(shares, Mapping) or not shares:
        return Reading(
            None, f"the probabilities {shown(shares)} were found, expected one for each label"
        )
    for label, share in shares.items():
        if type(label) is not str or _number(share, 0.0, 1.0) is None:
            return Reading(
                None,
                f"the probability {shown(share)} of {shown(label)} was found, expected a number "
                "from 0 to 1",
            )
    most = max(shares.values())
    top = sorted(label for label, share in shares.items() if share == most)
    unknown = [label for label in top if label not in labels]
    if unknown:
        return Reading(
            None,
            f"the likeliest label {shown(unknown[0])} was found, expected one of "
            f"{', '.join(labels)}",
        )
    names = {labels[label] for label in top}
    # The order in which probabilities come must not matter, so a tie between names is no choice.
    sure = most >= reader.sure and len(names) == 1
    return Reading(names.pop() if sure else reader.otherwise)


_KINDS = {SCORE: _score, LABEL: _label, CHOICE: _choice}
KINDS = tuple(_KINDS)
"""Every kind of reader."""


def shown(value: object) -> str:
    """Return what was found, in a few characters, whatever it is."""
    if value is None:
        return "(nothing)"
    if isinstance(value, str):
        return repr(value[:40])
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() < 100):
        return repr(value)
    return f"of type {type(value).__name__}"


def _number(value: object, least: float, most: float) -> float | None:
    """Return a number from `least` to `most`, None for anything else; NaN is in no interval."""
    # True is an int, and counts as no number here.
    if type(value) is float or type(value) is int:
        return float(value) if least <= value <= most else None
    return None
