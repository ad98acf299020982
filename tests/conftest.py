"""What all tests share: where published data lies, when it is there."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("CSA_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of published curves and logs, or skip: the project stands without it."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the folder of published data is not beside this checkout")
    return folder
