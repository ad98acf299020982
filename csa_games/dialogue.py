"""A scenario as a game: nature draws an intent, then ask, signal and response, turn by turn.

Letters, besides those of `csa_games.game`: H turns, T intents, B asks, Y signals, R responses.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from csa_games.build import build
from csa_games.errors import InputError
from csa_games.game import ASSISTANT, USER, Game
from csa_games.guard.keys import Turn, state_key, user_key
from csa_games.rules import Chance, Decision, Node, Terminal
from csa_games.scenario import Ask, Cells, Intent, Response, RiskCells, Scenario, Signal
from csa_games.scenario_checks import covered

COMPONENTS = ("satisfaction", "risk", "cost", "displacement", "effort")
"""The tags every leaf carries, discounted sums over its turns, unweighted by α, β, γ, ψ. Risk is
weighed by the severity of its category: it is what β multiplies."""

ENDINGS = ("left", "migrated", "handed over")
"""The tags of leaves that somebody ended before the last turn: 1 on the one that says how."""


@dataclass(frozen=True)
class Tables:
    """A scenario as dense arrays; cells that cannot occur hold zeros. Payoffs are undiscounted."""

    prior: Float[np.ndarray, " T"]
    strategic: Bool[np.ndarray, " T"]  # intents that choose their asks
    legal: Bool[np.ndarray, "T B"]
    opening: Float[np.ndarray, "T B"]  # kernels: P(first ask)
    after: Float[np.ndarray, "H R T B"]  # kernels: P(next ask | turn of the last response, it)
    signal: Float[np.ndarray, "T B Y"]
    satisfaction: Float[np.ndarray, "H T B R"]
    risk: Float[np.ndarray, "H T B R"]  # weighed by severity
    harm: Float[np.ndarray, "H T B R"]  # not weighed: what rational users are after
    cost: Float[np.ndarray, "H T B R"]
    displacement: Float[np.ndarray, "H T"]
    effort: Float[np.ndarray, "H T B"]


Grid = Float[np.ndarray, "H T B R"]


def tables(scenario: Scenario) -> Tables:
    """Return the numbers of `scenario` as dense arrays."""
    H = scenario.turns
    intent, ask = _numbered(scenario.intents), _numbered(scenario.asks)
    signal, response = _numbered(scenario.signals), _numbered(scenario.responses)
    T, B, Y, R = len(intent), len(ask), len(signal), len(response)

    legal, opening, after = np.zeros((T, B), bool), np.zeros((T, B)), np.zeros((H, R, T, B))
    for i, part in enumerate(scenario.intents):
        legal[i, [ask[name] for name in part.asks]] = True
        if part.kernel is not None:
            opening[i] = [part.kernel.opening.get(name, 0.0) for name in ask]
            for last, rows in part.kernel.after.items():
                for t in range(H - 1):
                    row = rows[t] if isinstance(rows, list) else rows
                    after[t, response[last], i] = [row.get(name, 0.0) for name in ask]

    sigma = np.zeros((T, B, Y))
    for channel in scenario.channel:
        verdicts = [channel.probabilities.get(name, 0.0) for name in signal]
        for who in channel.intents:
            for what in channel.asks:
                sigma[intent[who], ask[what]] = verdicts

    def grid(groups: Sequence[Cells], scale: Callable[[Cells], float] = lambda _: 1.0) -> Grid:
        filled = np.zeros((H, T, B, R))
        for cells in groups:
            for who, what, answer in covered(scenario, cells):
                number = np.multiply(_by_turn(cells.values[answer], H), scale(cells))
                filled[:, intent[who], ask[what], response[answer]] = number
        return filled

    severities = {category.name: category.severity.value for category in scenario.categories}

    def severity(cells: Cells) -> float:
        assert isinstance(cells, RiskCells)
        return severities[cells.category]

    displacement, effort = np.zeros((H, T)), np.zeros((H, T, B))
    for away in scenario.payoff.displacement:
        for who in away.intents:
            displacement[:, intent[who]] = _by_turn(away.value, H)
    for trying in scenario.payoff.effort:
        for who in trying.intents:
            for what, value in trying.values.items():
                effort[:, intent[who], ask[what]] = _by_turn(value, H)

    return Tables(
        prior=np.array([part.prior.value for part in scenario.intents]),
        strategic=np.array([part.behaviour != "kernel" for part in scenario.intents]),
        legal=legal,
        opening=opening,
        after=after,
        signal=sigma,
        satisfaction=grid(scenario.payoff.satisfaction),
        risk=grid(scenario.payoff.risk, severity),
        harm=grid(scenario.payoff.risk),
        cost=grid(scenario.payoff.cost),
        displacement=displacement,
        effort=effort,
    )


def _by_turn(value: float | list[float], turns: int) -> float | list[float]:
    """Return a number, or those of the turns that there are."""
    return value[:turns] if isinstance(value, list) else value


def in_security_class(scenario: Scenario) -> bool:
    """Return whether every strategic intent is adversarial, which makes the game zero-sum."""
    return all(intent.behaviour in ("adversarial", "kernel") for intent in scenario.intents)


def against_the_assistant(scenario: Scenario, intent: Intent) -> bool:
    """Return whether a user of `intent` is paid the assistant's loss.

    Adversarial ones are, and in the security class kernel ones as well, which decide nothing: the
    game is then zero-sum at every leaf.
    """
    return intent.behaviour == "adversarial" or in_security_class(scenario)


MOST_HISTORIES = 20_000_000  # some two minutes to build, and 8 GB


def dialogue_game(scenario: Scenario, most_histories: int = MOST_HISTORIES) -> Game:
    """Return the game of `scenario`, in the explicit layout, for the user (0) and assistant (1).

    The payoffs of an adversarial intent's user are the assistant's, negated. In the security class
    so are those of kernel intents, which decide nothing: the game is then zero-sum at every leaf.

    Raises `InputError` before anything is built if there are more than `most_histories` complete
    histories; `sizes` tells how many there are.
    """
    size = sizes(scenario)
    if size.histories > most_histories:
        raise InputError(
            f"{scenario.name}: found {size.histories:.3g} complete histories, expected at most "
            f"{most_histories:,}: take fewer turns, asks, signals or responses"
        )
    return build(
        lambda: dialogue_root(scenario),
        scenario.name,
        players=("user", "assistant"),
        game_class="security" if in_security_class(scenario) else "general-sum",
        scenario=scenario,
    )


Sums = tuple[float, float, float, float, float, float]
"""The COMPONENTS so far, and what a user with a payoff of its own has gained, effort left out."""


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
    gain = (discount * own_payoff(scenario, table)).tolist()
    prior, opening, sigma = table.prior.tolist(), table.opening.tolist(), table.signal.tolist()

    intents = [intent.name for intent in scenario.intents]
    asks = [ask.name for ask in scenario.asks]
    ends = [ask.ends for ask in scenario.asks]
    signals = [signal.name for signal in scenario.signals]
    responses = tuple(response.name for response in scenario.responses)
    closes = [response.ends for response in scenario.responses]
    legal = [np.flatnonzero(row).tolist() for row in table.legal]
    offered = [tuple(asks[b] for b in row) for row in legal]
    after = table.after.tolist()
    number = {response: r for r, response in enumerate(responses)}
    negated = [against_the_assistant(scenario, intent) for intent in scenario.intents]

    def leaf(i: int, ending: str | None, sums: Sums) -> Terminal:
        s, r, c, d, e, gained = sums
        payoff = alpha * s - beta * r - gamma * c - psi * d
        tags = dict(zip(COMPONENTS, sums, strict=False))
        tags[f"intent:{intents[i]}"] = 1.0
        if ending is not None:
            tags[ending] = 1.0
        return Terminal((-payoff if negated[i] else gained - e, payoff), tags)

    def asking(i: int, seen: tuple[Turn, ...], sums: Sums) -> Node:
        if table.strategic[i]:
            key = user_key(intents[i], [(turn.ask or "", turn.response or "") for turn in seen])
            return Decision(USER, key, offered[i], lambda k: asked(i, seen, sums, legal[i][k]))
        reaction = after[len(seen) - 1][number[seen[-1].response or ""]] if seen else opening
        return _chance(asks, reaction[i], lambda b: asked(i, seen, sums, b))

    def asked(i: int, seen: tuple[Turn, ...], sums: Sums, b: int) -> Node:
        t = len(seen)
        s, r, c, d, e, gained = sums
        e += effort[t][i][b]
        if ends[b] == "leave":
            return leaf(i, "left", (s, r, c, d, e, gained))
        if ends[b] == "migrate":
            return leaf(i, "migrated", (s, r, c, d + displacement[t][i], e, gained))
        told = (s, r, c, d, e, gained)
        return _chance(signals, sigma[i][b], lambda y: heard(i, seen, told, b, y))

    def heard(i: int, seen: tuple[Turn, ...], sums: Sums, b: int, y: int) -> Node:
        key = state_key((*seen, Turn(asks[b], signals[y])))
        return Decision(
            ASSISTANT, key, responses, lambda a: answered(i, seen, sums, b, signals[y], a)
        )

    def answered(i: int, seen: tuple[Turn, ...], sums: Sums, b: int, signal: str, a: int) -> Node:
        t = len(seen)
        s, r, c, d, e, gained = sums
        s += satisfaction[t][i][b][a]
        r += risk[t][i][b][a]
        c += cost[t][i][b][a]
        gained += gain[t][i][b][a]
        if closes[a] or t + 1 == scenario.turns:
            return leaf(i, "handed over" if closes[a] else None, (s, r, c, d, e, gained))
        return asking(i, (*seen, Turn(asks[b], signal, responses[a])), (s, r, c, d, e, gained))

    return _chance(intents, prior, lambda i: asking(i, (), (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)))


def own_payoff(scenario: Scenario, table: Tables) -> Grid:
    """Return what each turn is worth to a user with weights of its own, effort left out."""
    own = np.zeros_like(table.satisfaction)
    for i, intent in enumerate(scenario.intents):
        if intent.weights is not None:
            own[:, i] = (
                intent.weights.satisfaction * table.satisfaction[:, i]
                + intent.weights.risk * table.harm[:, i]
            )
    return own


def _chance(labels: list[str], probabilities: list[float], child: Callable[[int], Node]) -> Chance:
    """Return a chance node over what has positive probability."""
    open_ = [k for k, p in enumerate(probabilities) if p > 0]
    return Chance(
        tuple(labels[k] for k in open_),
        tuple(probabilities[k] for k in open_),
        lambda k: child(open_[k]),
    )


def _numbered(parts: Sequence[Intent | Ask | Signal | Response]) -> dict[str, int]:
    return {part.name: k for k, part in enumerate(parts)}


@dataclass(frozen=True)
class Sizes:
    """How large a scenario's game is, known before anything is built.

    `bytes` is what building and solving the factored layout takes at its peak, roughly, on top of
    Python and JAX.
    """

    infosets: tuple[int, int]
    sequences: tuple[int, int]  # legal ones, the empty one included
    histories: int  # complete ones: the leaves of the tree
    bytes: int


# Of solving in the factored layout. Measured: resident memory grew to 63 bytes per slot of the
# assistant on a dialogue of 1.15e9 histories, iterations in float32 on two devices (53 on one);
# float64 takes 8 more for the regrets and policies. The public part is smaller by all the signals.
BYTES_PER_SLOT = 80
BYTES_PER_PUBLIC_SEQUENCE = 400


def sizes(scenario: Scenario) -> Sizes:
    """Return the exact sizes of the game of `scenario`, by counting.

    Turn by turn, histories are counted by all that the rest depends on: the intent and the last
    response. The assistant's information sets do not tell the intent, so they are counted by the
    set of intents that may still be behind them (a bit mask) and the last response.
    """
    table = tables(scenario)
    ends = [ask.ends is not None for ask in scenario.asks]
    talking = [b for b, end in enumerate(ends) if not end]
    goes_on = [r for r, response in enumerate(scenario.responses) if not response.ends]
    responses = len(scenario.responses)
    heard = (table.signal > 0).sum(axis=-1).tolist()
    possible = [i for i, p in enumerate(table.prior.tolist()) if p > 0]

    def may_ask(i: int, last: int | None, t: int) -> list[int]:
        reaction = table.opening[i] if last is None else table.after[t - 1, last, i]
        return np.flatnonzero(table.legal[i] if table.strategic[i] else reaction).tolist()

    leaves = user_infosets = user_sequences = assistant_infosets = 0
    open_: Counter[tuple[int, int | None]] = Counter({(i, None): 1 for i in possible})
    public = Counter(open_)  # the same without signals, which users do not see
    alive: Counter[tuple[int, int | None]] = Counter({(sum(1 << i for i in possible), None): 1})
    for t in range(scenario.turns):
        stays = goes_on if t + 1 < scenario.turns else []
        lasts = goes_on if t else [None]
        asks = {(i, last): may_ask(i, last, t) for i in possible for last in lasts}
        behind = {
            last: [
                sum(1 << i for i in possible if b in asks[i, last] and table.signal[i, b, y] > 0)
                for b in talking
                for y in range(len(scenario.signals))
            ]
            for last in lasts
        }
        after_open: Counter[tuple[int, int | None]] = Counter()
        after_public: Counter[tuple[int, int | None]] = Counter()
        after_alive: Counter[tuple[int, int | None]] = Counter()
        for (i, last), count in open_.items():
            if table.strategic[i]:
                user_infosets += public[i, last]
                user_sequences += public[i, last] * len(asks[i, last])
            for b in asks[i, last]:
                answers = 0 if ends[b] else count * heard[i][b]
                leaves += count if ends[b] else answers * (responses - len(stays))
                for r in stays if answers else []:
                    after_open[i, r] += answers
                    after_public[i, r] += public[i, last]
        for (who, last), count in alive.items():
            for mask in behind[last]:
                if who & mask:
                    assistant_infosets += count
                    for r in stays:
                        after_alive[who & mask, r] += count
        open_, public, alive = after_open, after_public, after_alive

    levels = scenario.turns if goes_on else 1
    asked = sum(bool(table.legal[:, b].any()) for b in talking)
    turns = [(asked ** (t + 1) * len(goes_on) ** t, t) for t in range(levels)]
    public = sum(count for count, _ in turns) * responses
    slots = sum(count * len(scenario.signals) ** (t + 1) for count, t in turns) * responses
    return Sizes(
        infosets=(user_infosets, assistant_infosets),
        sequences=(1 + user_sequences, 1 + assistant_infosets * responses),
        histories=leaves,
        bytes=slots * BYTES_PER_SLOT + public * len(scenario.intents) * BYTES_PER_PUBLIC_SEQUENCE,
    )
