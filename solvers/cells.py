"""Payoffs at the worst ends of their intervals.

The assistant's payoff on every leaf is increasing in satisfaction and decreasing in risk, severity,
cost and displacement: the weights, the discount and the severities are not negative. What a plan
secures is least for the least payoff on each leaf, since reaches are not negative either. So the
worst case over all these intervals together is at one known corner, whatever the plan.
"""

from collections.abc import Sequence
from typing import Literal, TypeVar

from csa_games.errors import InputError
from csa_games.scenario import Category, Cells, Displacement, Scenario

Group = TypeVar("Group", bound=Cells)


def worst_cells(scenario: Scenario) -> Scenario:
    """Return `scenario` with its payoff cells and severities at the worst ends of their intervals.

    Raises `InputError` where none of them has an interval.
    """
    payoff = scenario.payoff
    worst = scenario.model_copy(
        update={
            "payoff": payoff.model_copy(
                update={
                    "satisfaction": _at(payoff.satisfaction, "low"),
                    "risk": _at(payoff.risk, "high"),
                    "cost": _at(payoff.cost, "high"),
                    "displacement": [_displaced(part) for part in payoff.displacement],
                }
            ),
            "categories": [_severe(part) for part in scenario.categories],
        }
    )
    if worst == scenario:
        raise InputError(
            f"{scenario.name} has no interval in which a payoff could be worse than it is, "
            "expected low ends of satisfaction, or high ends of risk, cost, displacement or "
            "severity"
        )
    return worst


def _at(groups: Sequence[Group], end: Literal["low", "high"]) -> list[Group]:
    return [
        cells.model_copy(update={"values": cells.values | (getattr(cells, end) or {})})
        for cells in groups
    ]


def _displaced(part: Displacement) -> Displacement:
    return part if part.high is None else part.model_copy(update={"value": part.high})


def _severe(part: Category) -> Category:
    if (most := part.severity.high) is None:
        return part
    return part.model_copy(update={"severity": part.severity.model_copy(update={"value": most})})
