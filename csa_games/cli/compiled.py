"""Compiled programs, kept between commands: a second `csa solve` of a game starts at once."""

import os
import tempfile
from pathlib import Path
from typing import Any


def keep_compiled() -> None:
    """Let JAX keep what it compiles in the user's cache folder, if that can be written to.

    The settings of JAX's own environment variables go before: JAX_COMPILATION_CACHE_DIR names
    another folder, and JAX_ENABLE_COMPILATION_CACHE=false keeps nothing. JAX tells programs of
    other versions, machines and games apart by itself.
    """
    import jax

    config: Any = jax.config  # whose settings are attributes that it makes itself
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    folder = _folder()
    if folder is None:
        return
    config.update("jax_compilation_cache_dir", str(folder))
    # Small programs too: compiling dozens of them is what takes most of a second for a small game.
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _folder() -> Path | None:
    """Return the folder, made and tried; None where the system has no place for it."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # A relative path is to be ignored (XDG Base Directory Specification 0.8).
        base = named if named.is_absolute() else Path.home() / ".cache"
        folder = base / "csa-games" / "jax"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # read-only, full, or a user without a home
        return None
