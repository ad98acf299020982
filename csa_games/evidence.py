"""Which numbers of a scenario were measured, which derived, and which are assumptions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from csa_games.scenario import Evidence, Scenario, citation_key, evidence


@dataclass(frozen=True)
class Sourced:
    """Some numbers of a scenario with one source: which field, how many, what the source says."""

    field: str
    numbers: int
    evidence: Evidence
    source: str


def sourced(scenario: Scenario) -> tuple[Sourced, ...]:
    """Return every group of numbers that names a source, in the order of the file.

    Bounds of an interval are not counted beside the number they belong to. The evidence is that of
    the source named first; what stands after its colon may narrow it.
    """
    groups = _groups(scenario.model_dump(mode="json", exclude_none=True), "")
    return tuple(
        Sourced(field, count, evidence(scenario, source), source) for field, count, source in groups
    )


def totals(groups: tuple[Sourced, ...]) -> dict[Evidence, int]:
    """Return how many numbers are measured, derived and assumed."""
    kinds: tuple[Evidence, ...] = ("measured", "derived", "assumption")
    return {kind: sum(g.numbers for g in groups if g.evidence == kind) for kind in kinds}


def cited(scenario: Scenario, groups: tuple[Sourced, ...]) -> dict[str, str]:
    """Return the citations in use, key -> what to look up."""
    used = {citation_key(group.source) for group in groups}
    return {key: it.cite for key, it in scenario.sources.items() if key in used}


def _groups(part: Any, field: str) -> Iterator[tuple[str, int, str]]:
    if isinstance(part, list):
        for k, entry in enumerate(part):
            yield from _groups(entry, f"{field}[{_label(entry, k)}]")
    elif isinstance(part, dict):
        if isinstance(part.get("source"), str):
            yield (
                field,
                _count({k: v for k, v in part.items() if k not in ("low", "high")}),
                part["source"],
            )
        for name, entry in part.items():
            yield from _groups(entry, f"{field}.{name}" if field else name)


def _label(entry: Any, k: int) -> str:
    if not isinstance(entry, Mapping):
        return str(k)
    covers = [", ".join(entry[axis]) for axis in ("intents", "asks") if axis in entry]
    return str(entry.get("name", "; ".join(covers) or k))


def _count(part: Any) -> int:
    """Return how many numbers are in `part`, those with a source of their own left out."""
    if isinstance(part, bool):
        return 0
    if isinstance(part, int | float):
        return 1
    if isinstance(part, list):
        return sum(map(_count, part))
    if isinstance(part, dict):
        return sum(_count(v) for v in part.values() if not (isinstance(v, dict) and "source" in v))
    return 0
