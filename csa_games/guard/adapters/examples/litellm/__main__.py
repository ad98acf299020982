"""Start a guarded LiteLLM proxy on localhost, talk to it, and end it.

    python -m csa_games.guard.adapters.examples.litellm --litellm build/hosts/litellm/bin/litellm

With --http the table is served by `csa guard serve`, and the proxy asks it.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from csa_games.errors import InputError
from csa_games.guard.adapters.examples import backend, running

HERE = Path(__file__).parent
KEYWORDS = "csa_games.guard.adapters.examples.keywords:classify"


def main() -> int:
    """Run the example; return 0, or 2 where it cannot be run."""
    parser = argparse.ArgumentParser(prog="examples.litellm", description=__doc__)
    parser.add_argument("--litellm", default="litellm", help="the command that starts LiteLLM")
    parser.add_argument("--bundle", type=Path, help="one of desk.toml; made here unless named")
    parser.add_argument("--http", action="store_true", help="ask a server instead of the hook")
    given = parser.parse_args()
    command = shutil.which(given.litellm)
    try:
        if command is None:
            raise InputError(f"there is no command {given.litellm!r}; make test-hosts installs it")
        with TemporaryDirectory() as folder:
            place = Path(folder)
            if given.bundle is None:
                running.make_bundle(place)
            else:
                shutil.copytree(given.bundle, place / "bundle")
            (place / "secret.key").write_text(secrets.token_hex(32))
            _run(place, str(Path(command).absolute()), given.http)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _run(place: Path, command: str, http: bool) -> None:
    port = running.free_port()
    url = f"http://127.0.0.1:{port}"
    config = HERE / ("config_http.yaml" if http else "config.yaml")
    proxy = [command, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    with ExitStack() as stack:
        environment = {"CSA_EXAMPLE_BACKEND": stack.enter_context(backend.serving())}
        if http:
            at = running.free_port()
            environment["CSA_EXAMPLE_SERVER"] = f"http://127.0.0.1:{at}"
            serve = [
                *(sys.executable, "-m", "csa_games.cli", "guard", "serve", "bundle"),
                *("--port", str(at), "--drain", "0"),
                *("--secret-file", "secret.key", "--classifier", KEYWORDS),
            ]
            ready = f"http://127.0.0.1:{at}/readyz"
            stack.enter_context(running.process(serve, place, {}, ready))
        sys.stdout.write(f"starting LiteLLM at {url} ...\n")
        ready = f"{url}/health/liveliness"
        stack.enter_context(running.process(proxy, place, environment, ready))
        for texts in running.CONVERSATIONS:
            _talk(url, texts)


def _talk(url: str, texts: tuple[str, ...]) -> None:
    """Hold a conversation, and show it."""
    sys.stdout.write("\n--- a new conversation\n")
    messages: list[dict[str, str]] = []
    for text in texts:
        messages.append({"role": "user", "content": text})
        status, answer = running.post(
            f"{url}/v1/chat/completions",
            {"model": "small", "messages": messages, "metadata": {"session_id": "example"}},
            {"Authorization": "Bearer sk-example"},
        )
        found = json.loads(answer)
        said = (
            found["choices"][0]["message"]["content"]
            if status == 200
            else f"HTTP {status}: {found['error']['message']}"
        )
        running.show(text, said)
        messages.append({"role": "assistant", "content": said})


if __name__ == "__main__":
    sys.exit(main())
