"""What a policy would have been worth in the conversations of a log that another one answered.

With ratios ρ_t = Π_{s≤t} π(r_s | h_s) / μ(r_s | h_s) of the policy π to the one of the log μ, worth
g_t of turn t, values Q and V of π in a scenario, and G the whole worth of a conversation:

    importance sampling     mean of ρ_H G                              (Precup, Sutton & Singh 2000)
    per decision            mean of Σ_t ρ_t g_t                        (the same)
    self-normalised         Σ ρ_H G / Σ ρ_H                            (Hesterberg 1995)
    doubly robust           mean of V_0 + Σ_t ρ_t (g_t + V_{t+1} − Q_t)     (Jiang & Li 2016)
    model                   mean of V_0: what the scenario says, from the same first asks

If μ is known and plays all that π plays, the first two and the doubly robust one are unbiased,
the latter whatever the scenario, and the closer the scenario the less it varies. With μ estimated
they are consistent if the estimate is. The self-normalised one varies less and has a bias that
vanishes with their number. Guaranteed is no more than this. What is only measured: intervals are
linearised over clusters, which heavy weights make too short; hence the refusals below.

What users of a kernel do depends on the last response, so it stays what it was when the policy
changes. Users who choose would choose anew: the value is that of users who go on as in the log, not
of such as adapt, against whom the guaranteed payoff of a solution stands.

A value is refused, with the reason, where the log cannot tell: the effective number of
conversations (Σw)² / Σw² (Kish 1965) is below `LEAST_EFFECTIVE`; the policy plays what the log does
not show in more than `MOST_UNSEEN` of the conversations; or the mean weight, 1 if the propensities
are right, is far from it.

Propensities that are not recorded are estimated from the same conversations, by turn, previous
response, ask and signal: shares, with one sighting more of what they are by ask and signal. Using
what was estimated in place of the truth tends to lower the variance (Hirano, Imbens & Ridder 2003),
while intervals leave it out. An estimate by cell is right if the log's policy looked at nothing
else; where groups have policies of their own, it takes their mixture.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from csa_games.calibration.clustered import kish, ratio
from csa_games.calibration.estimates import Estimate
from csa_games.calibration.paths import Paths
from csa_games.calibration.policies import Home
from csa_games.errors import InputError
from csa_games.flip import values_by_intent
from csa_games.game import ASSISTANT, Policy

LEAST_EFFECTIVE = 100.0
MOST_UNSEEN = 0.05
MOST_OFF = 0.05  # and twice what its interval reaches: how far a mean weight may be from 1

SAMPLING, PER_DECISION = "importance sampling", "per decision"
NORMALISED, ROBUST, MODEL = "self-normalised", "doubly robust", "model"


@dataclass(frozen=True)
class Weights:
    """What weighing conversations comes to.

    `effective` is Kish's number of conversations, `clusters` the same of whole clusters, `largest`
    the share of the largest weight in all, `mean` the mean weight, `unseen` the share of
    conversations in which the policy plays what the log never shows with that turn, ask and signal.
    """

    effective: float
    clusters: float
    largest: float
    top: float  # the share of the largest hundredth of the weights
    mean: Estimate
    unseen: float


@dataclass(frozen=True)
class OffPolicy:
    """The value of a policy on a log: estimates by method, or none and why there are none."""

    conversations: int
    propensities: str
    outcome: str
    weights: Weights
    values: Mapping[str, Estimate]
    by_intent: Mapping[str, Mapping[str, Estimate]]
    observed: Estimate  # what the conversations were worth as they went
    refused: tuple[str, ...]


def off_policy(
    given: Paths,
    home: Home,
    policy: Policy,
    *,
    prior: Float[np.ndarray, " T"] | None = None,
    recorded: bool = False,
    least_effective: float = LEAST_EFFECTIVE,
    level: float = 0.9,
) -> OffPolicy:
    """Return the value of `policy` on whole conversations, or why there is none.

    With a `prior`, conversations of each intent count as often as it says, which takes types.
    With `recorded`, a conversation is worth the outcome in the log instead of what the scenario
    says; there is no model of those, so methods that take one are left out.

    Raises `InputError` without a whole conversation, for outcomes or propensities that some have
    and others have not, and for a `prior` that `mix` refuses.
    """
    if not len(given.intent):
        raise InputError("found no whole conversation to value a policy on, expected some")
    known = _propensities(given)
    propensity = known if known is not None else estimated_propensities(given)
    assistant = np.asarray(policy[ASSISTANT], np.float64)
    rho = ratios(given, assistant, propensity)
    total = given.outcome if recorded else given.total
    if np.isnan(total).any():
        raise InputError(
            f"outcome: found no number in {int(np.isnan(total).sum()):,} of {len(total):,} whole "
            "conversations, expected one in each"
        )
    found = {SAMPLING: rho[:, -1] * total}
    if not recorded:
        found[PER_DECISION] = given.opened_expected + (rho * given.worth_expected).sum(axis=1)
        found[ROBUST], found[MODEL] = doubly_robust(given, home, policy, rho)
    counts = np.ones(len(total)) if prior is None else mix(given, prior)
    weighed = _weights(given, assistant, rho, counts, level)
    refused = tuple(_refusals(weighed, len(total), least_effective))

    def values(these: Bool[np.ndarray, " N"]) -> dict[str, Estimate]:
        c, cluster = counts[these], given.cluster[these]
        means = {name: ratio(c * x[these], c, cluster, level) for name, x in found.items()}
        w = c * rho[these, -1]
        means[NORMALISED] = ratio(w * total[these], w, cluster, level)
        order = (SAMPLING, PER_DECISION, NORMALISED, ROBUST, MODEL)
        return {name: means[name] for name in order if name in means}

    everyone = np.ones(len(total), bool)
    by_intent = {}
    for i, part in enumerate(home.scenario.intents):
        these = given.intent == i
        enough = kish(rho[these, -1]) >= least_effective if these.any() else False
        if enough and not refused:
            by_intent[part.name] = values(these)
    return OffPolicy(
        conversations=len(total),
        propensities="recorded"
        if known is not None
        else "estimated by turn, previous response, ask and signal",
        outcome="recorded" if recorded else "as the scenario prices what happened",
        weights=weighed,
        values={} if refused else values(everyone),
        by_intent=by_intent,
        observed=ratio(counts * total, counts, given.cluster, level),
        refused=refused,
    )


def ratios(
    given: Paths,
    assistant: Float[np.ndarray, "I A"],
    propensity: Float[np.ndarray, "N H"],
) -> Float[np.ndarray, "N H"]:
    """Return ρ_t of each conversation and turn; after the end it stays."""
    played = np.where(given.answered, assistant[given.state, given.response], 1.0)
    return np.cumprod(played / propensity, axis=1)


def doubly_robust(
    given: Paths, home: Home, policy: Policy, rho: Float[np.ndarray, "N H"]
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Return the doubly robust worth of each conversation, and V_0, which is the model's.

    Q and V are those of `policy` in the game of `home`, given the state and the belief in each
    intent. Where the scenario holds a state impossible for an intent, what follows counts as 0,
    which costs nothing of being unbiased: Q may be anything, as long as V is its mean under π.
    """
    values = values_by_intent(home.game, policy)[given.state]  # [N, H, T, A], of the whole game
    before = np.cumsum(given.worth, axis=1) - given.worth
    later = np.nan_to_num(values - before[..., None], nan=0.0)
    seen = np.where(given.answered, given.response, 0)
    assistant = np.asarray(policy[ASSISTANT], np.float64)[given.state]
    of_response = np.take_along_axis(later, seen[:, :, None, None], axis=3)[..., 0]
    q = np.einsum("nht,nht->nh", given.deciding, of_response)
    v = np.einsum("nht,nhta,nha->nh", given.deciding, later, assistant)
    q, v = (np.where(given.answered, x, 0.0) for x in (q, v))
    after = np.concatenate([v[:, 1:], np.zeros((len(v), 1))], axis=1)
    first = given.opened_expected + v[:, 0]
    return first + (rho * (given.worth_expected + after - q)).sum(axis=1), first


def estimated_propensities(given: Paths) -> Float[np.ndarray, "N H"]:
    """Return the estimated probability of each response that was given; 1 after the end."""
    answered = given.answered
    responses = int(given.response.max(initial=0)) + 1
    r = given.response[answered]
    turn = np.broadcast_to(np.arange(answered.shape[1]), answered.shape)[answered]
    past = np.concatenate([np.full((len(answered), 1), -1), given.response[:, :-1]], axis=1)
    ask, signal = given.ask[answered], given.signal[answered]
    coarse, cell = _cells(ask, signal), _cells(turn, past[answered], ask, signal)
    by_cell, by_ask = _table(cell, r, responses), _table(coarse, r, responses)
    overall = np.bincount(r, minlength=responses) / max(len(r), 1)
    wide = (by_ask + overall) / (by_ask.sum(axis=1, keepdims=True) + 1)
    share = (by_cell[cell, r] + wide[coarse, r]) / (by_cell[cell].sum(axis=1) + 1)
    found = np.ones(answered.shape)
    found[answered] = share
    return found


def mix(given: Paths, prior: Float[np.ndarray, " T"]) -> Float[np.ndarray, " N"]:
    """Return how often each conversation is to count for intents to be as common as `prior` says.

    Raises `InputError` if one has no type, or none has an intent that `prior` says there is.
    """
    if (given.intent < 0).any():
        raise InputError(
            f"type: found none in {int((given.intent < 0).sum()):,} whole conversations, expected "
            "one in each, to count intents as often as they occur"
        )
    often = np.bincount(given.intent, minlength=len(prior))
    if ((prior > 0) & (often == 0)).any():
        raise InputError(
            f"type: found {often.tolist()} whole conversations by intent, expected some of each "
            "that the scenario says there is"
        )
    found: Float[np.ndarray, " N"] = (prior / np.maximum(often, 1) * len(given.intent))[
        given.intent
    ]
    return found


def can_mix(given: Paths, prior: Float[np.ndarray, " T"]) -> bool:
    """Return whether `mix` can be had: all have types, of all the intents that there are."""
    often = np.bincount(given.intent[given.intent >= 0], minlength=len(prior))
    return bool((given.intent >= 0).all() and (often[prior > 0] > 0).all())


def _propensities(given: Paths) -> Float[np.ndarray, "N H"] | None:
    """Return the recorded propensities, None where there are none."""
    missing = np.isnan(given.propensity) & given.answered
    if missing.all(where=given.answered):
        return None if given.answered.any() else given.propensity
    if missing.any():
        raise InputError(
            f"propensity: found none in {int(missing.sum()):,} of {int(given.answered.sum()):,} "
            "answers of whole conversations, expected it in all of them or in none"
        )
    return given.propensity


def _weights(
    given: Paths,
    assistant: Float[np.ndarray, "I A"],
    rho: Float[np.ndarray, "N H"],
    counts: Float[np.ndarray, " N"],
    level: float,
) -> Weights:
    weight = counts * rho[:, -1]
    total = float(weight.sum())
    _, number = np.unique(given.cluster, return_inverse=True)
    top = np.sort(weight)[::-1][: max(1, len(weight) // 100)]
    return Weights(
        effective=kish(weight),
        clusters=kish(np.bincount(number, weight)),
        largest=float(weight.max()) / total if total > 0 else np.nan,
        top=float(top.sum()) / total if total > 0 else np.nan,
        mean=ratio(weight, counts, given.cluster, level),
        unseen=_unseen(given, assistant, rho, counts),
    )


def _unseen(
    given: Paths,
    assistant: Float[np.ndarray, "I A"],
    rho: Float[np.ndarray, "N H"],
    counts: Float[np.ndarray, " N"],
) -> float:
    """Return the share of conversations of the policy that leave what the log shows.

    The sum over turns of the probability, by weighted conversations, that this turn is the first to
    have a response that was never given in it after such an ask and signal.
    """
    answered = given.answered
    turn = np.broadcast_to(np.arange(answered.shape[1]), answered.shape)[answered]
    cell = _cells(turn, given.ask[answered], given.signal[answered])
    never = _table(cell, given.response[answered], assistant.shape[1]) == 0
    leaves = np.zeros(answered.shape)
    leaves[answered] = (assistant[given.state[answered]] * never[cell]).sum(axis=1)
    before = np.concatenate([np.ones((len(rho), 1)), rho[:, :-1]], axis=1)
    by_turn = counts @ (before * leaves) / (counts @ before)
    return min(1.0, float(np.nan_to_num(by_turn).sum()))


def _refusals(found: Weights, conversations: int, least: float) -> list[str]:
    """Return why a value is refused, in sentences."""
    refused = []
    if found.unseen > MOST_UNSEEN:
        refused.append(
            f"In {found.unseen:.1%} of the conversations the policy plays what the log never shows "
            f"in that turn with such an ask and signal, more than {MOST_UNSEEN:.0%}: nothing in "
            "the log tells what would come of it."
        )
    if found.effective < least:
        refused.append(
            f"The {conversations:,} conversations are worth {found.effective:.1f} of the policy's "
            f"own, fewer than {least:g}: the log does other things too often."
        )
    error = (found.mean.high - found.mean.low) / 2
    if found.effective >= least and abs(found.mean.value - 1) > max(MOST_OFF, 2 * error):
        refused.append(
            f"The mean weight is {found.mean.value:.3f}, from {found.mean.low:.3f} to "
            f"{found.mean.high:.3f}, expected 1: the propensities are not those of the log, or it "
            "lacks what the policy plays."
        )
    return refused


def _cells(*columns: np.ndarray) -> np.ndarray:
    """Return a number for each combination of `columns`, from 0 without gaps."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        key = key * (int(column.max(initial=0)) + 2) + column + 1
    return np.unique(key, return_inverse=True)[1]


def _table(cell: np.ndarray, outcome: np.ndarray, width: int) -> Float[np.ndarray, "C W"]:
    """Return how often each outcome was seen in each cell."""
    cells = int(cell.max(initial=-1)) + 1
    often = np.bincount(cell * width + outcome, minlength=cells * width)
    return often.reshape(cells, width).astype(np.float64)
