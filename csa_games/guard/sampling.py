"""Keyed sampling: the same conversation and state always draw the same response.

A fresh draw for every request would destroy a mixed policy: with probability c of complying, k
tries succeed with 1 - (1 - c)^k.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

TEST_KEY = b"csa-games: a published key, for tests; whoever knows it can predict every draw"


def draw(secret: bytes, conversation: str, key: str, revision: str, epoch: str) -> float:
    """Return a number from 0 to 1, uniform over conversations to whoever lacks the `secret`.

    It is the first 8 bytes of HMAC-SHA256(secret, conversation, key, revision, epoch), big-endian,
    over 2^64. Each part is UTF-8 with its length before it, as 8 bytes, so that no two
    conversations and states can run together into the same message.
    """
    message = b""
    for part in (conversation, key, revision, epoch):
        data = str.encode(part, "utf-8", "surrogatepass")
        message += len(data).to_bytes(8, "big") + data
    code = hmac.new(secret, message, hashlib.sha256).digest()
    return int.from_bytes(code[:8], "big") / 2**64


def pick(probabilities: Sequence[float], u: float) -> int:
    """Return the position that `u` falls on: the inverse of the cumulative distribution.

    Positions of probability 0 are never returned; rounding goes to the last of the others.
    """
    below, last = 0.0, 0
    for k, probability in enumerate(probabilities):
        if probability > 0:
            below, last = below + probability, k
            if u < below:
                return k
    return last
