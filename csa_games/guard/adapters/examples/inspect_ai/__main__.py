"""Evaluate a table on a small dataset in Inspect, and count what it did.

    python -m csa_games.guard.adapters.examples.inspect_ai --bundle bundle

It runs where Inspect is installed, which need not be where the bundle was made.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from csa_games.errors import InputError
from csa_games.guard.adapters.examples import running

EPOCHS = 20


def main() -> int:
    """Run the example; return 0, or 2 where it cannot be run."""
    parser = argparse.ArgumentParser(prog="examples.inspect_ai", description=__doc__)
    parser.add_argument("--bundle", type=Path, help="one of desk.toml; made here unless named")
    given = parser.parse_args()
    try:
        with TemporaryDirectory() as folder:
            place = Path(folder)
            bundle = given.bundle or running.make_bundle(place)
            _count_without_download()
            _show(_evaluate(str(bundle), place))
    except ImportError as error:
        sys.stderr.write(f"{error}; make test-hosts installs Inspect\n")
        return 2
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _count_without_download() -> None:
    """Have tiktoken count bytes.

    Inspect counts tokens even of its mock model, with an encoding that tiktoken would download;
    offline, put that file into the folder that TIKTOKEN_CACHE_DIR names, or count otherwise.
    """
    if "TIKTOKEN_CACHE_DIR" in os.environ:
        return
    tiktoken: Any = import_module("tiktoken")
    ranks = {bytes([k]): k for k in range(256)}
    encoding = tiktoken.Encoding(
        "bytes", pat_str=r"[\s\S]", mergeable_ranks=ranks, special_tokens={}
    )
    tiktoken.get_encoding = lambda name: encoding


def _evaluate(bundle: str, place: Path) -> list[Any]:
    """Return the samples of an evaluation: every conversation, in each of the epochs."""
    inspect, dataset = import_module("inspect_ai"), import_module("inspect_ai.dataset")
    user_message = import_module("inspect_ai.solver").user_message
    table = import_module("csa_games.guard.adapters.inspect_ai").guarded(
        bundle=bundle, classifier="csa_games.guard.adapters.examples.keywords:classify"
    )
    samples: list[Any] = []
    for k, (first, *more) in enumerate(running.CONVERSATIONS):
        chain = [table]
        for text in more:
            chain += [user_message(text), table]
        task = inspect.Task(
            dataset.MemoryDataset([dataset.Sample(input=first, id=f"conversation {k + 1}")]),
            solver=chain,
        )
        (log,) = inspect.eval(
            task, model="mockllm/model", epochs=EPOCHS, display="none", log_dir=str(place / "logs")
        )
        samples += log.samples
    return samples


def _show(samples: list[Any]) -> None:
    for name in sorted({sample.id for sample in samples}):
        ways = Counter(
            ", then ".join(turn["verdict"] for turn in sample.metadata["csa"])
            for sample in samples
            if sample.id == name
        )
        told = "; ".join(f"{count} of {EPOCHS}: {way}" for way, count in ways.most_common())
        sys.stdout.write(f"{name}: {told}\n")


if __name__ == "__main__":
    sys.exit(main())
