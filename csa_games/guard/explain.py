"""A decision in words, for whoever has to answer for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from csa_games.guard.bundle import Terms, pairs
from csa_games.guard.keys import Turn
from csa_games.guard.plays import DEVIATION, REFINED
from csa_games.guard.signals import SCORE, Reader
from csa_games.guard.store import Row


def state_in_words(turns: Sequence[Turn]) -> str:
    """Return where the conversation stands, of turns that hold known names only."""
    last = turns[-1]
    before = ", then ".join(f"{turn.ask} ({turn.signal}), {turn.response}" for turn in turns[:-1])
    after = f" after {before}" if before else ""
    return f"Turn {len(turns)}{after}: the ask is {last.ask}, the signal {last.signal}."


def row_in_words(terms: Terms, row: Row | None, rung: int) -> str:
    """Return which row decides, if any, and who it takes the user to be."""
    if row is None and rung <= len(terms.rungs):
        return "What else is in the row that decided is damaged, or can no longer be read."
    if row is None:
        return f"No row applies, so the constant response {terms.default} does."
    if rung == 0:
        which = f"The row {row.key}"
    else:
        kept = " and ".join(terms.rungs[rung - 1])
        which = f"The coarser row {row.key}, which keeps only {kept},"
    words = f"{which} takes the user to be {shares_in_words(terms.intents, row.posterior)}."
    if row.trust == DEVIATION:
        words += (
            " Only a user who departs from the solution gets here; the row stands, because the "
            "gap of the certificate was measured with it."
        )
    if row.trust == REFINED:
        words += (
            " Play of the solution does not lead here; the row is refined, made for the case that "
            f"hands tremble, and gives away {row.loss:.2g} if they do."
        )
    return words


def choice_in_words(terms: Terms, row: Row, chosen: int, u: float | None) -> str:
    """Return why this response, and what the runner-up would have cost; `u` is the draw, if any."""
    name = terms.responses[chosen]
    if row.probabilities[chosen] == 1:
        words = f"It always plays {name}"
    else:
        mix = shares_in_words(terms.responses, row.probabilities)
        words = f"It mixes {mix}, and "
        words += (
            f"the likeliest is taken, {name}, which is another policy than the certified one"
            if u is None
            else f"the draw {u:.4f} falls on {name}"
        )
    if row.values is None or len(row.values) < 2:
        return words + "."
    worth = row.values[chosen]
    rival, second = max((value, k) for k, value in enumerate(row.values) if k != chosen)
    cost = worth - rival
    compared = f"{abs(cost):.3g} {'less' if cost >= 0 else 'more'}"
    return (
        f"{words}, worth {worth:.4g} over the conversation; the best alternative, "
        f"{terms.responses[second]}, is worth {compared}."
    )


def shares_in_words(names: Iterable[str], shares: Sequence[float] | None) -> str:
    """Return "benign 61 %, malicious 30 %", the largest first, what is below 1 % summed up."""
    if shares is None:
        return "anybody"
    largest = sorted(pairs(names, shares), key=lambda pair: -pair[1])
    told = [f"{name} {share:.0%}" for name, share in largest if share >= 0.01]
    if len(told) < sum(share > 0 for share in shares):
        told.append("others below 1%")
    return ", ".join(told)


def reader_in_words(reader: Reader) -> str:
    """Return what a reader makes of what: "clear below 0.5, flag from 0.5"."""
    if reader.kind == SCORE:
        told = [f"{reader.names[0]} below {reader.edges[0]:g}"]
        told += [f"{name} from {edge:g}" for name, edge in pairs(reader.names[1:], reader.edges)]
    else:
        told = [f"{label}: {name}" for label, name in (reader.labels or {}).items()]
    if reader.otherwise is not None:
        unsure = f"below {reader.sure:g} or tied" if reader.sure else "tied"
        told.append(f"{unsure}: {reader.otherwise}")
    if reader.refusal is not None:
        told.append(f"refusal: {reader.refusal}")
    return ", ".join(told)
