"""Conversations drawn from a scenario: logs whose truth is known, to test estimators on."""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float, Int

from csa_games.calibration.codes import NOT_RECORDED, Codes
from csa_games.calibration.log import Conversation, Event
from csa_games.dialogue import tables
from csa_games.scenario import Scenario


def simulate(
    scenario: Scenario,
    count: int,
    draw: np.random.Generator,
    *,
    responses: Float[np.ndarray, "H B Y R"] | None = None,
    asks: Mapping[str, Float[np.ndarray, "H B"]] | None = None,
) -> Codes:
    """Return `count` conversations with intents drawn from the priors.

    The assistant answers by the probabilities `responses` of turn, ask and signal, or by even ones.
    Kernels react as they do; intents that choose ask by the probabilities `asks`, by intent and
    turn, or evenly what they may.
    """
    table = tables(scenario)
    turns, answers = scenario.turns, len(scenario.responses)
    ending = np.array([ask.ends is not None for ask in scenario.asks])
    closing = np.array([response.ends for response in scenario.responses])
    if responses is None:
        shape = (turns, len(ending), len(scenario.signals), answers)
        responses = np.full(shape, 1 / answers)
    even = table.legal / table.legal.sum(axis=1, keepdims=True)
    chosen = np.repeat(even[None], turns, axis=0)
    for i, part in enumerate(scenario.intents):
        if asks is not None and part.name in asks:
            chosen[:, i] = asks[part.name]

    intent = _drawn(np.repeat(table.prior[None], count, axis=0), draw)
    alive = np.arange(count)  # conversations that go on
    ask = _drawn(np.where(table.strategic[:, None], chosen[0], table.opening)[intent], draw)
    seen = []
    for t in range(turns):
        who, talks = intent[alive], ~ending[ask]
        signal, response, reaction = (np.full(len(alive), NOT_RECORDED) for _ in range(3))
        signal[talks] = _drawn(table.signal[who[talks], ask[talks]], draw)
        response[talks] = _drawn(responses[t, ask[talks], signal[talks]], draw)
        goes_on = talks & ~closing[response] & (t + 1 < turns)
        if goes_on.any():
            last = response[goes_on]
            rows = np.where(
                table.strategic[who[goes_on], None],
                chosen[t + 1, who[goes_on]],
                table.after[t, last, who[goes_on]],
            )
            reaction[goes_on] = _drawn(rows, draw)
        # An ask that ends the conversation is the last reaction, and an event only if it opens.
        seen.append((alive, np.full(len(alive), t), ask, signal, response, reaction))
        stays = goes_on & ~ending[reaction]
        alive, ask = alive[stays], reaction[stays]
    conversation, *columns = (np.concatenate(part) for part in zip(*seen, strict=True))
    order = np.argsort(conversation, kind="stable")
    turn, ask, signal, response, reaction = (column[order] for column in columns)
    group = np.full(count, NOT_RECORDED)
    return Codes(intent, group, conversation[order], turn, ask, signal, response, reaction)


def conversations(
    codes: Codes, scenario: Scenario, *, typed: bool = True
) -> Iterator[Conversation]:
    """Yield `codes` as a log has them, with the names of `scenario` as labels.

    Types are left out if not `typed`.
    """
    intents, asks, signals, responses = (
        [part.name for part in parts] + [None]
        for parts in (scenario.intents, scenario.asks, scenario.signals, scenario.responses)
    )
    starts = np.searchsorted(codes.conversation, np.arange(len(codes.intent) + 1)).tolist()
    columns = (codes.turn, codes.ask, codes.signal, codes.response, codes.reaction)
    turn, ask, signal, response, reaction = (column.tolist() for column in columns)
    for c, i in enumerate(codes.intent.tolist()):
        events = tuple(
            Event(
                t=turn[k],
                ask=asks[ask[k]],
                signal=signals[signal[k]],
                strategy=responses[response[k]],
                reaction=asks[reaction[k]],
            )
            for k in range(starts[c], starts[c + 1])
        )
        group = None if codes.group[c] < 0 else f"g{codes.group[c]}"
        yield Conversation(
            id=f"c{c}", group=group, type=intents[i] if typed else None, events=events
        )


def _drawn(rows: Float[np.ndarray, "N W"], draw: np.random.Generator) -> Int[np.ndarray, " N"]:
    """Return an outcome of each row of probabilities; never one of probability 0."""
    below = np.cumsum(rows, axis=1)
    at = draw.random(len(rows)) * below[:, -1]
    at = np.minimum(at, np.nextafter(below[:, -1], 0.0))  # rounding may have reached the sum
    return (at[:, None] >= below).sum(axis=1)
