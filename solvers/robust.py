"""Policies that are robust: the best worst case over priors, payoffs, kernels and channels.

How many users mean harm is hardly ever known to more than an interval. With the prior p anywhere in

    P = { p : low <= p <= high,  sum of p = 1 }

the assistant's worst case under a plan x is the least over P of  sum of p_i V_i(x), where V_i is
what x secures given intent i: the expectation against a kernel, the minimum against an adversarial
user. By duality over P that is the most of  lambda + low a - high b  over a, b >= 0 subject to
lambda + a_i - b_i <= V_i(x), which is linear together with the plan (Ben-Tal, El Ghaoui &
Nemirovski 2009, chapter 1; `solvers.guarantee`). So the program is exact, and about as large as
that of an equilibrium.

The assistant's weights alpha, beta, gamma and psi may lie in intervals as well. The worst case is
linear or, where users are adversarial, concave in them, so that it is at a corner of their box: one
such program per corner, with the same plan and the least of all maximised. Payoffs that lie in
intervals are at their worst ends at once (`csa_games.doubted`).

Kernels and channels lie in the intervals that the scenario's file gives their rows, or anywhere
within a radius. Then V_i is what x secures when nature picks a kernel's reactions and the
likelihoods of signals anew at every history (`solvers.kernels`, `solvers.channels`): no more than
what it secures against any kernel and channel that stay the same, and again one linear program, or
where that is too large regret minimisation with a bound on what it leaves (`solvers.worst_case`).
By how much it may be less is reported: as what the policy gets
against the worst of them that were found.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from time import perf_counter

import numpy as np
from jaxtyping import Float

from csa_games.errors import InputError
from csa_games.evaluate import intent_tags
from csa_games.findings import Robustness
from csa_games.game import ASSISTANT, Game, Progress, Solution
from csa_games.intervals import channels_in_doubt, kernels_in_doubt
from csa_games.words import counted, join
from solvers import lp
from solvers.doubt import Doubted, doubted, own_policy, worst_of
from solvers.guarantee import Within, certified, most, priors_of, secured, size
from solvers.sequence import policy_of
from solvers.worst_case import Found, Priors, best_worst_case

METHOD = "robust"
ROUNDING = 1e-9  # how far sums of priors may be off 1

COMPONENT = {
    "alpha": ("satisfaction", 1.0),
    "beta": ("risk", -1.0),
    "gamma": ("cost", -1.0),
    "psi": ("displacement", -1.0),
}
"""By weight: the component that it is of, and its sign in the assistant's payoff."""

Interval = tuple[float, float]
Numbers = Float[np.ndarray, "C T L"]
"""The assistant's payoff per leaf, for each corner of the weights' box, given each intent."""


def solve(
    game: Game,
    *,
    priors: Mapping[str, Interval] | None = None,
    radius: float | None = None,
    weights: Mapping[str, Interval] | None = None,
    kernels: float | None = None,
    channels: float | None = None,
    payoffs: bool = False,
    target: float = 1e-3,
    max_steps: int = 10_000,
    seconds: float = np.inf,
    progress: Callable[[Progress], object] | None = None,
) -> Solution:
    """Return the policy with the best worst case over a set of scenarios, in the security class.

    With no option the set is what the scenario's file says: the intervals of its priors, and those
    of the rows of kernels and channels.

    `priors` gives an interval (low, high) by intent, {"malicious": (0.0, 0.1)}; intents left out
    share the rest in the ratios that their priors have in the scenario. Or `radius` says how far
    each prior may be off. The set is what of this sums to 1; a radius of 0 leaves the prior as it
    is. `kernels` says, in place of the file's intervals, how far every reaction probability of
    kernels that is not 0 may be off, and `channels` the same of signals; 0 leaves them as they are.
    `weights` gives intervals of "alpha", "beta", "gamma" and "psi"; each doubles the program.
    With `payoffs`, satisfaction, risk, cost, displacement and severities lie in the intervals that
    the scenario's file gives them.

    The result's `robustness` has what was in doubt, the worst case, and the price of it; all are
    computed from the policy. Where kernels or channels may be off, the worst case is a bound that
    holds for all of them, and no policy has a better bound of this kind; beside it stands what the
    policy gets against the worst that were found. Value and gaps are those of the scenario as it
    is, with a policy of the users that is worst for the payoff.

    Small games are solved exactly, and `steps` counts HiGHS iterations. Beyond `doubt.MOST_PAIRS`
    and `doubt.MOST_PAIRS_DRIFTING` kernels and channels are left to regret minimisation
    (`solvers.worst_case`), which goes on until the best worst case is at most `target` better
    (payoff units), for `max_steps` iterations or for `seconds`; `progress` is called now and then,
    with that gap as its `nash_conv`. The worst case is as true then, and by how much there may be a
    better one is `robustness.gap`.

    Raises `InputError` for rational and quantal intents, intervals that are no priors, sets without
    any, intents of prior zero that may have more, of whose conversations the game says nothing,
    targets and limits that are none, and kernels and channels of games beyond
    `doubt.MOST_PAIRS_BOUNDED`.
    """
    began = perf_counter()
    _check_limits(target, max_steps, seconds)
    given = priors_of(game, METHOD)
    corners = _corners({} if weights is None else weights)
    doubt = doubted(game, kernels, channels, payoffs, len(corners))
    certain = not (corners[0] or doubt.freed or doubt.drift or payoffs)
    among = _set(game, given, _intervals(game, given, priors, radius, certain))
    numbers = _numbers(doubt.game, given, corners)
    worst = partial(_worst_case, doubt, among, numbers)
    if doubt.exact:
        found = _by_program(doubt, among, numbers, worst)
    else:
        found = best_worst_case(
            doubt.form,
            doubt.numbers(numbers),
            doubt.nature,
            among,
            worst,
            target=target,
            max_steps=max_steps,
            seconds=seconds,
            progress=progress,
        )
    policy = found.policy
    own = own_policy(game, doubt.game, policy)
    robustness = replace(
        _worst_found(doubt, policy, numbers, corners, among, list(given)),
        value=found.value,
        gap=found.bound - found.value,
        nominal=secured(game.form, own, np.asarray(game.form.leaves.payoff[ASSISTANT], np.float64)),
        optimum=float(lp.solve(game).value[ASSISTANT]),
        doubts=tuple(_doubts(game, among, priors, radius, weights, kernels, channels, payoffs)),
    )
    solution = certified(game, own, METHOD, found.steps, began, found.status)
    return replace(solution, robustness=robustness)


def _doubts(
    game: Game,
    among: Priors,
    priors: Mapping[str, Interval] | None,
    radius: float | None,
    weights: Mapping[str, Interval] | None,
    kernels: float | None,
    channels: float | None,
    payoffs: bool,
) -> Iterator[str]:
    """Yield what was in doubt, in words."""
    assert game.scenario is not None  # priors_of has seen to it
    if (among.low < among.high).any():
        given = "in the scenario's intervals" if radius is None else f"each within {radius:g}"
        yield f"priors, {given if priors is None else f'as given for {join(list(priors))}'}"
    for name, off, rows in (
        ("reactions", kernels, kernels_in_doubt(game.scenario)),
        ("signals", channels, channels_in_doubt(game.scenario)),
    ):
        if off:
            yield f"{name}, every probability within {off:g}"
        elif off is None and rows:
            whose = join([f"{who} ({counted(len(one), 'row')})" for who, one in rows.items()])
            yield f"{name} of {whose}, in the scenario's intervals"
    if weights:
        yield f"weights, as given for {join(list(weights))}"
    if payoffs:
        yield "payoffs and severities, in the scenario's intervals"


def _worst_found(
    doubt: Doubted,
    policy: Float[np.ndarray, "I A"],
    numbers: Numbers,
    corners: Sequence[Mapping[str, float]],
    among: Priors,
    names: Sequence[str],
) -> Robustness:
    """Return the worst scenario found for `policy`, and what it gets there; all else is nan.

    Given each intent users and nature only have to do with the number of that intent.
    """
    assert doubt.game.scenario is not None
    intents = [
        (i, part.name) for i, part in enumerate(doubt.game.scenario.intents) if part.prior.value > 0
    ]
    worst: Robustness | None = None
    for corner, by_intent in zip(corners, numbers, strict=True):
        found = [
            worst_of(doubt, policy, number, *intent)
            for intent, number in zip(intents, by_intent, strict=True)
        ]
        gets = np.array([value for value, _, _ in found])
        prior = _worst(among, gets)
        if worst is None or prior @ gets < worst.found:
            who = [name for _, name in intents]
            worst = Robustness(
                value=np.nan,
                found=float(prior @ gets),
                worst_prior=dict.fromkeys(names, 0.0) | dict(zip(who, prior.tolist(), strict=True)),
                worst_weights=corner,
                worst_kernels={
                    name: rows for name, (_, rows, _) in zip(who, found, strict=True) if rows
                },
                worst_channels={
                    name: rows for name, (_, _, rows) in zip(who, found, strict=True) if rows
                },
                nominal=np.nan,
                optimum=np.nan,
            )
    assert worst is not None  # there is a corner
    return worst


def _check_limits(target: float, max_steps: int, seconds: float) -> None:
    faults = []
    if not target >= 0:
        faults.append(f"target is {target}, expected a number that is not negative")
    if max_steps < 1:
        faults.append(f"max_steps is {max_steps}, expected at least 1")
    if not seconds > 0:
        faults.append(f"seconds is {seconds}, expected a positive number")
    if faults:
        raise InputError(*faults)


def _by_program(
    doubt: Doubted,
    among: Priors,
    numbers: Numbers,
    worst: Callable[[Float[np.ndarray, "I A"]], float],
) -> Found:
    """Return the policy of the linear program, which has the best worst case."""
    scale = max(size(doubt.game.form, number) for corner in numbers for number in corner)
    found = most(
        doubt.game,
        [doubt.guarantee(number / scale) for corner in numbers for number in corner],
        np.zeros(len(numbers) * among.share.shape[1]),
        _rows(among, len(numbers)),
    )
    policy = policy_of(doubt.form.treeplex[ASSISTANT], found.plan)
    value = worst(policy)
    return Found(policy, value, value, found.steps, "exact")


def _worst_case(
    doubt: Doubted, among: Priors, numbers: Numbers, policy: Float[np.ndarray, "I A"]
) -> float:
    """Return the least that `policy` secures, over corners and priors."""
    secures = np.array([[doubt.secures(policy, number) for number in corner] for corner in numbers])
    return min(float(_worst(among, ours) @ ours) for ours in secures)


def _rows(among: Priors, corners: int) -> Within:
    """Return the rows and variables of the worst case over the set, at the worst of the corners.

    The variables are t, which is maximised, and for each corner lambda, a and b; the rows are, for
    each corner, lambda + a - b <= share V for each mass, and t <= lambda + low a - high b.
    """
    masses, intents = among.share.shape
    unit = np.eye(masses)
    shares = np.hstack([np.zeros((masses, 1)), np.ones((masses, 1)), unit, -unit])
    least = np.concatenate([[1.0, -1.0], -among.low, among.high])
    rows = np.vstack([shares, least])
    every = np.eye(corners)
    return Within(
        secured=np.kron(every, np.vstack([-among.share, np.zeros((1, intents))])),
        extra=np.hstack([np.tile(rows[:, :1], (corners, 1)), np.kron(every, rows[:, 1:])]),
        most=np.zeros(corners * (masses + 1)),
        gain=np.eye(1, 1 + corners * (1 + 2 * masses))[0],
        least=np.concatenate(
            [[-np.inf], np.tile(np.concatenate([[-np.inf], np.zeros(2 * masses)]), corners)]
        ),
    )


def _worst(among: Priors, secures: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """Return the prior of the set that pays least: what is free goes where little is secured."""
    mass, left = among.low.copy(), 1.0 - among.low.sum()
    for m in np.argsort(among.share @ secures, kind="stable"):
        more = min(among.high[m] - among.low[m], max(left, 0.0))
        mass[m] += more
        left -= more
    return mass @ among.share


def _corners(weights: Mapping[str, Interval]) -> list[dict[str, float]]:
    """Return the weights at each corner of their box; raises `InputError` where it is none."""
    faults = [
        f"found the weight {name!r}, expected one of {', '.join(COMPONENT)}"
        for name in weights
        if name not in COMPONENT
    ]
    faults += [
        f"found the weight {name} from {low} to {high}, expected 0 <= low <= high and numbers"
        for name, (low, high) in weights.items()
        if not 0 <= low <= high < np.inf
    ]
    if faults:
        raise InputError(*faults)
    ends = [sorted({float(low), float(high)}) for low, high in weights.values()]
    return [dict(zip(weights, corner, strict=True)) for corner in product(*ends)]


def _numbers(
    game: Game, given: Mapping[str, float], corners: Sequence[Mapping[str, float]]
) -> Numbers:
    """Return the payoff at each corner given each intent of positive prior."""
    assert game.scenario is not None  # priors_of has seen to it
    usual = {name: getattr(game.scenario.weights, name).value for name in COMPONENT}
    payoff = np.asarray(game.form.leaves.payoff[ASSISTANT], np.float64)
    tags = intent_tags(game)
    by_intent = np.stack([tags[name] / prior for name, prior in given.items() if prior > 0])
    found = []
    for corner in corners:
        there = payoff
        for name, weight in corner.items():
            component, sign = COMPONENT[name]
            there = there + sign * (weight - usual[name]) * game.tags.get(component, 0.0)
        found.append(by_intent * there)
    return np.stack(found)


def _intervals(
    game: Game,
    given: Mapping[str, float],
    priors: Mapping[str, Interval] | None,
    radius: float | None,
    certain: bool,
) -> dict[str, Interval]:
    """Return the interval of every intent that has one; if all else is `certain`, one must."""
    if priors is not None and radius is not None:
        raise InputError(f"found priors and the radius {radius}, expected one of them")
    if radius is not None:
        if not 0 <= radius <= 1:
            raise InputError(f"found the radius {radius}, expected a number from 0 to 1")
        near = {name: (max(p - radius, 0.0), min(p + radius, 1.0)) for name, p in given.items()}
        return {name: interval for name, interval in near.items() if given[name] > 0}
    if priors is not None:
        return dict(priors)
    assert game.scenario is not None  # priors_of has seen to it
    found = {
        intent.name: (float(intent.prior.low), float(intent.prior.high))
        for intent in game.scenario.intents
        if intent.prior.low is not None and intent.prior.high is not None
    }
    if not found and certain:
        raise InputError(
            f"{game.name} has no interval (low and high) for any prior, or for a row of a kernel "
            "or channel, expected one; or give priors or a radius"
        )
    return found


def _set(game: Game, given: Mapping[str, float], intervals: Mapping[str, Interval]) -> Priors:
    """Return the set of priors; raises `InputError` where it is none."""
    faults = []
    for name, (low, high) in intervals.items():
        if name not in given:
            faults.append(f"found the intent {name!r}, expected one of {', '.join(given)}")
        elif not 0 <= low <= high <= 1:
            faults.append(
                f"found the prior of {name} from {low} to {high}, expected 0 <= low <= high <= 1"
            )
        elif given[name] == 0 and high > 0:
            faults.append(
                f"found the prior of {name} up to {high}, expected 0: {game.name} gives it the "
                "prior 0, and says nothing of its conversations"
            )
    if faults:
        raise InputError(*faults)
    intents = [name for name, prior in given.items() if prior > 0]
    named = [name for name in intents if name in intervals]
    masses = [intervals[name] for name in named]
    share = [[float(name == one) for name in intents] for one in named]
    rest = [0.0 if name in intervals else given[name] for name in intents]
    if sum(rest) > 0:
        masses.append((0.0, 1.0))
        share.append([prior / sum(rest) for prior in rest])
    bottom, top = np.array(masses).T
    if bottom.sum() > 1 + ROUNDING or top.sum() < 1 - ROUNDING:
        raise InputError(
            f"found no prior within the intervals given: they sum to {bottom.sum():.6g} at the "
            f"least and {top.sum():.6g} at the most, expected 1 to lie between"
        )
    return Priors(bottom, top, np.array(share))
