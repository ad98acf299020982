"""The policy that a log was made under: known from a folder, or told by the log itself.

What an assistant did in a state of the conversation is a row of frequencies, and most states are
seen rarely. So rows lean on coarser ones, from all answers together to those to an ask, to an ask
in a turn, to an ask and its signal in a turn, to the state: each row p of a level is Dirichlet
about its parent's,

    p ~ Dirichlet(K p'),    posterior mean  (n + K p') / (sum n + K),

with Jeffreys' prior at the top. K, how alike the rows of a level are, is what makes its counts
likeliest among half the number of responses and its doublings (empirical Bayes for hierarchical
Dirichlet rows; MacKay & Peto 1995): where the turn or the history is no matter, K is large, and
rows of states are those of their signals. A row with all answers of its parent is its parent's.
Answers without a signal count in the levels that do not tell it.

Draws for uncertainty go down the same levels. They are approximate, for K and what coarser rows
share of the counts are taken as given.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln

from csa_games.calibration.codes import Codes
from csa_games.errors import InputError
from csa_games.game import ASSISTANT, Game
from csa_games.guard.bundle import MANIFEST
from csa_games.guard.decide import Guard
from csa_games.guard.keys import Turn, state_key, turns_of
from csa_games.guard.ladder import find
from csa_games.runs import RECORD, read_run
from csa_games.scenario import Scenario

Rule = Callable[[Float[np.ndarray, "C R"]], Float[np.ndarray, "C R"]]
"""Dirichlet parameters -> rows."""

DOUBLINGS = 20  # of K, that are tried
SAME = 1e9  # K of a row that is its parent's


@dataclass(frozen=True)
class Level:
    """Rows of answers, each with its parent among the rows of the level above. C rows."""

    seen: Int[np.ndarray, "C R"]
    parent: Int[np.ndarray, " C"]
    strength: Float[np.ndarray, " C"]  # K


@dataclass(frozen=True)
class Observed:
    """The policy that a log of so many `answers` shows, at `states` of a game's infosets [I]."""

    levels: tuple[Level, ...]
    answers: int
    states: int

    @property
    def policy(self) -> Float[np.ndarray, "I R"]:
        """The posterior mean."""
        return self._down(lambda alpha: alpha / alpha.sum(axis=1, keepdims=True))

    def drawn(self, draw: np.random.Generator) -> Float[np.ndarray, "I R"]:
        """Return a policy drawn from the posterior."""

        def rows(alpha: Float[np.ndarray, "C R"]) -> Float[np.ndarray, "C R"]:
            # A gamma of a tiny shape may come out as 0, and a row of nothing else is none.
            gamma = np.maximum(draw.standard_gamma(alpha), 1e-300)
            return gamma / gamma.sum(axis=1, keepdims=True)

        return self._down(rows)

    def _down(self, choose: Rule) -> Float[np.ndarray, "I R"]:
        top, *below = self.levels
        rows = choose(top.seen + 0.5)
        for level in below:
            rows = choose(level.seen + level.strength[:, None] * rows[level.parent])
        return rows


class Answers:
    """What the assistant of a log did, gathered piece by piece.

    Answers are kept by turn, ask and signal, and by state: no more of them than the scenario has.
    Where states are so many that their numbers do not fit, and no game does, they are not kept.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._ends = np.array([ask.ends is not None for ask in scenario.asks])
        self._closes = np.array([response.ends for response in scenario.responses])
        turns, signals = scenario.turns, len(scenario.signals)
        asks, responses = len(self._ends), len(self._closes)
        self._seen = np.zeros((turns, asks, signals + 1, responses), np.int64)  # last: no signal
        self._width = asks * signals * responses
        self._kept = sum(self._width ** (t + 1) for t in range(turns)) < 2**63
        self._states, self._times = np.zeros((2, 0), np.int64)

    def add(self, codes: Codes) -> None:
        """Add the answers in `codes`."""
        turns, _, _, responses = self._seen.shape
        signals = len(self.scenario.signals)
        told = (codes.ask >= 0) & (codes.response >= 0) & (codes.turn < turns)
        told &= ~self._ends[codes.ask]
        cells = (codes.turn, codes.ask, np.where(codes.signal < 0, signals, codes.signal))
        np.add.at(self._seen, tuple(part[told] for part in (*cells, codes.response)), 1)
        if not self._kept:
            return
        found = []
        state = np.zeros(len(codes.intent), np.int64)  # -1 where not known
        for t in range(turns):
            at = np.flatnonzero(told & (codes.turn == t) & (codes.signal >= 0))
            at = at[state[codes.conversation[at]] >= 0]
            who = codes.conversation[at]
            turn = (codes.ask[at] * signals + codes.signal[at]) * responses + codes.response[at]
            after = np.full_like(state, -1)
            after[who] = state[who] * self._width + turn
            found.append(self._first(t) + after[who])
            after[who[self._closes[codes.response[at]]]] = -1
            state = after
        new = np.concatenate(found)
        self._states, place = np.unique(np.concatenate([self._states, new]), return_inverse=True)
        times = np.append(self._times, np.ones(len(new), np.int64))
        self._times = np.bincount(place, times, len(self._states)).astype(np.int64)

    def observed(self, game: Game) -> Observed:
        """Return the policy that the answers show, by the infosets of `game`.

        `game` is `csa_games.factored.factored_game` of the scenario, whatever its priors. Raises
        `InputError` if there are no answers.
        """
        if not self._seen.any():
            raise InputError(
                'policy: found "observed", but no answer in the log, an ask with a strategy; '
                "expected some, or the folder of a run or bundle"
            )
        turns, asks, _, responses = self._seen.shape
        signals = len(self.scenario.signals)
        keys = game.names.infosets[ASSISTANT]
        place = {key: i for i, key in enumerate(keys)}
        last = np.array([self._last(key) for key in keys], np.int64)  # turn, ask and signal
        states = np.zeros((len(keys), responses), np.int64)
        for number, times in zip(self._states.tolist(), self._times.tolist(), strict=True):
            key, response = self._key(number)
            if key in place:  # else no intent of the scenario gets there
                states[place[key], response] += times
        by_turn = self._seen.sum(axis=2)
        tables = (
            (by_turn.sum(axis=(0, 1))[None], np.zeros(1, np.int64)),
            (by_turn.sum(axis=0), np.zeros(asks, np.int64)),
            (by_turn.reshape(-1, responses), np.tile(np.arange(asks), turns)),
            (
                self._seen[:, :, :signals].reshape(-1, responses),
                np.repeat(np.arange(turns * asks), signals),
            ),
            (states, last),
        )
        levels: list[Level] = []
        mean, often = np.full((1, responses), 1 / responses), np.full(1, -1)
        for seen, parent in tables:
            above, n = mean[parent], seen.sum(axis=1)
            same = (n == often[parent]) & (n > 0)
            own = np.where(same[:, None], 0, seen)
            strength = np.where(same, SAME, _strength(own, above) if levels else responses / 2)
            alpha = own + strength[:, None] * above
            mean, often = alpha / alpha.sum(axis=1, keepdims=True), n
            levels.append(Level(own, parent, strength))
        return Observed(tuple(levels), int(self._seen.sum()), int(states.any(axis=1).sum()))

    def _first(self, t: int) -> int:
        return sum(self._width ** (s + 1) for s in range(t))

    def _last(self, key: str) -> int:
        turns = turns_of(key)
        ask = [part.name for part in self.scenario.asks].index(str(turns[-1].ask))
        signal = [part.name for part in self.scenario.signals].index(str(turns[-1].signal))
        return ((len(turns) - 1) * len(self._ends) + ask) * len(self.scenario.signals) + signal

    def _key(self, number: int) -> tuple[str, int]:
        """Return the state and the response that have the `number`."""
        scenario, t = self.scenario, 0
        while number >= self._first(t + 1):
            t += 1
        number -= self._first(t)
        turns: list[Turn] = []
        response = -1
        for _ in range(t + 1):
            number, turn = divmod(number, self._width)
            rest, answer = divmod(turn, len(scenario.responses))
            ask, signal = divmod(rest, len(scenario.signals))
            names = scenario.asks[ask].name, scenario.signals[signal].name
            if response < 0:
                response = answer
                turns.append(Turn(*names))
            else:
                turns.append(Turn(*names, scenario.responses[answer].name))
        return state_key(turns[::-1]), response


def known(folder: Path, game: Game) -> Float[np.ndarray, "I R"]:
    """Return the policy of the run or bundle in `folder`, by the infosets of `game`, a dialogue.

    Of a bundle that is what a guard serves, fallback ladder included. Raises `InputError` for
    folders that are neither, and for policies of other states or responses than the game's.
    """
    scenario = game.scenario
    assert scenario is not None
    names = [response.name for response in scenario.responses]
    keys = game.names.infosets[ASSISTANT]
    if (folder / RECORD).is_file():
        run = read_run(folder)
        theirs = run.game.scenario
        rows = run.solution.policy[ASSISTANT]
        place = {key: i for i, key in enumerate(run.game.names.infosets[ASSISTANT])}
        responses = [] if theirs is None else [response.name for response in theirs.responses]
        table = [rows[place[key]] if key in place else None for key in keys]
    elif (folder / MANIFEST).is_file():
        guard = Guard.load(folder)
        responses = list(guard.terms.responses)
        asks, signals = set(guard.terms.asks), set(guard.terms.signals)
        table = [
            find(guard.terms, guard.store, turns).row.probabilities
            if len(turns) <= guard.terms.turns
            and {turn.ask for turn in turns} <= asks
            and {turn.signal for turn in turns} <= signals
            else None
            for turns in map(turns_of, keys)
        ]
    else:
        raise InputError(
            f'policy: found {str(folder)!r}, expected "observed" or the folder of a run '
            f"({RECORD}) or of a bundle ({MANIFEST})"
        )
    if sorted(responses) != sorted(names):
        raise InputError(
            f"policy: {folder} answers with {', '.join(responses) or 'no response'}, expected the "
            f"responses of {scenario.name}: {', '.join(names)}"
        )
    if None in [None if row is None else 0 for row in table]:
        missing = next(key for key, row in zip(keys, table, strict=True) if row is None)
        raise InputError(
            f"policy: {folder} has no answer in the state {missing}, expected one in every state "
            f"of {scenario.name}"
        )
    order = [responses.index(name) for name in names]
    return np.asarray(table, np.float64)[:, order]


def _strength(seen: Int[np.ndarray, "C R"], above: Float[np.ndarray, "C R"]) -> float:
    """Return the K under which counts are likeliest, their parents' rows being `above`."""
    some = seen.any(axis=1)
    n, rows = seen[some], above[some]
    least = seen.shape[1] / 2

    def likelihood(strength: float) -> float:
        alpha = strength * rows
        own = gammaln(n + alpha) - gammaln(alpha)
        whole = gammaln(strength) - gammaln(n.sum(axis=1) + strength)
        return float(own.sum() + whole.sum())

    return max((least * 2.0**k for k in range(DOUBLINGS + 1)), key=likelihood)
