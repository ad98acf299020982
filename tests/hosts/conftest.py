"""What the tests of all hosts share: the bundle, and what a guard says about it."""

import os
import shutil
from pathlib import Path

import pytest

from csa_games.guard import Guard
from csa_games.guard.adapters.examples import keywords

SECRET = b"a secret of the tests"


@pytest.fixture(scope="session")
def bundle() -> Path:
    """Return the bundle of desk.toml; `make test-hosts` makes it, as no host can solve."""
    return Path(os.environ["CSA_HOSTS_BUNDLE"]).absolute()


@pytest.fixture(scope="session")
def place(bundle, tmp_path_factory) -> Path:
    """Return a folder with a copy of the bundle and a secret, for a host to work in."""
    folder = tmp_path_factory.mktemp("host")
    shutil.copytree(bundle, folder / "bundle")
    (folder / "secret.key").write_bytes(SECRET + b"\n")
    return folder


@pytest.fixture(scope="session")
def guard(bundle) -> Guard:
    """Return the guard by itself: what a host does has to be what it says."""
    return Guard.load(bundle, secret=SECRET)


@pytest.fixture(scope="session")
def expected(guard):
    """Return a function: what the guard says last, of what a user said and who it is."""

    def decide(texts, conversation):
        messages = [{"role": "user", "content": text} for text in texts]
        return guard.follow(keywords.classify(messages), conversation)[-1]

    return decide


def conversation(*texts, answer="(an answer)"):
    """Return the messages of a conversation whose user said `texts`."""
    messages = []
    for text in texts:
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    return messages[:-1]
