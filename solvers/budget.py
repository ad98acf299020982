"""Budgets on outcomes: the best policy among those that keep measures within bounds.

The objective and every budget is a *measure*: the assistant's payoff, a payoff component, an
ending, the probability of any harm, or that of giving a response (`evaluate.leaf_numbers`), over
all conversations ("risk") or given an intent ("risk@malicious"). A budget is a measure with a
bound: "gives:comply@malicious<=0.01".

Adversarial users do not hold a measure still. Each budget is therefore a guarantee of its own: it
holds for the adversarial users who make the most of *that* measure (the least, for "at least"), and
the objective counts adversarial users who make the least of *it*. No single kind of adversarial
user need be able to do all of that at once, so that the policy is safe rather than tight: whatever
adversarial users want, every budget holds, and the objective is at least what is reported. Each is
the worst case of a number that is linear in the users' plan, so that the whole is a linear program
(`solvers.guarantee`): exact. For kernels the worst case is the expectation itself.

The dual variable of a budget is its shadow price, the slope of the frontier between the budget and
the objective, which is concave.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Literal

import numpy as np
from jaxtyping import Float

from csa_games.errors import InputError
from csa_games.evaluate import intent_tags, leaf_numbers
from csa_games.findings import Budget, Budgeted
from csa_games.game import ASSISTANT, Game, Solution
from solvers.guarantee import (
    Guarantee,
    Within,
    certified,
    guarantee,
    most,
    priors_of,
    secured,
    size,
)
from solvers.sequence import policy_of

METHOD = "budget"
ROUNDING = 1e-9
"""How far a level may be beyond a bound that can just be kept to, as a share of what a single leaf
weighs at most in the measure. Programs are given that much room, and never none."""


def solve(game: Game, *, objective: str = "payoff", budgets: str | Sequence[str] = ()) -> Solution:
    """Return the policy that guarantees the most of `objective` among those within `budgets`.

    A measure is "payoff", "satisfaction", "risk", "harmed", "gives:refuse", ..., or given an intent
    "risk@malicious", and a budget "risk@malicious<=0.01" or "satisfaction@benign>=0.5", in the
    measure's own unit: see `csa_games.evaluate.leaf_numbers`. The result's `budgeted` has the
    guaranteed objective and, budget by budget, the worst level and the shadow price; objective and
    levels are computed from the policy alone. Whatever the objective, the users' policy in the
    result is the answer to the assistant's that is worst for its *payoff*, and `value` is what the
    assistant gets then. `steps` counts HiGHS iterations.

    Raises `InputError` for rational and quantal intents, unknown measures and intents, intents of
    prior zero, and budgets that cannot be met: it then says which, and the nearest that can.
    """
    began = perf_counter()
    given = _program(game, objective, _listed(budgets))
    return _solved(given, _attainable(given, given.bounds), began)


def frontier(
    game: Game,
    over: str,
    values: Sequence[float],
    *,
    objective: str = "payoff",
    budgets: str | Sequence[str] = (),
) -> list[Solution]:
    """Return the solutions for each of the `values` of one bound, the other `budgets` kept.

    `over` is that budget without its number, "risk@malicious<=", and it comes first among the
    solutions' budgets. The guaranteed objective is a concave function of the bound, increasing for
    "<=" and decreasing for ">=". Errors are those of `solve`; `tightest` says where the frontier
    begins.
    """
    faults = [f"found the bound {value!r}, expected numbers" for value in values if not _is(value)]
    if faults:
        raise InputError(*faults)
    given = _program(game, objective, [f"{over}0", *_listed(budgets)])
    first, others = given.bounds[0], _attainable(given, given.bounds[1:])
    best = _most(given, first, others)
    solutions = []
    for value in values:
        began = perf_counter()
        one = first.at(float(value))
        if one.required > best + ROUNDING:
            raise InputError(*_conflicts(given, (*others, one)))
        solutions.append(_solved(given, (one.with_room(best), *others), began))
    return solutions


def tightest(game: Game, over: str, *, budgets: str | Sequence[str] = ()) -> float:
    """Return the tightest bound of a budget that some policy keeps to, within the other `budgets`.

    `over` is the budget without its number, "risk@malicious<=". Errors are those of `solve`.
    """
    given = _program(game, "payoff", [f"{over}0", *_listed(budgets)])
    one, *others = given.bounds
    return one.unscaled(_most(given, one, _attainable(given, others)))


Side = Literal["<=", ">="]


@dataclass(frozen=True)
class _Bound:
    """A budget as it was asked for, and its rows at scale 1.

    The two sides are one: with the sign, 1 for at least and -1 for at most, `required` is what has
    to be secured of the measure at scale 1.
    """

    measure: str
    side: Side
    bound: float
    number: Float[np.ndarray, " L"]  # signed
    scale: float
    rows: Guarantee
    required: float

    @property
    def sign(self) -> float:
        """Return 1 for at least and -1 for at most."""
        return 1.0 if self.side == ">=" else -1.0

    def at(self, bound: float) -> "_Bound":
        """Return the same budget with another bound."""
        return replace(self, bound=bound, required=self.sign * bound / self.scale)

    def with_room(self, most: float) -> "_Bound":
        """Return the budget with some room below the `most` that can be secured."""
        return replace(self, required=min(self.required, most - ROUNDING))

    def unscaled(self, required: float) -> float:
        """Return the bound that requires so much."""
        return self.sign * required * self.scale + 0.0  # no negative zero

    def __str__(self) -> str:
        return f"{self.measure}{self.side}{self.bound:g}"


@dataclass(frozen=True)
class _Program:
    game: Game
    objective: str
    number: Float[np.ndarray, " L"]
    scale: float
    rows: Guarantee
    bounds: tuple[_Bound, ...]


def _program(game: Game, objective: str, budgets: Sequence[str]) -> _Program:
    """Return the program of these budgets; raises `InputError` for what it cannot be made of."""
    priors = priors_of(game, METHOD)
    faults: list[str] = []
    number = _number(game, priors, objective, faults)
    parsed = [(_parsed(text, faults), text) for text in budgets]
    numbers = [
        _number(game, priors, found[0], faults) if found is not None else number
        for found, _ in parsed
    ]
    if faults:
        raise InputError(*faults)
    bounds = []
    for (found, _), unsigned in zip(parsed, numbers, strict=True):
        assert found is not None  # else there were faults
        measure, side, bound = found
        signed = unsigned if side == ">=" else -unsigned
        scale = size(game.form, signed)
        rows = guarantee(game.form, signed / scale)
        bounds.append(_Bound(measure, side, bound, signed, scale, rows, 0.0).at(bound))
    scale = size(game.form, number)
    rows = guarantee(game.form, number / scale)
    return _Program(game, objective, number, scale, rows, tuple(bounds))


def _solved(given: _Program, bounds: Sequence[_Bound], began: float) -> Solution:
    """Return the certified solution within `bounds`, all of which can be kept to together."""
    game = given.game
    gain = np.eye(1, 1 + len(bounds))[0]
    found = most(game, [given.rows, *(one.rows for one in bounds)], gain, _keep(bounds))
    policy = policy_of(game.form.treeplex[ASSISTANT], found.plan)
    solution = certified(game, policy, METHOD, found.steps, began)
    budgeted = Budgeted(
        objective=given.objective,
        value=secured(game.form, policy, given.number),
        budgets=tuple(
            Budget(
                measure=one.measure,
                side=one.side,
                bound=one.bound,
                level=one.sign * secured(game.form, policy, one.number),
                price=max(float(price), 0.0) * given.scale / one.scale,
            )
            for one, price in zip(bounds, found.prices, strict=True)
        ),
    )
    return replace(solution, budgeted=budgeted)


def _keep(bounds: Sequence[_Bound]) -> Within:
    """Return the rows that secure each of `bounds`, whose guarantees come after another one."""
    count = len(bounds)
    return Within(
        secured=np.hstack([np.zeros((count, 1)), -np.eye(count)]),
        extra=np.zeros((count, 0)),
        most=np.array([-one.required for one in bounds], float),
        gain=np.zeros(0),
        least=np.zeros(0),
    )


def _most(given: _Program, one: _Bound, others: Sequence[_Bound]) -> float:
    """Return the most that can be secured of `one` within the `others`, at scale 1."""
    game, gain = given.game, np.eye(1, 1 + len(others))[0]
    found = most(game, [one.rows, *(other.rows for other in others)], gain, _keep(others))
    policy = policy_of(game.form.treeplex[ASSISTANT], found.plan)
    return secured(game.form, policy, one.number) / one.scale


def _attainable(given: _Program, bounds: Sequence[_Bound]) -> list[_Bound]:
    """Return `bounds` with some room each; raises `InputError` where they cannot all be kept to.

    One after the other, each is held against the best that the ones before leave room for, so that
    every program on the way has a solution.
    """
    kept: list[_Bound] = []
    for one in bounds:
        best = _most(given, one, kept)
        if one.required > best + ROUNDING:
            raise InputError(*_conflicts(given, (*kept, one), bounds[len(kept) + 1 :]))
        kept.append(one.with_room(best))
    return kept


def _conflicts(
    given: _Program, together: Sequence[_Bound], others: Sequence[_Bound] = ()
) -> list[str]:
    """Return sentences on budgets `together` that cannot be kept to, though all but the last can.

    First those that no policy keeps to even alone, the `others` included; where there are none,
    those of `together` that remain when as many as can be are dropped and the rest still conflicts.
    """
    faults, name = [], given.game.name
    for one in (*together, *others):
        if one.required > (best := _most(given, one, ())) + ROUNDING:
            faults.append(
                f"no policy in {name} keeps to the budget {one}: "
                f"{_spelled(one, best)} is the tightest that one can keep to"
            )
    if faults:
        return faults
    *needed, last = together
    for one in together[:-1]:
        rest = [other for other in needed if other is not one]
        if last.required > _most(given, last, rest) + ROUNDING:
            needed = rest
    needed.append(last)
    faults.append(f"no policy in {name} keeps to {' and '.join(map(str, needed))} together")
    for one in needed:
        rest = [other for other in needed if other is not one]
        best = _most(given, one, _attainable(given, rest))
        faults.append(
            f"in place of {one}, {_spelled(one, best)} is the tightest that one can keep to with "
            f"{' and '.join(map(str, rest))}"
        )
    return faults


def _spelled(one: _Bound, best: float) -> str:
    """Return the budget that `best` just keeps to, in six digits rounded so that it does."""
    near = one.unscaled(best)
    step = 10.0 ** (math.floor(math.log10(max(abs(near), 1e-12))) - 5)
    rounded = round(near / step) * step
    if one.sign * (rounded - near) > ROUNDING * one.scale:
        rounded -= one.sign * step
    return f"{one.measure}{one.side}{rounded:.6g}"


def _parsed(text: str, faults: list[str]) -> tuple[str, Side, float] | None:
    """Return (measure, side, bound) of a budget, or None after adding to `faults`."""
    match = re.fullmatch(r"\s*([^<>=]+?)\s*(<=|>=)\s*([^<>=]+?)\s*", text)
    bound = _real(match[3]) if match else None
    if match is None or bound is None:
        faults.append(
            f"found the budget {text!r}, expected a measure, <= or >=, and a number, "
            "such as risk@malicious<=0.01"
        )
        return None
    return match[1], "<=" if match[2] == "<=" else ">=", bound


def _number(
    game: Game, priors: dict[str, float], spelled: str, faults: list[str]
) -> Float[np.ndarray, " L"]:
    """Return the number per leaf that a measure is the expectation of; adds to `faults`."""
    name, given, intent = spelled.partition("@")
    nothing = np.zeros(len(game.form.leaves.chance))
    measures = leaf_numbers(game)
    if name not in measures:
        faults.append(f"found the measure {name!r}, expected one of {', '.join(measures)}")
        return nothing
    if given and intent not in priors:
        faults.append(f"found the intent {intent!r}, expected one of {', '.join(priors)}")
        return nothing
    if given and priors[intent] == 0:
        faults.append(
            f"found the measure {spelled}, but {intent} has a prior of 0: {game.name} says nothing "
            "of its conversations"
        )
        return nothing
    number = measures[name]()
    return number * intent_tags(game)[intent] / priors[intent] if given else number


def _listed(budgets: str | Sequence[str]) -> list[str]:
    return [budgets] if isinstance(budgets, str) else list(budgets)


def _is(value: float) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _real(text: str) -> float | None:
    """Return the finite number that `text` spells, if it does."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
