"""CARD.md: what a bundle is and what it promises, for people. Made from the other files alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from csa_games.guard.bundle import terms_of
from csa_games.guard.explain import shares_in_words
from csa_games.guard.keys import Turn, state_key
from csa_games.guard.plays import (
    COARSE,
    DEVIATION,
    NOISE,
    REFINED,
    TRUSTED,
)
from csa_games.guard.store import Store

EVIDENCE = ("measured", "derived", "assumption")


def card(manifest: Mapping[str, Any], scenario: Mapping[str, Any], store: Store) -> str:
    """Return the card of a bundle; of the manifest it takes all but the list of files."""
    solution, served, rows = manifest["solution"], manifest["served"], manifest["rows"]
    front = {
        "name": manifest["name"],
        "title": scenario["title"],
        "sequence": manifest["sequence"],
        "class": solution["class"],
        "method": solution["method"],
        "nash_conv": float(solution["nash_conv"]),
        "rows": sum(rows[kind] for kind in (TRUSTED, REFINED, NOISE, DEVIATION)),
        "digest": rows["digest"],
    }
    return "\n".join(
        [
            "---",
            *(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in front.items()),
            "---",
            "",
            f"# {scenario['title']}",
            "",
            scenario["question"],
            "",
            "A response policy for `csa_games.guard`: for each state of a conversation, which "
            "responses an assistant should choose from, and with what probability. Exported from "
            f"the scenario `{manifest['name']}`: {manifest['turns']} turns, "
            f"{len(manifest['intents'])} kinds of user, {len(manifest['actions'])} responses. "
            "This page is generated; `manifest.json` is what counts.",
            "",
            "## Certificate",
            "",
            "| policy | value to the assistant | to the user | the user could gain | "
            "the assistant could gain |",
            "|---|---|---|---|---|",
            _line("as solved", solution),
            _line("as the guard serves it, ladder included", served),
            "",
            f"By {solution['method']}, {solution['steps']} steps, which ended with the status "
            f"{solution['status']!r}. In payoff units per conversation.",
            "",
            *_guarantee(manifest),
            "",
            "It all rests on the scenario: on its priors, on how it says users react, on what the "
            "classifier sees, and on what outcomes are worth.",
            "",
            "## Rows",
            "",
            f"- {rows[TRUSTED]} trusted.",
            *_refined(manifest),
            f"- {rows[NOISE]} noise: the policy's own play leads there with a probability below "
            f"{manifest['trust']['own_reach']}, and they are not refined. The guard takes the "
            f"ladder instead: {_ladder(manifest)}.",
            f"- {rows[DEVIATION]} that only a deviating user reaches: less than "
            f"{manifest['trust']['deviation']} of what users could bring about there comes by the "
            "policy of the solution. They stand, because the gap was measured with them.",
            f"- {rows[COARSE]} coarser rows.",
            "",
            "## First turn",
            "",
            "| ask | signal | how often | responses | user | margin |",
            "|---|---|---|---|---|---|",
            *_first_turn(manifest, store),
            "",
            "How often is per conversation; the margin is how far the best response is above the "
            "second best.",
            "",
            "## Where the numbers come from",
            "",
            *_sources(scenario),
            "",
        ]
    )


def _line(name: str, part: Mapping[str, Any]) -> str:
    cells = (part["value"][1], part["value"][0], *part["gap"])
    return f"| {name} | " + " | ".join(f"{float(cell):.6g}" for cell in cells) + " |"


def _guarantee(manifest: Mapping[str, Any]) -> Iterator[str]:
    served = manifest["served"]
    gain, value = float(served["gap"][0]), float(served["value"][1])
    if manifest["solution"]["class"] == "security":
        yield (
            "Security class: nobody but adversarial users decides, so the game is zero-sum. "
            f"Whatever they do, the assistant's expected payoff is at least {value - gain:.12g} "
            f"({value:.6g} less what the user could gain), and no policy can promise more than "
            f"{float(manifest['solution']['gap'][1]):.2g} above the value as solved."
        )
    else:
        yield (
            "General-sum: the gaps are measured, and nothing else is promised. If the user plays "
            "its part of the solution, the assistant could gain no more than its gap by another "
            "policy; if the assistant does, a user could gain no more than the user's. What a "
            "user who plays differently does to the assistant is not bounded here."
        )


def _refined(manifest: Mapping[str, Any]) -> Iterator[str]:
    trust = manifest["trust"]
    if float(trust["epsilon"]) == 0:
        yield "- 0 refined: the policy was not solved, nor examined, for play by trembling hands."
    else:
        yield (
            f"- {manifest['rows'][REFINED]} refined: play of the solution does not lead there, but "
            f"should it by hands that tremble with a probability of {trust['epsilon']}, the row "
            f"gives away at most {trust['loss']} of what is at stake. The guard serves them."
        )


def _ladder(manifest: Mapping[str, Any]) -> str:
    rungs = [f"by {' and '.join(rung)}" for rung in manifest["fallback"]["rungs"]]
    return ", then ".join([*rungs, f"the constant response {manifest['fallback']['response']}"])


def _first_turn(manifest: Mapping[str, Any], store: Store) -> Iterator[str]:
    terms = terms_of(manifest)
    for ask in terms.asks:
        for signal in terms.signals:
            row = store.get(state_key([Turn(ask, signal)]))
            if row is not None:
                yield (
                    f"| {ask} | {signal} | {row.reach:.3g} | "
                    f"{shares_in_words(terms.responses, row.probabilities)} | "
                    f"{shares_in_words(terms.intents, row.posterior)} | "
                    f"{'–' if row.margin is None else format(row.margin, '.3g')} |"
                )


def _sources(scenario: Mapping[str, Any]) -> Iterator[str]:
    """Yield the places of all numbers, by what stands behind them."""
    places: dict[str, list[str]] = {}
    for place, source in _places("", scenario):
        key = source.split(":", 1)[0].strip()
        places.setdefault(key, []).append(place)
    kinds = {key: cited["evidence"] for key, cited in scenario["sources"].items()}
    for evidence in EVIDENCE:
        keys = [key for key in places if kinds.get(key, "assumption") == evidence]
        count = sum(len(places[key]) for key in keys)
        yield f"- {evidence}: {count} {'place' if count == 1 else 'places'}"
        for key in keys:
            cite = scenario["sources"].get(key, {}).get("cite", "")
            yield f"    - {', '.join(places[key])}" + (f" ({cite})" if cite else "")


def _places(where: str, part: Any) -> Iterator[tuple[str, str]]:
    """Yield (field, source) for everything below `part` that has a source."""
    if isinstance(part, Mapping):
        if isinstance(part.get("source"), str):
            yield where, part["source"]
        for name, below in part.items():
            yield from _places(f"{where}.{name}" if where else name, below)
    elif isinstance(part, list):
        for k, below in enumerate(part):
            name = below.get("name") if isinstance(below, Mapping) else None
            yield from _places(f"{where}.{name}" if name else f"{where}[{k}]", below)
