"""Generate a configuration folder, load it in NeMo Guardrails, and talk to it.

    python -m csa_games.guard.adapters.examples.nemo --bundle bundle

It runs where NeMo Guardrails is installed, which need not be where the bundle was made.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from csa_games.errors import InputError
from csa_games.guard.adapters import nemo
from csa_games.guard.adapters.examples import running

ANSWER = "(the model answers)"


def main() -> int:
    """Run the example; return 0, or 2 where it cannot be run."""
    parser = argparse.ArgumentParser(prog="examples.nemo", description=__doc__)
    parser.add_argument("--bundle", type=Path, help="one of desk.toml; made here unless named")
    given = parser.parse_args()
    os.environ["DO_NOT_TRACK"] = "1"  # it would tell its makers that it was started
    try:
        with TemporaryDirectory() as folder:
            place = Path(folder)
            bundle = given.bundle or running.make_bundle(place)
            settings = {"classifier": "csa_games.guard.adapters.examples.keywords:classify"}
            nemo.write_folder(bundle, place / "rails", settings)
            host = _host(place / "rails")
            for texts in running.CONVERSATIONS:
                asyncio.run(_talk(host, texts))
    except ImportError as error:
        sys.stderr.write(f"{error}; make test-hosts installs NeMo Guardrails\n")
        return 2
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _host(folder: Path) -> Any:
    host = import_module("nemoguardrails")
    fake = import_module("nemoguardrails.testing.fake_model").FakeLLMModel(responses=[ANSWER] * 20)
    return host.LLMRails(host.RailsConfig.from_path(str(folder)), llm=fake)


async def _talk(host: Any, texts: tuple[str, ...]) -> None:
    """Hold a conversation, and show it."""
    sys.stdout.write("\n--- a new conversation\n")
    messages = [{"role": "context", "content": {nemo.CONVERSATION: "account 17"}}]
    for text in texts:
        messages.append({"role": "user", "content": text})
        answer = await host.generate_async(messages=messages)
        running.show(text, answer["content"])
        messages.append(answer)


if __name__ == "__main__":
    sys.exit(main())
