"""The README keeps its promises: its example runs, and its numbers are those of the results."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.foundation import read_results
from experiments.readme import README, with_results


def example() -> str:
    """Return the README's only Python block."""
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return block


def test_the_example_runs_as_it_stands(tmp_path):
    """In a new process, in an empty folder, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example()],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(README.parent), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    first, second, *_ = done.stdout.splitlines()
    assert first.startswith("target ")
    assert second.startswith(("partial ", "comply ", "explain "))
    assert (tmp_path / "bundle" / "manifest.json").is_file()


def test_the_example_is_at_most_twelve_lines():
    assert len([line for line in example().splitlines() if line.strip()]) <= 12


def test_the_numbers_are_those_of_the_results():
    text = README.read_text(encoding="utf-8")
    assert with_results(text, read_results()) == text


def test_the_results_say_what_the_readme_claims():
    results = read_results()
    for row in results["known games"]:
        assert row["linear program"] == pytest.approx(row["published"], abs=1e-9)
        # Leduc is chaotic and gets a band, the two others the digits that are published.
        band = 0.5 if row["game"] == "leduc_poker" else 1e-3
        published = row["published exploitability of cfr+"]
        assert row["exploitability"]["cfr+"] == pytest.approx(published, rel=band)
    for row in results["scenarios"]:
        assert row["nash_conv"] <= row["target"]
        assert row["nash_conv by OpenSpiel"] == pytest.approx(row["nash_conv"], abs=1e-9)
        assert row["value"] == pytest.approx(row["value by linear program"], abs=row["target"])
        assert row["bundle verifies"]
        best, *others = row["guaranteed"].values()
        assert best >= row["value"] - row["nash_conv"]
        # Minimax: no policy guarantees more than the value and the gap. In csa_oneshot nobody has
        # a choice to make, so that myopic Bayes is optimal; three turns leave it well behind.
        least = 0.05 if row["scenario"] == "crisis_guidance" else -row["nash_conv"]
        assert all(best - other >= least - 1e-12 for other in others)


def test_files_that_the_readme_names_exist():
    text = README.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (README.parent / target).is_file(), target
    assert Path(README.parent / "CITATION.cff").is_file()
