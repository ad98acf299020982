"""Regret matching, and the table of CFR variants: one row each, one engine for all of them.

With r the instantaneous counterfactual regrets of iteration t = 1, 2, ... and R the cumulative
ones, every row of the table is

    R <- d_t R + r                       discounted before r is added
    R <- max(R, 0)                       in the plus rules
    policy <- match(e_t R + p r)         p predicts that r comes again
    S <- ((t - 1) / t)^gamma_t S + x     x the plan that was used, so it weighs t^gamma

with d_t = k^a / (k^a + c), k = t - 1, the exponent a being alpha where R > 0 and beta elsewhere,
and e_t = d_{t+1} where the prediction is discounted and 1 elsewhere. Some authors discount after
adding (OpenSpiel does); without prediction that gives the same policies, because all positive
regrets of an infoset carry the same factor, and with prediction it is another algorithm.
"""

from typing import NamedTuple

from jaxtyping import Bool, Float

from csa_games.arrays import Array, namespace, sum_of_actions

Number = float | Array
Schedule = tuple[Number, Number]
"""A parameter that moves linearly in t / n: its value at t = 0 and at the horizon t = n."""


class Variant(NamedTuple):
    """The parameters of one CFR variant: a pytree, so rows can be traced, stacked and vmapped."""

    gamma: Schedule
    """Averaging: the plan of iteration t weighs t^gamma."""
    alpha: Schedule = (0.0, 0.0)
    """Exponent of the discount of positive regrets."""
    beta: Schedule = (0.0, 0.0)
    """Exponent of the discount of the other regrets; without effect in plus rules."""
    discount: Number = 0.0
    """The constant c of the discount k^a / (k^a + c); 0 discounts nothing."""
    plus: bool | Array = False
    """Whether cumulative regrets are cut at zero."""
    prediction: Number = 0.0
    """The coefficient p of the instantaneous regret in the predicted one."""
    discounted_prediction: bool | Array = False
    """Whether the prediction applies the discount of the next iteration."""


def constant(number: float) -> Schedule:
    """Return the schedule that stays at `number`."""
    return (number, number)


VARIANTS: dict[str, Variant] = {
    # Zinkevich, Johanson, Bowling & Piccione 2007.
    "cfr": Variant(gamma=constant(0.0)),
    # Tammelin 2014 (arXiv 1407.5042), linear averaging from the first iteration on.
    "cfr+": Variant(gamma=constant(1.0), plus=True),
    # Brown & Sandholm 2019 (arXiv 1809.04040). Stated there as R <- R + t r; this is its ratio form
    # DCFR(1, 1, 1), the same policies, which keeps R on the scale of r.
    "lcfr": Variant(gamma=constant(1.0), alpha=constant(1.0), beta=constant(1.0), discount=1.0),
    # Brown & Sandholm 2019, DCFR(3/2, 0, 2).
    "dcfr": Variant(gamma=constant(2.0), alpha=constant(1.5), beta=constant(0.0), discount=1.0),
    # Xu et al. 2024 (IJCAI; arXiv 2404.13891). The constant 1.5 is that of the authors' released
    # code; the paper is said to state 1 (not verified).
    "dcfr+": Variant(gamma=constant(4.0), alpha=constant(1.5), discount=1.5, plus=True),
    # Farina, Kroer & Sandholm 2021 (arXiv 2007.14358), quadratic averaging.
    "pcfr+": Variant(gamma=constant(2.0), plus=True, prediction=1.0),
    # Xu et al. 2024 (IJCAI; arXiv 2404.13891), with the exponents of the authors' released code.
    "pdcfr+": Variant(
        gamma=constant(5.0),
        alpha=constant(2.3),
        discount=1.0,
        plus=True,
        prediction=1.0,
        discounted_prediction=True,
    ),
    # arXiv 2503.12770v2 (AAAI 2026): PCFR+ with its prediction scaled by 1 / (1 + 2). Only the
    # abstract was read; the factor is the one in two independent public codes.
    "sapcfr+": Variant(gamma=constant(2.0), plus=True, prediction=1 / 3),
    # arXiv 2404.09097v2 (AAAI 2026), eq. 4 with g = 30: gamma_t = g - 5 t / n, n the number of
    # iterations planned. Second-hand: from three transcriptions that agree, eq. 4 was not read.
    "hs-pcfr+": Variant(gamma=(30.0, 25.0), plus=True, prediction=1.0),
}


def at(schedule: Schedule, fraction: Number) -> Number:
    """Return the value of `schedule` at t / n = `fraction`."""
    start, end = schedule
    return start + (end - start) * fraction


def discount(
    variant: Variant, regret: Float[Array, "*K A N"], t: Number, horizon: Number
) -> Float[Array, "*K A N"]:
    """Return the factor that iteration `t` puts on the cumulative `regret` it starts from.

    Iteration 1 starts from zero regrets, whose factor is without effect; it gets that of t = 2, as
    its own would be 0 / 0 or infinite for some exponents.
    """
    xp = namespace(regret)
    k = xp.maximum(t - 1, 1)
    positive = k ** at(variant.alpha, t / horizon)
    other = k ** at(variant.beta, t / horizon)
    # Both factors are scalars: no infoset pays for a power or a division.
    return xp.where(
        regret > 0, positive / (positive + variant.discount), other / (other + variant.discount)
    )


def regret_matching(
    regret: Float[Array, "*K A N"], legal: Bool[Array, "... A _"], dead_zone: Number = 0.0
) -> Float[Array, "*K A N"]:
    """Return the policy [..., A, N] in proportion to the regrets above `dead_zone` (payoff units).

    Where none is, it is uniform over the legal actions (Hart & Mas-Colell 2000). Exact ties leave
    regrets that are rounding noise, and normalising noise makes arbitrary pure actions of it: a
    dead zone a little above the noise counts it as the zero that it stands for.
    """
    xp = namespace(regret)
    positive = xp.where(legal & (regret > dead_zone), regret, 0)
    total = sum_of_actions(positive)[..., None, :]
    uniform = legal / legal.sum(axis=-2, keepdims=True).astype(regret.dtype)
    return xp.where(total > 0, positive / xp.where(total > 0, total, 1), uniform)
