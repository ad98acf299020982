"""How likely held-out conversations are under a scenario, against plainer accounts of them.

The score is the logarithm of the probability given to what came, the mean over events: openings,
signals and reactions, each given all that came before it in its conversation (`predict`). It is
proper: only the true probabilities do best (Gneiting & Raftery 2007). Responses are given, so no
policy plays a part. Baselines:

    last response only     signals by ask, reactions by response, whoever talks
    marginal frequencies   how often each opening, signal and reaction comes at all
    uniform                every ask that the type, where it is known, may make; every signal

Frequencies are those of the part of the log that was fitted to, each outcome with half a sighting
more (Jeffreys). Without such a part they are cross-fitted: for each fifth of the clusters, those of
the other four. Differences are paired, event by event. Intervals hold over clusters
(`clustered.ratio`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from csa_games.calibration.clustered import ratio
from csa_games.calibration.codes import Codes
from csa_games.calibration.estimates import Estimate
from csa_games.calibration.logged import Logged, part
from csa_games.calibration.predict import (
    FLOOR,
    KINDS,
    OPENING,
    REACTION,
    SIGNAL,
    Predicted,
    predicted_events,
    predictions,
    shares,
)
from csa_games.dialogue import tables
from csa_games.errors import InputError
from csa_games.scenario import Scenario

FOLDS = 5

SCENARIO = "the scenario"
LAST_RESPONSE, MARGINAL, UNIFORM = "last response only", "marginal frequencies", "uniform"

Chance = dict[str, Float[np.ndarray, " M"]]
"""The probability given to what came, by kind and event."""


@dataclass(frozen=True)
class Likelihood:
    """The mean log-likelihood of an event, in nats, under one account.

    `less` is that of the evaluated scenario minus this one's: above 0, the scenario is the better.
    `impossible` counts events that the account gives no probability, were it not for `FLOOR`.
    """

    account: str
    per_event: Estimate
    by_kind: Mapping[str, float]  # nan for kinds of which there is no event
    less: Estimate | None
    impossible: int


def likelihoods(
    scenario: Scenario,
    log: Logged,
    *,
    others: Mapping[str, Scenario] | None = None,
    train: Logged | None = None,
    typed: bool = True,
    population: bool = True,
    level: float = 0.9,
) -> list[Likelihood]:
    """Return the likelihood of `log` under `scenario`, `others` by name, and the baselines.

    `train` is the part that was fitted to. If the log is not a sample of a `population`, intents
    that are not recorded are as common as each scenario finds them there, not as its priors say.
    Raises `InputError` if the names of another scenario are not the same, or there is no event.
    """
    for name, other in (others or {}).items():
        if name in (SCENARIO, LAST_RESPONSE, MARGINAL, UNIFORM):
            raise InputError(f"found {name!r} as the name of a scenario, expected another")
        check_same_names(scenario, other)
    events = predicted_events(scenario, log.codes)
    if not sum(map(len, events.values())):
        raise InputError("found no event that the scenario predicts anything of, expected some")

    def predicted(what: Scenario) -> Predicted:
        mixed = None if population or train is None else shares(what, train.codes, typed=typed)
        return predictions(what, log.codes, typed=typed, prior=mixed)

    first = predicted(scenario)
    accounts = {SCENARIO: _given(first)}
    impossible = {SCENARIO: _impossible(first)}
    for name, other in (others or {}).items():
        found = predicted(other)
        accounts[name], impossible[name] = _given(found), _impossible(found)
    accounts |= baselines(scenario, log, train, typed=typed)
    mine = accounts[SCENARIO]
    return [
        Likelihood(
            name,
            mean_log(chance, events, log, level),
            {kind: _mean(np.log(chance[kind])) for kind in KINDS},
            None if chance is mine else mean_log(mine, events, log, level, chance),
            impossible.get(name, 0),
        )
        for name, chance in accounts.items()
    ]


def conversation_log_likelihood(
    scenario: Scenario, codes: Codes, *, typed: bool = True, floor: float = FLOOR
) -> Float[np.ndarray, " N"]:
    """Return the log-likelihood of each conversation: of what was recorded of it."""
    found = predictions(scenario, codes, typed=typed, floor=floor)
    total = np.zeros(len(codes.intent))
    for scored in found.scored.values():
        total += np.bincount(
            codes.conversation[scored.event], scored.log_chance, minlength=len(total)
        )
    return total


def mean_log(
    chance: Chance,
    events: Mapping[str, Int[np.ndarray, " M"]],
    log: Logged,
    level: float,
    minus: Chance | None = None,
) -> Estimate:
    """Return the mean of the logarithms, or of the differences to those of `minus`."""
    conversations = len(log.cluster)
    total, size = np.zeros(conversations), np.zeros(conversations)
    for kind, which in events.items():
        of = log.codes.conversation[which]
        gain = np.log(chance[kind]) - (0.0 if minus is None else np.log(minus[kind]))
        total += np.bincount(of, gain, minlength=conversations)
        size += np.bincount(of, minlength=conversations)
    return ratio(total, size, log.cluster, level)


def baselines(
    scenario: Scenario, log: Logged, train: Logged | None, *, typed: bool = True
) -> dict[str, Chance]:
    """Return what the baselines give to what came in `log`, from `train` or cross-fitted."""
    events = predicted_events(scenario, log.codes)
    outcomes = _outcomes(log.codes, events)
    found = {name: {kind: np.zeros(len(w)) for kind, w in events.items()} for name in _CONTEXTS}
    for learn, conversations in _folds(log, train):
        known = predicted_events(scenario, learn.codes)
        seen = _outcomes(learn.codes, known)
        for name, context in _CONTEXTS.items():
            for kind, which in events.items():
                mine = conversations[log.codes.conversation[which]]
                there = context(learn.codes, kind, known[kind])
                here = context(log.codes, kind, which[mine])
                width = len(scenario.signals if kind == SIGNAL else scenario.asks)
                rows = max(there.max(initial=0), here.max(initial=0)) + 1
                often = np.bincount(there * width + seen[kind], minlength=rows * width) + 0.5
                share = often.reshape(rows, width)
                share /= share.sum(axis=1, keepdims=True)
                found[name][kind][mine] = share[here, outcomes[kind][mine]]
    return found | {UNIFORM: _uniform(scenario, log.codes, events, outcomes, typed)}


def check_same_names(scenario: Scenario, other: Scenario) -> None:
    """Raise `InputError` unless two scenarios have the same parts, turns and endings."""
    for field in ("turns", "intents", "asks", "signals", "responses"):
        one, two = _spelled(scenario, field), _spelled(other, field)
        if one != two:
            raise InputError(
                f"{other.name}: {field}: found {two}, expected those of {scenario.name}: {one}"
            )


def _spelled(scenario: Scenario, field: str) -> str:
    parts = getattr(scenario, field)
    if isinstance(parts, int):
        return str(parts)
    return ", ".join(
        f"{part.name} (ends)" if getattr(part, "ends", None) else part.name for part in parts
    )


def _given(found: Predicted) -> Chance:
    return {
        kind: scored.chance[np.arange(len(scored.came)), scored.came]
        for kind, scored in found.scored.items()
    }


def _impossible(found: Predicted) -> int:
    return sum(int(scored.impossible.sum()) for scored in found.scored.values())


def _outcomes(
    codes: Codes, events: Mapping[str, Int[np.ndarray, " M"]]
) -> dict[str, Int[np.ndarray, " M"]]:
    came = {OPENING: codes.ask, SIGNAL: codes.signal, REACTION: codes.reaction}
    return {kind: came[kind][which] for kind, which in events.items()}


def _last_response(codes: Codes, kind: str, which: Int[np.ndarray, " M"]) -> Int[np.ndarray, " M"]:
    if kind == OPENING:
        return np.zeros(len(which), np.int64)
    return (codes.ask if kind == SIGNAL else codes.response)[which].astype(np.int64)


def _nothing(codes: Codes, kind: str, which: Int[np.ndarray, " M"]) -> Int[np.ndarray, " M"]:
    return np.zeros(len(which), np.int64)


_CONTEXTS = {LAST_RESPONSE: _last_response, MARGINAL: _nothing}


def _folds(log: Logged, train: Logged | None) -> Iterator[tuple[Logged, np.ndarray]]:
    """Yield what to learn frequencies from, and which conversations of `log` they are for."""
    if train is not None:
        yield train, np.ones(len(log.cluster), bool)
        return
    _, number = np.unique(log.cluster, return_inverse=True)
    for k in range(FOLDS):
        mine = number % FOLDS == k
        if mine.any():
            yield part(log, ~mine), mine


def _uniform(
    scenario: Scenario,
    codes: Codes,
    events: Mapping[str, Int[np.ndarray, " M"]],
    outcomes: Mapping[str, Int[np.ndarray, " M"]],
    typed: bool,
) -> Chance:
    legal = tables(scenario).legal
    anyone = legal.any(axis=0)
    found = {}
    for kind, which in events.items():
        if kind == SIGNAL:
            found[kind] = np.full(len(which), 1 / len(scenario.signals))
            continue
        who = codes.intent[codes.conversation[which]]
        may = np.where((typed & (who >= 0))[:, None], legal[who], anyone)
        even = may[np.arange(len(which)), outcomes[kind]] / may.sum(axis=1)
        found[kind] = (1 - FLOOR) * even + FLOOR / len(scenario.asks)
    return found


def _mean(numbers: Float[np.ndarray, " M"]) -> float:
    return float(numbers.mean()) if len(numbers) else float("nan")
