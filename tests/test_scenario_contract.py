"""What every built-in scenario must pass: a file put into the folder is tested by being there."""

import numpy as np
import pytest

import csa_games
import solvers
from csa_games.dialogue import sizes
from csa_games.evaluate import infoset_reach
from csa_games.fold import uniform
from csa_games.game import ASSISTANT, USER
from csa_games.guard import Guard
from csa_games.guard.keys import turns_of
from csa_games.guard.verify import verify
from csa_games.scenario import builtin_scenarios
from solvers.sequence import _heard

pytestmark = pytest.mark.large


@pytest.mark.parametrize("name", sorted(builtin_scenarios()))
def test_from_the_file_to_a_deciding_guard(name, tmp_path):
    game = csa_games.load(name)
    foretold = sizes(game.scenario)
    leaf, _, heard = _heard(game.form)  # a leaf with each history of signals
    assert foretold.histories == np.count_nonzero(game.form.leaves.chance[leaf] * heard)
    assert foretold.infosets[USER] == game.form.treeplex[USER].infosets
    # The factored layout also has those of the assistant that no intent can lead to.
    anything = tuple(map(uniform, game.form.treeplex))
    _, others = infoset_reach(game, ASSISTANT, anything)
    assert foretold.infosets[ASSISTANT] == np.count_nonzero(others)

    solution = solvers.solve(game, "pcfr+", target=1e-2)
    assert solution.status == "target"
    assert solution.game_class == game.game_class
    if game.game_class == "security":
        assert solution.value[USER] == pytest.approx(-solution.value[ASSISTANT], abs=1e-12)

    csa_games.tabulate(game, solution).save(tmp_path / "bundle")
    report = verify(tmp_path / "bundle")
    assert report.passed, report.faults

    guard = Guard.load(tmp_path / "bundle", secret=b"a secret of this test")
    names = [response.name for response in game.scenario.responses]
    possible = zip(game.names.infosets[ASSISTANT], others > 0, strict=True)
    first = [key for key, leads in possible if leads and "/" not in key]
    assert first
    for key in first:
        decision = guard.decide(turns_of(key), conversation="c1")
        row = solution.policy[ASSISTANT][game.names.infosets[ASSISTANT].index(key)]
        assert decision.key == decision.key_used == key
        assert decision.probabilities == pytest.approx(dict(zip(names, row, strict=True)))
        assert row[names.index(decision.action)] > 0
