"""The response-strategy table: what a policy does in every state of a conversation, and why.

Letters, besides those of `csa_games.game`: N rows, R responses, T intents, B asks.

Which rows a guard may trust follows from how solvers treat them.

An average policy of the CFR family weighs an infoset by the policy's own reach, so where the policy
no longer goes the row is what early iterates left there, and the reach is tiny rather than 0: on
crisis_guidance at a NashConv of 8e-5, 88 % of the rows have an own reach below 1e-6, none 0, and
what a row gives away at its own posterior grows steadily as own reach falls (median payoff lost:
8e-6 above 1e-2, 0.07 at 1e-6, 0.8 below 1e-9). Rows below `LEAST_OWN_REACH` are *noise*, and the
guard serves coarser ones. The threshold is what the certificate can bear: there the exchange costs
2e-7 of the guaranteed payoff at 1e-6, 1e-4 at 1e-3, 9e-3 at 1e-1. `Table.served` measures it.

How rarely chance and users lead to a row says nothing by itself: a harmless user who is flagged
three times is rare and real. What tells is a share: where the counterfactual reach is below
`LEAST_SHARE` of what it were if strategic intents went there whenever they could, only users who
*deviate* come (the least on crisis_guidance, with its kernels, is 2e-4; asks that a solver gave up
early keep some 1e-5). Such a row is marked, but it stands: an attacker can get there, and what
keeps it from paying is this very row, which the user's gap was measured with. A coarser one, made
of states that harmless users reach, may give the attacker what they are given; a test has a case.

Rows of both kinds may be *refined*: solved, or at least examined, for hands that tremble, who get
everywhere (`Solution.refinement`). One that then gives away no more than `MOST_LOSS` of what is at
stake in its state is as good as its beliefs, and is served. On crisis_guidance 97 % of the rows off
the path are refined when cfr-refined stops at a NashConv of 0.003, 91 % of those that complete the
policy of PCFR+ (`solvers.refined.completed`), and 13 % of those that PCFR+ itself left there.
"""

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from csa_games.dialogue import tables
from csa_games.errors import InputError
from csa_games.evaluate import action_values, infoset_reach, intent_reach, value_and_gap
from csa_games.files import replacing
from csa_games.findings import Refinement
from csa_games.fold import legal_mask
from csa_games.folders import replacing_folder
from csa_games.game import ASSISTANT, USER, Game, Policy, Solution
from csa_games.guard.bundle import canonical
from csa_games.guard.keys import coarse_key, intent_of, turns_of
from csa_games.guard.plays import (
    COARSE,
    DEVIATION,
    NOISE,
    REFINED,
    TRUSTED,
)
from csa_games.guard.signing import read_key
from csa_games.guard.store import assistant_columns
from csa_games.scenario import Scenario

LEAST_OWN_REACH = 1e-6
LEAST_SHARE = 1e-4
MOST_LOSS = 1e-2  # of the difference between the best and the worst response of a state
ROUNDING = 1e-9  # how far a row of a policy may be off 1


@dataclass(frozen=True)
class Rows:
    """Rows of the assistant, a key each.

    `values` are the expected payoff of the whole conversation to the assistant, given the row's
    state and each response, both sides playing the policy afterwards; `margin` is how far the best
    of them is above the second best, about 0 where the policy mixes with reason. `reach` is the
    probability of the state under everybody's play, `own_reach` that of the policy's own choices on
    the way. `loss` is what a row gives away when hands tremble, nan where nobody has examined that.
    Coarser rows hold reach-weighted means, the sum of reach, no own reach and no loss. What is
    undefined is nan.
    """

    keys: tuple[str, ...]
    trust: tuple[str, ...]
    own_reach: Float[np.ndarray, " N"]
    reach: Float[np.ndarray, " N"]
    margin: Float[np.ndarray, " N"]
    loss: Float[np.ndarray, " N"]
    probabilities: Float[np.ndarray, "N R"]
    posterior: Float[np.ndarray, "N T"]
    values: Float[np.ndarray, "N R"]


@dataclass(frozen=True)
class Table:
    """A solved dialogue as rows, with what the guard's use of them is worth.

    `exact` has a row per infoset of the assistant that an intent can lead to, in their order;
    `coarse` the rows of the fallback ladder; `users` the policy of each infoset of the strategic
    intents, by ask. `served` is value [2] and gap [2] of the policy that the guard plays, ladder
    included.
    """

    scenario: Scenario
    solution: Solution
    exact: Rows
    coarse: Rows
    users: tuple[tuple[str, ...], Float[np.ndarray, "N B"]]
    served: tuple[Float[np.ndarray, "2"], Float[np.ndarray, "2"]]

    def save(
        self,
        folder: Path | str,
        *,
        sequence: int = 1,
        created: str | None = None,
        provenance: Mapping[str, Any] | None = None,
        not_after: str | None = None,
        sign: Path | str | None = None,
    ) -> str:
        """Write the bundle of this table into `folder` and return its revision.

        The same table and arguments give the same bytes, which is why the time of writing,
        `created`, is the caller's to give. `sequence` counts the bundles of a deployment upwards;
        `provenance` is any JSON values. `not_after` is the last day (2027-03-31, in UTC) or moment
        (2027-03-31T12:00:00Z) on which the bundle is meant to serve, and `sign` the file of a
        secret key (`csa_games.guard.signing`). An earlier bundle in `folder` is replaced as a whole
        or not at all. Raises `InputError` when `folder` holds anything else.
        """
        from csa_games.bundle import check_place, write_bundle  # written in terms of tables

        check_place(Path(folder))
        key = None if sign is None else read_key(sign)
        with replacing_folder(folder) as beside:
            return write_bundle(
                beside, self, sequence, created, provenance or {}, not_after=not_after, key=key
            )

    def _repr_html_(self) -> str:
        from csa_games.notebook import table_html

        return table_html(self)


def tabulate(game: Game, solution: Solution) -> Table:
    """Return the table of `solution`, which must be one of `game`, a dialogue.

    Raises `InputError` for games that are no dialogues, whose states are none of a conversation,
    and for policies that are not of this game or not distributions (to 1e-9).
    """
    scenario = game.scenario
    if scenario is None:
        raise InputError(
            f"{game.name} is not a dialogue: the rows of a table are states of a conversation, "
            "ask, signal and response, which only scenarios have"
        )
    _check(game, solution.policy)
    policy = (
        np.asarray(solution.policy[USER], np.float64),
        np.asarray(solution.policy[ASSISTANT], np.float64),
    )
    exact, where = _exact(game, scenario, policy, solution.refinement)
    members = [
        _groups(exact, [coarse_key(turns_of(key), features) for key in exact.keys])
        for features in scenario.fallback.rungs
    ]
    served = policy[ASSISTANT].copy()
    served[where] = _served(scenario, exact, members)
    return Table(
        scenario=scenario,
        solution=solution,
        exact=exact,
        coarse=_joined([coarse for coarse, _ in members], exact),
        users=_users(game, scenario, policy[USER]),
        served=value_and_gap(game.form, (policy[USER], served)),
    )


def _check(game: Game, policy: Policy) -> None:
    for player, treeplex in enumerate(game.form.treeplex):
        rows, legal = np.asarray(policy[player]), np.asarray(legal_mask(treeplex))
        who = f"the policy of the {game.names.players[player]} in {game.name}"
        if rows.shape != legal.shape:
            raise InputError(f"{who} has the shape {rows.shape}, expected {legal.shape}")
        proper = np.where(legal, rows >= 0, rows == 0).all(axis=-1)
        proper &= np.abs(rows.sum(axis=-1) - 1) <= ROUNDING
        if not proper.all():
            wrong = int(np.argmin(proper))
            raise InputError(
                f"{who} at {game.names.infosets[player][wrong]} is {rows[wrong].tolist()}, "
                "expected probabilities that sum to 1"
            )


def _exact(
    game: Game, scenario: Scenario, policy: Policy, refinement: Refinement | None
) -> tuple[Rows, Int[np.ndarray, " N"]]:
    """Return the rows of the states that an intent can lead to, and which infosets they are."""
    every = tuple(game.names.infosets[ASSISTANT])
    attainable = _attainable(scenario, every)
    where = np.flatnonzero(attainable > 0)
    keys = tuple(every[i] for i in where)
    own, others = (reach[where] for reach in infoset_reach(game, ASSISTANT, policy))
    joint = intent_reach(game, policy)[where]
    values = action_values(game, ASSISTANT, policy)[where]
    share = others / attainable[where]
    off = np.where(own < LEAST_OWN_REACH, NOISE, np.where(share < LEAST_SHARE, DEVIATION, TRUSTED))
    loss, good = np.full(len(where), np.nan), np.zeros(len(where), bool)
    if refinement is not None:
        loss = refinement.loss[ASSISTANT][where]
        good = loss <= MOST_LOSS * refinement.stake[ASSISTANT][where]
    trust = np.where((off != TRUSTED) & good, REFINED, off)
    rows = Rows(
        keys=keys,
        trust=tuple(trust.tolist()),
        own_reach=own,
        reach=own * others,
        margin=_margin(values),
        loss=loss,
        probabilities=np.asarray(policy[ASSISTANT])[where],
        posterior=_divided(joint, others),
        values=values,
    )
    return rows, where


def _margin(values: Float[np.ndarray, "N R"]) -> Float[np.ndarray, " N"]:
    if values.shape[1] < 2:
        return np.full(len(values), np.nan)
    top = np.sort(values, axis=-1)
    return top[:, -1] - top[:, -2]


def _divided(numbers: np.ndarray, by: Float[np.ndarray, " N"]) -> np.ndarray:
    """Return `numbers` [N, ...] divided by `by`, nan where it is 0."""
    column = by[:, None]
    return np.divide(numbers, column, out=np.full_like(numbers, np.nan), where=column > 0)


def _attainable(scenario: Scenario, keys: tuple[str, ...]) -> Float[np.ndarray, " N"]:
    """Return the counterfactual reach of each state if strategic intents always headed for it."""
    table = tables(scenario)
    ask = {part.name: k for k, part in enumerate(scenario.asks)}
    signal = {part.name: k for k, part in enumerate(scenario.signals)}
    response = {part.name: k for k, part in enumerate(scenario.responses)}
    kernel = np.where(table.strategic[:, None], table.legal, table.after)
    opening = np.where(table.strategic[:, None], table.legal, table.opening)
    later = kernel[..., None] * table.signal  # [H, R, T, B, Y]
    first = opening[..., None] * table.signal
    reached = np.empty(len(keys))
    for n, key in enumerate(keys):
        weight, likely = table.prior, first
        for t, turn in enumerate(turns_of(key)):
            weight = weight * likely[:, ask[turn.ask or ""], signal[turn.signal or ""]]
            if turn.response is not None:
                likely = later[t, response[turn.response]]
        reached[n] = weight.sum()
    return reached


Grouped = tuple[Rows, np.ndarray]
"""The rows of one rung, and for each exact row its position among them, or -1."""


def _groups(exact: Rows, coarse: list[str]) -> Grouped:
    """Return the reach-weighted means of the trusted rows by their `coarse` keys."""
    keys, group = np.unique(np.array(coarse), return_inverse=True)
    weight = np.where(np.array(exact.trust) == TRUSTED, exact.reach, 0.0)
    total = np.bincount(group, weight, minlength=len(keys))
    kept = np.flatnonzero(total > 0)

    def mean(numbers: np.ndarray) -> np.ndarray:
        # Rows without weight may hold nan.
        weighted = np.where(weight[:, None] > 0, weight[:, None] * numbers, 0.0)
        sums = [np.bincount(group, column, minlength=len(keys)) for column in weighted.T]
        return np.stack(sums, axis=-1)[kept] / total[kept, None]

    values = mean(exact.values)
    position = np.full(len(keys), -1)
    position[kept] = np.arange(len(kept))
    rows = Rows(
        keys=tuple(keys[kept].tolist()),
        trust=(COARSE,) * len(kept),
        own_reach=np.full(len(kept), np.nan),
        reach=total[kept],
        margin=_margin(values),
        loss=np.full(len(kept), np.nan),
        probabilities=mean(exact.probabilities),
        posterior=mean(exact.posterior),
        values=values,
    )
    return rows, position[group]


def _joined(rungs: list[Rows], like: Rows) -> Rows:
    """Return the rows of all rungs, of which there may be none; `like` has their shape."""
    keys = tuple(key for rung in rungs for key in rung.keys)

    def stack(field: str) -> np.ndarray:
        return np.concatenate([getattr(like, field)[:0], *(getattr(rung, field) for rung in rungs)])

    return Rows(
        keys=keys,
        trust=(COARSE,) * len(keys),
        **{name: stack(name) for name in ("own_reach", "reach", "margin", "loss")},
        **{name: stack(name) for name in ("probabilities", "posterior", "values")},
    )


def _served(scenario: Scenario, exact: Rows, rungs: list[Grouped]) -> Float[np.ndarray, "N R"]:
    """Return what the guard plays: noise rows are replaced by the first rung that has a row."""
    played = exact.probabilities.copy()
    waiting = np.array(exact.trust) == NOISE
    for rows, position in rungs:
        here = waiting & (position >= 0)
        played[here] = rows.probabilities[position[here]]
        waiting &= ~here
    names = [response.name for response in scenario.responses]
    played[waiting] = np.eye(len(names))[names.index(scenario.fallback.response)]
    return played


def _users(
    game: Game, scenario: Scenario, policy: Float[np.ndarray, "I A"]
) -> tuple[tuple[str, ...], Float[np.ndarray, "N B"]]:
    ask = {part.name: b for b, part in enumerate(scenario.asks)}
    by_ask = np.zeros((len(policy), len(ask)))
    for i, labels in enumerate(game.names.actions[USER]):
        by_ask[i, [ask[label] for label in labels]] = policy[i, : len(labels)]
    # One layout has infosets for intents that nobody has, too; no conversation is theirs.
    there = {part.name for part in scenario.intents if part.prior.value > 0}
    kept = [i for i, key in enumerate(game.names.infosets[USER]) if intent_of(key) in there]
    return tuple(game.names.infosets[USER][i] for i in kept), by_ask[kept]


def records(rows: Rows, order: Sequence[int] | None = None) -> Iterator[tuple[Any, ...]]:
    """Yield each row as the cells of `csa_games.guard.store`: plain, and None where undefined.

    `order` holds positions of rows; without one they come as they are. Cells are made for a few
    rows at a time.
    """
    columns = (
        *(rows.own_reach, rows.reach, rows.margin, rows.loss),
        *(rows.probabilities, rows.posterior, rows.values),
    )
    order = range(len(rows.keys)) if order is None else order
    for start in range(0, len(order), 1000):
        some = list(order[start : start + 1000])
        numbers = np.column_stack([column[some] for column in columns])
        for n, cells in zip(some, numbers.tolist(), strict=True):
            yield rows.keys[n], rows.trust[n], *(None if math.isnan(x) else x for x in cells)


def _columns(table: Table) -> list[str]:
    responses = [response.name for response in table.scenario.responses]
    return assistant_columns(responses, [intent.name for intent in table.scenario.intents])


def write_csv(table: Table, path: Path | str) -> None:
    """Write every row, exact and coarser, as CSV with the columns of the bundle's rows.

    Numbers read back bit for bit; what is undefined is empty. Raises `OSError`.
    """
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_columns(table))
        for row in chain(records(table.exact), records(table.coarse)):
            writer.writerow(["" if cell is None else cell for cell in row])
        text.detach()  # what it holds goes into the file, which stays open


def write_jsonl(table: Table, path: Path | str) -> None:
    """Write every row, exact and coarser, as a line of JSON: cells by the columns of the bundle.

    Numbers read back bit for bit; what is undefined is null. Raises `OSError`.
    """
    names = _columns(table)
    with replacing(path) as file:
        for row in chain(records(table.exact), records(table.coarse)):
            file.write(canonical(dict(zip(names, row, strict=True))) + b"\n")


EXPORTERS: dict[str, Callable[[Table, Path | str], object]] = {
    "bundle": Table.save,
    "csv": write_csv,
    "jsonl": write_jsonl,
}
"""Every export format by name: a function of the table and where to write it."""
