"""The commitment experiment on a small scale."""

import numpy as np
import pytest
from general_sum import MATRICES

from experiments import commitment
from experiments.speed.games import Shape


@pytest.mark.parametrize("name", MATRICES)
def test_the_optimum_is_the_published_one(name):
    rows, columns, worth = MATRICES[name]
    assert commitment.optimum(np.array([rows, columns], float)) == pytest.approx(worth)


def test_results_and_report():
    results = commitment.measured(2, [Shape(1, 2, 2, 3)], steps=20)
    assert len(results["missed"]) == 2
    assert all(-1e-9 <= missed <= 1 for missed in results["missed"])
    (row,) = results["scale"]
    assert row["weak"] <= row["strong"] <= row["bound"]
    text = commitment.report(results)
    assert f"| 1 | {row['histories']:,} | 20 |" in text
    assert "of 2 random matrix games" in text
