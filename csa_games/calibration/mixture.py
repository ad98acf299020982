"""Mixtures: conversations of several kinds, of which nobody has said which is which.

A conversation of kind z shows outcome d of a context with probability p_zd, independently of the
rest of it; the kind itself is drawn with probability w_z. With n_cd the times that conversation c
shows d, the log-likelihood is

    sum_c log sum_z w_z prod_d p_zd^n_cd,

climbed by expectation-maximisation (Dempster, Laird & Rubin 1977) from several random starts at
once. What the assistant did needs no model as long as it did not know the kind (Rubin 1976).

EM ends at a stationary point: that no better one was missed is not guaranteed, only made likely by
the starts. Kinds are known up to their order: they come by falling weight, and `matched` puts them
in another. How many there are is judged by BIC (Schwarz 1978) and held-out likelihood.

Standard errors are those of the scores' outer products (Berndt, Hall, Hall & Hausman 1974). They
hold for many conversations, independent of each other, and for kinds that are there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Bool, Float, Int, Integer, UInt
from scipy.optimize import linear_sum_assignment

from csa_games.arrays import Array

STARTS = 8
MOST_STEPS = 5000
GAIN = 1e-8  # of the log-likelihood per conversation: below it, a run has ended
LEAST = 1e-12  # no probability is below it, so that logarithms are finite
PIECE = 8192  # conversations that are held as floating-point numbers at a time
FLAT = 1e-12  # the least eigenvalue of the information, relative to the largest
SCREENED = 20_000  # distinct conversations that starts are tried on
UNKNOWN = -1


@dataclass(frozen=True)
class Sample:
    """What conversations show. Letters: N distinct ones, D outcomes of all contexts together."""

    seen: Integer[np.ndarray, "N D"]  # how often each outcome
    context: Int[np.ndarray, " D"]  # which context an outcome is of, ascending from 0
    times: Int[np.ndarray, " N"]  # how many conversations are alike
    kind: Int[np.ndarray, " N"]  # where it is known, else UNKNOWN


@dataclass(frozen=True)
class Mixture:
    """Kinds of conversations. Letters: Z kinds, D outcomes."""

    weight: Float[np.ndarray, " Z"]
    rows: Float[np.ndarray, "Z D"]  # p_zd, sums to 1 over each context
    log_likelihood: float
    parameters: int
    conversations: int
    steps: int
    converged: bool

    @property
    def bic(self) -> float:
        """The Bayesian information criterion: the lower the better."""
        return self.parameters * float(np.log(self.conversations)) - 2 * self.log_likelihood


def sample(
    seen: Integer[np.ndarray, "N D"],
    context: Sequence[int] | Int[np.ndarray, " D"],
    kind: Int[np.ndarray, " N"] | None = None,
) -> Sample:
    """Return conversations with those that are alike counted together."""
    known = np.full(len(seen), UNKNOWN) if kind is None else kind
    _, first, place, times = np.unique(
        _keys(seen, known), return_index=True, return_inverse=True, return_counts=True
    )
    for column in (known, *seen.T):
        if not np.array_equal(column[first][place], column):  # one key for two: practically never
            first, times = np.arange(len(seen)), np.ones(len(seen), np.int64)
            break
    return Sample(seen[first], np.asarray(context, np.int64), times, known[first])


def _keys(seen: Integer[np.ndarray, "N D"], kind: Int[np.ndarray, " N"]) -> UInt[np.ndarray, " N"]:
    """Return a number for each conversation, the same for those that are alike.

    Random odd multiples, added up modulo 2^64: sorting numbers is much faster than sorting rows.
    """
    factor = np.random.default_rng(0).integers(2**64, size=seen.shape[1] + 1, dtype=np.uint64)
    key = kind.astype(np.int64).astype(np.uint64) * (factor[-1] | np.uint64(1))
    for column, odd in zip(seen.T, factor | np.uint64(1), strict=False):
        key += column.astype(np.uint64) * odd
    return key


def fit_mixture(
    given: Sample,
    kinds: int,
    draw: np.random.Generator,
    *,
    starts: int = STARTS,
    begin: Float[np.ndarray, "Z D"] | None = None,
    allowed: Bool[np.ndarray, "Z D"] | None = None,
    most_steps: int = MOST_STEPS,
) -> Mixture:
    """Return the mixture of `kinds` with the highest likelihood that was found.

    Starts are random rows, and `begin` where it is given. They are tried on a random part of large
    samples, and the best goes on with all of it. What a kind never shows may be said by `allowed`.
    Where neither that nor known kinds give them an order, they come by falling weight.
    """
    may = np.ones((kinds, len(given.context)), bool) if allowed is None else allowed
    first = np.stack([_random_rows(given, kinds, draw) for _ in range(starts)])
    if begin is not None:
        first = np.concatenate([begin[None], first])
    first = np.where(may, first, LEAST)
    first = np.stack([rows / _by_context(rows, given.context) for rows in first])
    weight = np.full((len(first), kinds), 1 / kinds)
    if len(given.seen) > SCREENED:
        part = np.sort(draw.choice(len(given.seen), SCREENED, replace=False))
        tried = Sample(given.seen[part], given.context, given.times[part], given.kind[part])
        found = _climb(tried, weight, first, may, most_steps)
        best = int(np.argmax(found[2]))
        weight, first = found[0][best][None], found[1][best][None]
    weights, rows, likelihood, steps, gain = _climb(given, weight, first, may, most_steps)
    best = int(np.argmax(likelihood))
    order = np.arange(kinds)
    if allowed is None and not (given.kind >= 0).any():
        order = np.argsort(-weights[best], kind="stable")
    contexts = int(given.context[-1]) + 1
    total = int(given.times.sum())
    return Mixture(
        weights[best][order],
        rows[best][order],
        float(likelihood[best]),
        kinds - 1 + int(may.sum()) - kinds * contexts,
        total,
        int(steps[best]),
        bool(gain[best] <= GAIN * total),
    )


def posterior(mixture: Mixture, given: Sample) -> Float[np.ndarray, "N Z"]:
    """Return the probability of each kind, by conversation; what is known is certain."""
    joint = given.seen @ np.log(mixture.rows).T + np.log(mixture.weight)
    joint = joint + _certain(given.kind, len(mixture.weight))
    share = np.exp(joint - joint.max(axis=1, keepdims=True))
    return share / share.sum(axis=1, keepdims=True)


def log_likelihood(mixture: Mixture, given: Sample) -> float:
    """Return the log-likelihood of conversations, such as ones the mixture has not seen."""
    joint = given.seen @ np.log(mixture.rows).T + np.log(mixture.weight)
    joint = joint + _certain(given.kind, len(mixture.weight))
    top = joint.max(axis=1)
    return float(given.times @ (top + np.log(np.exp(joint - top[:, None]).sum(axis=1))))


def held_out(
    seen: Integer[np.ndarray, "N D"],
    context: Sequence[int] | Int[np.ndarray, " D"],
    kinds: int,
    draw: np.random.Generator,
    *,
    cluster: Int[np.ndarray, " N"] | None = None,
    folds: int = 5,
    starts: int = 4,
    most_steps: int = 500,
) -> float:
    """Return the log-likelihood of conversations that the fit has not seen, over `folds`.

    Conversations of a cluster are in the same fold.
    """
    clusters = np.arange(len(seen)) if cluster is None else cluster
    names, place = np.unique(clusters, return_inverse=True)
    fold = draw.permutation(len(names))[place] % folds
    total = 0.0
    for k in range(folds):
        known, other = (sample(seen[part], context) for part in (fold != k, fold == k))
        total += log_likelihood(
            fit_mixture(known, kinds, draw, starts=starts, most_steps=most_steps), other
        )
    return total


def matched(
    mixture: Mixture,
    times: Float[np.ndarray, "Z D"],
    believed: Float[np.ndarray, "Z D"],
    allowed: Bool[np.ndarray, "Z D"],
) -> Mixture:
    """Return the mixture with its kinds in the order of the rows `believed`.

    `times` is how often each kind is expected to have shown each outcome. The order is the one
    under which that is most likely (the assignment problem; Kuhn 1955), among those that leave what
    is `allowed` as it is.
    """
    cost = -times @ np.log(np.maximum(believed, LEAST)).T
    cost += 1e3 * np.abs(cost).max() * (allowed[:, None] != allowed).any(axis=2)
    kind, place = linear_sum_assignment(cost)
    order = kind[np.argsort(place)]
    return Mixture(
        mixture.weight[order],
        mixture.rows[order],
        mixture.log_likelihood,
        mixture.parameters,
        mixture.conversations,
        mixture.steps,
        mixture.converged,
    )


def variances(
    mixture: Mixture, given: Sample
) -> tuple[Float[np.ndarray, " Z"], Float[np.ndarray, "Z D"]]:
    """Return the variances of weights and rows, of independent conversations.

    What the likelihood does not move has a variance far above 1: such as, where conversations end
    with a first success, weights and the rows of the first round, of which only the survivors of
    each kind and the successes of both are told.
    """
    return inverted(mixture, given.context, information(mixture, given))


def information(mixture: Mixture, given: Sample) -> Float[np.ndarray, "P P"]:
    """Return the information on logits, of weights and then of the rows of each kind.

    The sum of the outer products of the scores of conversations.
    """
    kinds, outcomes = mixture.rows.shape
    size = kinds * (outcomes + 1)
    total = np.zeros((size, size))
    same = given.context[:, None] == given.context  # an outcome's context
    for begin in range(0, len(given.seen), PIECE):
        part = slice(begin, begin + PIECE)
        seen = given.seen[part].astype(np.float64)
        some = Sample(given.seen[part], given.context, given.times[part], given.kind[part])
        share = posterior(mixture, some)
        away = seen[:, None] - (seen @ same)[:, None] * mixture.rows  # [N, Z, D]
        scores = np.concatenate(
            [share - mixture.weight, (share[:, :, None] * away).reshape(len(seen), -1)], axis=1
        )
        total += scores.T @ (some.times[:, None] * scores)
    return total


def inverted(
    mixture: Mixture, context: Int[np.ndarray, " D"], information: Float[np.ndarray, "P P"]
) -> tuple[Float[np.ndarray, " Z"], Float[np.ndarray, "Z D"]]:
    """Return the variances of weights and rows that the `information` on logits leaves."""
    kinds, outcomes = mixture.rows.shape
    same = context[:, None] == context  # an outcome's context
    free = _free(context, kinds)
    scale, direction = np.linalg.eigh(free.T @ information @ free)
    along = free @ direction
    covariance = along / np.maximum(scale, FLAT * scale[-1]) @ along.T
    # From logits to probabilities: dp = (diag p - p p') dlogit, in each context.
    weight, rows = mixture.weight, mixture.rows
    slope = np.diag(weight) - np.outer(weight, weight)
    of_weight = np.einsum("zi,ij,zj->z", slope, covariance[:kinds, :kinds], slope)
    of_rows = np.zeros_like(rows)
    for z in range(kinds):
        slope = np.diag(rows[z]) - np.outer(rows[z], rows[z]) * same
        at = kinds + z * outcomes + np.arange(outcomes)
        of_rows[z] = np.einsum("di,ij,dj->d", slope, covariance[np.ix_(at, at)], slope)
    return np.maximum(of_weight, 0.0), np.maximum(of_rows, 0.0)


def flat(
    mixture: Mixture,
    context: Int[np.ndarray, " D"],
    information: Float[np.ndarray, "P P"],
    expected: Float[np.ndarray, "Z D"],
) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, "F P"]]:
    """Return the directions that conversations hardly tell, and how many sightings each is told by.

    A direction is by how much weights, and then the rows of each kind, change together; its largest
    change is 1. It is flat where the likelihood falls by less along it than it would if a single
    sighting had a label: the information on x = 2 sqrt(p), in which that of n labelled sightings of
    a row is n in all directions, is below 1. (Where it is below 1/π², logits are told less well
    than Jeffreys' prior knows them.)

    `expected` is how often each kind is expected to have shown each outcome. Outcomes of less than
    one sighting are left out: at the end of its range a probability is told, though no slope shows
    it, and of a row that was never met there is nothing to ask the likelihood.
    """
    kinds, outcomes = mixture.rows.shape
    chance = np.concatenate([mixture.weight, mixture.rows.ravel()])
    often = np.concatenate([mixture.weight * mixture.conversations, expected.ravel()])
    later = 1 + np.arange(kinds)[:, None] * (int(context[-1]) + 1) + context
    block = np.concatenate([np.zeros(kinds, np.int64), later.ravel()])
    kept = np.flatnonzero(often >= 1)
    root = np.sqrt(chance[kept])
    whole = np.eye(len(kept))
    for k in np.unique(block[kept]):  # probabilities of a block sum to 1, so that x has one length
        mine = np.where(block[kept] == k, root, 0.0)
        whole -= np.outer(mine, mine) / (mine @ mine)
    size, basis = np.linalg.eigh(whole)
    free = basis[:, size > 0.5]
    of_root = information[np.ix_(kept, kept)] / np.outer(root, root)
    worth, along = np.linalg.eigh(free.T @ of_root @ free)
    told_by = np.maximum(worth[worth < 1], 0.0)
    found = np.zeros((len(told_by), kinds * (outcomes + 1)))
    found[:, kept] = (root[:, None] * (free @ along[:, worth < 1])).T
    return told_by, found / np.abs(found).max(axis=1, keepdims=True, initial=LEAST)


def _free(context: Int[np.ndarray, " D"], kinds: int) -> Float[np.ndarray, "P F"]:
    """Return directions of logits that change probabilities, orthonormal: all but sums."""
    same = (context[:, None] == context).astype(np.float64)
    row = np.eye(len(context)) - same / same.sum(axis=1)
    blocks = [np.eye(kinds) - 1 / kinds, *[row] * kinds]
    whole = np.zeros((kinds * (len(context) + 1),) * 2)
    begin = 0
    for block in blocks:
        part = slice(begin, begin + len(block))
        whole[part, part] = block
        begin += len(block)
    scale, direction = np.linalg.eigh(whole)  # a projection: its eigenvalues are 0 and 1
    return direction[:, scale > 0.5]


def _random_rows(given: Sample, kinds: int, draw: np.random.Generator) -> Float[np.ndarray, "Z D"]:
    """Return rows drawn evenly from those that sum to 1 over each context."""
    rows = draw.exponential(size=(kinds, len(given.context))) + 1e-3
    return rows / _by_context(rows, given.context)


def _by_context(
    rows: Float[np.ndarray, "Z D"], context: Int[np.ndarray, " D"]
) -> Float[np.ndarray, "Z D"]:
    return np.stack([np.bincount(context, row)[context] for row in rows])


def _certain(kind: Int[np.ndarray, " N"], kinds: int) -> Float[np.ndarray, "N Z"]:
    """Return 0 for what a conversation may be, and -inf else."""
    other = (kind[:, None] >= 0) & (kind[:, None] != np.arange(kinds))
    return np.where(other, -np.inf, 0.0)


def _climb(
    given: Sample,
    weight: Float[np.ndarray, "S Z"],
    rows: Float[np.ndarray, "S Z D"],
    may: Bool[np.ndarray, "Z D"],
    most_steps: int,
) -> tuple[np.ndarray, ...]:
    """Return weights, rows, log-likelihoods, steps and last gains of EM from S starts."""
    count = len(given.seen)
    piece = min(PIECE, 1 << max(count - 1, 1).bit_length())  # few shapes, few compilations
    pieces = -(-count // piece)
    short = pieces * piece - count

    def cut(array: np.ndarray) -> np.ndarray:
        padded = np.concatenate([array, np.zeros((short, *array.shape[1:]), array.dtype)])
        return padded.reshape(pieces, piece, *array.shape[1:])

    seen = cut(given.seen.astype(np.min_scalar_type(int(given.seen.max(initial=0)))))
    same = (given.context[:, None] == given.context).astype(np.float64)
    with jax.enable_x64(True):
        found = _climbed(
            jnp.asarray(seen),
            jnp.asarray(cut(given.times).astype(np.float64)),
            jnp.asarray(cut(given.kind)),
            jnp.asarray(same),
            jnp.asarray(weight),
            jnp.asarray(rows),
            jnp.asarray(may),
            jnp.asarray(GAIN * float(given.times.sum())),
            jnp.asarray(most_steps),
        )
        return tuple(np.asarray(part) for part in found)


@jax.jit
def _climbed(
    seen: Integer[Array, "P M D"],
    times: Float[Array, "P M"],
    kind: Int[Array, "P M"],
    same: Float[Array, "D D"],
    weight: Float[Array, "S Z"],
    rows: Float[Array, "S Z D"],
    may: Bool[Array, "Z D"],
    enough: Float[Array, ""],
    most_steps: Int[Array, ""],
) -> tuple[Array, ...]:
    kinds = weight.shape[1]

    def expected(weight: Array, rows: Array) -> tuple[Array, Array, Array]:
        """Return the log-likelihood, and how often each kind and each of its outcomes came."""
        log_weight, log_rows = jnp.log(weight), jnp.log(rows)

        def add(total: Any, piece: Any) -> tuple[Any, None]:
            n, many, who = piece[0].astype(jnp.float64), piece[1], piece[2]
            other = (who[:, None] >= 0) & (who[:, None] != jnp.arange(kinds))
            joint = n @ log_rows.T + log_weight + jnp.where(other, -jnp.inf, 0.0)
            mass = logsumexp(joint, axis=1)
            share = many[:, None] * jnp.exp(joint - mass[:, None])
            return (
                total[0] + many @ mass,
                total[1] + share.sum(axis=0),
                total[2] + share.T @ n,
            ), None

        zero = (jnp.zeros(()), jnp.zeros_like(weight), jnp.zeros_like(rows))
        return jax.lax.scan(add, zero, (seen, times, kind))[0]

    def run(weight: Array, rows: Array) -> tuple[Array, ...]:
        def goes_on(state: Any) -> Any:
            return (state[4] > enough) & (state[3] < most_steps)

        def step(state: Any) -> Any:
            weight, rows, last, steps, _ = state
            likelihood, often, outcomes = expected(weight, rows)
            total = outcomes @ same
            # A context that a kind never meets keeps its rows.
            better = jnp.where(total > 0, outcomes / jnp.where(total > 0, total, 1.0), rows)
            better = jnp.maximum(jnp.where(may, better, 0.0), LEAST)
            often = jnp.maximum(often / often.sum(), LEAST)
            return often, better / (better @ same), likelihood, steps + 1, likelihood - last

        began = (weight, rows, jnp.array(-jnp.inf), jnp.array(0), jnp.array(jnp.inf))
        weight, rows, _, steps, gain = jax.lax.while_loop(goes_on, step, began)
        return weight, rows, expected(weight, rows)[0], steps, gain

    return jax.vmap(run)(weight, rows)
