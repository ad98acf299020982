"""The likeliest complete histories of a game under a policy, found without unfolding the tree.

A best-first search opens the most probable node first. No history below a node is likelier than
the node, so histories come out in the order of their probability, and the first k of them are the
k likeliest (Dijkstra 1959 on minus the logarithm of the probabilities).
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count as numbers

import numpy as np

from csa_games.game import Game, Policy
from csa_games.rules import Chance, Node, Terminal

MOST_PATHS = 40
MOST_NODES = 20_000
"""Nodes that a search opens before it settles for likely histories instead of the likeliest."""


@dataclass(frozen=True)
class Step:
    """A move: its label, its probability at its node, and who moves there at which infoset.

    `player` is None where chance moves, which has no infosets: `infoset` is "" then.
    """

    action: str
    probability: float
    player: int | None
    infoset: str


@dataclass(frozen=True)
class Path:
    """A complete history, its probability under the policy, and both players' payoffs."""

    steps: tuple[Step, ...]
    probability: float
    payoffs: tuple[float, float]


@dataclass(frozen=True)
class Paths:
    """Histories by group, the likeliest first: one group per intent of a dialogue, else one in all.

    `exact` says that they are the likeliest of their group; if not, the search was cut short, and
    they are likely ones.
    """

    groups: tuple[tuple[Path, ...], ...]
    exact: bool

    @property
    def every(self) -> tuple[Path, ...]:
        """All histories, group by group."""
        return tuple(path for group in self.groups for path in group)

    @property
    def covered(self) -> float:
        """The probability of all of them together."""
        return sum(path.probability for path in self.every)


def likely_paths(
    game: Game,
    policy: Policy | None,
    count: int = MOST_PATHS,
    *,
    most_nodes: int = MOST_NODES,
    least: float = 0.0,
) -> Paths:
    """Return up to `count` histories of `game` that `policy` makes likely; None: uniform play.

    A dialogue's are shared out evenly between its intents, which come in the order of the scenario:
    the likeliest of all would mostly be those of the commonest intent. Histories below `least`
    times the probability of the likeliest of their group are left out.
    """
    chances = _chances(game, policy)
    root = game.root()
    if game.scenario is None or not isinstance(root, Chance):
        found = [_likeliest(root, (), 1.0, chances, count, most_nodes)]
    else:
        each = max(1, count // len(root.actions))
        found = [
            _likeliest(
                root.child(k),
                (Step(label, float(p), None, ""),),
                float(p),
                chances,
                each,
                most_nodes // len(root.actions),
            )
            for k, (label, p) in enumerate(zip(root.actions, root.probabilities, strict=True))
        ]
    groups = tuple(
        tuple(path for path in paths if path.probability >= least * paths[0].probability)
        for paths, _ in found
    )
    return Paths(groups, all(exact for _, exact in found))


Chances = Callable[[Node], list[float]]
"""node -> the probability of each of its actions."""


def _chances(game: Game, policy: Policy | None) -> Chances:
    if policy is None:
        places: list[dict[str, int]] = []
        rows: list[np.ndarray] = []
    else:
        places = [{label: i for i, label in enumerate(part)} for part in game.names.infosets]
        rows = [np.asarray(part, dtype=np.float64) for part in policy]

    def of(node: Node) -> list[float]:
        if isinstance(node, Terminal):
            return []
        if isinstance(node, Chance):
            return [float(p) for p in node.probabilities]
        if not rows:
            return [1 / len(node.actions)] * len(node.actions)
        row: list[float] = rows[node.player][places[node.player][node.infoset]].tolist()
        return row[: len(node.actions)]

    return of


def _likeliest(
    node: Node,
    before: tuple[Step, ...],
    probability: float,
    chances: Chances,
    count: int,
    most_nodes: int,
) -> tuple[tuple[Path, ...], bool]:
    """Return the `count` likeliest histories through `node`, and whether they are surely those."""
    ticket = numbers()  # of equals the one that was found first
    waiting = [(-probability, next(ticket), node, before)]
    paths: list[Path] = []
    opened = 0
    while waiting and len(paths) < count:
        least, _, node, steps = heapq.heappop(waiting)
        while not isinstance(node, Terminal):
            opened += 1
            below = _below(node, chances(node))
            if opened > most_nodes:  # from here straight on to the end
                k, step = max(below, key=lambda one: one[1].probability)
                least, node, steps = least * step.probability, node.child(k), (*steps, step)
                continue
            for k, step in below:
                entry = (least * step.probability, next(ticket), node.child(k), (*steps, step))
                heapq.heappush(waiting, entry)
            break
        else:
            first, second = node.payoffs
            paths.append(Path(steps, -least, (float(first), float(second))))
    paths.sort(key=lambda path: -path.probability)
    return tuple(paths), opened <= most_nodes


def _below(node: Node, chances: list[float]) -> list[tuple[int, Step]]:
    """Return (k, step) for every action of `node` that is ever taken."""
    assert not isinstance(node, Terminal)
    player = None if isinstance(node, Chance) else node.player
    infoset = "" if isinstance(node, Chance) else node.infoset
    return [
        (k, Step(label, p, player, infoset))
        for k, (label, p) in enumerate(zip(node.actions, chances, strict=True))
        if p > 0
    ]
