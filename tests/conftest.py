"""What all tests share: where published data lies, and where compiled programs are kept."""

import os
from pathlib import Path

import annotations
import pytest

annotations.install()

# Read when JAX is imported, here and in every process that a test starts. Compiling is much of the
# time the tests take, and workers and both passes of `make test` need the same programs: JAX keeps
# them by the hash of what is compiled, of its version and of its settings. The folder is that of
# this checkout, for the command line would fill the cache folder of whoever runs the tests.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / "build" / "test-cache")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

SHARED = Path(os.environ.get("CSA_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of published curves and logs, or skip: the project stands without it."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the folder of published data is not beside this checkout")
    return folder
