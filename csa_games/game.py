"""The nouns: two treeplexes and a bilinear payoff, with the names people read.

Letters, used in every shape of this library: I information sets (infosets) of one player, A the
most actions at any of them, S sequences (the empty one and every slot of the rows), L leaves, T
intents. Arrays over a player's infosets come in two shapes. People and files see a *table* [I, A].
Solvers see *rows*: per level of the treeplex an array [K, A, N], A being the most actions on that
level, of K blocks of N infosets each (infoset k·N + n of the level), because sums over actions then
add whole vectors, and because a block is what fits into a processor's cache. Sequences are numbered
in the order of the rows: 0 is the empty one, then come the levels, each flattened.

Near-twins: a *policy* is behavioural, a probability per infoset and action; a *plan* is the same
thing as realisation weights per sequence. *Reach* is the probability of getting somewhere under
everybody's play; *counterfactual reach* leaves out the player's own. *NashConv* is the sum of the
players' gaps; *exploitability* is half of it, and only means something in zero-sum games.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, no_type_check

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int

from csa_games.arrays import Array
from csa_games.findings import (
    Budgeted,
    Commitment,
    QuantalResponse,
    Refinement,
    Robustness,
)
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

    Letters: N infosets of this level, which is one block, and S_j sequences of the level above (at
    the top the only sequence is the empty one).
    """

    legal: Bool[Array, "1 A N"]
    parent: Int[Array, " N"]  # position in the sequences of the level above, 0 .. S_j - 1
    children: Segments  # sums the N infosets into the S_j sequences of the level above

    @property
    def infosets(self) -> int:
        """How many infosets the level has."""
        return self.parent.shape[0]

    @property
    def rows(self) -> tuple[int, int, int]:
        """(K, A, N), the shape of its rows."""
        _, width, infosets = self.legal.shape
        return 1, width, infosets


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@no_type_check
class Grid:
    """A level of the assistant in a dialogue: one turn, all of whose infosets are a regular grid.

    An infoset is (asks, responses so far, signals), the present ask and signal being the last of
    theirs; the first is slowest, so that going up or down a level is a reshape. All responses are
    legal at all of them. Letters: B asks that go on, G responses that go on, Y signals, t turns
    before this one; P = B^(t+1) histories of asks, Q = G^t those of responses, Z = Y^(t+1) those of
    signals; C histories of responses in a block, which has N = C·Z infosets.

    `block`, `looped` and `mesh` say how the level is walked and change no number of the game: the
    blocks of a looped level are visited one after the other, on the devices of the mesh each with
    a share of them.
    """

    turn: int = field(metadata={"static": True})  # t
    asks: int = field(metadata={"static": True})  # B
    signals: int = field(metadata={"static": True})  # Y
    responses: int = field(metadata={"static": True})  # A
    open: tuple[int, ...] = field(metadata={"static": True})  # the responses that go on
    block: int = field(metadata={"static": True})  # C, a divisor of Q
    looped: bool = field(default=False, metadata={"static": True})
    mesh: Mesh | None = field(default=None, metadata={"static": True})

    @property
    def axes(self) -> tuple[int, int, int]:
        """(P, Q, Z): how many histories there are of asks, responses and signals."""
        t = self.turn
        return self.asks ** (t + 1), len(self.open) ** t, self.signals ** (t + 1)

    @property
    def infosets(self) -> int:
        """How many infosets the level has."""
        p, q, z = self.axes
        return p * q * z

    @property
    def rows(self) -> tuple[int, int, int]:
        """(K, A, N), the shape of its rows.

        K is P·Q / C, filled up to a multiple of the devices with idle blocks.
        """
        p, q, z = self.axes
        devices = 1 if self.mesh is None else self.mesh.size
        blocks = -(-p * q // self.block // devices) * devices
        return blocks, self.responses, self.block * z


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@no_type_check
class Treeplex:
    """One player's decisions, ordered shallow to deep (von Stengel 1996; Hoda et al. 2010).

    `levels` partition the infosets 0 .. I - 1 in order. A player without decisions has none.
    """

    levels: tuple[Level | Grid, ...]
    width: int = field(metadata={"static": True})  # A

    @property
    def infosets(self) -> int:
        """I, the number of infosets."""
        return sum(level.infosets for level in self.levels)

    @property
    def sequences(self) -> int:
        """S, the empty sequence and every slot of the rows."""
        return 1 + sum(math.prod(level.rows) for level in self.levels)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@no_type_check
class Leaves:
    """Payoffs: one entry per leaf, with each player's last sequence.

    In the factored layout of a dialogue a leaf is a history without its signals, and the
    assistant's last sequence is a public one: see `csa_games.grid`.
    """

    sequence: tuple[Int[Array, " L"], Int[Array, " L"]]  # each player's last sequence
    chance: Float[Array, " L"]  # product of chance probabilities on the way
    payoff: tuple[Float[Array, " L"], Float[Array, " L"]]
    gather: tuple[Segments, Segments]  # sums leaves into each player's sequences


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@no_type_check
class SequenceForm:
    """What a solver sees of a game: two treeplexes and the payoffs that couple them.

    `signal` is σ(signal | intent, ask), over the asks that go on, in the factored layout, and None
    in the explicit one, where signals are part of the leaves.
    """

    treeplex: tuple[Treeplex, Treeplex]
    leaves: Leaves
    signal: Float[Array, "T B Y"] | None = None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
@no_type_check
class CoupledForm:
    """A sequence form with its leaves in the order in which sums read them: `fold.coupled`.

    By player, for each bin of its sequences [R_b, W] (see `Segments`): `other` is where the leaves'
    sequence of the opponent stands, `weight` chance times payoff, both padded with zeros. `place`
    is where each sequence stands in the joined bins.
    """

    treeplex: tuple[Treeplex, Treeplex]
    other: tuple[tuple[Int[Array, "R_b W"], ...], tuple[Int[Array, "R_b W"], ...]]
    weight: tuple[tuple[Float[Array, "R_b W"], ...], tuple[Float[Array, "R_b W"], ...]]
    place: tuple[Int[Array, " S_0"], Int[Array, " S_1"]]
    signal: Float[Array, "T B Y"] | None = None


@dataclass(frozen=True)
class Names:
    """The labels of a game, by player: infosets [I] and the actions at each of them."""

    players: tuple[str, str]
    infosets: tuple[Sequence[str], Sequence[str]]
    actions: tuple[Sequence[tuple[str, ...]], Sequence[tuple[str, ...]]]


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

    def _repr_html_(self) -> str:
        from csa_games.notebook import game_html

        return game_html(self)

    def _repr_svg_(self) -> str:
        from csa_games.notebook import game_svg

        return game_svg(self)


@dataclass(frozen=True)
class Progress:
    """One check of a run: steps done, seconds since its start, and the NashConv found."""

    step: int
    seconds: float
    nash_conv: float


Status = Literal[
    "target", "exact", "stationary", "max_steps", "seconds", "interrupted", "nonfinite"
]
"""`exact`: up to rounding; `stationary`: no step improves it, which proves nothing."""


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
    commitment: Commitment | None = None
    quantal: QuantalResponse | None = None
    refinement: Refinement | None = None
    budgeted: Budgeted | None = None
    robustness: Robustness | None = None

    @property
    def nash_conv(self) -> float:
        """The sum of both players' gaps, in payoff units."""
        return float(self.gap[0] + self.gap[1])

    def _repr_html_(self) -> str:
        from csa_games.notebook import solution_html

        return solution_html(self)
