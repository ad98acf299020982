"""The nouns: two treeplexes and a bilinear payoff, with the names people read.

Letters, used in every shape of this library: I information sets (infosets) of one player, A the
most actions at any of them, S = 1 + I·A sequences (sequence 0 is the empty one, infoset i's action
a is sequence 1 + i·A + a), L leaves, T intents.

Near-twins: a *policy* is behavioural, a probability per infoset and action; a *plan* is the same
thing as realisation weights per sequence. *Reach* is the probability of getting somewhere under
everybody's play; *counterfactual reach* leaves out the player's own. *NashConv* is the sum of the
players' gaps; *exploitability* is half of it, and only means something in zero-sum games.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, no_type_check

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from csa_games.arrays import Array
from csa_games.rules import Node
from csa_games.segments import Segments

if TYPE_CHECKING:
    from csa_games.scenario import Scenario

USER, ASSISTANT = 0, 1

Policy = tuple[Array, Array]
"""A behavioural policy [I, A] for each player; zero on illegal actions, rows sum to 1."""

GameClass = Literal["security", "zero-sum", "general-sum"]
"""`security`: a dialogue whose strategic intents are all adversarial, hence zero-sum."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@no_type_check  # JAX rebuilds pytrees through __init__ with leaves that are not arrays.
class Level:
    """The infosets of one player that come after the same number of its own decisions.

    Letters: I_k infosets of this level, I_j of the level above (S_j = I_j·A sequences; at the top
    level the only sequence is the empty one).
    """

    legal: Bool[Array, "I_k A"]
    parent: Int[Array, " I_k"]  # position in the sequences of the level above, 0 .. S_j - 1
    children: Segments  # sums the I_k infosets into the S_j sequences of the level above


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@no_type_check
class Treeplex:
    """One player's decisions, ordered shallow to deep (von Stengel 1996; Hoda et al. 2010).

    `levels` partition the infosets 0 .. I - 1 in order. A player without decisions has none.
    """

    levels: tuple[Level, ...]
    width: int = field(metadata={"static": True})  # A

    @property
    def infosets(self) -> int:
        """I, the number of infosets."""
        return sum(level.parent.shape[0] for level in self.levels)

    @property
    def sequences(self) -> int:
        """S = 1 + I·A, the empty sequence and every (infoset, action) slot."""
        return 1 + self.infosets * self.width


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@no_type_check
class Leaves:
    """The explicit payoff layout: one entry per leaf of the tree, in the order of a walk."""

    sequence: tuple[Int[Array, " L"], Int[Array, " L"]]  # each player's last sequence
    chance: Float[Array, " L"]  # product of chance probabilities on the way
    payoff: tuple[Float[Array, " L"], Float[Array, " L"]]
    gather: tuple[Segments, Segments]  # sums leaves into each player's S sequences


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@no_type_check
class SequenceForm:
    """What a solver sees of a game: two treeplexes and the payoffs that couple them."""

    treeplex: tuple[Treeplex, Treeplex]
    leaves: Leaves


@dataclass(frozen=True)
class Names:
    """The labels of a game, by player: infosets [I] and the actions at each of them."""

    players: tuple[str, str]
    infosets: tuple[tuple[str, ...], tuple[str, ...]]
    actions: tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]


@dataclass(frozen=True)
class Game:
    """A two-player game with perfect recall.

    `root` unfolds the tree again, for interop and checks. `tags` are numbers on leaves ([L] each):
    the payoff components of a dialogue, and `intent:NAME`, 1 where that intent was drawn.
    """

    name: str
    form: SequenceForm
    names: Names
    root: Callable[[], Node]
    game_class: GameClass
    tags: Mapping[str, np.ndarray] = field(default_factory=dict)
    scenario: "Scenario | None" = None


@dataclass(frozen=True)
class Progress:
    """One check of a run: steps done, seconds since its start, and the NashConv found."""

    step: int
    seconds: float
    nash_conv: float


Status = Literal["target", "exact", "max_steps", "seconds", "interrupted", "nonfinite"]


@dataclass(frozen=True)
class Solution:
    """A policy with its certificate.

    `gap[i]` is what player i would gain by a best response to the other's policy, and `value[i]`
    its expected payoff, both in payoff units, computed in float64 from the policy alone.
    """

    game: str
    method: str
    policy: Policy
    value: Float[np.ndarray, "2"]
    gap: Float[np.ndarray, "2"]
    steps: int
    seconds: float
    status: Status
    game_class: GameClass
    dead_zone: float = 0.0
    history: tuple[Progress, ...] = ()

    @property
    def nash_conv(self) -> float:
        """The sum of both players' gaps, in payoff units."""
        return float(self.gap[0] + self.gap[1])
