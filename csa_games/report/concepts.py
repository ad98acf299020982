"""What a method found beyond value and gap, in sentences: what is guaranteed, what only measured.

A sentence is under "guaranteed" if it holds inside the model whatever the users that it speaks of
do, by an argument and up to rounding; under "measured" if it is a fact about this policy, or a
comparison with what a search found, which says nothing about what was not found.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np

from csa_games.evaluate import infoset_reach
from csa_games.findings import Budgeted, Commitment, QuantalResponse, Refinement, Robustness
from csa_games.game import ASSISTANT, Game, Solution
from csa_games.table import LEAST_OWN_REACH, MOST_LOSS
from csa_games.words import decimal, join, number, percent

DIGITS = 4


@dataclass(frozen=True)
class Concept:
    """What is said about a finding; `table` is a caption, headings and rows, or nothing."""

    title: str
    guaranteed: tuple[str, ...] = ()
    measured: tuple[str, ...] = ()
    table: tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]] | None = None


def concepts(game: Game, solution: Solution) -> tuple[Concept, ...]:
    """Return what `solution` reports beyond value and gap."""
    return tuple(
        say(game, solution, finding)
        for name, say in SAID.items()
        if (finding := getattr(solution, name)) is not None
    )


def _commitment(game: Game, solution: Solution, found: Commitment) -> Concept:
    leader, others = game.names.players[found.leader], game.names.players[1 - found.leader]
    return Concept(
        "As a commitment",
        (
            f"{leader} commits, and {others} knows the policy and reacts. If ties between equally "
            f"good reactions are broken against {leader}, the policy is worth {_down(found.weak)}; "
            f"if they are broken for it, {_down(found.strong)}.",
            f"No policy is worth more than {_up(found.bound)} ({found.bound_by}): at most "
            f"{number(found.optimality_gap)} is left to gain.",
            f"No pure policy is worth more than {_up(found.pure_bound)}.",
        ),
        (
            f"Committing is worth {number(found.value_of_commitment)} more than the policies it is "
            f"compared with, which pay {number(found.equilibrium)} at a NashConv of "
            f"{number(found.equilibrium_gap)}; other equilibria may pay more or less.",
            f"Mixing is worth {number(found.value_of_randomisation)} more than the best pure "
            f"policy that was found, {number(found.pure)}.",
        ),
    )


def _quantal(game: Game, solution: Solution, found: QuantalResponse) -> Concept:
    asked = (
        ""
        if found.reached == found.rationality
        else f", not the {number(found.rationality)} that was asked for"
    )
    return Concept(
        "As a quantal response equilibrium",
        (),
        (
            f"Everybody who chooses makes mistakes, the costlier the rarer: the logit response "
            f"with a rationality of {number(found.reached)} in 1/payoff{asked}.",
            f"Logarithms of probabilities are within {number(found.residual)} of the logit "
            "response to the policy itself. Users of another rationality do something else.",
        ),
    )


def _budgeted(game: Game, solution: Solution, found: Budgeted) -> Concept:
    rows = tuple(
        (
            f"{one.measure} {'≤' if one.side == '<=' else '≥'} {number(one.bound)}",
            number(one.level),
            number(max(one.slack, 0.0)),
            number(one.price),
        )
        for one in found.budgets
    )
    table = (
        "The budgets: the worst that adversarial users can make of each, and its shadow price",
        ("budget", "at the worst", "slack", f"price, in {found.objective}"),
        rows,
    )
    return Concept(
        "Within budgets",
        (
            f"Whatever adversarial users do, every budget is kept and {found.objective} is at "
            f"least {number(found.value)}. No policy that keeps to all of the budgets guarantees "
            "more.",
        ),
        (
            f"A price is what {found.objective} gains for one more unit of its budget, and holds "
            "for small changes; a budget with slack costs nothing.",
            "The gap above is measured as if there were no budgets: up to that much could be "
            "gained without them.",
        )
        if rows
        else (),
        table if rows else None,
    )


def _robustness(game: Game, solution: Solution, found: Robustness) -> Concept:
    doubted = list(dict.fromkeys([*found.worst_kernels, *found.worst_channels]))
    worst = [join([f"{name} {percent(p)}" for name, p in found.worst_prior.items()])]
    if found.worst_weights:
        worst.append(join([f"{name} {number(w)}" for name, w in found.worst_weights.items()]))
    if doubted:
        worst.append(f"other reactions or signals of {join(doubted)}, which are kept with the run")
    allowed = f" ({'; '.join(found.doubts)})" if found.doubts else ""
    bound = (
        f"Reactions and signals were in doubt as well, so that {_down(found.value)} is a lower "
        f"bound; in the worst case that was found the policy gets {number(found.found)}, and the "
        "truth lies between the two."
    )
    return Concept(
        "If the scenario's numbers are off",
        (
            f"Over all that was allowed for{allowed}, the assistant expects at least "
            f"{_down(found.value)}, "
            f"and no policy can raise that{_beyond(found)}. The worst case"
            f"{' that was found' if doubted else ''} is {'; '.join(worst)}.",
            f"If the scenario is right as it is, the policy guarantees {_down(found.nominal)}, "
            f"where {number(found.optimum)} was possible: the price of robustness is "
            f"{number(found.price)}.",
        ),
        (bound,) if doubted else (),
    )


def _beyond(found: Robustness) -> str:
    """Return by how much more than what is guaranteed could be, where that is not nothing."""
    return f" above {_up(found.value + found.gap)}" if found.gap > 0 else ""


def _refinement(game: Game, solution: Solution, found: Refinement) -> Concept:
    gains = [
        f"{name} {number(float(gap))}"
        for name, gap in zip(game.names.players, found.gap, strict=True)
    ]
    rows = tuple(_losses(game, solution, found))
    return Concept(
        "Off the path",
        (),
        (
            f"If all hands tremble, with a random action in {percent(found.epsilon)} of the "
            f"decisions, play gets everywhere. A better intention from the start would then gain "
            f"{join(gains)}; a better one from some information set on, at most "
            f"{number(found.worst)} there.",
            f"A row is counted as good if it gives away at most {percent(MOST_LOSS)} of what is "
            "at stake in it; it is off the path if the policy's own choices lead there with a "
            f"probability below {number(LEAST_OWN_REACH)}.",
        ),
        (
            "What rows give away when hands tremble",
            ("rows", "how many", "good", "median loss", "worst loss"),
            rows,
        ),
    )


def _losses(game: Game, solution: Solution, found: Refinement) -> Iterator[tuple[str, ...]]:
    """Yield a line for the rows on the path of each player's policy, and one for the others."""
    players = (ASSISTANT,) if game.scenario is not None else (0, 1)
    for player in players:
        own, _ = infoset_reach(game, player, solution.policy)
        loss, stake = found.loss[player], found.stake[player]
        known = ~np.isnan(loss)
        for where, off in (("on the path", False), ("off the path", True)):
            here = known & ((own < LEAST_OWN_REACH) == off)
            if here.any():
                good = float((loss[here] <= MOST_LOSS * stake[here]).mean())
                yield (
                    f"{game.names.players[player]}, {where}",
                    f"{int(here.sum()):,}",
                    percent(good),
                    number(float(np.median(loss[here]))),
                    number(float(loss[here].max())),
                )


def _down(value: float) -> str:
    """Return `value` rounded down, for what is guaranteed."""
    return decimal(floor(value * 10**DIGITS) / 10**DIGITS, DIGITS)


def _up(value: float) -> str:
    """Return `value` rounded up, for what nothing exceeds."""
    return decimal(ceil(value * 10**DIGITS) / 10**DIGITS, DIGITS)


SAID: Mapping[str, Callable[[Game, Solution, Any], Concept]] = {
    "commitment": _commitment,
    "quantal": _quantal,
    "budgeted": _budgeted,
    "robustness": _robustness,
    "refinement": _refinement,
}
"""Finding, as in `csa_games.findings.FINDINGS` -> what is said about it."""
