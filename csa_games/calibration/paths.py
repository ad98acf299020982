"""Whole conversations of a log as the scenario prices them: what valuing policies on a log takes.

A conversation is whole if every turn of it up to its end has an ask, a signal and a response, and
the log shows how it ended: by an ask or a response that ends it, or in the scenario's last turn.
Turns beyond that are cut off. Conversations that break off say nothing of what came after, and are
left out; where breaking off depends on what would have come, what is left is no fair sample.

A turn is worth α·satisfaction − β·risk − γ·cost by what the payoffs of the scenario say of (turn,
intent, ask, response), and −ψ·displacement where the user then migrates, discounted. Nobody has
measured these: they are the scenario's. Where no type is recorded, the worth is the expectation
under the belief in each intent that the scenario holds by then (`predict`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from csa_games.calibration.logged import Logged
from csa_games.calibration.policies import Home
from csa_games.calibration.predict import FLOOR, predictions
from csa_games.dialogue import tables
from csa_games.errors import InputError
from csa_games.guard.keys import BETWEEN
from csa_games.scenario import Scenario


@dataclass(frozen=True)
class Paths:
    """N whole conversations of up to H turns.

    -1 and 0 stand in turns after the end. `worth` is by intent; `opened` is what opening is worth
    where it ends the conversation. Beliefs are those when the first ask is in, before each answer,
    and after the reaction to it.
    """

    conversation: Int[np.ndarray, " N"]  # which of the log's it is
    cluster: Int[np.ndarray, " N"]
    group: Int[np.ndarray, " N"]
    intent: Int[np.ndarray, " N"]
    ask: Int[np.ndarray, "N H"]
    signal: Int[np.ndarray, "N H"]
    response: Int[np.ndarray, "N H"]
    state: Int[np.ndarray, "N H"]
    propensity: Float[np.ndarray, "N H"]  # as recorded; 1 after the end, nan where it is not
    worth: Float[np.ndarray, "N H T"]
    opened: Float[np.ndarray, "N T"]
    start: Float[np.ndarray, "N T"]
    deciding: Float[np.ndarray, "N H T"]
    after: Float[np.ndarray, "N H T"]
    outcome: Float[np.ndarray, " N"]  # as recorded
    left_out: Mapping[str, int]  # conversations that are not whole, by why

    @property
    def answered(self) -> np.ndarray:
        """Which turns have an answer, [N, H]."""
        return self.response >= 0

    @property
    def worth_expected(self) -> Float[np.ndarray, "N H"]:
        """What each turn is worth, given what was seen up to the reaction to it."""
        return np.einsum("nht,nht->nh", self.after, self.worth)

    @property
    def opened_expected(self) -> Float[np.ndarray, " N"]:
        """What opening is worth where it ends the conversation, given that ask."""
        return np.einsum("nt,nt->n", self.start, self.opened)

    @property
    def total(self) -> Float[np.ndarray, " N"]:
        """What each conversation is worth."""
        return self.opened_expected + self.worth_expected.sum(axis=1)


def paths(
    log: Logged,
    home: Home,
    *,
    prior: Float[np.ndarray, " T"] | None = None,
    floor: float = FLOOR,
) -> Paths:
    """Return the whole conversations of `log`, priced by the scenario of `home`.

    `prior` and `floor` are those of the beliefs (`predict`).
    """
    scenario, codes = home.scenario, log.codes
    turns = scenario.turns
    conversations = len(codes.intent)
    ends = np.array([part.ends is not None for part in scenario.asks])
    closes = np.array([part.ends for part in scenario.responses])

    grid = np.full((conversations, turns), -1)  # the event of each turn
    inside = codes.turn < turns
    grid[codes.conversation[inside], codes.turn[inside]] = np.flatnonzero(inside)
    ask, signal, response, reaction = (
        np.where(grid >= 0, column[grid], -1) if len(column) else grid
        for column in (codes.ask, codes.signal, codes.response, codes.reaction)
    )
    opens_ending = (ask[:, 0] >= 0) & ends[ask[:, 0]]
    gone = (reaction >= 0) & ends[reaction]  # an ask that ends is the end, an event of its own not
    gone[:, -1] = False
    over = gone | ((response >= 0) & closes[response])
    over[:, -1] = True
    before = np.cumsum(over, axis=1) - over == 0  # turns up to the end
    before &= ~opens_ending[:, None]
    recorded = (ask >= 0) & (signal >= 0) & (response >= 0)
    follows = over | (reaction >= 0)
    broken = (before & ~(grid >= 0)).any(axis=1)
    whole = (recorded & follows | ~before).all(axis=1) & (ask[:, 0] >= 0)
    kept = np.flatnonzero(whole)
    breaks_off = broken & ~whole
    used = before[kept]
    ask, signal, response = (np.where(used, x[kept], -1) for x in (ask, signal, response))
    event = np.where(used, grid[kept], -1)
    believed = predictions(scenario, codes, prior=prior, floor=floor)
    deciding, after = (
        np.where(used[..., None], x[event], 0.0)
        if len(x)
        else np.zeros((0, turns, len(scenario.intents)))
        for x in (believed.deciding, believed.after)
    )
    worth = _worth(scenario, ask, response)
    opened = np.zeros((len(kept), len(scenario.intents)))
    table = tables(scenario)
    migrates = np.array([part.ends == "migrate" for part in scenario.asks])
    first = codes.ask[grid[kept, 0]] if len(kept) else np.zeros(0, np.int64)
    away = opens_ending[kept] & migrates[first]
    opened[away] = -scenario.weights.psi.value * table.displacement[0]
    migrated = (gone[kept] & used)[:, :-1] & migrates[reaction[kept]][:, :-1]
    scale = scenario.weights.psi.value * scenario.discount.value ** np.arange(1, turns)
    worth[:, :-1] -= np.where(
        migrated[..., None], (scale[:, None] * table.displacement[1:])[None], 0.0
    )
    return Paths(
        conversation=kept,
        cluster=log.cluster[kept],
        group=log.group[kept],
        intent=codes.intent[kept],
        ask=ask,
        signal=signal,
        response=response,
        state=_states(home, ask, signal, response),
        propensity=np.where(used, log.propensity[event], 1.0) if len(kept) else np.ones((0, turns)),
        worth=worth,
        opened=opened,
        start=believed.deciding[grid[kept, 0]] if len(kept) else believed.start[:0],
        deciding=deciding,
        after=after,
        outcome=log.outcome[kept],
        left_out={
            "it breaks off before an end": int(breaks_off.sum()),
            "an ask, a signal or a response is not recorded": int((~whole & ~breaks_off).sum()),
        },
    )


def _worth(
    scenario: Scenario,
    ask: Int[np.ndarray, "N H"],
    response: Int[np.ndarray, "N H"],
) -> Float[np.ndarray, "N H T"]:
    """Return what each answer is worth by intent, discounted; 0 after the end."""
    table, weights = tables(scenario), scenario.weights
    now = (
        weights.alpha.value * table.satisfaction
        - weights.beta.value * table.risk
        - weights.gamma.value * table.cost
    )  # [H, T, B, R]
    discount = scenario.discount.value ** np.arange(scenario.turns)
    turn = np.arange(scenario.turns)[None, :]
    found = now[turn, :, ask, response] * discount[None, :, None]
    return np.where((response >= 0)[..., None], found, 0.0)


def _states(
    home: Home,
    ask: Int[np.ndarray, "N H"],
    signal: Int[np.ndarray, "N H"],
    response: Int[np.ndarray, "N H"],
) -> Int[np.ndarray, "N H"]:
    """Return the infoset of each answer, -1 after the end."""
    asks, signals, responses = (
        [part.name for part in parts]
        for parts in (home.scenario.asks, home.scenario.signals, home.scenario.responses)
    )
    turns = ask.shape[1]
    seen = np.stack([ask, signal, response], axis=-1).reshape(len(ask), turns * 3)
    rows, which = np.unique(seen, axis=0, return_inverse=True)
    found = np.full((len(rows), turns), -1)
    for n, row in enumerate(rows.reshape(-1, turns, 3).tolist()):
        past: list[str] = []
        for t, (b, y, r) in enumerate(row):
            if r < 0:
                break
            here = f"{asks[b]}:{signals[y]}"
            key = BETWEEN.join([*past, here])
            if key not in home.state:
                raise InputError(
                    f"found a conversation with {key}, which nobody in {home.scenario.name} says"
                )
            found[n, t] = home.state[key]
            past.append(f"{here}>{responses[r]}")
    return found[which.reshape(-1)]
