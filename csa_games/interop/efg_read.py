"""`.efg` files in: the whole format that Gambit reads, every number exact.

Format: the Gambit documentation, "The extensive game (.efg) file format". A file is a header and
the nodes of the tree in pre-order; a node is chance (c), a player's (p) or terminal (t). Infosets
and outcomes are described where they first occur, and repeated in full or by their number alone.
Outcomes may stand on inner nodes; a terminal node is worth the sum of those on its path.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import NamedTuple, NoReturn

from csa_games.build import ROUNDING, build
from csa_games.errors import InputError
from csa_games.game import Game
from csa_games.interop.tree import collect
from csa_games.rules import Chance, Decision, Node, Terminal, no_child

# Possessive repeats (`++`): a quote that never closes costs one pass over the file, not many.
NUMBER = r"[-+]?(?:\d++/\d++|(?:\d++\.?+\d*+|\.\d++)(?:[eE][-+]?+\d{1,3}+)?+)(?![\w./])"
TOKEN = re.compile(
    rf"""\s*+(?:
        "(?P<text>(?:[^"\\]|\\"|\\(?!"))*+)"
      | (?P<number>{NUMBER})
      | (?P<word>[A-Za-z]++)
      | (?P<mark>[{{}},])
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)

# Whole nodes as programs write them, up to the node that follows: a leaf with its payoffs, and a
# nameless inner node on a line of its own (bounded: a file may be one long line). Whatever looks
# different is read token by token.
LEAF = re.compile(
    rf"""t\s*+"[^"\\]*+"\s*+([1-9]\d{{0,8}}+)\s*+"([^"\\]*+)"
    \s*+{{\s*+({NUMBER})(?:\s*+,\s*+|\s++)({NUMBER})\s*+}}\s*+(?=[cpt]\s)""",
    re.VERBOSE,
)
LINE = re.compile(r'[cp] "" [^\n]{1,2000}+\s++(?=[cpt] )')

MOST_DIGITS = 1000  # of a number; more serve no purpose here and cost quadratic time

Payoffs = tuple[Fraction, Fraction]

END = Terminal((0.0, 0.0))  # what a leaf is worth is known when its path is


class _Token(NamedTuple):
    """A piece of the file: its kind (a group of `TOKEN`), its text, where it begins and ends."""

    kind: str
    text: str
    at: int
    end: int


def read_efg(path: str | Path) -> Game:
    """Return the game in the file at `path`, named after its title.

    The player numbers 1 and 2 of the file become 0 and 1. Labels that are empty or not unique get a
    number: infosets their own (`#3`), actions a count (`_1`).

    Raises `InputError` when the file cannot be read, is not an `.efg` file, has other than two
    players, describes one infoset or outcome in two ways, has probabilities that do not sum to
    exactly 1 (decimals: to 1e-9), or when the game is refused by `csa_games.build.build`. The
    sentence names the file and, for what the text itself shows, line and column.
    """
    reader = _Reader(str(path), _text(Path(path)))
    title, players = reader.header()
    tree = collect(reader.nodes())
    try:
        return build(tree.root, title or Path(path).stem, players=players)
    except InputError as error:
        raise InputError(*(f"{path}: {fault}" for fault in error.faults)) from None


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is not UTF-8 text, expected an .efg file"
        ) from None


class _Reader:
    """One pass over a file. It keeps what repeats refer to: infosets, chance events, outcomes."""

    def __init__(self, file: str, text: str) -> None:
        self.file, self.text = file, text
        self.ahead = self.scan(0)
        self.infosets: dict[tuple[int, int], tuple[str, tuple[str, ...], Decision]] = {}
        self.events: dict[int, tuple[str, tuple[str, ...], Chance]] = {}
        self.outcomes: dict[int, tuple[str, Payoffs]] = {}
        self.labels: tuple[set[str], set[str]] = (set(), set())  # of infosets, by player
        self.numbers: dict[str, Fraction] = {}
        self.lines: dict[str, tuple[Node, Payoffs | None]] = {}  # what inner nodes' lines mean

    def header(self) -> tuple[str, tuple[str, str]]:
        """Read `EFG 2 R "title" { "player" "player" } "comment"` and return title and players."""
        for kind, texts, expected in (
            ("word", ("EFG",), "the word EFG that every .efg file begins with"),
            ("number", ("2",), "2, the version of the format"),
            ("word", ("R", "D"), "R or D, the kind of its numbers"),
        ):
            if self.ahead.kind != kind or self.ahead.text not in texts:
                self.fail(self.ahead, expected)
            self.take(kind, expected)
        title = self.take("text", "the title of the game in quotes").text
        start = self.mark("{", "{ and the players")
        names = []
        while self.ahead.kind == "text":
            names.append(self.take("text", "").text)
        self.mark("}", "the name of a player, or }")
        if len(names) != 2:
            self.fail(start, "2 players (only two-player games can be solved)", f"{len(names)}")
        if self.ahead.kind == "text":
            self.take("text", "a comment")
        first, second = _distinct(tuple(name or f"player {p}" for p, name in enumerate(names)))
        return title, (first, second)

    def nodes(self) -> Iterator[tuple[int, int, Node]]:
        """Yield (parent, k, node) for every node of the file, as `csa_games.rules.walk` does."""
        # Nodes still to come: parent, action, and the payoffs on the way there.
        open_nodes: list[tuple[int, int, Payoffs | None]] = [(-1, 0, None)]
        number = 0
        while open_nodes:
            parent, k, before = open_nodes.pop()
            node, outcome = self.node(1 + len(open_nodes))
            so_far = _sum(before, outcome)
            if isinstance(node, Terminal):
                yield parent, k, Terminal(so_far or (Fraction(0), Fraction(0)))
            else:
                yield parent, k, node
                open_nodes.extend((number, a, so_far) for a in reversed(range(len(node.actions))))
            number += 1
        if self.ahead.kind != "end":
            self.fail(self.ahead, "the end of the file, since every branch of the tree has ended")

    def node(self, missing: int) -> tuple[Node, Payoffs | None]:
        """Read one node and its outcome (None: null); `missing` nodes at least are to come."""
        letter = self.ahead
        if letter.kind != "word" or letter.text not in ("c", "p", "t"):
            self.fail(
                letter, f"a node (c, p or t); branches are open for {missing} more at the least"
            )
        whole = (LEAF if letter.text == "t" else LINE).match(self.text, letter.at)
        if whole is not None:
            known = self.leaf(whole) if letter.text == "t" else self.lines.get(whole[0])
            if known is not None:
                end = whole.end()
                self.ahead = _Token("word", self.text[end], end, end + 1)
                return known
        self.take("word", "")
        self.take("text", f"the name in quotes of this {letter.text} node")
        node: Node
        if letter.text == "t":
            node = END
        elif letter.text == "c":
            node = self.chance()
        else:
            node = self.decision()
        found = node, self.outcome()
        if whole is not None and letter.text != "t" and whole.end() == self.ahead.at:
            self.lines[whole[0]] = found
        return found

    def leaf(self, whole: re.Match[str]) -> tuple[Node, Payoffs | None] | None:
        """Return the leaf that `LEAF` matched, or None if its outcome is known to be another."""
        first, second = (
            self.numbers.get(whole[k])
            or self.exact(_Token("number", whole[k], whole.start(k), whole.end(k)))
            for k in (3, 4)
        )
        outcome = whole[2], (first, second)
        known = self.outcomes.setdefault(int(whole[1]), outcome)
        return (END, known[1]) if known == outcome else None

    def chance(self) -> Chance:
        """Read the event of a chance node: its number, and actions with probabilities."""
        event = self.integer("the number of a chance event")
        known = self.events.get(event)
        if self.ahead.kind != "text":
            if known is None:
                self.fail(self.ahead, f"the actions of chance event {event}, new here")
            return known[2]
        start = self.ahead
        label = self.take("text", "").text
        self.mark("{", "{ and the actions")
        actions: list[str] = []
        numbers: list[Fraction] = []
        decimal = False
        while self.ahead.kind == "text":
            actions.append(self.take("text", "").text)
            decimal |= not set(".eE").isdisjoint(self.ahead.text)
            at = self.ahead
            numbers.append(self.number(f"the probability of {actions[-1]!r}"))
            if numbers[-1] < 0:
                self.fail(at, "a probability from 0 to 1")
        self.mark("}", "an action in quotes, or }")
        if not actions:
            self.fail(start, "at least one action", "none")
        total = sum(numbers, Fraction(0))
        if abs(total - 1) > (ROUNDING if decimal else 0):
            self.fail(
                start,
                "probabilities that sum to exactly 1",
                f"{' + '.join(map(str, numbers))} = {total} at chance event {event}",
            )
        node = Chance(_distinct(tuple(actions)), tuple(numbers), no_child)
        if known is None:
            self.events[event] = (label, tuple(actions), node)
        elif known != (label, tuple(actions), node):
            self.fail(
                start,
                f"what chance event {event} was before: {known[0]!r} "
                f"{_spell(known[1], known[2].probabilities)}",
                f"{label!r} {_spell(tuple(actions), node.probabilities)}",
            )
        return node

    def decision(self) -> Decision:
        """Read the player, infoset and actions of a player's node."""
        at = self.ahead
        player = self.integer("the number of the player who moves")
        if player not in (1, 2):
            self.fail(at, "player 1 or 2")
        infoset = self.integer(f"the number of an infoset of player {player}")
        known = self.infosets.get((player, infoset))
        if self.ahead.kind != "text":
            if known is None:
                self.fail(
                    self.ahead, f"the actions of infoset {infoset} of player {player}, new here"
                )
            return known[2]
        start = self.ahead
        label = self.take("text", "").text
        self.mark("{", "{ and the actions")
        actions = []
        while self.ahead.kind == "text":
            actions.append(self.take("text", "").text)
        self.mark("}", "an action in quotes, or }")
        if not actions:
            self.fail(start, "at least one action", "none")
        if known is not None:
            if known[:2] != (label, tuple(actions)):
                self.fail(
                    start,
                    f"what infoset {infoset} of player {player} was before: {known[0]!r} "
                    f"with {list(known[1])}",
                    f"{label!r} with {actions}",
                )
            return known[2]
        name = label or f"#{infoset}"
        while name in self.labels[player - 1]:
            name = f"{name} #{infoset}"
        self.labels[player - 1].add(name)
        node = Decision(player - 1, name, _distinct(tuple(actions)), no_child)
        self.infosets[player, infoset] = (label, tuple(actions), node)
        return node

    def outcome(self) -> Payoffs | None:
        """Read the outcome that ends a node: 0 (null), a known number, or one with payoffs."""
        at = self.ahead
        number = self.integer("the number of an outcome, or 0 for none")
        if self.ahead.kind != "text":
            if number == 0:
                return None
            if number not in self.outcomes:
                self.fail(self.ahead, f"the payoffs of outcome {number}, new here")
            return self.outcomes[number][1]
        if number == 0:
            self.fail(at, "another number: outcome 0 is the one without label and payoffs")
        label = self.take("text", "").text
        self.mark("{", "{ and two payoffs")
        first = self.payoff("the payoff of player 1")
        second = self.payoff("the payoff of player 2")
        self.mark("}", "} after two payoffs")
        known = self.outcomes.setdefault(number, (label, (first, second)))
        if known != (label, (first, second)):
            self.fail(
                at,
                f"what outcome {number} was before: {known[0]!r} worth "
                f"{known[1][0]}, {known[1][1]}",
                f"{label!r} worth {first}, {second}",
            )
        return known[1]

    def payoff(self, expected: str) -> Fraction:
        """Read a payoff and the comma that may follow it."""
        number = self.number(expected)
        if (self.ahead.kind, self.ahead.text) == ("mark", ","):
            self.take("mark", "")
        return number

    def number(self, expected: str) -> Fraction:
        """Read an integer, a decimal or a fraction; all are exact."""
        return self.exact(self.take("number", expected))

    def exact(self, token: _Token) -> Fraction:
        """Return the number that `token` spells."""
        if token.text not in self.numbers:
            if len(token.text) > MOST_DIGITS:
                self.fail(token, f"a number of at most {MOST_DIGITS} digits")
            try:
                number = Fraction(token.text)
                float(number)
            except ZeroDivisionError:
                self.fail(token, "a fraction with another denominator than 0")
            except OverflowError:
                self.fail(token, "a number that a float64 can hold")
            self.numbers[token.text] = number
        return self.numbers[token.text]

    def integer(self, expected: str) -> int:
        """Read an integer."""
        token = self.ahead
        number = self.number(expected)
        if number.denominator != 1:
            self.fail(token, f"{expected}, an integer")
        return int(number)

    def mark(self, mark: str, expected: str) -> _Token:
        """Read one of { } and return it."""
        if (self.ahead.kind, self.ahead.text) != ("mark", mark):
            self.fail(self.ahead, expected)
        return self.take("mark", expected)

    def take(self, kind: str, expected: str) -> _Token:
        """Read one token of this kind and return it."""
        token = self.ahead
        if token.kind != kind:
            self.fail(token, expected)
        self.ahead = self.scan(token.end)
        if kind == "text" and "\\" in token.text:
            return token._replace(text=token.text.replace('\\"', '"'))
        return token

    def scan(self, start: int) -> _Token:
        """Return the token that follows position `start`."""
        match = TOKEN.match(self.text, start)
        if match is None or match.lastgroup is None:
            at = len(self.text) - len(self.text[start:].lstrip())
            return _Token("nothing", "", at, at)
        kind = match.lastgroup
        return _Token(kind, match[kind], match.start(kind) - (kind == "text"), match.end())

    def fail(self, token: _Token, expected: str, found: str | None = None) -> NoReturn:
        """Raise the error at `token`: the place, what was found, what was expected."""
        if found is None:
            found = self.text[token.at : token.end] or "the end of the file"
            if token.kind == "nothing":
                found = repr(self.text[token.at : token.at + 40])
        line = self.text.count("\n", 0, token.at) + 1
        column = token.at - self.text.rfind("\n", 0, token.at)
        raise InputError(
            f"{self.file}, line {line}, column {column}: found {_brief(found)}, "
            f"expected {_brief(expected)}"
        )


def _sum(first: Payoffs | None, second: Payoffs | None) -> Payoffs | None:
    """Return the sum of two outcomes, None being the null outcome."""
    if first is None or second is None:
        return second if first is None else first
    return first[0] + second[0], first[1] + second[1]


def _brief(text: str) -> str:
    """Return `text` on one line, cut where it is too long for a sentence."""
    line = text[:300].replace("\n", " ")
    return line if len(text) <= 300 else f"{line}..."


def _distinct(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return `labels` with a count behind the empty ones and those that occur twice."""
    if len(set(labels)) == len(labels) and "" not in labels:
        return labels
    times = Counter(labels)
    counts: dict[str, Iterator[int]] = defaultdict(lambda: count(1))
    told = []
    for label in labels:
        if not label or times[label] > 1:
            fresh = (f"{label}_{n}" for n in counts[label])
            label = next(name for name in fresh if name not in times)
        told.append(label)
    return tuple(told)


def _spell(actions: tuple[str, ...], probabilities: tuple[object, ...]) -> str:
    return ", ".join(f"{a!r} {p}" for a, p in zip(actions, probabilities, strict=True))
