"""The published logs, which are not part of the project: found, checked and read.

They lie in `data/logs` of the folder that the environment variable CSA_SHARED names, or else of the
folder `shared` beside the checkout. What is committed of a study are its results, and the SHA-256
of the log that they were made from; another file of the same name is refused.
"""

import gzip
import json
import os
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from csa_games.errors import InputError

VARIABLE = "CSA_SHARED"

LOGS: Mapping[str, str] = {
    "multi_turn_simpler": "b6936a2a03614966b30ac7444619e935ef8f058c3faf6fab624220379413f3ae",
    "spiral": "887d8957d4211a09f4f768b037575f4f8b988599624d9fed22742a48783afc17",
    "sycon": "4c901ba081b17ae28c8333968da6478ed6e3802a46b9fefcf60984e339f08f6b",
    "xstest": "2398b912b10b0060585f57ffff22553bc97895ed36967130e5677bf4c6a8f068",
}
"""By name, the SHA-256 of the file."""

Line = Mapping[str, Any]
"""A conversation as its source has it, with fields that the log format has no use for."""


def folder() -> Path:
    """Return where the logs are looked for."""
    beside = Path(__file__).resolve().parents[3] / "shared"
    return Path(os.environ.get(VARIABLE, beside)) / "data" / "logs"


@cache
def lines(name: str) -> tuple[Line, ...]:
    """Return the conversations of the log `name`; raises `InputError` if it is not there."""
    path = folder() / f"{name}.jsonl.gz"
    try:
        packed = path.read_bytes()
    except OSError:
        raise InputError(
            f"{path}: is not there, expected the log of this case study: logs are not part of the "
            f"project; name the folder that has data/logs/{path.name} in {VARIABLE}"
        ) from None
    if (found := sha256(packed).hexdigest()) != LOGS[name]:
        raise InputError(
            f"{path}: found a file of SHA-256 {found[:16]}..., expected {LOGS[name][:16]}...: the "
            "study was made for another version of the log"
        )
    return tuple(json.loads(line) for line in gzip.decompress(packed).splitlines())
