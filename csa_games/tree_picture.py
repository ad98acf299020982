"""A picture of the likely part of a game tree, as SVG text that stands alone.

The tree grows from left to right: a column per move, a line per path. Who moves is told by the
shape of the node and the colour of the moves; the infosets of a player are dashed: nodes that it
cannot tell apart have a dashed ring and a dashed line between them. Plain SVG, no plotting library.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from math import sqrt

from csa_games.game import ASSISTANT, Game
from csa_games.paths import Path, Paths, Step
from csa_games.words import decimal, percent

LINE, ABOVE, BELOW = 24.0, 34.0, 10.0  # pixels: a path, the key, the margin below
CHARACTER, GAP, LANE, RING = 6.5, 22.0, 7.0, 9.0
THINNEST, THICKEST = 0.8, 8.0
LONGEST = 28  # characters of a label
INK, MUTED = "#1b1f24", "#57606a"
COLOURS = ("#B04A00", "#0072B2", "#8C959F")  # user or player 0, assistant or player 1, chance
CHANCE = 2


@dataclass
class Spot:
    """A node of the drawn tree: how it is reached, who moves, and where it stands."""

    label: str  # of the move that leads here
    mover: int  # who made that move: a player or `CHANCE`
    reach: float
    depth: int
    player: int = CHANCE  # who moves here
    infoset: str = ""
    path: Path | None = None  # of a leaf
    below: dict[str, "Spot"] = field(default_factory=dict)
    y: float = 0.0


def tree_picture(game: Game, paths: Paths) -> str:
    """Return a picture of `paths` of `game`, which must not be empty, as an SVG element.

    Lines are as wide as the square root of the probability to get there. At the end of a path stand
    its probability and the assistant's payoff, of other games both players'. In a dialogue an ask
    and its signal are one step, and only the assistant's infosets are drawn.
    """
    root = _grown(game, paths)
    spots = list(_every(root))
    for k, leaf in enumerate(spot for spot in spots if spot.path is not None):
        leaf.y = ABOVE + (k + 0.5) * LINE
    for spot in reversed(spots):  # children come after their parent
        if spot.below:
            ends = [child.y for child in spot.below.values()]
            spot.y = (min(ends) + max(ends)) / 2
    sets = _infosets(game, spots)
    lanes = _lanes(sets)
    room = _room(spots, sets, lanes)
    across = _columns(spots, room)
    high = ABOVE + LINE * len(paths.every) + BELOW
    wide = max(
        across[spot.depth] + 14 + CHARACTER * len(_ending(game, spot.path))
        for spot in spots
        if spot.path is not None
    )
    wide = max(wide, _key_width(game))
    parts = [
        *_edges(spots, across, room),
        *_dashes(sets, across, lanes),
        *_nodes(game, spots, across),
        *_key(game),
    ]
    said = escape(spoken(game, paths))
    size = f'width="{wide:.0f}" height="{high:.0f}" viewBox="0 0 {wide:.0f} {high:.0f}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{said}" {size}>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<g font-family="sans-serif" font-size="11">\n{"".join(parts)}</g>\n</svg>'
    )


def spoken(game: Game, paths: Paths) -> str:
    """Return what the picture shows, in words: how much of play, and each group's first path."""
    kind = "likeliest" if paths.exact else "likely"
    told = [
        f"{', '.join(label for label, *_ in _moves(game, group[0]))}: "
        f"{percent(group[0].probability)}"
        for group in paths.groups
        if group
    ]
    many = f"{len(paths.every)} {kind} paths"
    return (
        f"Tree of the {many} of {game.name}, {percent(paths.covered)} of play. {'; '.join(told)}."
    )


def _moves(game: Game, path: Path) -> list[tuple[str, float, Step]]:
    """Return (label, probability, first step) of the moves of a path as they are drawn."""
    if game.scenario is None:
        return [(step.action, step.probability, step) for step in path.steps]
    intent, *rest = path.steps
    moves = [(intent.action, intent.probability, intent)]
    for at in range(0, len(rest), 3):  # ask, signal and response in turn
        ask, *heard = rest[at : at + 3]
        if not heard:
            moves.append((ask.action, ask.probability, ask))
            continue
        signal, *answered = heard
        moves.append((f"{ask.action} · {signal.action}", ask.probability * signal.probability, ask))
        moves += [(step.action, step.probability, step) for step in answered]
    return moves


def _grown(game: Game, paths: Paths) -> Spot:
    """Return the root of the tree that the paths make together."""
    root = Spot("", CHANCE, 1.0, 0)
    for path in paths.every:
        here = root
        for label, p, step in _moves(game, path):
            here.player = CHANCE if step.player is None else step.player
            if game.scenario is None or step.player == ASSISTANT:
                here.infoset = step.infoset
            if label not in here.below:
                said = f"{_cut(label)} {percent(p)}"
                here.below[label] = Spot(said, here.player, here.reach * p, here.depth + 1)
            here = here.below[label]
        here.path = path
    return root


def _cut(label: str) -> str:
    return label if len(label) <= LONGEST else label[: LONGEST - 1] + "…"


def _every(root: Spot) -> Iterator[Spot]:
    """Yield every node, a parent before its children, from the top of the picture down."""
    waiting = [root]
    while waiting:
        spot = waiting.pop()
        yield spot
        waiting += reversed(spot.below.values())


def _infosets(game: Game, spots: Sequence[Spot]) -> list[list[Spot]]:
    """Return the infosets with several nodes in the picture, from the top down."""
    members: dict[tuple[int, str], list[Spot]] = {}
    for spot in spots:
        if spot.path is None and spot.infoset:
            members.setdefault((spot.player, spot.infoset), []).append(spot)
    return [sorted(group, key=lambda s: s.y) for group in members.values() if len(group) > 1]


def _lanes(sets: Sequence[Sequence[Spot]]) -> list[int]:
    """Return a lane for each infoset, so that no two dashed lines of a column overlap."""
    taken: dict[tuple[int, int], list[tuple[float, float]]] = {}
    found = []
    for group in sets:
        depth, top, bottom = group[0].depth, group[0].y, group[-1].y
        lane = 0
        while any(a <= bottom and top <= b for a, b in taken.get((depth, lane), ())):
            lane += 1
        taken.setdefault((depth, lane), []).append((top, bottom))
        found.append(lane)
    return found


def _room(
    spots: Sequence[Spot], sets: Sequence[Sequence[Spot]], lanes: Sequence[int]
) -> list[float]:
    """Return how much room the dashes of each column take on its right."""
    room = [0.0] * (1 + max(spot.depth for spot in spots))
    for group, lane in zip(sets, lanes, strict=True):
        for spot in group:
            room[spot.depth] = max(room[spot.depth], RING + LANE * (1 + lane))
    return room


def _columns(spots: Sequence[Spot], room: Sequence[float]) -> list[float]:
    """Return how far right each column stands: there is room for its labels and the dashes."""
    across = [14.0]
    for d in range(1, len(room)):
        longest = max(len(spot.label) for spot in spots if spot.depth == d)
        across.append(across[-1] + room[d - 1] + GAP + CHARACTER * longest + 6)
    return across


def _thickness(reach: float) -> float:
    return THINNEST + (THICKEST - THINNEST) * sqrt(reach)


def _edges(spots: Sequence[Spot], across: Sequence[float], room: Sequence[float]) -> Iterator[str]:
    for mover in (CHANCE, 0, 1):
        yield f'<g fill="none" stroke="{COLOURS[mover]}">\n'
        for spot in spots:
            for child in spot.below.values():
                if child.mover != mover:
                    continue
                x, end = across[spot.depth], across[child.depth]
                start, bend = x + room[spot.depth], x + room[spot.depth] + GAP
                middle = (start + bend) / 2
                yield (
                    f'<path d="M{x:.0f} {spot.y:.1f}H{start:.0f}C{middle:.0f} {spot.y:.1f} '
                    f'{middle:.0f} {child.y:.1f} {bend:.0f} {child.y:.1f}H{end:.0f}" '
                    f'stroke-width="{_thickness(child.reach):.2f}"/>\n'
                )
        yield "</g>\n"
    yield f'<g fill="{INK}" stroke="#fff" stroke-width="3" paint-order="stroke">\n'
    for spot in spots:
        for child in spot.below.values():
            x = across[spot.depth] + room[spot.depth] + GAP
            up = child.y - 3 - _thickness(child.reach) / 2
            yield f'<text x="{x:.0f}" y="{up:.1f}">{escape(child.label)}</text>\n'
    yield "</g>\n"


def _dashes(
    sets: Sequence[Sequence[Spot]], across: Sequence[float], lanes: Sequence[int]
) -> Iterator[str]:
    yield f'<g fill="none" stroke="{INK}" stroke-dasharray="3 2.5">\n'
    for group, lane in zip(sets, lanes, strict=True):
        right = max(across[spot.depth] for spot in group) + RING + LANE * (0.5 + lane)
        stubs = "".join(
            f"M{across[spot.depth] + RING:.0f} {spot.y + 3:.1f}H{right:.0f}" for spot in group
        )
        yield f'<path d="M{right:.0f} {group[0].y + 3:.1f}V{group[-1].y + 3:.1f}{stubs}"/>\n'
        for spot in group:
            yield f'<circle cx="{across[spot.depth]:.0f}" cy="{spot.y:.1f}" r="{RING:g}"/>\n'
    yield "</g>\n"


def _nodes(game: Game, spots: Sequence[Spot], across: Sequence[float]) -> Iterator[str]:
    for spot in spots:
        x, y = across[spot.depth], spot.y
        if spot.path is None:
            yield _mark(x, y, spot.player)
        else:
            yield f'<circle cx="{x:.0f}" cy="{y:.1f}" r="2" fill="{INK}"/>\n'
            ending = escape(_ending(game, spot.path))
            look = f'fill="{MUTED}" stroke="#fff" stroke-width="3" paint-order="stroke"'
            yield f'<text x="{x + 8:.0f}" y="{y + 4:.1f}" {look}>{ending}</text>\n'


def _mark(x: float, y: float, player: int) -> str:
    """Return the mark of who moves: a diamond for chance, a circle and a square for the players."""
    look = f'fill="{COLOURS[player]}" stroke="#fff"'
    if player == CHANCE:
        return f'<path d="M{x - 6:.0f} {y:.1f}l6 -6l6 6l-6 6z" {look}/>\n'
    if player == ASSISTANT:
        return f'<rect x="{x - 5:.0f}" y="{y - 5:.1f}" width="10" height="10" {look}/>\n'
    return f'<circle cx="{x:.0f}" cy="{y:.1f}" r="5.5" {look}/>\n'


def _ending(game: Game, path: Path | None) -> str:
    assert path is not None
    first, second = path.payoffs
    paid = decimal(second, 2) if game.scenario else f"{decimal(first, 2)}, {decimal(second, 2)}"
    return f"{percent(path.probability)}: {paid}"


def _entries(game: Game) -> list[tuple[int | None, str]]:
    """Return (who, words) of the key; None is the dashes."""
    whose = game.names.players[ASSISTANT] if game.scenario is not None else "the player"
    return [
        (CHANCE, "chance, and users who only react" if game.scenario else "chance"),
        *enumerate(game.names.players),
        (None, f"{whose} cannot tell these apart"),
    ]


def _key_width(game: Game) -> float:
    return 14 + sum(34 + CHARACTER * len(words) for _, words in _entries(game))


def _key(game: Game) -> Iterator[str]:
    x = 14.0
    for who, words in _entries(game):
        if who is None:
            yield (
                f'<circle cx="{x:.0f}" cy="14" r="{RING - 2:g}" fill="none" stroke="{INK}" '
                'stroke-dasharray="3 2.5"/>\n'
            )
        else:
            yield _mark(x, 14.0, who)
        yield f'<text x="{x + 13:.0f}" y="18" fill="{MUTED}">{escape(words)}</text>\n'
        x += 34 + CHARACTER * len(words)
