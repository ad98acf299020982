"""Keyed sampling: the same conversation and state always draw the same response.

A fresh draw for every request would destroy a mixed policy: with probability c of complying, k
tries succeed with 1 - (1 - c)^k.

Draws are not keyed by the conversation's id, but by its *scope*, a keyed hash of it: a log that
holds scopes and no ids can be replayed bit for bit, and tells nobody without the secret who it is
about. To whoever lacks the secret the draws are as unpredictable as if they were keyed by the id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

TEST_KEY = b"csa-games: a published key, for tests; whoever knows it can predict every draw"


def scope_of(secret: bytes, conversation: str) -> str:
    """Return what the draws of a conversation are keyed by: 64 hexadecimal digits.

    It is HMAC-SHA256(secret, "conversation", conversation), its parts joined as those of a draw.
    """
    return _keyed(secret, f"12:conversation{len(conversation)}:{conversation}").hex()


def draw(secret: bytes, scope: str, key: str, revision: str, epoch: str) -> float:
    """Return a number from 0 to 1, uniform over scopes to whoever lacks the `secret`.

    It is the first 8 bytes of HMAC-SHA256(secret, scope, key, revision, epoch), big-endian, over
    2^64. Each part has its length before it, in characters, and a colon, so that no two lists of
    parts run together into the same message, which is UTF-8.
    """
    message = f"{len(scope)}:{scope}{len(key)}:{key}{len(revision)}:{revision}{len(epoch)}:{epoch}"
    return int.from_bytes(_keyed(secret, message)[:8], "big") / 2**64


def _keyed(secret: bytes, message: str) -> bytes:
    """Return HMAC-SHA256 of `message`, in UTF-8."""
    first, second = _blocks(secret)
    inner, outer = first.copy(), second.copy()
    inner.update(message.encode("utf-8", "surrogatepass"))
    outer.update(inner.digest())
    return outer.digest()


@lru_cache(maxsize=16)
def _blocks(secret: bytes) -> tuple[Any, Any]:
    """Return SHA-256 after the first block of the inner and of the outer hash of HMAC.

    They depend on the key alone, so RFC 2104, section 4, has them computed once: what remains takes
    a third of `hmac.digest`, and every decision needs two.
    """
    block = (secret if len(secret) <= 64 else hashlib.sha256(secret).digest()).ljust(64, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
    return hashlib.sha256(inner), hashlib.sha256(outer)


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
