"""What a scenario says of payoffs, kernels and channels, held in doubt.

Payoffs in doubt are at their worst ends at once (`csa_games.doubted`); of kernels and channels
there is a game in which nature picks them (`solvers.kernels`, `solvers.channels`), for a bound from
below, and a search for the worst of them, for an example from above.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from csa_games.doubted import as_factored, signal_ends, worst_payoffs
from csa_games.errors import InputError
from csa_games.evaluate import histories
from csa_games.game import ASSISTANT, Game, SequenceForm
from csa_games.intervals import channels_in_doubt, kernels_in_doubt
from solvers.channels import Drifting, Signal, drifting, worst_channel
from solvers.guarantee import Freedom, Guarantee, around, guarantee, secured, worst_reaction
from solvers.kernels import Freed, freed, rows_in, worst_kernel

MOST_PAIRS = 500_000
"""The largest exact programs with kernels in doubt that are worth trying, in histories times
corners of weights. With 300,000 HiGHS took 20 seconds (crisis_guidance, one core)."""

MOST_PAIRS_DRIFTING = 50_000
"""The same with channels in doubt, whose likelihoods are columns of the program: two for every
history and intent. 20,000 took 4 seconds, and 300,000 more than four minutes, by the simplex method
and by interior points."""

MOST_PAIRS_BOUNDED = 1_000_000
"""The largest games with kernels or channels in doubt that are worth trying by regret minimisation
(`solvers.worst_case`), in the same unit. 600,000 took 36 seconds to a gap of 0.005, in 0.5 GB
(crisis_guidance with one weight in doubt as well, one core)."""

Rows = Mapping[str, Mapping[str, float]]
"""Of a kernel or a channel, when -> probabilities."""

ROUNDS = 20  # of users and channel making things worse in turn


@dataclass(frozen=True)
class Doubted:
    """A game with its payoffs at their worst ends, and what users and nature may do in it.

    `freed` is the game with kernels that choose, if they may, and `drift` the form with signals
    that nature picks, if it may.
    """

    game: Game
    freed: Freed | None
    drift: Drifting | None
    box: tuple[Signal, Signal] | None  # of the channel, where there is a drift
    exact: bool  # whether the linear program is small enough

    @property
    def form(self) -> SequenceForm:
        """The form whose program is solved."""
        return self.game.form if self.drift is None else self.drift.form

    @property
    def freedom(self) -> Freedom | None:
        """How freely the users of the game choose, None where they are adversarial."""
        return None if self.freed is None else self.freed.freedom

    @property
    def nature(self) -> Freedom | None:
        """How freely all who choose in the form do, nature's picks of signals included."""
        return self.freedom if self.drift is None else self.drift.freedom

    def numbers(self, number: Float[np.ndarray, "*C L"]) -> Float[np.ndarray, "*C J"]:
        """Return numbers on the leaves of the form, of those on the game's."""
        return number if self.drift is None else number[..., self.drift.leaf]

    def guarantee(self, number: Float[np.ndarray, " L"]) -> Guarantee:
        """Return the rows of what is secured of a `number` on the game's leaves."""
        return guarantee(self.form, self.numbers(number), self.nature)

    def secures(self, policy: Float[np.ndarray, "I A"], number: Float[np.ndarray, " L"]) -> float:
        """Return what `policy` secures of a `number` on the game's leaves."""
        return secured(self.form, policy, self.numbers(number), self.nature)


def doubted(
    game: Game, kernels: float | None, channels: float | None, payoffs: bool, corners: int
) -> Doubted:
    """Return `game` with doubts; raises `InputError` for radii that are none, and large games.

    Kernels and channels lie in the intervals of the scenario's file where no radius is given.
    """
    assert game.scenario is not None  # priors_of has seen to it
    scenario = game.scenario
    for name, off in (("kernels", kernels), ("channels", channels)):
        if off is not None and not 0 <= off <= 1:
            raise InputError(f"found {name} off by {off}, expected a number from 0 to 1")
    whose = [part.name for part in scenario.intents if part.kernel and part.prior.value > 0]
    if kernels and not whose:
        raise InputError(
            f"found kernels off by {kernels}, but {game.name} has no intent of positive prior "
            "that is a kernel"
        )
    if kernels is None:
        whose = list(kernels_in_doubt(scenario))
    elif kernels == 0:
        whose = []
    drifts = bool(channels_in_doubt(scenario) if channels is None else channels)
    exact = _is_small(game, bool(whose), drifts, corners)
    game = worst_payoffs(game) if payoffs else game
    made = freed(game, whose, kernels) if whose else None
    if made is not None:
        game = made.game
    elif drifts:
        game = as_factored(game)
    if not drifts:
        return Doubted(game, made, None, None, exact)
    signal = np.asarray(game.form.signal, np.float64)
    box = signal_ends(scenario) if channels is None else around(signal, channels)
    drift = drifting(game.form, None if made is None else made.freedom, box)
    return Doubted(game, made, drift, box, exact)


def _is_small(game: Game, kernels: bool, channels: bool, corners: int) -> bool:
    """Return whether the exact program is small enough; raise `InputError` for too large a game."""
    if not (kernels or channels):
        return True
    pairs = histories(game) * corners
    if pairs > MOST_PAIRS_BOUNDED:
        raise InputError(
            f"{game.name} has {histories(game):,} histories, and {corners} corners of weights: "
            f"together {pairs:,}, and with {'channels' if channels else 'kernels'} in doubt "
            f"robust takes at most {MOST_PAIRS_BOUNDED:,}; take fewer turns or weights"
        )
    return pairs <= (MOST_PAIRS_DRIFTING if channels else MOST_PAIRS)


def worst_of(
    doubt: Doubted,
    policy: Float[np.ndarray, "I A"],
    number: Float[np.ndarray, " L"],
    intent: int,
    name: str,
) -> tuple[float, Rows, Rows]:
    """Return what the policy gets of an intent in the worst case found, its kernel and channel.

    Users and channel take turns in making it worse.
    """

    def users(form: SequenceForm) -> tuple[Float[np.ndarray, "I_0 A_0"], float]:
        if doubt.freed is not None and name in {who for who, _ in doubt.freed.labels}:
            return worst_kernel(doubt.freed, form, policy, number, name)
        return worst_reaction(form, policy, number, doubt.freedom)

    form = doubt.game.form
    react, value = users(form)
    for _ in range(ROUNDS if doubt.box is not None else 0):
        assert doubt.box is not None
        signal, less = worst_channel(form, react, policy, number, intent, doubt.box)
        if less >= value:
            break
        other = replace(form, signal=signal)
        again, least = users(other)
        form = other
        react, value = (again, least) if least <= less else (react, less)
    return (
        value,
        {} if doubt.freed is None else rows_in(doubt.freed, react, name),
        {} if doubt.box is None else _channel_rows(doubt.game, np.asarray(form.signal), intent),
    )


def _channel_rows(game: Game, signal: Signal, intent: int) -> Rows:
    """Return the channel of an intent: ask -> probabilities by signal."""
    assert game.scenario is not None
    scenario = game.scenario
    able = {ask for part in scenario.intents for ask in part.asks}
    talking = [ask.name for ask in scenario.asks if ask.ends is None and ask.name in able]
    signals = [part.name for part in scenario.signals]
    own = scenario.intents[intent].asks
    return {
        ask: dict(zip(signals, row, strict=True))
        for ask, row in zip(talking, signal[intent].tolist(), strict=True)
        if ask in own
    }


def own_policy(
    game: Game, other: Game, policy: Float[np.ndarray, "I A"]
) -> Float[np.ndarray, "I_game A"]:
    """Return the assistant's `policy` of the `other` layout by the infosets of `game`."""
    if game.form.signal is not None or other is game:
        return policy
    number = {key: i for i, key in enumerate(other.names.infosets[ASSISTANT])}
    return policy[[number[key] for key in game.names.infosets[ASSISTANT]]]
