"""What a scenario predicts of a conversation, event by event, and what it believes on the way.

A conversation is filtered as the assistant would: with w the belief in each intent after all that
was seen before, the next ask or signal x has the probability Σ_i w_i P_i(x), and then w_i becomes
w_i P_i(x), normalised. The product of the probabilities is the likelihood of the conversation, with
its responses given: the sum over intents of prior times likelihood. Where the type is recorded the
belief is sure of it from the start. What was not recorded says nothing.

No policy is needed: what the assistant does depends on what it has seen, so it cancels. Intents
that choose ask evenly what they may; what they choose facing the policies of the log is not known.

A scenario that gives no probability to what then happens has the likelihood 0, whatever else it
gets right. So each of its rows is mixed with even ones, by `FLOOR`, the same for everything that is
compared; how often it was needed is counted.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from csa_games.calibration.codes import Codes
from csa_games.dialogue import tables
from csa_games.scenario import Scenario

FLOOR = 1e-4

OPENING, SIGNAL, REACTION = "openings", "signals", "reactions"
KINDS = (OPENING, SIGNAL, REACTION)


@dataclass(frozen=True)
class Chances:
    """The probabilities of a scenario, each row mixed with even ones."""

    prior: Float[np.ndarray, " T"]
    opening: Float[np.ndarray, "T B"]
    signal: Float[np.ndarray, "T B Y"]
    after: Float[np.ndarray, "H R T B"]


@dataclass(frozen=True)
class Scored:
    """M events of a kind that are predicted: which they are, what came, and with what chance."""

    event: Int[np.ndarray, " M"]
    came: Int[np.ndarray, " M"]
    chance: Float[np.ndarray, "M W"]
    impossible: Bool[np.ndarray, " M"]  # to the scenario itself, before rows are mixed

    @property
    def log_chance(self) -> Float[np.ndarray, " M"]:
        """The logarithm of the probability of what came."""
        with np.errstate(divide="ignore"):
            found: Float[np.ndarray, " M"] = np.log(
                self.chance[np.arange(len(self.came)), self.came]
            )
        return found


@dataclass(frozen=True)
class Predicted:
    """Predictions by kind, and the belief over intents.

    At the start of each conversation, at each event when its signal is in and the assistant is to
    answer, when the reaction to the answer is in, and at the end of each conversation.
    """

    scored: dict[str, Scored]
    start: Float[np.ndarray, "N T"]
    deciding: Float[np.ndarray, "E T"]
    after: Float[np.ndarray, "E T"]
    final: Float[np.ndarray, "N T"]


def chances(scenario: Scenario, floor: float = FLOOR) -> Chances:
    """Return the probabilities of `scenario`, each row mixed with even ones by `floor`."""
    table = tables(scenario)
    even = table.legal / table.legal.sum(axis=1, keepdims=True)
    strategic = table.strategic[:, None]
    return Chances(
        table.prior / table.prior.sum(),
        _mixed(np.where(strategic, even, table.opening), floor),
        _mixed(table.signal, floor),
        _mixed(np.where(strategic, even, table.after), floor),
    )


def _mixed(rows: Float[np.ndarray, "*S"], floor: float) -> Float[np.ndarray, "*S"]:
    return (1 - floor) * rows + floor / rows.shape[-1]


def predicted_events(scenario: Scenario, codes: Codes) -> dict[str, Int[np.ndarray, " M"]]:
    """Return the events, by kind, that a scenario predicts something of.

    Reactions in the last turn, and to responses that end the conversation, are none of its own.
    """
    closes = np.array([part.ends for part in scenario.responses])
    ends = np.array([part.ends is not None for part in scenario.asks])
    asked, answered = codes.ask >= 0, codes.response >= 0
    return {
        OPENING: np.flatnonzero((codes.turn == 0) & asked),
        SIGNAL: np.flatnonzero(asked & (codes.signal >= 0) & ~ends[codes.ask]),
        REACTION: np.flatnonzero(
            answered
            & (codes.reaction >= 0)
            & ~closes[codes.response]
            & (codes.turn < scenario.turns - 1)
        ),
    }


def predictions(
    scenario: Scenario,
    codes: Codes,
    *,
    typed: bool = True,
    prior: Float[np.ndarray, " T"] | None = None,
    floor: float = FLOOR,
) -> Predicted:
    """Return what `scenario` predicts of `codes`, which are in its names.

    If not `typed`, types are taken as not recorded. `prior` replaces that of the scenario.
    """
    mixed, plain = chances(scenario, floor), chances(scenario, 0.0)
    first = mixed.prior if prior is None else prior / prior.sum()
    sure = typed & (codes.intent >= 0)
    belief = np.where(sure[:, None], np.eye(len(first))[codes.intent], first)
    start = belief.copy()
    deciding = np.zeros((len(codes.turn), len(first)))
    after = np.zeros_like(deciding)
    events = predicted_events(scenario, codes)
    places = {kind: np.full(len(codes.turn), -1) for kind in KINDS}
    for kind, which in events.items():
        places[kind][which] = np.arange(len(which))
    came = {
        OPENING: codes.ask[events[OPENING]],
        SIGNAL: codes.signal[events[SIGNAL]],
        REACTION: codes.reaction[events[REACTION]],
    }
    widths = {OPENING: len(scenario.asks), SIGNAL: len(scenario.signals)}
    chance = {
        kind: np.zeros((len(which), widths.get(kind, len(scenario.asks))))
        for kind, which in events.items()
    }
    impossible = {kind: np.zeros(len(which), bool) for kind, which in events.items()}

    def see(kind: str, here: Int[np.ndarray, " C"]) -> None:
        """Predict those of the events `here` that are of a kind, and believe what came."""
        here = here[places[kind][here] >= 0]
        place, who = places[kind][here], codes.conversation[here]
        rows, bare = _rows(mixed, codes, kind, here), _rows(plain, codes, kind, here)
        chance[kind][place] = np.einsum("nt,ntw->nw", belief[who], rows)
        at = np.arange(len(here)), slice(None), came[kind][place]
        impossible[kind][place] = ~((belief[who] > 0) & (bare[at] > 0)).any(axis=1)
        joint = belief[who] * rows[at]
        total = joint.sum(axis=1, keepdims=True)
        belief[who] = np.divide(joint, total, out=belief[who], where=total > 0)

    for t in range(int(codes.turn.max(initial=-1)) + 1):
        here = np.flatnonzero(codes.turn == t)
        see(OPENING, here)
        see(SIGNAL, here)
        deciding[here] = belief[codes.conversation[here]]
        see(REACTION, here)
        after[here] = belief[codes.conversation[here]]
    scored = {
        kind: Scored(which, came[kind], chance[kind], impossible[kind])
        for kind, which in events.items()
    }
    return Predicted(scored, start, deciding, after, belief)


def _rows(
    table: Chances, codes: Codes, kind: str, here: Int[np.ndarray, " C"]
) -> Float[np.ndarray, "C T W"]:
    """Return the probabilities by intent of what may come at each of the events `here`."""
    if kind == OPENING:
        return np.broadcast_to(table.opening, (len(here), *table.opening.shape))
    if kind == SIGNAL:
        return table.signal[:, codes.ask[here]].swapaxes(0, 1)
    return table.after[codes.turn[here], codes.response[here]]


def shares(
    scenario: Scenario, codes: Codes, *, typed: bool = True, steps: int = 500
) -> Float[np.ndarray, " T"]:
    """Return how common each intent is in `codes`, by maximum likelihood, all else as given.

    By expectation-maximisation of the mixing proportions alone, which is concave (Dempster, Laird &
    Rubin 1977): the mean of types where they are recorded, of beliefs where they are not. Intents
    of prior 0 have none.
    """
    even = (tables(scenario).prior > 0).astype(np.float64)
    likely = predictions(scenario, codes, typed=typed, prior=even).final
    found = even / even.sum()
    for _ in range(steps):
        joint = likely * found
        total = joint.sum(axis=1, keepdims=True)
        new = (joint[total[:, 0] > 0] / total[total[:, 0] > 0]).mean(axis=0)
        if np.abs(new - found).max() < 1e-9:
            break
        found = new
    return found
