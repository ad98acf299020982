"""What all tests share: where published data lies, and that nothing compiled is kept."""

import os
from pathlib import Path

import pytest

# Read when JAX is imported: the command line would fill the cache folder of whoever runs the tests.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"

SHARED = Path(os.environ.get("CSA_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of published curves and logs, or skip: the project stands without it."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the folder of published data is not beside this checkout")
    return folder
