"""Which conversations a scenario is fitted to, and which are kept to evaluate it on.

Whole clusters are kept together, since conversations of one resemble each other: what was learned
from some would be tested on their likes. Where a cluster goes depends on its name and a seed alone,
not on the order of a log, nor on what else is in it.
"""

from dataclasses import dataclass
from hashlib import blake2b

from csa_games.calibration.log import Conversation
from csa_games.calibration.mapping import Mapping
from csa_games.errors import InputError


@dataclass(frozen=True)
class Split:
    """About the share `train` of all clusters, drawn by `seed`; made by `split`."""

    train: float
    seed: int
    by_group: bool

    def cluster(self, conversation: Conversation) -> str:
        """Return the name of the cluster that `conversation` is in."""
        return cluster_of(conversation, by_group=self.by_group)

    def trains(self, conversation: Conversation) -> bool:
        """Return whether `conversation` is to be fitted to."""
        return place(self.cluster(conversation), self.seed) < self.train


def split(train: float, seed: int, reading: Mapping) -> Split:
    """Return the split by conversation, or by group where `reading` says that they cluster.

    Raises `InputError` unless `train` is between 0 and 1.
    """
    if not 0 < train < 1:
        raise InputError(f"--train: found {train}, expected a share between 0 and 1, such as 0.7")
    return Split(train, seed, reading.cluster == "group")


def cluster_of(conversation: Conversation, *, by_group: bool) -> str:
    """Return the group of a conversation or, without one or not by group, its id."""
    return conversation.id if not by_group or conversation.group is None else conversation.group


def place(name: str, seed: int) -> float:
    """Return where `name` falls between 0 and 1: a keyed hash, as good as drawn evenly."""
    key = str(seed).encode()[:64]
    return int.from_bytes(blake2b(name.encode(), digest_size=7, key=key).digest()) / 2**56
