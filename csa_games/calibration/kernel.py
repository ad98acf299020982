"""Kernels: how users who do not optimise open a conversation, and how they react.

A kernel knows of the past the last response and, where the base scenario lists a table for each
turn, the turn. So its rows are frequencies of asks among the reactions to a response. What the
assistant did depends on what it saw, not on what the user is going to do: given intent, turn and
response it may be left out of the likelihood (Rubin 1976, ignorability).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from csa_games.calibration.rows import Row
from csa_games.scenario import Scenario


def kernel_rows(scenario: Scenario) -> list[Row]:
    """Return the rows of all kernels, one for each table of probabilities in the file.

    Tables for turns that the conversation does not have are left out.
    """
    asks = tuple(ask.name for ask in scenario.asks)
    number = {response.name: r for r, response in enumerate(scenario.responses)}
    last = scenario.turns - 1
    rows = []
    for i, intent in enumerate(scenario.intents):
        if intent.kernel is None:
            continue
        at, who = f"intents.{intent.name}.kernel", (i,)
        opening = tuple(intent.kernel.opening.get(ask, 0.0) for ask in asks)
        rows.append(Row(f"{at}.opening", f"{intent.name} opens", "opening", asks, opening, who))
        for response, given in intent.kernel.after.items():
            by_turn = isinstance(given, list)
            tables = given[:last] if isinstance(given, list) else [given]
            for t, table in enumerate(tables):
                field = f"{at}.after.{response}" + (f"[{t}]" if by_turn else "")
                label = f"{intent.name} after {response}" + (f", turn {t + 1}" if by_turn else "")
                base = tuple(table.get(ask, 0.0) for ask in asks)
                turns = (t,) if by_turn else tuple(range(scenario.turns))
                rows.append(Row(field, label, "after", asks, base, who, turns, number[response]))
    return rows


def kernel_content(
    old: Mapping[str, Any], at: str, rows: Sequence[Row], fitted: Mapping[str, dict[str, float]]
) -> dict[str, Any]:
    """Return the kernel `old` (its content) at field `at` with the tables of `fitted`, by field."""
    after: dict[str, Any] = {}
    for response, given in old.get("after", {}).items():
        field = f"{at}.after.{response}"
        if isinstance(given, list):
            after[response] = [fitted.get(f"{field}[{t}]", table) for t, table in enumerate(given)]
        else:
            after[response] = fitted.get(field, given)
    return {**old, "opening": fitted.get(f"{at}.opening", old["opening"]), "after": after}
