"""The secret that draws are keyed with, as every command reads it."""

from pathlib import Path

from csa_games.errors import InputError


def secret_in(path: str | None) -> bytes | None:
    """Return the content of a file but for its line end, None where there is no file."""
    if path is None:
        return None
    secret = Path(path).read_bytes().rstrip(b"\r\n")
    if not secret:
        raise InputError(f"{path}: is empty, expected the secret that draws are keyed with")
    return secret
