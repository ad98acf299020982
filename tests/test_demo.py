"""`make demo`, as it is run: every step succeeds, twice in a row."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.large
def test_the_demo_runs_twice_and_says_why(tmp_path):
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "experiments.demo", str(tmp_path / "demo")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert "target reached" in done.stdout
        assert "verified" in done.stdout
        assert done.stdout.count("Why:") >= 2
        assert (tmp_path / "demo" / "report.html").stat().st_size > 10_000
        assert (tmp_path / "demo" / "bundle" / "manifest.json").is_file()
