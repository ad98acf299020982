"""When something first happened in conversations: an ask, leaving included, or a response."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from csa_games.calibration.codes import Codes
from csa_games.calibration.hazard import Hazards, clustered, tallied
from csa_games.errors import InputError
from csa_games.guard.certificate import MOST_TURNS
from csa_games.scenario import Scenario

NO_TYPE = "without a type"
"""What conversations without a type go by, where intents are listed."""


class Onsets:
    """In which turn asks or responses first came, gathered piece by piece.

    Of a conversation that does not say what happened in some turn, that turn and what follows are
    left out, as if it had been broken off; turns from `MOST_TURNS` on are, too.
    """

    def __init__(self, scenario: Scenario, names: Sequence[str]) -> None:
        asks = [part.name for part in scenario.asks]
        responses = [part.name for part in scenario.responses]
        for name in names:
            if (name in asks) == (name in responses):
                found = (
                    "which is both an ask and a response" if name in asks else "which is neither"
                )
                raise InputError(
                    f"--hazard: found {name!r}, {found}; expected one ask or response of "
                    f"{scenario.name}: {', '.join(dict.fromkeys([*asks, *responses]))}"
                )
        self._names = tuple(dict.fromkeys(names))
        self._intents = (*(part.name for part in scenario.intents), NO_TYPE)
        self._asks = {name: asks.index(name) for name in self._names if name in asks}
        self._responses = {name: responses.index(name) for name in self._names if name in responses}
        self._grouped = False
        self._keys, self._times = np.zeros((2, 0), np.int64)

    def add(self, codes: Codes) -> None:
        """Add the conversations of `codes`."""
        if not self._names:
            return
        count, turn, of = len(codes.intent), codes.turn, codes.conversation
        grouped = codes.group >= 0
        self._grouped |= bool(grouped.any())
        cluster = np.where(grouped, codes.group, 0)
        # What is known of the user's turns: asks, and the reaction that is the ask after the last.
        ends = np.append(of[1:] != of[:-1], True)[: len(of)] & (codes.reaction >= 0)
        users = (
            np.concatenate([of, of[ends]]),
            np.concatenate([turn, turn[ends] + 1]),
            np.concatenate([codes.ask, codes.reaction[ends]]),
        )
        for k, name in enumerate(self._names):
            if name in self._asks:
                which, (who, when, what) = self._asks[name], users
            else:
                which, (who, when, what) = self._responses[name], (of, turn, codes.response)
            never = MOST_TURNS
            first, gap = np.full(count, never), np.full(count, never)
            last = np.full(count, -1)
            np.minimum.at(first, who[what == which], when[what == which])
            np.minimum.at(gap, who[what < 0], when[what < 0])
            np.maximum.at(last, who[what >= 0], when[what >= 0])
            happened = (first < gap) & (first < never)
            turns = np.where(happened, first, np.minimum(np.minimum(last, gap - 1), never))
            kept = turns >= 0
            intent = np.where(codes.intent < 0, len(self._intents) - 1, codes.intent)
            cell = (cluster * len(self._names) + k) * len(self._intents) + intent
            self._count(((cell * (never + 1) + turns) * 2 + happened)[kept])

    def hazards(
        self, draw: np.random.Generator, *, level: float = 0.9
    ) -> dict[str, dict[str, Hazards]]:
        """Return the hazards by name and intent, in the turns in which any conversation was seen.

        Intervals take conversations as independent, or groups where the log is clustered by them.
        Intents without a conversation are left out.
        """
        rest, happened = np.divmod(self._keys, 2)
        rest, turn = np.divmod(rest, MOST_TURNS + 1)
        rest, intent = np.divmod(rest, len(self._intents))
        cluster, name = np.divmod(rest, len(self._names))
        found: dict[str, dict[str, Hazards]] = {}
        for k, of in enumerate(self._names):
            found[of] = {}
            for i, who in enumerate(self._intents):
                mine = (name == k) & (intent == i)
                if not mine.any():
                    continue
                _, place = np.unique(cluster[mine], return_inverse=True)
                length = min(int(turn[mine].max()) + 1, MOST_TURNS)
                last = np.zeros((place.max() + 1, length + 1), np.int64)
                ended = np.zeros_like(last)
                at = (place, np.minimum(turn[mine], length))
                np.add.at(last, at, self._times[mine])
                np.add.at(ended, at, self._times[mine] * happened[mine])
                found[of][who] = (
                    clustered(ended[:, :length], last, draw, level=level)
                    if self._grouped
                    else tallied(ended[:, :length].sum(axis=0), last.sum(axis=0), level=level)
                )
        return found

    def _count(self, keys: Int[np.ndarray, " M"]) -> None:
        self._keys, place = np.unique(np.concatenate([self._keys, keys]), return_inverse=True)
        times = np.append(self._times, np.ones(len(keys), np.int64))
        self._times = np.bincount(place, times, len(self._keys)).astype(np.int64)
