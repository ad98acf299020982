"""Policies of the assistant side by side, each against users who know it and react to it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from csa_games.arrays import Array
from csa_games.errors import InputError
from csa_games.game import ASSISTANT, Game, Policy
from csa_games.outcomes import OUTCOMES, WHOLE, harmless
from solvers.reaction import answered
from solvers.response import value


@dataclass(frozen=True)
class Row:
    """What an assistant's policy is worth against users who react to it.

    `value` is the assistant's expected payoff and `difference` that of the first policy compared,
    subtracted from it, both in payoff units. `worst` is the least value over the priors that the
    scenario's intervals allow (`worst_prior`). `outcomes` holds every measure of
    `csa_games.outcomes.OUTCOMES` by intent, `whole` every number of `csa_games.outcomes.WHOLE`.
    """

    name: str
    value: float
    difference: float
    worst: float
    outcomes: Mapping[str, Mapping[str, float]]
    whole: Mapping[str, float]


def compare(game: Game, policies: Mapping[str, Float[Array, "I A"]]) -> list[Row]:
    """Return one row for each of the assistant's `policies`, in their order.

    Each intent reacts by its own behaviour (`solvers.reaction`), and best responses break ties
    against the assistant. In the security class the value is therefore guaranteed: no behaviour of
    the strategic users makes it less. In a general-sum game it is the weak value of the policy as a
    commitment. Raises `InputError` for policies that are not of this game.
    """
    rows: list[Row] = []
    for name, assistant in policies.items():
        played = answered(game, ASSISTANT, assistant, "against")
        whole = {number: of(game, played) for number, of in WHOLE.items()}
        worth = float(value(game, played)[ASSISTANT])
        reference = rows[0].value if rows else worth
        outcomes = _outcomes(game, played)
        worst = worst_prior(game, outcomes["payoff"])
        rows.append(Row(name, worth, worth - reference, worst, outcomes, whole))
    return rows


def as_filter(
    game: Game, name: str, over_refusal: float, unsafe_compliance: float, reference: float
) -> Row:
    """Return the row of a system of which only rates by intent are known, as if it answered here.

    Every answer is the scenario's complying or refusing response, by a coin of its own: users of
    intents that do no harm are refused at the rate `over_refusal`, the others complied with at the
    rate `unsafe_compliance`. No policy does that, since the assistant does not see the intent; but
    given the intent it is a policy, users react to it, and the payoff by intent is exact. What the
    assistant would learn is not defined, and nan. `reference` is the value that `difference` is
    from. Raises `InputError` for rates outside [0, 1].
    """
    for rate in (over_refusal, unsafe_compliance):
        if not 0 <= rate <= 1:
            raise InputError(f"{name}: found the rate {rate}, expected a number from 0 to 1")
    if game.scenario is None:
        raise InputError(f"{game.name}: found a game without intents, expected a dialogue scenario")
    good = harmless(game.scenario)
    here, there = (
        _outcomes(game, answered(game, ASSISTANT, _coin(game, refusing), "against"))
        for refusing in (over_refusal, 1 - unsafe_compliance)
    )
    outcomes = {
        measure: {
            intent: here[measure][intent] if intent in good else there[measure][intent]
            for intent in by_intent
        }
        for measure, by_intent in here.items()
    }
    outcomes["bits"] = dict.fromkeys(outcomes["bits"], float("nan"))
    whole = dict.fromkeys(WHOLE, float("nan")) | {
        "over-refusal": over_refusal,
        "unsafe compliance": unsafe_compliance,
    }
    payoff = outcomes["payoff"]
    prior = {part.name: part.prior.value for part in game.scenario.intents}
    worth = sum(p * payoff[intent] for intent, p in prior.items() if p > 0)
    return Row(name, worth, worth - reference, worst_prior(game, payoff), outcomes, whole)


def worst_prior(game: Game, payoff: Mapping[str, float]) -> float:
    """Return the least mean of a payoff by intent over the priors that the scenario allows.

    Those are the priors within the intervals (low, high) of its intents that sum to 1; intents
    without an interval share the rest in the ratios of their priors, and those of prior 0 keep it:
    the set of `solvers.robust`. A policy's payoff given an intent does not depend on the prior, as
    users know their own. nan without any interval. The least mean of a set like this is greedy:
    what is free goes where the payoff is least.
    """
    assert game.scenario is not None
    known = [part.prior for part in game.scenario.intents if part.prior.value > 0]
    pays = np.array([payoff[part.name] for part in game.scenario.intents if part.prior.value > 0])
    loose = np.array([prior.low is not None and prior.high is not None for prior in known])
    if not loose.any():
        return float("nan")
    low = [float(prior.low or 0) for prior, free in zip(known, loose, strict=True) if free]
    high = [float(prior.high or 0) for prior, free in zip(known, loose, strict=True) if free]
    worth = pays[loose].tolist()
    if not loose.all():
        rest = np.array([prior.value for prior in known])[~loose]
        low, high = [*low, 0.0], [*high, 1.0]
        worth.append(float(rest @ pays[~loose] / rest.sum()))
    left, total = 1.0 - sum(low), float(np.dot(low, worth))
    for m in np.argsort(worth, kind="stable"):
        more = min(high[m] - low[m], max(left, 0.0))
        total += more * worth[m]
        left -= more
    return total


def _outcomes(game: Game, played: Policy) -> dict[str, dict[str, float]]:
    return {measure: dict(of(game, played)) for measure, of in OUTCOMES.items()}


def _coin(game: Game, refusing: float) -> Float[np.ndarray, "I A"]:
    """Return the policy that refuses with this probability and complies otherwise, everywhere."""
    assert game.scenario is not None
    names = [response.name for response in game.scenario.responses]
    plain, treeplex = game.scenario.baselines, game.form.treeplex[ASSISTANT]
    row = np.zeros(treeplex.width)
    row[names.index(plain.comply)] += 1 - refusing
    row[names.index(plain.refuse)] += refusing
    return np.tile(row, (treeplex.infosets, 1))
