"""A scenario as a game: nature draws an intent, then ask, signal and response, turn by turn.

Letters, besides those of `csa_games.game`: H turns, T intents, B asks, Y signals, R responses.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from csa_games.build import build
from csa_games.game import ASSISTANT, USER, Game
from csa_games.guard.keys import Turn, state_key, user_key
from csa_games.rules import Chance, Decision, Node, Terminal
from csa_games.scenario import Scenario
from csa_games.scenario_checks import covered

COMPONENTS = ("satisfaction", "risk", "cost", "displacement", "effort")
"""The tags every leaf carries, discounted sums over its turns, unweighted by α, β, γ, ψ. Risk is
weighed by the severity of its category: it is what β multiplies."""


@dataclass(frozen=True)
class Tables:
    """A scenario as dense arrays; cells that cannot occur hold zeros. Payoffs are undiscounted."""

    prior: Float[np.ndarray, " T"]
    strategic: Bool[np.ndarray, " T"]  # intents that choose their asks
    legal: Bool[np.ndarray, "T B"]
    opening: Float[np.ndarray, "T B"]  # kernels: P(first ask)
    after: Float[np.ndarray, "R T B"]  # kernels: P(next ask | last response)
    signal: Float[np.ndarray, "T B Y"]
    satisfaction: Float[np.ndarray, "H T B R"]
    risk: Float[np.ndarray, "H T B R"]  # weighed by severity
    harm: Float[np.ndarray, "H T B R"]  # not weighed: what rational users are after
    cost: Float[np.ndarray, "H T B R"]
    displacement: Float[np.ndarray, "H T"]
    effort: Float[np.ndarray, "H T B"]


def tables(scenario: Scenario) -> Tables:
    """Return the numbers of `scenario` as dense arrays."""
    H = scenario.turns
    intent = _numbered(scenario.intents)
    ask = _numbered(scenario.asks)
    signal = _numbered(scenario.signals)
    response = _numbered(scenario.responses)
    T, B, Y, R = len(intent), len(ask), len(signal), len(response)
    severity = {category.name: category.severity.value for category in scenario.categories}

    legal, opening, after = np.zeros((T, B), bool), np.zeros((T, B)), np.zeros((R, T, B))
    for part in scenario.intents:
        i = intent[part.name]
        legal[i, [ask[name] for name in part.asks]] = True
        if part.kernel is not None:
            for name, p in part.kernel.opening.items():
                opening[i, ask[name]] = p
            for last, row in part.kernel.after.items():
                for name, p in row.items():
                    after[response[last], i, ask[name]] = p

    sigma = np.zeros((T, B, Y))
    for channel in scenario.channel:
        row = [channel.probabilities.get(name, 0.0) for name in signal]
        for i in channel.intents:
            for b in channel.asks:
                sigma[intent[i], ask[b]] = row

    def fill(component: str, scale: Callable[[object], float] = lambda cells: 1.0) -> np.ndarray:
        array = np.zeros((H, T, B, R))
        for cells in getattr(scenario.payoff, component):
            for i, b, r in covered(scenario, cells):
                array[:, intent[i], ask[b], response[r]] = np.multiply(
                    cells.values[r], scale(cells)
                )
        return array

    displacement, effort = np.zeros((H, T)), np.zeros((H, T, B))
    for away in scenario.payoff.displacement:
        for i in away.intents:
            displacement[:, intent[i]] = away.value
    for trying in scenario.payoff.effort:
        for i in trying.intents:
            for b, value in trying.values.items():
                effort[:, intent[i], ask[b]] = value

    return Tables(
        prior=np.array([part.prior.value for part in scenario.intents]),
        strategic=np.array([part.behaviour != "kernel" for part in scenario.intents]),
        legal=legal,
        opening=opening,
        after=after,
        signal=sigma,
        satisfaction=fill("satisfaction"),
        risk=fill("risk", lambda cells: severity[cells.category]),  # type: ignore[attr-defined]
        harm=fill("risk"),
        cost=fill("cost"),
        displacement=displacement,
        effort=effort,
    )


def in_security_class(scenario: Scenario) -> bool:
    """Return whether every strategic intent is adversarial, which makes the game zero-sum."""
    return all(intent.behaviour in ("adversarial", "kernel") for intent in scenario.intents)


def dialogue_game(scenario: Scenario) -> Game:
    """Return the game of `scenario`, in the explicit layout, for the user (0) and assistant (1).

    The payoffs of an adversarial intent's user are the assistant's, negated. In the security class
    so are those of kernel intents, which decide nothing: the game is then zero-sum at every leaf.
    """
    return build(
        lambda: dialogue_root(scenario),
        scenario.name,
        players=("user", "assistant"),
        game_class="security" if in_security_class(scenario) else "general-sum",
        scenario=scenario,
    )


def dialogue_root(scenario: Scenario) -> Node:
    """Return the root of the tree of `scenario`; branches of probability zero are left out."""
    table = tables(scenario)
    weights = scenario.weights
    alpha, beta = weights.alpha.value, weights.beta.value
    gamma, psi = weights.gamma.value, weights.psi.value
    discount = (scenario.discount.value ** np.arange(scenario.turns)).reshape(-1, 1, 1, 1)

    # Plain nested lists: the walk below indexes single numbers, where numpy is slow.
    satisfaction = (discount * table.satisfaction).tolist()
    risk = (discount * table.risk).tolist()
    cost = (discount * table.cost).tolist()
    displacement = (discount[:, :, 0, 0] * table.displacement).tolist()
    effort = (discount[:, :, :, 0] * table.effort).tolist()
    own = _own_payoffs(scenario, table, discount[..., 0, 0, 0]).tolist()
    opening, after, sigma = table.opening.tolist(), table.after.tolist(), table.signal.tolist()

    intents = [intent.name for intent in scenario.intents]
    asks = [ask.name for ask in scenario.asks]
    ends = [ask.ends for ask in scenario.asks]
    signals = [signal.name for signal in scenario.signals]
    responses = tuple(response.name for response in scenario.responses)
    closes = [response.ends for response in scenario.responses]
    legal = [[b for b in range(len(asks)) if table.legal[i, b]] for i in range(len(intents))]
    negated = [
        in_security_class(scenario) or intent.behaviour == "adversarial"
        for intent in scenario.intents
    ]

    def leaf(i: int, end: str, so_far: tuple[float, ...], own_payoff: float) -> Terminal:
        s, r, c, d, _ = so_far
        payoff = alpha * s - beta * r - gamma * c - psi * d
        tags = dict(zip(COMPONENTS, so_far, strict=True))
        tags[f"intent:{intents[i]}"] = 1.0
        if end:
            tags[f"ended:{end}"] = 1.0
        return Terminal((-payoff if negated[i] else own_payoff, payoff), tags)

    def asking(
        i: int, seen: tuple[Turn, ...], last: int, so_far: tuple[float, ...], own_payoff: float
    ) -> Node:
        t = len(seen)

        def after_ask(b: int) -> Node:
            s, r, c, d, e = so_far
            e += effort[t][i][b]
            paid = own_payoff - effort[t][i][b]
            if ends[b] is not None:
                if ends[b] == "migrate":
                    d += displacement[t][i]
                return leaf(i, asks[b], (s, r, c, d, e), paid)
            return hearing(i, seen, b, (s, r, c, d, e), paid)

        if table.strategic[i]:
            public = [(turn.ask, turn.response or "") for turn in seen]
            return Decision(
                USER,
                user_key(intents[i], public),
                tuple(asks[b] for b in legal[i]),
                lambda k: after_ask(legal[i][k]),
            )
        kernel = opening[i] if last < 0 else after[last][i]
        return _chance(asks, kernel, after_ask)

    def hearing(
        i: int, seen: tuple[Turn, ...], b: int, so_far: tuple[float, ...], own_payoff: float
    ) -> Node:
        return _chance(signals, sigma[i][b], lambda y: answering(i, seen, b, y, so_far, own_payoff))

    def answering(
        i: int,
        seen: tuple[Turn, ...],
        b: int,
        y: int,
        so_far: tuple[float, ...],
        own_payoff: float,
    ) -> Node:
        t = len(seen)

        def after_response(a: int) -> Node:
            s, r, c, d, e = so_far
            total = (
                s + satisfaction[t][i][b][a],
                r + risk[t][i][b][a],
                c + cost[t][i][b][a],
                d,
                e,
            )
            paid = own_payoff + own[t][i][b][a]
            if closes[a] or t + 1 == scenario.turns:
                return leaf(i, responses[a] if closes[a] else "", total, paid)
            now = (*seen, Turn(asks[b], signals[y], responses[a]))
            return asking(i, now, a, total, paid)

        key = state_key((*seen, Turn(asks[b], signals[y])))
        return Decision(ASSISTANT, key, responses, after_response)

    nothing = (0.0,) * len(COMPONENTS)
    return _chance(intents, table.prior.tolist(), lambda i: asking(i, (), -1, nothing, 0.0))


def _own_payoffs(
    scenario: Scenario, table: Tables, discount: Float[np.ndarray, " H"]
) -> Float[np.ndarray, "H T B R"]:
    """Return what each turn is worth to a user with weights of its own, effort left out."""
    own = np.zeros_like(table.satisfaction)
    for i, intent in enumerate(scenario.intents):
        if intent.weights is not None:
            own[:, i] = (
                intent.weights.satisfaction * table.satisfaction[:, i]
                + intent.weights.risk * table.harm[:, i]
            )
    return discount[:, None, None, None] * own


def _chance(labels: list[str], probabilities: list[float], child: Callable[[int], Node]) -> Chance:
    """Return a chance node over what has positive probability."""
    open_ = [k for k, p in enumerate(probabilities) if p > 0]
    return Chance(
        tuple(labels[k] for k in open_),
        tuple(probabilities[k] for k in open_),
        lambda k: child(open_[k]),
    )


def _numbered(parts: list) -> dict[str, int]:  # type: ignore[type-arg]
    return {part.name: k for k, part in enumerate(parts)}


@dataclass(frozen=True)
class Sizes:
    """How large a scenario's game is, known before anything is built."""

    infosets: tuple[int, int]
    sequences: tuple[int, int]  # legal ones, the empty one included
    histories: int  # complete ones: the leaves of the tree
    bytes: int  # what the built game and a solver's state need at their peak, roughly


def sizes(scenario: Scenario) -> Sizes:
    """Return the exact sizes of the game that `dialogue_game` would build, by counting."""
    table = tables(scenario)
    asks, responses = range(len(scenario.asks)), range(len(scenario.responses))
    ends = [ask.ends is not None for ask in scenario.asks]
    goes_on = [r for r in responses if not scenario.responses[r].ends]
    R = len(scenario.responses)
    intents = [i for i in range(len(scenario.intents)) if table.prior[i] > 0]

    def may_ask(i: int, last: int) -> list[int]:
        if table.strategic[i]:
            return [b for b in asks if table.legal[i, b]]
        row = table.opening[i] if last < 0 else table.after[last, i]
        return [b for b in asks if row[b] > 0]

    leaves = user_infosets = user_sequences = assistant_infosets = 0
    # How many histories (and public histories) lead to the start of a turn, by intent and by the
    # last response; and how many of the assistant's, by who can still be behind them.
    open_: Counter[tuple[int, int]] = Counter({(i, -1): 1 for i in intents})
    public: Counter[tuple[int, int]] = Counter(dict(open_))
    alive: Counter[tuple[frozenset[int], int]] = Counter({(frozenset(intents), -1): 1})
    for t in range(scenario.turns):
        stays = goes_on if t + 1 < scenario.turns else []
        after_open: Counter[tuple[int, int]] = Counter()
        after_public: Counter[tuple[int, int]] = Counter()
        after_alive: Counter[tuple[frozenset[int], int]] = Counter()
        for (i, last), count in open_.items():
            for b in may_ask(i, last):
                heard = 1 if ends[b] else int((table.signal[i, b] > 0).sum())
                leaves += count * (1 if ends[b] else heard * (R - len(stays)))
                for r in stays if not ends[b] else []:
                    after_open[i, r] += count * heard
        for (i, last), count in public.items():
            choices = may_ask(i, last)
            if table.strategic[i]:
                user_infosets += count
                user_sequences += count * len(choices)
            for b in choices:
                for r in stays if not ends[b] else []:
                    after_public[i, r] += count
        for (who, last), count in alive.items():
            for b in (b for b in asks if not ends[b]):
                able = [i for i in who if b in may_ask(i, last)]
                for y in range(len(scenario.signals)):
                    behind = frozenset(i for i in able if table.signal[i, b, y] > 0)
                    if behind:
                        assistant_infosets += count
                        for r in stays:
                            after_alive[behind, r] += count
        open_, public, alive = after_open, after_public, after_alive
    user_width = max((int(table.legal[i].sum()) for i in intents if table.strategic[i]), default=1)
    slots = user_infosets * user_width + assistant_infosets * R
    return Sizes(
        infosets=(user_infosets, assistant_infosets),
        sequences=(1 + user_sequences, 1 + assistant_infosets * R),
        histories=leaves,
        bytes=leaves * BYTES_PER_LEAF + slots * BYTES_PER_SEQUENCE,
    )


BYTES_PER_LEAF = 1100  # measured on crisis_guidance: building keeps a dictionary of tags per leaf
BYTES_PER_SEQUENCE = 500  # labels, and some ten arrays of a solver's state
