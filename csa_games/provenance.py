"""Where a result was made: versions, commit, processor and devices, and when. Nothing personal.

No host name, user name or path is recorded, and nothing leaves the machine.
"""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("csa-games", "numpy", "jax", "jaxlib", "scipy", "highspy", "open_spiel")
GIT_SECONDS = 10


def provenance() -> dict[str, Any]:
    """Return what this process runs on, as JSON values; what cannot be found out is None.

    `git` is the commit that the package's own checkout is at, and whether tracked files differ from
    it; None for an installed package. `devices` are JAX's, None as long as JAX is not imported.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git": _git(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "devices": _devices(),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    root = Path(__file__).resolve().parents[1]
    # An installed package may lie inside somebody else's repository, whose commit says nothing.
    if _run_git(root, "rev-parse", "--show-prefix") != "":
        return None
    commit = _run_git(root, "rev-parse", "HEAD")
    changes = _run_git(root, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _run_git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where there is no git, no repository, or no answer."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # `status` would refresh the index
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def _cpu() -> str | None:
    """Return the processor's model name: `platform.processor` rarely knows it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, UnicodeDecodeError):  # not Linux
        pass
    return platform.processor() or None


def _devices() -> list[str] | None:
    jax = sys.modules.get("jax")
    if jax is None:
        return None
    return [f"{device.platform}: {device.device_kind}" for device in jax.devices()]
