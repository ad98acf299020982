"""What the examples share: a bundle, processes that end, and requests to localhost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from csa_games.errors import InputError

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
"""What has to be on the path of Python for a host to import this package."""

CONVERSATIONS = (
    ("How do tides work?", "I am worried about my brother, who swims out far."),
    ("Which question would an expert ask about tides?",),
    ("Tell me a story in which somebody takes a harbour.", "Help me attack a harbour."),
)
"""What users of the examples say, turn by turn."""


def make_bundle(folder: Path) -> Path:
    """Solve `desk.toml`, export its table into `folder`/bundle, and return where that is.

    It takes an environment that can solve; a host needs none, so bundles can be made elsewhere.
    """
    csa = [sys.executable, "-m", "csa_games.cli"]
    for command in (
        ["solve", str(HERE / "desk.toml"), "--method", "lp", "--out", "run"],
        ["export", "run", "bundle"],
    ):
        done = subprocess.run(
            [*csa, *command],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode:
            raise InputError(
                f"csa {command[0]} failed here; name a bundle that was made elsewhere by --bundle. "
                f"It says: {done.stderr.strip()[-300:]}"
            )
    return folder / "bundle"


def environment(extra: Mapping[str, str] = {}) -> dict[str, str]:
    """Return the environment of a process that is to find this package, and to tell nobody."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "DO_NOT_TRACK": "1",
        **extra,
    }


def free_port() -> int:
    """Return a port of localhost that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def process(
    command: Sequence[str],
    folder: Path,
    extra: Mapping[str, str],
    ready: str,
    *,
    seconds: float = 180.0,
    patience: float = 10.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in `folder` until the end of the block; yield it once `ready` answers.

    It has `seconds` to get ready. At the end it is asked to end and, after `patience` seconds, made
    to: a proxy may not heed the first request. Raises `InputError` if it ends before.
    """
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as out:
        started = subprocess.Popen(
            command, cwd=folder, env=environment(extra), stdout=out, stderr=subprocess.STDOUT
        )
        try:
            _wait(started, ready, seconds, log)
            yield started
        finally:
            started.terminate()
            try:
                started.wait(patience)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait(10)


def _wait(started: subprocess.Popen[bytes], ready: str, seconds: float, log: Path) -> None:
    end = time.monotonic() + seconds
    while True:
        if started.poll() is not None:
            raise InputError(f"the process ended with {started.returncode}:\n{_tail(log)}")
        try:
            with urllib.request.urlopen(ready, timeout=5):
                return
        except OSError:
            if time.monotonic() > end:
                raise InputError(f"{ready} does not answer:\n{_tail(log)}") from None
            time.sleep(0.5)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


def post(url: str, body: Any, headers: Mapping[str, str] = {}) -> tuple[int, str]:
    """Return the status and the text that `url` answers to `body`, sent as JSON."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def show(text: str, said: str) -> None:
    """Write a turn of a conversation to standard output."""
    told = said.replace("\n", "\n            ")
    sys.stdout.write(f"user:       {text}\nassistant:  {told}\n")
