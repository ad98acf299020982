"""Random small games with perfect recall, exact in rationals, for property tests.

A game is a list of stages. At each stage chance or a player moves, and each player either sees the
move or does not; an infoset is everything its player has seen, so recall is perfect by design.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from hypothesis import strategies as st

from csa_games.rules import Chance, Decision, Node, Terminal


@dataclass(frozen=True)
class Stage:
    """Who moves (None: chance), who sees it, the most actions, and whether action 0 may end it."""

    mover: int | None
    seen_by: tuple[bool, bool]
    actions: int
    may_end: bool


stages = st.builds(
    Stage,
    mover=st.sampled_from([None, 0, 1]),
    seen_by=st.tuples(st.booleans(), st.booleans()),
    actions=st.integers(1, 3),
    may_end=st.sampled_from([False, False, True]),
)


def unfold(plan: tuple[Stage, ...], seed: int, zero_sum: bool) -> Callable[[], Node]:
    """Return the root of the game that `plan` describes; `seed` fixes payoffs and chances."""

    def numbers(*where: object) -> random.Random:
        return random.Random(repr((seed, where)))

    def node(k: int, seen: tuple[tuple[str, ...], ...], history: tuple[str, ...]) -> Node:
        if k == len(plan) or (history and history[-1].endswith("!")):
            draw = numbers("payoff", history)
            first = Fraction(draw.randint(-12, 12), draw.choice([1, 2, 3, 4]))
            second = -first if zero_sum else Fraction(draw.randint(-12, 12), 4)
            return Terminal((first, second))
        stage = plan[k]
        observed = seen[stage.mover] if stage.mover is not None else history
        # The number of actions is a function of what the mover sees: ragged, but per infoset.
        count = numbers("count", k, observed).choice([1, stage.actions, stage.actions])
        labels = tuple(
            f"{k}{letter}{'!' if stage.may_end and letter == 'a' else ''}"
            for letter in "abc"[:count]
        )

        def child(a: int) -> Node:
            after = tuple(
                (*seen[p], labels[a]) if stage.seen_by[p] or p == stage.mover else seen[p]
                for p in (0, 1)
            )
            return node(k + 1, after, (*history, labels[a]))

        if stage.mover is None:
            weights = [numbers("chance", history, a).randint(1, 5) for a in range(count)]
            return Chance(labels, tuple(Fraction(w, sum(weights)) for w in weights), child)
        return Decision(stage.mover, f"{k}:" + ",".join(observed), labels, child)

    return lambda: node(0, ((), ()), ())


def roots(zero_sum: bool | None = None, most_stages: int = 5) -> st.SearchStrategy:
    """Return a strategy of `root` callables for `csa_games.build.build`."""
    return st.builds(
        unfold,
        st.lists(stages, min_size=2, max_size=most_stages).map(tuple),
        st.integers(0, 2**20),
        st.booleans() if zero_sum is None else st.just(zero_sum),
    )
