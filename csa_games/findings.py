"""What methods report beyond a policy, its value and its gap: a type for each question."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Commitment:
    """What a policy is worth to a leader who commits to it, in the leader's payoff units.

    The followers know the policy and react to it, each intent by its own behaviour. `strong` is its
    value when best responses break ties for the leader, `weak` when they break them against it. No
    policy has a strong value above `bound`, by the argument that `bound_by` names.

    `equilibrium` is what the leader gets at the policies that it is compared with, whose NashConv
    is `equilibrium_gap`; `pure` is the strong value of a policy without randomisation, and none is
    worth more than `pure_bound`.
    """

    leader: int
    strong: float
    weak: float
    bound: float
    bound_by: str
    equilibrium: float
    equilibrium_gap: float
    pure: float
    pure_bound: float

    @property
    def optimality_gap(self) -> float:
        """How much a better policy could be worth beyond this one, at most."""
        return self.bound - self.strong

    @property
    def value_of_commitment(self) -> float:
        """What committing is worth beyond the equilibrium policies compared with."""
        return self.strong - self.equilibrium

    @property
    def value_of_randomisation(self) -> float:
        """What mixing is worth beyond the best pure policy found."""
        return self.strong - self.pure


@dataclass(frozen=True)
class QuantalResponse:
    """How well a policy is a quantal response equilibrium, and of which rationality.

    `rationality` is the lambda asked for and `reached` that of the policy, in 1/payoff. `residual`
    is the largest difference between the logarithm of a probability and that of the logit response
    to the policy; probabilities below 1e-290 count as that. `branch` has lambda at every entry of
    the solution's history: where the branch turns back, it falls.
    """

    rationality: float
    reached: float
    residual: float
    branch: tuple[float, ...]


@dataclass(frozen=True)
class Refinement:
    """What a policy gives away at each infoset if play gets there by trembling hands.

    Everybody executes the policy with mistakes, a uniformly random legal action with probability
    `epsilon`, so that play gets everywhere. `loss[i]` is what player i, being at an infoset, could
    gain by intending something else from there on, in payoff units, and nan where chance never
    leads; `gap[i]` is the same from the start of the game. `stake[i]` is how far the best intention
    at an infoset is above the worst, the best of play following either: what loss compares with.
    """

    epsilon: float
    gap: Float[np.ndarray, "2"]
    loss: tuple[Float[np.ndarray, " I_0"], Float[np.ndarray, " I_1"]]
    stake: tuple[Float[np.ndarray, " I_0"], Float[np.ndarray, " I_1"]]

    @property
    def worst(self) -> float:
        """The largest loss at any infoset of either player, 0 where nobody decides."""
        every = np.concatenate(self.loss)
        return float(every[~np.isnan(every)].max(initial=0.0))


@dataclass(frozen=True)
class Budget:
    """A bound on a measure of outcomes, and what a policy makes of it.

    `measure` is spelled "risk@malicious" (given an intent) or "risk" (over all conversations), in
    the measure's own unit. `level` is the worst that adversarial users can make of it: the largest
    where `side` is "<=", the smallest where it is ">=". `price` is a shadow price, in units of the
    objective per unit of the measure: what the objective gains as the bound is relaxed, and loses
    as it is tightened. Where the two differ, at kinks of the frontier, it lies between them.
    """

    measure: str
    side: Literal["<=", ">="]
    bound: float
    level: float
    price: float

    @property
    def slack(self) -> float:
        """How far the level keeps from the bound, up to rounding at least 0."""
        return self.bound - self.level if self.side == "<=" else self.level - self.bound


@dataclass(frozen=True)
class Budgeted:
    """What a policy that keeps to budgets is worth: at least `value` of the `objective`.

    The objective is a measure, spelled as in `Budget`; no policy that keeps to all of the budgets
    guarantees more of it whatever adversarial users do.
    """

    objective: str
    value: float
    budgets: tuple[Budget, ...]


@dataclass(frozen=True)
class Robustness:
    """What a policy guarantees over a set of scenarios, in the assistant's payoff units.

    They differ in what `doubts` names. `value` is guaranteed in all of them, and no policy
    guarantees more than `gap` beyond it in the same sense; an exact program leaves 0. `found` is
    what the policy gets in the worst of them that was found, with `worst_prior` (by intent), the
    `worst_weights` (of those that may vary), the `worst_kernels` (of those that may vary: intent ->
    "opening" or "after RESPONSE" -> probabilities by ask) and the `worst_channels` (intent -> ask
    -> probabilities by signal). Where neither kernels nor channels vary it *is* the worst, and
    equal to `value`; where they do the worst lies between the two. `nominal` is what the policy
    guarantees in the scenario as it is, `optimum` the most that any policy does there.
    """

    value: float
    found: float
    worst_prior: Mapping[str, float]
    worst_weights: Mapping[str, float]
    worst_kernels: Mapping[str, Mapping[str, Mapping[str, float]]]
    worst_channels: Mapping[str, Mapping[str, Mapping[str, float]]]
    nominal: float
    optimum: float
    doubts: tuple[str, ...] = ()
    gap: float = 0.0

    @property
    def price(self) -> float:
        """The price of robustness: what is given up if the scenario is right as it is."""
        return self.optimum - self.nominal


FINDINGS: Mapping[str, type] = {
    "commitment": Commitment,
    "quantal": QuantalResponse,
    "refinement": Refinement,
    "budgeted": Budgeted,
    "robustness": Robustness,
}
"""Where in a `csa_games.game.Solution` a finding is, and its type."""
