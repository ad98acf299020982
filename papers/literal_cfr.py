"""CFR variants as their papers write them, by walking the tree in exact rationals.

Slow, and shares nothing with the engine: no arrays, no table of parameters, no rounding but that
of irrational powers, once.
"""

from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from functools import cache

from csa_games.rules import Chance, Decision, Node, Terminal

NOISE = Fraction(1, 10**12)  # what rounded powers may leave of a tie

ONE = Fraction(1)

Row = list[Fraction]
Rule = Callable[[Row, Row, int], tuple[Row, Row]]
"""(cumulative regrets, instantaneous regrets, t) -> (new cumulative ones, what is matched)."""


def power(base: Fraction, exponent: float) -> Fraction:
    """Return the power, rounded once where the exponent is not whole."""
    whole = int(exponent)
    return base**whole if whole == exponent else Fraction(float(base) ** exponent)


def discount(k: int, exponent: float, constant: Fraction = Fraction(1)) -> Fraction:
    """Return k^a / (k^a + c); without effect at k = 0, where there are no regrets yet."""
    if k == 0:
        return Fraction(0)
    return power(Fraction(k), exponent) / (power(Fraction(k), exponent) + constant)


def cfr(old: Row, r: Row, t: int) -> tuple[Row, Row]:
    """Zinkevich et al. 2007."""
    new = [x + y for x, y in zip(old, r, strict=True)]
    return new, new


def lcfr(old: Row, r: Row, t: int) -> tuple[Row, Row]:
    """Brown & Sandholm 2019, as R <- R + t r."""
    new = [x + t * y for x, y in zip(old, r, strict=True)]
    return new, new


def cfr_plus(old: Row, r: Row, t: int) -> tuple[Row, Row]:
    """Tammelin 2014."""
    new = [max(x + y, Fraction(0)) for x, y in zip(old, r, strict=True)]
    return new, new


def dcfr(old: Row, r: Row, t: int) -> tuple[Row, Row]:
    """Brown & Sandholm 2019, DCFR(3/2, 0, 2)."""
    positive, negative = discount(t - 1, 1.5), Fraction(1, 2)
    new = [x * (positive if x > 0 else negative) + y for x, y in zip(old, r, strict=True)]
    return new, new


def dcfr_plus(old: Row, r: Row, t: int) -> tuple[Row, Row]:
    """Xu et al. 2024, with the constant of the released code."""
    d = discount(t - 1, 1.5, Fraction(3, 2))
    new = [max(x * d + y, Fraction(0)) for x, y in zip(old, r, strict=True)]
    return new, new


def pcfr_plus(old: Row, r: Row, t: int) -> tuple[Row, Row]:
    """Farina, Kroer & Sandholm 2021."""
    new, _ = cfr_plus(old, r, t)
    return new, [x + y for x, y in zip(new, r, strict=True)]


def sapcfr_plus(old: Row, r: Row, t: int) -> tuple[Row, Row]:
    """ArXiv 2503.12770v2, its prediction scaled by 1/3."""
    new, _ = cfr_plus(old, r, t)
    return new, [x + y / 3 for x, y in zip(new, r, strict=True)]


def pdcfr_plus(old: Row, r: Row, t: int) -> tuple[Row, Row]:
    """Xu et al. 2024, with the exponents of the released code."""
    now, coming = discount(t - 1, 2.3), discount(t, 2.3)
    new = [max(x * now + y, Fraction(0)) for x, y in zip(old, r, strict=True)]
    return new, [x * coming + y for x, y in zip(new, r, strict=True)]


RULES: dict[str, tuple[Rule, Callable[[int, int], float]]] = {
    "cfr": (cfr, lambda t, n: 0),
    "cfr+": (cfr_plus, lambda t, n: 1),
    "lcfr": (lcfr, lambda t, n: 1),
    "dcfr": (dcfr, lambda t, n: 2),
    "dcfr+": (dcfr_plus, lambda t, n: 4),
    "pcfr+": (pcfr_plus, lambda t, n: 2),
    "pdcfr+": (pdcfr_plus, lambda t, n: 5),
    "sapcfr+": (sapcfr_plus, lambda t, n: 2),
    "hs-pcfr+": (pcfr_plus, lambda t, n: 30 - 5 * t / n),
}
"""Each rule, and the exponent of its averaging weights after t of n iterations."""

Averages = dict[tuple[int, str], tuple[Fraction, ...]]


def averages(root: Callable[[], Node], name: str, steps: int, horizon: int) -> Averages:
    """Return the average policy after `steps` alternating iterations, by (player, infoset)."""
    rule, gamma = RULES[name]
    tree = root()
    policy: dict[tuple[int, str], Row] = {}
    regret: dict[tuple[int, str], Row] = {}
    total: dict[tuple[int, str], Row] = {}

    def visit(node: Node) -> None:
        if isinstance(node, Terminal):
            return
        if not isinstance(node, Chance):
            count = len(node.actions)
            policy[node.player, node.infoset] = [Fraction(1, count)] * count
            regret[node.player, node.infoset] = [Fraction(0)] * count
            total[node.player, node.infoset] = [Fraction(0)] * count
        for k in range(len(node.actions)):
            visit(node.child(k))

    visit(tree)
    for t in range(1, steps + 1):
        for player in (0, 1):
            found: dict[str, Row] = {}
            own: dict[str, Fraction] = {}
            _walk(tree, player, policy, found, own, ONE, ONE)
            keep = power(Fraction(t - 1, t), gamma(t, horizon))
            for infoset, r in found.items():
                at = player, infoset
                total[at] = [
                    keep * s + own[infoset] * p for s, p in zip(total[at], policy[at], strict=True)
                ]
                regret[at], matched = rule(regret[at], r, t)
                policy[at] = _normalised([x if x > NOISE else Fraction(0) for x in matched])
    return {at: tuple(_normalised(row)) for at, row in total.items()}


def _walk(
    node: Node,
    player: int,
    policy: dict[tuple[int, str], Row],
    found: dict[str, Row],
    own: dict[str, Fraction],
    reach: Fraction,
    others: Fraction,
) -> Fraction:
    """Return the player's expected payoff below `node`; add up instantaneous regrets in `found`."""
    if isinstance(node, Terminal):
        return Fraction(node.payoffs[player])

    def below(k: int, mine: Fraction, theirs: Fraction) -> Fraction:
        return _walk(node.child(k), player, policy, found, own, reach * mine, others * theirs)

    if isinstance(node, Chance):
        weights = [Fraction(p) for p in node.probabilities]
        return sum((w * below(k, ONE, w) for k, w in enumerate(weights)), Fraction(0))
    weights = policy[node.player, node.infoset]
    if node.player != player:
        return sum((w * below(k, ONE, w) for k, w in enumerate(weights)), Fraction(0))
    worth = [below(k, w, ONE) for k, w in enumerate(weights)]
    mean = sum((w * v for w, v in zip(weights, worth, strict=True)), Fraction(0))
    sofar = found.get(node.infoset, [Fraction(0)] * len(worth))
    found[node.infoset] = [x + others * (v - mean) for x, v in zip(sofar, worth, strict=True)]
    own[node.infoset] = reach
    return mean


def _normalised(row: Row) -> Row:
    total = sum(row, Fraction(0))
    return [x / total for x in row] if total else [Fraction(1, len(row))] * len(row)


def unfolded(node: Node) -> Node:
    """Return the tree below `node` with all nodes made: walking it again makes none."""
    if isinstance(node, Terminal):
        return node
    below = [unfolded(node.child(k)) for k in range(len(node.actions))]
    if isinstance(node, Chance):
        return Chance(node.actions, node.probabilities, below.__getitem__)
    return Decision(node.player, node.infoset, node.actions, below.__getitem__)


def exploitability(tree: Node, policy: Averages) -> Fraction:
    """Return half of what both players together get by best responses in a zero-sum game."""
    return (_best_response(tree, 0, policy) + _best_response(tree, 1, policy)) / 2


def _best_response(tree: Node, player: int, policy: Averages) -> Fraction:
    """Return what `player` gets by its best response to the other's part of `policy`."""
    members: dict[str, list[tuple[Fraction, Decision]]] = defaultdict(list)

    def weights(node: Chance | Decision) -> tuple[Fraction, ...]:
        if isinstance(node, Chance):
            return tuple(Fraction(p) for p in node.probabilities)
        if node.player == player:
            return (ONE,) * len(node.actions)
        return policy[node.player, node.infoset]

    def collect(node: Node, reached: Fraction) -> None:
        """Note the nodes of each of the player's infosets, with their counterfactual reach."""
        if isinstance(node, Terminal):
            return
        if isinstance(node, Decision) and node.player == player:
            members[node.infoset].append((reached, node))
        for k, weight in enumerate(weights(node)):
            collect(node.child(k), reached * weight)

    @cache
    def choice(infoset: str) -> int:
        nodes = members[infoset]
        gains = [
            sum((reached * worth(node.child(k)) for reached, node in nodes), Fraction(0))
            for k in range(len(nodes[0][1].actions))
        ]
        return gains.index(max(gains))

    def worth(node: Node) -> Fraction:
        if isinstance(node, Terminal):
            return Fraction(node.payoffs[player])
        if isinstance(node, Decision) and node.player == player:
            return worth(node.child(choice(node.infoset)))
        parts = (weight * worth(node.child(k)) for k, weight in enumerate(weights(node)) if weight)
        return sum(parts, Fraction(0))

    collect(tree, ONE)
    return worth(tree)
