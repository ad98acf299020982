"""Value and gap of a policy, recomputed from the scenario and the rows alone.

Nothing here knows of sequences, plans or leaves: the assistant's side is a walk over its
information sets that carries a weight for each intent, the user's side, for one intent at a time, a
walk over public histories that carries a weight for each history of signals. Nothing is shared with
the solvers or with the code that builds games, so that agreement means something.

Letters: t turn from 0, i intent, b ask, y signal, r response, as in `csa_games.dialogue`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from csa_games.guard.bundle import pairs
from csa_games.guard.keys import Turn, state_key, user_key

Numbers = Sequence[float]

MOST_TURNS = 50  # of a conversation, as scenario files have it
ROUNDING = 1e-9  # how far probabilities may be off 1, as in scenario files


@dataclass(frozen=True)
class Dialogue:
    """A scenario as nested lists, payoffs discounted and weighted. Made by `dialogue_from`."""

    game_class: str  # "security" or "general-sum"
    turns: int
    intents: list[str]
    asks: list[str]
    signals: list[str]
    responses: list[str]
    closes: list[bool]  # [r] the response ends the conversation
    ends: list[bool]  # [b] so does the ask
    prior: list[float]
    strategic: list[bool]  # [i]
    legal: list[list[int]]  # [i] asks that the intent may choose
    opening: list[list[float]]  # [i][b] of kernels
    after: list[list[list[list[float]]]]  # [t][r][i][b] of kernels, the response given in turn t
    sigma: list[list[list[float]]]  # [i][b][y]
    assistant: list[list[list[list[float]]]]  # [t][i][b][r] payoff of a turn
    user: list[list[list[list[float]]]]
    assistant_end: list[list[list[float]]]  # [t][i][b] payoff of an ask that ends
    user_end: list[list[list[float]]]


class Visit(NamedTuple):
    """An information set of the assistant, as the walk finds it.

    `weight` [i] is its counterfactual reach together with each intent; `attainable` [i] the same if
    strategic intents always chose the asks that lead here; `values` [r] the expected payoff of the
    conversation given each response, times the counterfactual reach, and `best` [r] the same if the
    assistant plays its best from then on.
    """

    key: str
    own_reach: float
    weight: Numbers
    attainable: Numbers
    values: Numbers
    best: Numbers


class Certificate(NamedTuple):
    """Expected payoffs of user and assistant, and what each would gain by a best response."""

    value: tuple[float, float]
    gap: tuple[float, float]


class MissingRowError(LookupError):
    """An information set of the scenario has no row."""


def dialogue_from(scenario: Any) -> Dialogue:
    """Return the dialogue that `scenario`, the content of scenario.json, describes.

    The rules are those of the scenario file: the assistant gets α·satisfaction − β·severity·risk −
    γ·cost a turn and −ψ·displacement when users migrate; an adversarial user the same, negated, and
    in the security class, where nobody but adversarial users decides, every other user too; who
    else decides gets its own weights times satisfaction and risk, less effort. Raises KeyError,
    TypeError, ValueError or IndexError when the content is no scenario.
    """
    H = scenario["turns"]
    if not isinstance(H, int) or not 1 <= H <= MOST_TURNS:
        raise ValueError(f"turns: found {H!r}, expected a whole number from 1 to {MOST_TURNS}")
    intents = [part["name"] for part in scenario["intents"]]
    asks = [part["name"] for part in scenario["asks"]]
    signals = [part["name"] for part in scenario["signals"]]
    responses = [part["name"] for part in scenario["responses"]]
    T, B, Y, R = len(intents), len(asks), len(signals), len(responses)
    ends = [part.get("ends") is not None for part in scenario["asks"]]
    migrates = [part.get("ends") == "migrate" for part in scenario["asks"]]
    talking = [name for name, over in pairs(asks, ends) if not over]
    behaviour = [part["behaviour"] for part in scenario["intents"]]
    security = all(kind in ("adversarial", "kernel") for kind in behaviour)
    payoff = scenario["payoff"]
    severity = {part["name"]: float(part["severity"]["value"]) for part in scenario["categories"]}
    alpha, beta, gamma, psi = (
        float(scenario["weights"][name]["value"]) for name in ("alpha", "beta", "gamma", "psi")
    )
    discount = [float(scenario["discount"]["value"]) ** t for t in range(H)]

    opening = [[0.0] * B for _ in range(T)]
    after = [[[[0.0] * B for _ in range(T)] for _ in range(R)] for _ in range(H - 1)]
    for i, part in enumerate(scenario["intents"]):
        kernel = part.get("kernel")
        if kernel is not None:
            for ask, probability in kernel["opening"].items():
                opening[i][asks.index(ask)] = float(probability)
            for response, rows in kernel.get("after", {}).items():
                r = responses.index(response)
                for t in range(H - 1):
                    row = rows[t] if isinstance(rows, list) else rows
                    for ask, probability in row.items():
                        after[t][r][i][asks.index(ask)] = float(probability)

    sigma = [[[0.0] * Y for _ in range(B)] for _ in range(T)]
    for channel in scenario["channel"]:
        row = [float(channel["probabilities"].get(name, 0.0)) for name in signals]
        for intent in channel["intents"]:
            for ask in channel["asks"]:
                sigma[intents.index(intent)][asks.index(ask)] = row

    def cells(component: str) -> Iterator[tuple[int, int, int, Any, dict[str, Any]]]:
        for part in payoff[component]:
            for intent in part.get("intents") or intents:
                for ask in part.get("asks") or talking:
                    for response, value in part["values"].items():
                        r = responses.index(response)
                        yield intents.index(intent), asks.index(ask), r, value, part

    assistant = [[[[0.0] * R for _ in range(B)] for _ in range(T)] for _ in range(H)]
    user = [[[[0.0] * R for _ in range(B)] for _ in range(T)] for _ in range(H)]
    assistant_end = [[[0.0] * B for _ in range(T)] for _ in range(H)]
    user_end = [[[0.0] * B for _ in range(T)] for _ in range(H)]
    negated = [security or kind == "adversarial" for kind in behaviour]
    own = [part.get("weights") or {} for part in scenario["intents"]]

    for t in range(H):
        for i, b, r, value, _ in cells("satisfaction"):
            assistant[t][i][b][r] += discount[t] * alpha * _at(value, t)
            user[t][i][b][r] += discount[t] * own[i].get("satisfaction", 0.0) * _at(value, t)
        for i, b, r, value, part in cells("risk"):
            weighed = severity[part["category"]] * _at(value, t)
            assistant[t][i][b][r] -= discount[t] * beta * weighed
            user[t][i][b][r] += discount[t] * own[i].get("risk", 0.0) * _at(value, t)
        for i, b, r, value, _ in cells("cost"):
            assistant[t][i][b][r] -= discount[t] * gamma * _at(value, t)
        for part in payoff.get("displacement", []):
            for intent in part["intents"]:
                for b in range(B):
                    if migrates[b]:
                        harm = discount[t] * psi * _at(part["value"], t)
                        assistant_end[t][intents.index(intent)][b] -= harm
        for part in payoff.get("effort", []):
            for intent in part["intents"]:
                for ask, value in part["values"].items():
                    i, b = intents.index(intent), asks.index(ask)
                    user_end[t][i][b] -= discount[t] * _at(value, t)
                    for r in range(R):
                        user[t][i][b][r] -= discount[t] * _at(value, t)
        for i in range(T):
            if negated[i]:
                user_end[t][i] = [-number for number in assistant_end[t][i]]
                user[t][i] = [[-number for number in row] for row in assistant[t][i]]

    dialogue = Dialogue(
        game_class="security" if security else "general-sum",
        turns=H,
        intents=intents,
        asks=asks,
        signals=signals,
        responses=responses,
        closes=[bool(part.get("ends", False)) for part in scenario["responses"]],
        ends=ends,
        prior=[float(part["prior"]["value"]) for part in scenario["intents"]],
        strategic=[kind != "kernel" for kind in behaviour],
        legal=[[b for b in range(B) if asks[b] in part["asks"]] for part in scenario["intents"]],
        opening=opening,
        after=after,
        sigma=sigma,
        assistant=assistant,
        user=user,
        assistant_end=assistant_end,
        user_end=user_end,
    )
    _check(dialogue)
    return dialogue


def _check(dialogue: Dialogue) -> None:
    """Raise ValueError where probabilities of what can happen do not sum to 1."""
    d = dialogue
    rows = {"the prior": d.prior}
    for i, name in enumerate(d.intents):
        if not d.strategic[i]:
            rows[f"the first ask of {name}"] = d.opening[i]
            for r, response in enumerate(d.responses):
                if not d.closes[r]:
                    for t in range(d.turns - 1):
                        what = f"the asks of {name} after {response} in turn {t + 1}"
                        rows[what] = d.after[t][r][i]
        for b in d.legal[i]:
            if not d.ends[b]:
                rows[f"the signals of {name} on {d.asks[b]}"] = d.sigma[i][b]
    for what, row in rows.items():
        if not all(p >= 0 for p in row) or abs(math.fsum(row) - 1) > ROUNDING:
            raise ValueError(f"the probabilities of {what} are {row}, expected a sum of 1")


def stakes(dialogue: Dialogue) -> list[float]:
    """Return, by intent, the most that any play makes of the expected absolute payoffs.

    It is the scale that rounding is measured by. Chance counts with its probabilities, so that no
    number in a scenario adds to it without adding to what can happen.
    """
    d = dialogue

    def most(i: int, t: int, last: int) -> float:
        worth = [ask(i, t, b) if b in d.legal[i] else 0.0 for b in range(len(d.asks))]
        if d.strategic[i]:
            return max(worth)
        reaction = d.opening[i] if last < 0 else d.after[t - 1][last][i]
        return sum(p * w for p, w in pairs(reaction, worth))

    def ask(i: int, t: int, b: int) -> float:
        if d.ends[b]:
            return max(abs(d.assistant_end[t][i][b]), abs(d.user_end[t][i][b]))
        return max(
            max(abs(d.assistant[t][i][b][r]), abs(d.user[t][i][b][r]))
            + (ahead[t + 1][r][i] if not d.closes[r] and t + 1 < d.turns else 0.0)
            for r in range(len(d.responses))
        )

    ahead: dict[int, list[list[float]]] = {}  # [t][last][i], from the last turn back
    intents, lasts = range(len(d.intents)), range(len(d.responses))
    for t in reversed(range(1, d.turns)):
        ahead[t] = [[most(i, t, last) for i in intents] for last in lasts]
    return [most(i, 0, -1) for i in intents]


def _at(value: Any, t: int) -> float:
    """Return the number of turn t: one for all turns, or a list with one for each."""
    return float(value[t]) if isinstance(value, list) else float(value)


def certify(
    dialogue: Dialogue,
    assistant: Mapping[str, Numbers],
    user: Mapping[str, Numbers],
    visit: Callable[[Visit], object] = lambda _: None,
) -> Certificate:
    """Return value and gap of the policies given by rows: responses by state, asks by user state.

    `visit` is called with every information set of the assistant. Raises `MissingRowError` when a
    state that can be reached has no row.
    """
    value, best = _assistant_walk(dialogue, assistant, user, visit)
    gained = 0.0
    for i, prior in enumerate(dialogue.prior):
        if dialogue.strategic[i] and prior > 0:
            mean, most = _user_walk(dialogue, i, assistant, user)
            gained += prior * (most - mean)
    return Certificate(value=value, gap=(gained, best - value[1]))


def examine(
    dialogue: Dialogue,
    assistant: Mapping[str, Numbers],
    user: Mapping[str, Numbers],
    epsilon: float,
) -> Iterator[tuple[str, float, float]]:
    """Yield what each state's row gives away when hands tremble, and what is at stake there.

    With probability `epsilon` any legal action is taken instead of what the policies say, each as
    likely as the others, by users and the assistant everywhere. Yielded are the key of a state, how
    much the assistant, being there, could gain by intending something else from there on, and how
    far its best intention is above its worst, each in payoff units; nan for a state that even so
    nobody gets to.
    """
    R = len(dialogue.responses)
    states = dict(user_states(dialogue))
    trembling = {
        key: [(1 - epsilon) * p + epsilon / R for p in row] for key, row in assistant.items()
    }
    trembling_user = {
        key: [
            (1 - epsilon) * p + (epsilon / len(states[key]) if b in states[key] else 0.0)
            for b, p in enumerate(row)
        ]
        for key, row in user.items()
    }
    visits: list[Visit] = []
    _assistant_walk(dialogue, trembling, trembling_user, visits.append, epsilon)
    for visit in visits:
        others = sum(visit.weight)
        if others <= 0:
            yield visit.key, math.nan, math.nan
            continue
        most = _best(visit.best, epsilon)
        mean = sum(p * value for p, value in pairs(trembling[visit.key], visit.values))
        stake = (1 - epsilon) * (max(visit.best) - min(visit.best))
        yield visit.key, (most - mean) / others, stake / others


def _best(values: Numbers, epsilon: float) -> float:
    """Return what the best intention is worth to a hand that trembles."""
    if epsilon == 0:
        return max(values)
    return (1 - epsilon) * max(values) + epsilon * sum(values) / len(values)


def user_states(dialogue: Dialogue) -> Iterator[tuple[str, list[int]]]:
    """Yield the key of every information set of the strategic intents, with the legal asks.

    There may be far more than anybody has rows for, where a scenario is not what was exported.
    """
    d = dialogue

    def turn(i: int, public: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, list[int]]]:
        yield user_key(d.intents[i], public), d.legal[i]
        if len(public) + 1 < d.turns:
            for b in d.legal[i]:
                for r, response in enumerate(d.responses):
                    if not d.ends[b] and not d.closes[r]:
                        yield from turn(i, (*public, (d.asks[b], response)))

    for i, prior in enumerate(d.prior):
        if d.strategic[i] and prior > 0:
            yield from turn(i, ())


def _row(rows: Mapping[str, Numbers], key: str) -> Numbers:
    try:
        return rows[key]
    except KeyError:
        raise MissingRowError(key) from None


def _assistant_walk(
    dialogue: Dialogue,
    assistant: Mapping[str, Numbers],
    user: Mapping[str, Numbers],
    visit: Callable[[Visit], object],
    epsilon: float = 0.0,
) -> tuple[tuple[float, float], float]:
    """Return both values, and that of the assistant's best response to the user's policy.

    `epsilon` is with what probability the assistant's hand trembles when it plays its best.
    """
    d = dialogue
    T, B, Y, R = len(d.intents), len(d.asks), len(d.signals), len(d.responses)

    def reaction(i: int, last: int, t: int) -> Numbers:
        return d.opening[i] if last < 0 else d.after[t - 1][last][i]

    def asking(i: int, last: int, public: tuple[tuple[str, str], ...]) -> Numbers:
        if d.strategic[i]:
            return _row(user, user_key(d.intents[i], public))
        return reaction(i, last, len(public))

    def able(i: int, last: int, t: int) -> Numbers:
        """1 for the asks that a strategic intent may choose, a kernel's own probabilities."""
        if d.strategic[i]:
            return [float(b in d.legal[i]) for b in range(B)]
        return reaction(i, last, t)

    def turn(
        seen: tuple[Turn, ...],
        last: int,
        weight: Numbers,
        attainable: Numbers,
        paid: Numbers,
        own: float,
    ) -> tuple[float, float, float]:
        """Return what both players get from here on, and the assistant at best, times reach.

        `paid` [i] is what the assistant has got so far.
        """
        t = len(seen)
        public = tuple((one.ask or "", one.response or "") for one in seen)
        chosen = [asking(i, last, public) if attainable[i] > 0 else [0.0] * B for i in range(T)]
        open_to = [able(i, last, t) for i in range(T)]
        to_user = to_assistant = best = 0.0
        for b in range(B):
            here = [weight[i] * chosen[i][b] for i in range(T)]
            could = [attainable[i] * open_to[i][b] for i in range(T)]
            if d.ends[b]:
                end = sum(here[i] * d.assistant_end[t][i][b] for i in range(T))
                to_assistant += end
                best += end
                to_user += sum(here[i] * d.user_end[t][i][b] for i in range(T))
                continue
            for y in range(Y):
                heard = [here[i] * d.sigma[i][b][y] for i in range(T)]
                heard_at_most = [could[i] * d.sigma[i][b][y] for i in range(T)]
                if not any(heard_at_most):
                    continue
                now = Turn(d.asks[b], d.signals[y])
                key = state_key((*seen, now))
                row = _row(assistant, key)
                before = sum(heard[i] * paid[i] for i in range(T))
                means, bests = [], []
                for r in range(R):
                    mean = sum(heard[i] * d.assistant[t][i][b][r] for i in range(T))
                    most = mean
                    theirs = sum(heard[i] * d.user[t][i][b][r] for i in range(T))
                    if not d.closes[r] and t + 1 < d.turns:
                        later_user, later, later_best = turn(
                            (*seen, Turn(now.ask, now.signal, d.responses[r])),
                            r,
                            heard,
                            heard_at_most,
                            [paid[i] + d.assistant[t][i][b][r] for i in range(T)],
                            own * row[r],
                        )
                        theirs += later_user
                        mean += later
                        most += later_best
                    to_user += row[r] * theirs
                    means.append(mean)
                    bests.append(most)
                to_assistant += sum(row[r] * means[r] for r in range(R))
                best += _best(bests, epsilon)
                visit(
                    Visit(
                        key,
                        own,
                        heard,
                        heard_at_most,
                        values=[before + mean for mean in means],
                        best=[before + most for most in bests],
                    )
                )
        return to_user, to_assistant, best

    to_user, to_assistant, best = turn((), -1, d.prior, d.prior, [0.0] * T, 1.0)
    return (to_user, to_assistant), best


def _user_walk(
    dialogue: Dialogue, i: int, assistant: Mapping[str, Numbers], user: Mapping[str, Numbers]
) -> tuple[float, float]:
    """Return what strategic intent i gets by its policy, and at best, given that it was drawn."""
    d = dialogue
    R = len(d.responses)

    def turn(
        public: tuple[tuple[str, str], ...], seen: Sequence[tuple[tuple[Turn, ...], float]]
    ) -> tuple[float, float]:
        """`seen` are the states that the assistant may be in, with their weights."""
        t = len(public)
        row = _row(user, user_key(d.intents[i], public))
        mean, best = 0.0, None
        for b in d.legal[i]:
            if d.ends[b]:
                paid = most = sum(weight for _, weight in seen) * d.user_end[t][i][b]
            else:
                answered: list[list[tuple[tuple[Turn, ...], float]]] = [[] for _ in range(R)]
                for turns, weight in seen:
                    for y, likelihood in enumerate(d.sigma[i][b]):
                        if likelihood > 0:
                            now = Turn(d.asks[b], d.signals[y])
                            policy = _row(assistant, state_key((*turns, now)))
                            for r in range(R):
                                then = (*turns, Turn(now.ask, now.signal, d.responses[r]))
                                answered[r].append((then, weight * likelihood * policy[r]))
                paid = most = 0.0
                for r in range(R):
                    worth = sum(weight for _, weight in answered[r]) * d.user[t][i][b][r]
                    paid, most = paid + worth, most + worth
                    if not d.closes[r] and t + 1 < d.turns:
                        later, later_best = turn(
                            (*public, (d.asks[b], d.responses[r])), answered[r]
                        )
                        paid, most = paid + later, most + later_best
            mean += row[b] * paid
            best = most if best is None else max(best, most)
        assert best is not None, "a scenario gives every intent an ask"
        return mean, best

    return turn((), [((), 1.0)])
