"""`.efg` files out, in the portable subset that both Gambit and OpenSpiel read.

Every node is described in full on a line of its own, payoffs stand on terminal nodes alone, chance
probabilities are fractions that sum to exactly one (Gambit refuses anything else), infosets and
events are numbered from 1 by first visit, and labels are plain ASCII, because quotes, runs of
blanks and other alphabets each stop one of the two readers.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import count
from pathlib import Path

from csa_games.errors import InputError
from csa_games.game import Game
from csa_games.rules import Chance, Number, Terminal, walk

FINEST = 10**9  # the largest denominator of a probability that was a float


@dataclass(frozen=True)
class Renamed:
    """The labels that a file spells differently, each as {in the file: in the game}."""

    title: dict[str, str]
    players: dict[str, str]
    infosets: tuple[dict[str, str], dict[str, str]]  # by player
    actions: dict[str, str]

    def __bool__(self) -> bool:
        return any((self.title, self.players, *self.infosets, self.actions))


def write_efg(game: Game, path: str | Path, *, most_nodes: int | None = 1_000_000) -> Renamed:
    """Write `game` to the `.efg` file at `path` and return the labels that had to change.

    Float payoffs are written so that they read back as the same float, and rational ones exactly.
    Float probabilities become fractions with denominators up to 1e9, the largest one being what the
    others leave.

    Raises `InputError` when the tree has more than `most_nodes` nodes (None: no limit). The file is
    complete or is not there: it is written beside its place and then moved.
    """
    path = Path(path)
    title, players, actions = _Spelling(), _Spelling(), _Spelling()
    infosets = (_Spelling(), _Spelling())
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="ascii", newline="\n") as file:
            first, second = (players.of(name) for name in game.names.players)
            file.write(f'EFG 2 R "{title.of(game.name)}" {{ "{first}" "{second}" }}\n\n')
            for number, line in enumerate(_lines(game, infosets, actions)):
                if most_nodes is not None and number >= most_nodes:
                    raise InputError(
                        f"the tree of {game.name} has more than {most_nodes} nodes, "
                        "the most that are written to an .efg file unless asked for more"
                    )
                file.write(line)
        os.replace(draft, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
    return Renamed(
        title.changed(),
        players.changed(),
        (infosets[0].changed(), infosets[1].changed()),
        actions.changed(),
    )


class _Spelling:
    """Portable spellings of the labels of one kind, different ones for different labels."""

    def __init__(self) -> None:
        self.written: dict[str, str] = {}
        self.taken: set[str] = set()
        self.next: dict[str, Iterator[int]] = defaultdict(lambda: count(2))

    def of(self, label: str) -> str:
        """Return the spelling of `label`, chosen when it is first seen."""
        if label not in self.written:
            plain = spelling = _plain(label)
            while spelling in self.taken:
                spelling = f"{plain}_{next(self.next[plain])}"
            self.taken.add(spelling)
            self.written[label] = spelling
        return self.written[label]

    def changed(self) -> dict[str, str]:
        """Return {spelling: label} of the labels that are spelled differently."""
        return {new: old for old, new in self.written.items() if new != old}


def _plain(label: str) -> str:
    """Return `label` in printable ASCII, without quotes, backslashes and runs of blanks."""
    blanks = " ".join(label.split()).replace('"', "'").replace("\\", "/")
    return "".join(c if " " <= c <= "~" else "?" for c in blanks) or "_"


def _lines(game: Game, infosets: tuple[_Spelling, _Spelling], actions: _Spelling) -> Iterator[str]:
    """Yield the line of every node, in pre-order."""
    events, outcomes = count(1), count(1)
    described: dict[tuple[int, str], str] = {}  # the lines of players' nodes, equal in an infoset
    met = (count(1), count(1))
    for _, _, node in walk(game.root):
        if isinstance(node, Terminal):
            first, second = map(_payoff, node.payoffs)
            yield f't "" {next(outcomes)} "" {{ {first}, {second} }}\n'
        elif isinstance(node, Chance):
            pairs = zip(node.actions, _exact(node.probabilities), strict=True)
            moves = " ".join(f'"{actions.of(a)}" {p}' for a, p in pairs)
            yield f'c "" {next(events)} "" {{ {moves} }} 0\n'
        else:
            key = (node.player, node.infoset)
            if key not in described:
                label = infosets[node.player].of(node.infoset)
                moves = " ".join(f'"{actions.of(a)}"' for a in node.actions)
                described[key] = (
                    f'p "" {node.player + 1} {next(met[node.player])} "{label}" {{ {moves} }} 0\n'
                )
            yield described[key]


def _payoff(number: Number) -> str:
    """Return a fraction as it is and a float in the digits that read back as the same float."""
    return str(number) if isinstance(number, Fraction) else repr(float(number) + 0.0)  # not -0.0


def _exact(probabilities: tuple[Number, ...]) -> tuple[Fraction, ...]:
    """Return fractions that sum to 1; rational probabilities that do so stay as they are."""
    exact = [_fraction(p) for p in probabilities]
    largest = max(range(len(exact)), key=lambda k: exact[k])
    exact[largest] += 1 - sum(exact)
    return tuple(exact)


@lru_cache(maxsize=4096, typed=True)  # as a number, 0.1 equals a fraction that must stay as it is
def _fraction(number: Number) -> Fraction:
    exact = Fraction(number)
    return exact if isinstance(number, Fraction) else exact.limit_denominator(FINEST)
