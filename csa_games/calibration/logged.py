"""A log in memory, conversation by conversation: what evaluating one takes beside its codes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from csa_games.calibration.check import sound
from csa_games.calibration.codes import Coder, Codes
from csa_games.calibration.log import Progress
from csa_games.calibration.split import Split, cluster_of
from csa_games.errors import InputError


@dataclass(frozen=True)
class Logged:
    """N conversations with E events, as numbers.

    `cluster` numbers what is drawn independently of each other; `group` is the number of the name
    in `groups` of what a conversation has in common with others, -1 without one. nan is what was
    not recorded.
    """

    codes: Codes
    cluster: Int[np.ndarray, " N"]
    group: Int[np.ndarray, " N"]
    groups: tuple[str, ...]
    propensity: Float[np.ndarray, " E"]
    outcome: Float[np.ndarray, " N"]


def logged(codes: Codes) -> Logged:
    """Return conversations that are clusters of their own, without groups and propensities."""
    conversations = len(codes.intent)
    return Logged(
        codes,
        np.arange(conversations),
        np.full(conversations, -1),
        (),
        np.full(len(codes.turn), np.nan),
        np.full(conversations, np.nan),
    )


def part(log: Logged, kept: Bool[np.ndarray, " N"]) -> Logged:
    """Return the conversations of `log` that are `kept`, in their order."""
    codes = log.codes
    events = kept[codes.conversation]
    number = np.cumsum(kept) - 1
    columns = {name: getattr(codes, name)[events] for name in _COLUMNS}
    return Logged(
        Codes(codes.intent[kept], codes.group[kept], number[codes.conversation[events]], **columns),
        log.cluster[kept],
        log.group[kept],
        log.groups,
        log.propensity[events],
        log.outcome[kept],
    )


_COLUMNS = ("turn", "ask", "signal", "response", "reaction")


@dataclass
class _Piece:
    """What is noted of conversations beside their codes."""

    cluster: list[int] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    trains: list[bool] = field(default_factory=list)
    outcome: list[float] = field(default_factory=list)
    propensity: list[float] = field(default_factory=list)


def read_logged(
    paths: Sequence[Path | str],
    coder: Coder,
    split: Split | None = None,
    progress: Progress | None = None,
    outcome: str = "",
) -> tuple[Logged | None, Logged]:
    """Return the part of the logs at `paths` that was fitted to, and the one that was kept.

    Without a split all is kept. The outcome of a conversation is the number that is recorded as
    such, or its field of the name `outcome`; true counts as 1. All of it is held in memory. Raises
    `InputError` for lines that are wrong, and if a part has no conversation.
    """
    clusters: dict[str, int] = {}
    groups: dict[str, int] = {}
    found, codes = _Piece(), []
    for conversations, numbers in sound(paths, coder, progress):
        codes.append(numbers)
        for one in conversations:
            name = cluster_of(one, by_group=coder.by_group)
            found.cluster.append(clusters.setdefault(name, len(clusters)))
            known = one.group is not None
            found.group.append(groups.setdefault(one.group or "", len(groups)) if known else -1)
            found.trains.append(split is not None and split.trains(one))
            came = one.outcome.get(outcome) if isinstance(one.outcome, dict) else one.outcome
            found.outcome.append(float(came) if isinstance(came, int | float) else np.nan)
            found.propensity.extend(
                np.nan if event.propensity is None else event.propensity for event in one.events
            )
    whole = Logged(
        _joined(codes),
        np.array(found.cluster),
        np.array(found.group),
        tuple(groups),
        np.array(found.propensity, np.float64),
        np.array(found.outcome, np.float64),
    )
    if split is None:
        return None, whole
    trains = np.array(found.trains)
    if trains.all() or not trains.any():
        raise InputError(
            f"--train: found {int(trains.sum()):,} of {len(trains):,} conversations in the part "
            f"to fit to ({len(clusters):,} clusters), expected some in both parts"
        )
    return part(whole, trains), part(whole, ~trains)


def _joined(pieces: Sequence[Codes]) -> Codes:
    before = np.cumsum([0, *(len(piece.intent) for piece in pieces)])
    columns = {
        name.name: np.concatenate([getattr(piece, name.name) for piece in pieces])
        for name in fields(Codes)
        if name.name != "conversation"
    }
    conversation = [p.conversation + n for p, n in zip(pieces, before, strict=False)]
    return Codes(**columns, conversation=np.concatenate(conversation))
