"""What quantal users want and how sharply they choose, from what they asked: inverse game theory.

A user of a quantal intent chooses by the logit rule at each of its infosets h, which are the public
histories of asks and responses (agent form; McKelvey & Palfrey 1998), knowing the assistant's
policy and that it will itself go on choosing so:

    P(a | h)  proportional to  exp(λ E[u | h, a]),     u = w_s satisfaction + w_r risk - w_e effort,

each component summed over the turns with discount, risk not weighed by severity, and w_e = 1 in a
scenario. Under a policy that is *known* the log-likelihood of counts n(h, a) is

    l(λ, w) = sum_h sum_a n(h, a) log P(a | h),

with values run up the users' treeplex by `fold.backup` under this rule, and derivatives of any
order by autodiff (dynamic discrete choice; Rust 1987). Only the products λ w are identified: w
times c and λ/c make the same choices. So some weights are *held* as the scenario has them, which
gives λ its unit, and λ and the *free* weights are fitted. Held weights that are 0, or that weigh
what is the same whatever is asked, give no unit; then the likelihood does not move with λ, which is
said. Directions that it does not move along are eigenvectors of the observed information per
choice, each parameter counted in logits between the best and the worst end of a conversation, with
an eigenvalue below `FLAT`. What depends on them is named and gets no number.

Guaranteed: probabilities and derivatives up to rounding; in a single turn, whose log-likelihood is
concave (McFadden 1974), that no other parameters are likelier. With more turns later choices enter
earlier values, and the maximum is the best found from two starts, even play and the scenario's own
numbers. Intervals, by the profile likelihood for λ (Venzon & Moolgavkar 1988) and by the delta
method for weights, hold for many choices, if the model is true and the policy is the one that the
users knew: conversations that resemble each other beyond that are not allowed for. How often they
cover is measured: the 90 % interval of λ held the truth in 91 % of 2,000 simulated logs of 1,500
conversations over two turns, that of the weight of risk in 91 % of 500.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import accumulate

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array as JaxArray
from jaxtyping import Float, Int
from scipy.optimize import brentq, minimize
from scipy.special import ndtri

from csa_games.arrays import Array
from csa_games.calibration.codes import Codes
from csa_games.calibration.estimates import Estimate
from csa_games.errors import InputError
from csa_games.evaluate import choosing_intents
from csa_games.factored import factored_game
from csa_games.fold import (
    Rows,
    backup,
    expectation,
    legal_mask,
    legal_rows,
    reach,
    rows_of,
    table_of,
)
from csa_games.game import ASSISTANT, USER, Game, Treeplex
from csa_games.logit import arrivals, given_reach, log_soft
from csa_games.scenario import Scenario, UserWeights

COMPONENTS = ("satisfaction", "risk", "effort")
"""What the payoff of a user with weights of its own is made of; effort counts against it."""

Payoffs = tuple[Float[Array, "C _ _ _"], ...]
"""Numbers per component, infoset and action: [C, K, A, N] for each level."""

Reached = tuple[Float[Array, "_ _"], ...]
"""Numbers per infoset: [K, N] for each level."""

FLAT = 1e-6
"""The information per choice, in logits of the payoff's range, below which nothing is told."""

STEEP = 1e-6
"""The largest slope per choice, in the same unit, that is left at a maximum."""

FARTHEST = 1e4
"""Logits between the best and the worst end, from which on an interval has no upper end."""

MOST_PAIRS = 10_000_000

ROUNDING = 1e-6  # how far a row of a policy may be off 1, as in certificates


@dataclass(frozen=True)
class Menu:
    """What each ask of an intent leads to under a known policy. C the components.

    `payoff` holds, per level, the counterfactual payoff of each component, effort negated;
    `reached` the counterfactual reach. Infosets of other intents are never reached.
    """

    scenario: Scenario
    intent: str
    game: Game
    payoff: Payoffs
    reached: Reached
    leaves: Float[np.ndarray, "C L"]  # the components at the ends of its conversations
    weights: Float[np.ndarray, " C"]  # those of the scenario
    rationality: float


@dataclass(frozen=True)
class Rationality:
    """An intent's λ and weights, fitted to `n` choices; None and absent where nothing tells them.

    `standard_errors` are those of λ and the weights that have estimates, from the observed
    information. `policy` is how the fitted intent asks, and log-likelihoods are of all choices:
    under the fit, under even play (λ = 0), as the scenario has it, and of the frequencies
    themselves, which no λ and weights exceed. `unidentified` are sentences.
    """

    intent: str
    rationality: Estimate | None
    weights: dict[str, Estimate]
    held: dict[str, float]
    standard_errors: dict[str, float]
    policy: Float[np.ndarray, "I A"]
    log_likelihood: float
    even: float
    base: float
    frequencies: float
    unidentified: tuple[str, ...]
    n: int


def menu(scenario: Scenario, intent: str, policy: Float[np.ndarray, "I A"]) -> Menu:
    """Return what each ask of the quantal `intent` leads to under the assistant's `policy`.

    `policy` is by the infosets of `csa_games.factored.factored_game(scenario)`. The prior of the
    intent does not matter. Raises `InputError` for an intent that is not there or not quantal, and
    for a policy that is none of this game.
    """
    whose = [part.name for part in scenario.intents if part.behaviour == "quantal"]
    if intent not in whose:
        raise InputError(
            f"{scenario.name}: found the intent {intent!r}, expected a quantal one: "
            f"{', '.join(whose) or 'there is none'}"
        )
    part = next(part for part in scenario.intents if part.name == intent)
    assert part.weights is not None  # checked when it was read
    assert part.rationality is not None
    game = factored_game(_alone(scenario, intent))
    here = game.tags[f"intent:{intent}"] > 0
    blank = Menu(
        scenario,
        intent,
        game,
        payoff=(),
        reached=(),
        leaves=np.stack([number[here] for number in _components(game)]),
        weights=np.array([part.weights.satisfaction, part.weights.risk, 1.0]),
        rationality=part.rationality.value,
    )
    return under(blank, policy)


def under(menu: Menu, policy: Float[np.ndarray, "I A"]) -> Menu:
    """Return what each ask leads to under another `policy`; raises `InputError` as `menu` does."""
    game, form = menu.game, menu.game.form
    plan = reach(form.treeplex[ASSISTANT], rows_of(form.treeplex[ASSISTANT], _known(game, policy)))
    parts = [expectation(form, USER, number, plan)[1] for number in _components(game)]
    with jax.enable_x64(True):
        payoff = tuple(jnp.asarray(np.stack(level)) for level in zip(*parts, strict=True))
        return replace(
            menu, payoff=payoff, reached=tuple(map(jnp.asarray, arrivals(form, USER, plan)))
        )


class Choices:
    """What users of a quantal intent chose after which public history, gathered piece by piece.

    Of a conversation that does not say all that the user had seen, what follows is left out, and so
    are turns beyond the scenario's. `n` choices are kept as numbers of (history, ask) pairs with
    how often each was made: no more of them than the scenario has, however long the log. Where it
    has more than `MOST_PAIRS`, too many for its game, they are only counted.
    """

    def __init__(self, scenario: Scenario, intent: str) -> None:
        self.scenario, self.intent = scenario, intent
        self.n = 0
        part = next(part for part in scenario.intents if part.name == intent)
        may = np.array([ask.name in part.asks for ask in scenario.asks])
        self._talks = may & [ask.ends is None for ask in scenario.asks]
        self._opens = np.array([not response.ends for response in scenario.responses])
        width = int(self._talks.sum() * self._opens.sum())
        self._firsts = list(accumulate((width**t for t in range(scenario.turns)), initial=0))
        self._kept = self._firsts[-1] * len(may) <= MOST_PAIRS
        self._pairs, self._times = np.zeros((2, 0), np.int64)

    def add(self, codes: Codes) -> None:
        """Add the choices in `codes`."""
        found = self._found(codes)
        self.n += len(found)
        if self._kept:
            self._pairs, place = np.unique(
                np.concatenate([self._pairs, found]), return_inverse=True
            )
            times = np.append(self._times, np.ones(len(found), np.int64))
            self._times = np.bincount(place, times, len(self._pairs)).astype(np.int64)

    def _found(self, codes: Codes) -> Int[np.ndarray, " M"]:
        """Return each choice as a number: its history times the asks there are, plus the ask."""
        talks, opens = self._talks, self._opens
        talking, open_ = np.cumsum(talks) - 1, np.cumsum(opens) - 1
        i = [part.name for part in self.scenario.intents].index(self.intent)
        found = []
        # Per conversation, the histories of asks and of responses as numbers; -1 where not known.
        said = np.where(codes.intent == i, 0, -1)
        heard = np.zeros_like(said)
        for t in range(self.scenario.turns):
            at = np.flatnonzero(codes.turn == t)
            at = at[(said[codes.conversation[at]] >= 0) & (codes.ask[at] >= 0)]
            who, ask = codes.conversation[at], codes.ask[at]
            if t == 0:
                found.append(ask)
            response, reaction = codes.response[at], codes.reaction[at]
            goes = (response >= 0) & opens[response] & talks[ask] & (t + 1 < self.scenario.turns)
            after = np.full_like(said, -1)
            after[who[goes]] = 0  # where they are only counted, numbers of histories might not fit
            if self._kept:
                after[who[goes]] = said[who[goes]] * talks.sum() + talking[ask[goes]]
                heard[who[goes]] = heard[who[goes]] * opens.sum() + open_[response[goes]]
            said = after
            seen = goes & (reaction >= 0)
            if self._kept and seen.any():
                place = said[who[seen]] * opens.sum() ** (t + 1) + heard[who[seen]]
                found.append((self._firsts[t + 1] + place) * len(talks) + reaction[seen])
            else:
                found.append(reaction[seen])
        return np.concatenate(found).astype(np.int64)

    def counts(self, menu: Menu) -> Int[np.ndarray, "I A"]:
        """Return how often each ask was chosen at each infoset of the intent.

        Raises `InputError` for asks that the intent may not make, and if choices were only counted.
        """
        if not self._kept:
            raise InputError(
                f"{self.scenario.name} has {self._firsts[-1]:,} public histories, too many to fit "
                f"how {self.intent!r} chooses after each of them"
            )
        game, asks = menu.game, [ask.name for ask in self.scenario.asks]
        whose = next(part for part in self.scenario.intents if part.name == self.intent)
        may = np.array([name in whose.asks for name in asks])
        place, ask = np.divmod(self._pairs, len(asks))
        if not may[ask].all():
            raise InputError(
                f"found the ask {asks[int(ask[~may[ask]][0])]!r} of {self.intent!r}, expected one "
                f"that it may make in {self.scenario.name}: {', '.join(whose.asks)}"
            )
        mine = np.flatnonzero(np.array(choosing_intents(game)) == self.intent)
        counts = np.zeros(
            (game.form.treeplex[USER].infosets, game.form.treeplex[USER].width), np.int64
        )
        counts[mine[place], (np.cumsum(may) - 1)[ask]] = self._times
        return counts


def asked(menu: Menu, codes: Codes) -> Int[np.ndarray, "I A"]:
    """Return how often each ask was chosen at each infoset of the intent, as `Choices` counts."""
    choices = Choices(menu.scenario, menu.intent)
    choices.add(codes)
    return choices.counts(menu)


def quantal_policy(
    menu: Menu, rationality: float, weights: Float[np.ndarray, " C"]
) -> Float[np.ndarray, "I A"]:
    """Return how the intent asks with this λ and these weights of `COMPONENTS`.

    Infosets that the policy never leads to, and those of other intents, hold even play.
    """
    treeplex = menu.game.form.treeplex[USER]
    with jax.enable_x64(True):
        product = jnp.asarray(rationality * np.asarray(weights, np.float64))
        rows = jax.device_get(_log_rows(treeplex, menu.payoff, menu.reached, product))
    return np.exp(table_of(treeplex, rows)) * legal_mask(treeplex)


def log_likelihood(
    menu: Menu,
    counts: Int[np.ndarray, "I A"],
    rationality: float,
    weights: Float[np.ndarray, " C"],
) -> float:
    """Return the log-likelihood of `counts` with this λ and these weights of `COMPONENTS`."""
    product = rationality * np.asarray(weights, np.float64)
    return _objective(menu, _checked(menu, counts), np.eye(len(COMPONENTS))).value(product)


def fit_rationality(
    menu: Menu,
    counts: Int[np.ndarray, "I A"],
    *,
    free: Collection[str] = ("risk", "effort"),
    level: float = 0.9,
) -> Rationality:
    """Return λ and the weights `free` that make `counts` of asks likeliest, and what is not told.

    `counts` are by the user's infosets of the factored game, as `asked` returns them; those of
    other intents are not looked at. All other weights are held. λ is in 1/payoff with the held
    weights as they are; the weight of effort multiplies all of the scenario's efforts.

    Raises `InputError` for counts that cannot be, for none, for asks where the policy never leads,
    for free weights that are not of `COMPONENTS` or all of them, and if no maximum is found.
    """
    if (unknown := sorted(set(free) - set(COMPONENTS))) or len(set(free)) == len(COMPONENTS):
        raise InputError(
            f"found the free weights {', '.join(unknown or free)}, expected some of "
            f"{', '.join(COMPONENTS)} and at least one of them held, which gives λ its unit"
        )
    if not 0 < level < 1:
        raise InputError(f"found the level {level}, expected one between 0 and 1")
    rows = _checked(menu, counts)
    fitted = [c for c, name in enumerate(COMPONENTS) if name in free]
    held = np.array([name not in free for name in COMPONENTS])
    mixing, unit = _mixing(menu, fitted)
    objective = _objective(menu, rows, mixing / unit)
    own = np.array([1.0, *menu.weights[fitted]]) * menu.rationality * unit
    n = int(sum(part.sum() for part in rows))
    starts = (np.zeros_like(own), own)
    best = max((_climbed(objective, n, start) for start in starts), key=objective.value)
    if (left := np.abs(objective.slope(best)).max() / n) > STEEP:
        raise InputError(
            f"the likelihood of the asks of {menu.intent!r} could not be maximised: its slope is "
            f"still {left:.2g} per choice, expected at most {STEEP}"
        )

    flat, covariance = _information(objective, n, best)
    names = ["λ", *(f"λ times the weight of {COMPONENTS[c]}" for c in fitted)]
    at_even = -objective.curvature(np.zeros_like(best)) / n
    sentences = [_unmoved(menu, names, v, bool(v @ at_even @ v >= FLAT)) for v in flat.T]
    told = np.abs(flat).max(axis=1, initial=0.0) < 1e-6

    coefficient, error = best / unit, covariance / np.outer(unit, unit)
    estimate = partial(Estimate, n=float(n), effective=float(n), level=level)
    sharpness, weights, errors = None, {}, {}
    if told[0] and coefficient[0] <= 0:
        sentences.append(
            f"the likelihood of the asks of {menu.intent!r} is highest where λ is not positive "
            f"({coefficient[0]:.4g}): they shun what the held weights say they want"
        )
    elif told[0]:
        low, high = (
            end / float(unit[0]) for end in _profile(objective, n, best, covariance, level)
        )
        sharpness = estimate(float(coefficient[0]), low, high, how="profile likelihood")
        errors["λ"] = float(np.sqrt(error[0, 0]))
        if low == 0 and fitted:
            sentences.append(
                f"λ of {menu.intent!r} may be 0, at the level {level:g}: weights are ratios to "
                "what it multiplies, and have no interval"
            )
        for p in np.flatnonzero(told[1:]) + 1 if low > 0 else ():
            name, ratio = COMPONENTS[fitted[p - 1]], float(coefficient[p] / coefficient[0])
            slope = np.zeros(len(best))
            slope[0], slope[p] = -ratio / coefficient[0], 1 / coefficient[0]
            errors[name] = float(np.sqrt(slope @ error @ slope))
            reaches = float(ndtri(0.5 + level / 2)) * errors[name]
            weights[name] = estimate(ratio, ratio - reaches, ratio + reaches, how="delta method")
    return Rationality(
        intent=menu.intent,
        rationality=sharpness,
        weights=weights,
        held={name: float(menu.weights[c]) for c, name in enumerate(COMPONENTS) if held[c]},
        standard_errors=errors,
        policy=quantal_policy(menu, 1.0, mixing @ coefficient),
        log_likelihood=objective.value(best),
        even=objective.value(np.zeros_like(best)),
        base=objective.value(own),
        frequencies=_of_frequencies(rows),
        unidentified=tuple(sentences),
        n=n,
    )


def refitted(
    menu: Menu, counts: Int[np.ndarray, "I A"], found: Rationality
) -> dict[str, float] | None:
    """Return λ and the weights that `found` has estimates of, climbed to from there.

    For another menu of the same asks: the maximum next to that of `found`. None where there is
    none, or where it does not tell all of them.
    """
    assert found.rationality is not None
    fitted = [c for c, name in enumerate(COMPONENTS) if name in found.weights]
    mixing, unit = _mixing(menu, fitted)
    objective = _objective(menu, _checked(menu, counts), mixing / unit)
    weights = [1.0, *(found.weights[COMPONENTS[c]].value for c in fitted)]
    best = _climbed(objective, found.n, found.rationality.value * np.array(weights) * unit)
    flat, _ = _information(objective, found.n, best)
    if best[0] <= 0 or flat.size or np.abs(objective.slope(best)).max() / found.n > STEEP:
        return None
    sharpness, *products = (best / unit).tolist()
    names = (COMPONENTS[c] for c in fitted)
    return {"λ": sharpness} | {
        name: product / sharpness for name, product in zip(names, products, strict=True)
    }


def _mixing(
    menu: Menu, fitted: list[int]
) -> tuple[Float[np.ndarray, "C P"], Float[np.ndarray, " P"]]:
    """Return what λ and the weights `fitted` multiply, and their units.

    In these, parameters count in logits between the best end of a conversation and the worst.
    """
    every = np.eye(len(COMPONENTS))
    held = menu.weights * (1 - every[fitted].sum(axis=0))
    mixing = np.stack([held, *every[fitted]], axis=1)
    spread = np.ptp(mixing.T @ menu.leaves, axis=1)
    return mixing, np.where(spread > 0, spread, 1.0)


@dataclass(frozen=True)
class _Objective:
    """The log-likelihood and its derivatives, of P parameters."""

    value: Callable[[Float[np.ndarray, " P"]], float]
    slope: Callable[[Float[np.ndarray, " P"]], Float[np.ndarray, " P"]]
    curvature: Callable[[Float[np.ndarray, " P"]], Float[np.ndarray, "P P"]]


def _alone(scenario: Scenario, intent: str) -> Scenario:
    """Return `scenario` where everybody is of `intent`, which wants harm alone, less effort.

    So its payoff at a leaf tells the harm, which no tag does without its severity.
    """
    wants = UserWeights(satisfaction=0.0, risk=1.0, source="assumption: to tell components apart")
    parts = [
        part.model_copy(
            update={"prior": part.prior.model_copy(update={"value": float(part.name == intent)})}
            | ({"weights": wants} if part.name == intent else {})
        )
        for part in scenario.intents
    ]
    return scenario.model_copy(update={"intents": parts})


def _components(game: Game) -> tuple[Float[np.ndarray, " L"], ...]:
    """Return the `COMPONENTS` at the leaves of a game of `_alone`, effort negated."""
    effort = game.tags["effort"]
    harm = np.asarray(game.form.leaves.payoff[USER]) + effort
    return game.tags["satisfaction"], harm, -effort


def _known(game: Game, policy: Float[np.ndarray, "I A"]) -> Float[np.ndarray, "I A"]:
    """Return `policy` in float64 after checking that it is one of the assistant's."""
    table, treeplex = np.asarray(policy, np.float64), game.form.treeplex[ASSISTANT]
    if table.shape != (shape := (treeplex.infosets, treeplex.width)):
        raise InputError(
            f"the assistant's policy in {game.name} has the shape {table.shape}, expected {shape}"
        )
    proper = (table >= 0).all(axis=1) & (np.abs(table.sum(axis=1) - 1) <= ROUNDING)
    if not proper.all():
        wrong = int(np.argmin(proper))
        raise InputError(
            f"the assistant's policy in {game.name} is {table[wrong].tolist()} at infoset "
            f"{game.names.infosets[ASSISTANT][wrong]!r}, expected probabilities that sum to 1"
        )
    return table


def _checked(menu: Menu, counts: Int[np.ndarray, "I A"]) -> Rows:
    """Return the counts of the intent's choices as rows, after checking that they can be."""
    treeplex, names = menu.game.form.treeplex[USER], menu.game.names
    if counts.shape != (shape := (treeplex.infosets, treeplex.width)):
        raise InputError(f"found counts of the shape {counts.shape}, expected {shape}")
    mine = np.array(choosing_intents(menu.game)) == menu.intent
    seen = np.where(mine[:, None], counts, 0)
    if (seen < 0).any():
        raise InputError("found a count below 0, expected how often each ask was made")
    reached = rows_of(treeplex, np.zeros(shape))
    reached = tuple(
        part + np.asarray(here)[:, None] for part, here in zip(reached, menu.reached, strict=True)
    )
    possible = legal_mask(treeplex)
    for able, why in (
        (possible, "one that the intent may make"),
        (np.asarray(table_of(treeplex, reached)) > 0, "none where the policy never leads"),
    ):
        if (wrong := (seen > 0) & ~able).any():
            i, a = (int(k) for k in np.argwhere(wrong)[0])
            raise InputError(
                f"found {int(seen[i, a])} of ask number {a} at {names.infosets[USER][i]!r}, "
                f"expected {why}"
            )
    if not seen.any():
        raise InputError(f"found no ask of {menu.intent!r}, expected some")
    return tuple(np.asarray(part) for part in rows_of(treeplex, seen.astype(np.float64)))


def _log_policy(
    treeplex: Treeplex, payoff: Payoffs, reached: Reached, product: Float[Array, " C"]
) -> Rows:
    """Return log P(a | h) where λ times the weights is `product`; 0 for what is not legal."""
    legal = legal_rows(treeplex)
    found: dict[int, Array] = {}

    def choose(q: Array, k: int) -> Array:
        found[k] = log_soft(given_reach(q, reached[k]), legal[k])
        return (jnp.where(legal[k], jnp.exp(found[k]), 0.0) * q).sum(axis=-2)

    rows = tuple(jnp.einsum("c,ckan->kan", product, part) for part in payoff)
    backup(treeplex, (jnp.zeros(()), rows), choose)
    return tuple(found[k] for k in range(len(rows)))


_log_rows = jax.jit(_log_policy)


def _likelihood(
    parameters: Array,
    treeplex: Treeplex,
    payoff: Payoffs,
    reached: Reached,
    rows: Rows,
    mixing: Array,
) -> JaxArray:
    log = _log_policy(treeplex, payoff, reached, mixing @ parameters)
    return jnp.stack([(n * p).sum() for n, p in zip(rows, log, strict=True)]).sum()


@jax.jit
def _with_derivatives(
    parameters: Array,
    treeplex: Treeplex,
    payoff: Payoffs,
    reached: Reached,
    rows: Rows,
    mixing: Array,
) -> tuple[JaxArray, JaxArray, JaxArray]:
    inputs = (parameters, treeplex, payoff, reached, rows, mixing)
    value, slope = jax.value_and_grad(_likelihood)(*inputs)
    return value, slope, jax.hessian(_likelihood)(*inputs)


def _objective(menu: Menu, rows: Rows, mixing: Float[np.ndarray, "C P"]) -> _Objective:
    """Return the log-likelihood of `rows` where λ times the weights is `mixing` @ parameters."""
    with jax.enable_x64(True):
        inputs = jax.device_put(
            (menu.game.form.treeplex[USER], menu.payoff, menu.reached, rows, mixing)
        )

    @lru_cache(maxsize=2)  # a search asks for the three of a point one after the other
    def at(x: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        with jax.enable_x64(True):
            found = _with_derivatives(np.array(x, np.float64), *inputs)
            return jax.device_get(found)

    return _Objective(
        lambda x: float(at(tuple(x.tolist()))[0]),
        lambda x: at(tuple(x.tolist()))[1],
        lambda x: at(tuple(x.tolist()))[2],
    )


def _climbed(
    objective: _Objective, n: int, start: Float[np.ndarray, " P"], fixed: int = 0
) -> Float[np.ndarray, " P"]:
    """Return the maximum found from `start`, whose first `fixed` parameters stay."""
    if fixed == len(start):
        return start
    whole = partial(np.append, start[:fixed])
    found = minimize(
        lambda x: -objective.value(whole(x)) / n,
        start[fixed:],
        jac=lambda x: -objective.slope(whole(x))[fixed:] / n,
        hess=lambda x: -objective.curvature(whole(x))[fixed:, fixed:] / n,
        method="trust-exact",
        options={"gtol": 1e-9, "maxiter": 300},
    )
    return whole(found.x)


def _information(
    objective: _Objective, n: int, best: Float[np.ndarray, " P"]
) -> tuple[Float[np.ndarray, "P F"], Float[np.ndarray, "P P"]]:
    """Return the F directions that `n` choices do not tell, and the covariance along all others."""
    eigenvalues, vectors = np.linalg.eigh(-objective.curvature(best) / n)
    sharp = eigenvalues >= FLAT
    return vectors[:, ~sharp], vectors[:, sharp] / (n * eigenvalues[sharp]) @ vectors[:, sharp].T


def _of_frequencies(rows: Rows) -> float:
    """Return the log-likelihood of the counts `rows` under their own frequencies."""
    total = 0.0
    for part in rows:
        share = part / np.maximum(part.sum(axis=1, keepdims=True), 1)
        total += float((part * np.log(np.where(part > 0, share, 1.0))).sum())
    return total


def _profile(
    objective: _Objective,
    n: int,
    best: Float[np.ndarray, " P"],
    covariance: Float[np.ndarray, "P P"],
    level: float,
) -> tuple[float, float]:
    """Return the λ, as parameters count it, between which the profile likelihood is high enough.

    That is where twice the log-likelihood, the other parameters being the likeliest, has fallen by
    the quantile of chi-squared with one degree of freedom. It ends at 0, and may have no end.
    """
    fall = ndtri(0.5 + level / 2) ** 2 / 2
    top, error = objective.value(best), float(np.sqrt(covariance[0, 0]))
    along = covariance[:, 0] / covariance[0, 0]  # where the others go first, as λ moves

    def fallen(x: float) -> float:
        start = best + (x - best[0]) * along
        return top - objective.value(_climbed(objective, n, start, fixed=1)) - fall

    def crossed(inside: float, outside: float) -> float:
        return brentq(fallen, inside, outside, xtol=1e-5 * error, rtol=1e-6)

    # Where the likelihood is as good as quadratic, which it mostly is, the first step is enough.
    step = 1.05 * np.sqrt(2 * fall) * error
    inside, outside = float(best[0]), float(best[0] + step)
    while outside <= FARTHEST and fallen(outside) < 0:
        inside, outside = outside, 2 * outside - best[0]
    high = np.inf if outside > FARTHEST else crossed(inside, outside)
    inside, outside = float(best[0]), max(float(best[0] - step), 0.0)
    while fallen(outside) < 0:
        if outside == 0:
            return 0.0, float(high)
        inside, outside = outside, max(2 * outside - float(best[0]), 0.0)
    return float(crossed(outside, inside)), float(high)


def _unmoved(menu: Menu, names: list[str], direction: Float[np.ndarray, " P"], moved: bool) -> str:
    """Return a sentence about a `direction` that the likelihood does not move along.

    `moved` says whether it would if the asks were made evenly.
    """
    direction = direction * np.sign(direction[np.argmax(np.abs(direction))])
    parts = [
        f"{share:+.2f} {name}"
        for share, name in zip(direction, names, strict=True)
        if abs(share) >= 0.005
    ]
    along = parts[0].split(" ", 1)[1] if len(parts) == 1 else "the direction " + ", ".join(parts)
    if len(parts) > 1:
        along += " (each in logits over the range of what it weighs)"
    why = (
        "it levels off, for the asks that were seen leave no room for error"
        if moved
        else "under this policy no ask that was seen becomes likelier or less likely by it"
    )
    return f"the likelihood of the asks of {menu.intent!r} does not move with {along}: {why}"
