"""Best responses, values and gaps: what a policy is worth, in float64, whoever made it.

A *best response* of player i maximises i's expected payoff against the other's policy. Player i's
*gap* is what it would gain by one; NashConv is the sum of both gaps, zero exactly at equilibria.
"""

import numpy as np
from jaxtyping import Float

from csa_games.arrays import Array
from csa_games.errors import InputError
from csa_games.evaluate import value_and_gap
from csa_games.fold import coupled, legal_mask, rows_of, sweep, table_of
from csa_games.game import Game, Policy, Progress, Solution, Status

ROUNDING = 1e-6  # how far a row of a policy may be off 1: float32 policies are welcome


def best_response(
    game: Game, player: int, policy: Policy
) -> tuple[Float[np.ndarray, "I A"], float]:
    """Return a pure best response [I, A] to the other's part of `policy`, and what it is worth.

    The value is in payoff units. Among equally good actions the first is chosen, also where the
    player's infoset cannot be reached. Raises `InputError` when `policy` is not one of this game.
    """
    rows = [rows_of(*pair) for pair in zip(game.form.treeplex, _checked(game, policy), strict=True)]
    own, other = rows[player], rows[1 - player]
    value, best = sweep(coupled(game.form), player, own, other, own, _best)
    return np.asarray(table_of(game.form.treeplex[player], best)), float(value)


def value(game: Game, policy: Policy) -> Float[np.ndarray, "2"]:
    """Return both players' expected payoffs under `policy`; errors as in `best_response`."""
    return value_and_gap(game.form, _checked(game, policy))[0]


def gap(game: Game, policy: Policy) -> Float[np.ndarray, "2"]:
    """Return what each player would gain by a best response; errors as in `best_response`.

    In payoff units, and never negative except by rounding. Defined in general-sum games as well.
    """
    return value_and_gap(game.form, _checked(game, policy))[1]


def certify(
    game: Game,
    policy: Policy,
    *,
    method: str,
    steps: int,
    seconds: float,
    status: Status,
    dead_zone: float = 0.0,
    history: tuple[Progress, ...] = (),
) -> Solution:
    """Return `policy` with its value and gap, computed from the policy alone.

    Every solver's result is made here, but for the policies of large dialogues, which
    `solvers.driver` certifies where they are. Errors as in `best_response`.
    """
    checked = _checked(game, policy)
    worth, gained = value_and_gap(game.form, checked)
    return Solution(
        game=game.name,
        method=method,
        policy=checked,
        value=worth,
        gap=gained,
        steps=steps,
        seconds=seconds,
        status=status,
        game_class=game.game_class,
        dead_zone=dead_zone,
        history=history,
    )


def quantal_intents(game: Game) -> list[str]:
    """Return the names of the intents of `game` that choose by the logit rule."""
    intents = () if game.scenario is None else game.scenario.intents
    return [intent.name for intent in intents if intent.behaviour == "quantal"]


def refuse_quantal(game: Game, method: str) -> None:
    """Raise `InputError` when `game` has users who do not best-respond by definition."""
    if quantal := quantal_intents(game):
        raise InputError(
            f"{method} cannot solve {game.name}: its intents {', '.join(map(repr, quantal))} are "
            "quantal, and it looks for policies from which nobody gains by a best response, which "
            "is not how a quantal user chooses"
        )


def _best(q: Array, legal: Array, reach: Array, _: Array) -> tuple[Array, Array]:
    """Return the largest legal action value at each infoset, and the action as a policy."""
    most = np.where(legal, q, -np.inf)
    choice = most.argmax(axis=-2)
    actions = np.arange(q.shape[-2])[:, None]
    return most.max(axis=-2), (actions == choice[:, None]).astype(np.float64)


def checked(game: Game, player: int, rows: Float[Array, "I A"]) -> Float[np.ndarray, "I A"]:
    """Return `rows` in float64, or raise `InputError` where they are no policy of `player`."""
    policy = np.asarray(rows, np.float64)
    if fault := _fault(game, player, policy):
        raise InputError(fault)
    return policy


def _checked(game: Game, policy: Policy) -> Policy:
    """Return `policy` in float64 numpy arrays after checking that it is one of `game`."""
    first, second = (np.asarray(rows, np.float64) for rows in policy)
    faults = [_fault(game, player, rows) for player, rows in enumerate((first, second))]
    if any(faults):
        raise InputError(*filter(None, faults))
    return first, second


def _fault(game: Game, player: int, rows: np.ndarray) -> str | None:
    """Return what is wrong with `rows` as a policy of `player`, None where nothing is."""
    legal = legal_mask(game.form.treeplex[player])
    who = f"the policy of {game.names.players[player]} in {game.name}"
    if rows.shape != legal.shape:
        return f"{who} has the shape {rows.shape}, expected {legal.shape}"
    proper = np.where(legal, rows >= 0, rows == 0).all(axis=-1)  # False for NaN
    proper &= np.abs(rows.sum(axis=-1) - 1) <= ROUNDING
    if proper.all():
        return None
    wrong = int(np.argmin(proper))
    count = len(game.names.actions[player][wrong])
    return (
        f"{who} is {rows[wrong].tolist()} at infoset {game.names.infosets[player][wrong]!r}, "
        f"expected probabilities of its {count} actions that sum to 1 and then zeros"
    )
