"""What a policy leads to, by intent, beyond the payoff and its components.

Over-refusal is read off "refused" of the intents that do no harm, unsafe compliance off "complied"
of those that do, both as shares of conversations. A published rate is one of answers, since a
prompt is one: `over_refusal` and `unsafe_compliance` are shares of answers, to lie in the same
plane. Everything is exact, from the policy alone.

Letters, besides those of `csa_games.game`: H turns, N_t what can have been seen up to turn t.
"""

from collections.abc import Callable, Collection

import numpy as np
from jaxtyping import Float

from csa_games.dialogue import ENDINGS, tables
from csa_games.errors import InputError
from csa_games.evaluate import (
    MEASURES,
    Measure,
    by_intent,
    intent_reach,
    intent_tags,
    leaf_numbers,
    leaf_probabilities,
    own_reach,
    response_use,
)
from csa_games.fold import expectation, reach, rows_of
from csa_games.game import ASSISTANT, USER, Game, Policy
from csa_games.scenario import Scenario


def refused(game: Game, policy: Policy) -> dict[str, float]:
    """Return the share of conversations that are refused, by intent: once or more, at any turn.

    1 − P(the scenario's refusing response is never given | intent). For an intent that does no harm
    this is over-refusal.
    """
    return given(game, policy, {_scenario(game).baselines.refuse})


def complied(game: Game, policy: Policy) -> dict[str, float]:
    """Return the share of conversations with full compliance, by intent: once or more.

    1 − P(the scenario's complying response is never given | intent).
    """
    return given(game, policy, {_scenario(game).baselines.comply})


def guided(game: Game, policy: Policy) -> dict[str, float]:
    """Return the share of conversations that are guided, by intent: once or more.

    1 − P(no response whose mechanism is "steer" is ever given | intent).
    """
    steering = {part.name for part in _scenario(game).responses if part.mechanism == "steer"}
    return given(game, policy, steering)


def harmed(game: Game, policy: Policy) -> dict[str, float]:
    """Return the share of conversations that do any harm at all: P(risk > 0 | intent).

    How much is the measure "risk": expected, and weighed by severity.
    """
    return by_intent(game, policy, leaf_numbers(game)["harmed"]())


def turns(game: Game, policy: Policy) -> dict[str, float]:
    """Return the expected number of answers that a conversation gets, by intent."""
    return {intent: sum(use.values()) for intent, use in response_use(game, policy).items()}


def bits(game: Game, policy: Policy) -> dict[str, float]:
    """Return how well a whole conversation tells an intent from the population, in bits.

    Σ_o P(o | intent) log2( P(o | intent) / P(o) ), the relative entropy of what the assistant sees.
    Its mean under the prior is the sum of `information`.
    """
    prior = _prior(game)
    total = _relative_entropy(observed(game, policy)[-1], prior)
    names = [intent.name for intent in _scenario(game).intents]
    return dict(zip(names, total.tolist(), strict=True))


OUTCOMES: dict[str, Measure] = {
    **MEASURES,
    "refused": refused,
    "complied": complied,
    "guided": guided,
    "harmed": harmed,
    "turns": turns,
    "bits": bits,
}
"""Every outcome measure by intent, by the name that reports use; a new one is a row here."""

SHARES = (*ENDINGS, "refused", "complied", "guided", "harmed")
"""The measures that are shares of conversations."""


def over_refusal(game: Game, policy: Policy) -> float:
    """Return the share of answers to harmless intents that refuse; nan without such intents.

    Σ_i p_i n_i(refuse) / Σ_i p_i n_i over the intents of `harmless`, n_i being how many answers a
    conversation gets.
    """
    scenario = _scenario(game)
    return _share(game, policy, scenario.baselines.refuse, harmless(scenario))


def unsafe_compliance(game: Game, policy: Policy) -> float:
    """Return the share of answers to all other intents that comply; nan without such intents."""
    scenario = _scenario(game)
    others = {intent.name for intent in scenario.intents} - harmless(scenario)
    return _share(game, policy, scenario.baselines.comply, others)


def learned(game: Game, policy: Policy) -> float:
    """Return what a whole conversation says about the intent, in bits: the sum of `information`."""
    return float(information(game, policy).sum())


WHOLE: dict[str, Callable[[Game, Policy], float]] = {
    "over-refusal": over_refusal,
    "unsafe compliance": unsafe_compliance,
    "bits learned": learned,
}
"""Numbers of a policy that are not by intent."""


def harmless(scenario: Scenario) -> set[str]:
    """Return the intents that do no harm: no response to anything they may ask has any risk."""
    risk = tables(scenario).risk
    return {part.name for i, part in enumerate(scenario.intents) if not risk[:, i].any()}


def given(game: Game, policy: Policy, responses: Collection[str]) -> dict[str, float]:
    """Return P(one of `responses` is given, once or more | intent); nan for one of prior zero.

    What is left of the probability of an intent's conversations when these responses are struck out
    of the policy is that of those without any.
    """
    _check(game, responses)
    kept = [part.name not in responses for part in _scenario(game).responses]
    without = np.asarray(policy[ASSISTANT], np.float64) * kept
    leaf = leaf_probabilities(game, (policy[USER], without))
    found = {}
    for (name, tag), prior in zip(intent_tags(game).items(), _prior(game), strict=True):
        found[name] = max(0.0, 1.0 - float(leaf @ tag) / prior) if prior > 0 else np.nan
    return found


def information(game: Game, policy: Policy) -> Float[np.ndarray, " H"]:
    """Return what each turn tells the assistant about the intent, in bits.

    The increments of the mutual information I(intent; O_t), O_t being all that the assistant has
    seen when the signal of turn t is in (`observed`):  I = Σ_{i,o} P(i,o) log2( P(i,o) / P(i)P(o) )
    (Cover & Thomas 2006, section 2.3). What is seen is never unseen, so none is negative but for
    rounding. That somebody goes counts in the turn they would have asked in, and what happens after
    the last answer is not observed.
    """
    prior = _prior(game)
    known = prior > 0
    sums = [0.0]
    for joint in observed(game, policy):
        sums.append(float(prior[known] @ _relative_entropy(joint, prior)[known]))
    return np.diff(sums)


def observed(game: Game, policy: Policy) -> list[Float[np.ndarray, "N_t T"]]:
    """Return P(what the assistant has seen by turn t, intent) for each turn, rows summing to P(o).

    That is its infoset at turn t, or if the conversation ended before, the last infoset and answer
    and whether it ended by leaving, by migrating or otherwise. Ends of one kind are not told apart.
    """
    form, scenario = game.form, _scenario(game)
    treeplex = form.treeplex[ASSISTANT]
    own = np.asarray(policy[ASSISTANT], np.float64)
    here = own_reach(game, ASSISTANT, policy)[:, None] * intent_reach(game, policy)
    mine = reach(treeplex, rows_of(treeplex, own))
    theirs = rows_of(form.treeplex[USER], np.asarray(policy[USER], np.float64))
    plan = reach(form.treeplex[USER], theirs)
    nothing = np.zeros_like(form.leaves.chance)
    left, migrated = (game.tags.get(name, nothing) for name in ("left", "migrated"))
    kinds, intents = (left, migrated, 1.0 - left - migrated), len(scenario.intents)
    # Those that end without any answer, and after each answer but the last turn's, the largest.
    ends = [np.zeros((len(kinds), intents))]
    ends += [np.zeros((len(kinds), rows.size, intents)) for rows in mine[:-1]]
    for e, kind in enumerate(kinds):
        for i, tag in enumerate(intent_tags(game).values()):
            ends[0][e, i], mass = expectation(form, ASSISTANT, kind * tag, plan)
            for k, after in enumerate(ends[1:]):
                after[e, :, i] = (mine[k] * mass[k]).reshape(-1)
    ended = [part.reshape(-1, intents) for part in ends]
    stops = np.cumsum([level.infosets for level in treeplex.levels])
    now = np.split(here, stops[:-1])
    return [np.concatenate([part, *ended[: t + 1]]) for t, part in enumerate(now)]


def _relative_entropy(
    joint: Float[np.ndarray, "N T"], prior: Float[np.ndarray, " T"]
) -> Float[np.ndarray, " T"]:
    """Return Σ_o P(o|i) log2( P(o|i) / P(o) ) for each intent i, nan for one of prior zero."""
    mass = joint.sum(axis=1, keepdims=True)
    scale = mass * prior
    ratio = np.divide(joint, scale, out=np.ones_like(joint), where=(joint > 0) & (scale > 0))
    nothing = np.full_like(prior, np.nan)
    return np.divide((joint * np.log2(ratio)).sum(axis=0), prior, out=nothing, where=prior > 0)


def _share(game: Game, policy: Policy, response: str, intents: Collection[str]) -> float:
    """Return the share of answers to `intents` that are `response`."""
    scenario = _scenario(game)
    prior = {part.name: part.prior.value for part in scenario.intents}
    use = response_use(game, policy)
    asked = [name for name in use if name in intents and prior[name] > 0]
    answers = sum(prior[name] * sum(use[name].values()) for name in asked)
    times = sum(prior[name] * use[name][response] for name in asked)
    return times / answers if answers > 0 else float("nan")


def _check(game: Game, responses: Collection[str]) -> None:
    known = [part.name for part in _scenario(game).responses]
    for name in responses:
        if name not in known:
            raise InputError(
                f"{game.name}: found the response {name!r}, expected one of {', '.join(known)}"
            )


def _prior(game: Game) -> Float[np.ndarray, " T"]:
    return np.array([intent.prior.value for intent in _scenario(game).intents])


def _scenario(game: Game) -> Scenario:
    if game.scenario is None:
        raise InputError(f"{game.name}: found a game without intents, expected a dialogue scenario")
    return game.scenario
