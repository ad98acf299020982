"""Numbers moved to the ends of their intervals: rows stay rows, within their intervals."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csa_games.moves import moved, moves, row_at
from csa_games.scenario import builtin_scenarios, read_scenario, scenario_from

WIDTHS = st.integers(2, 5)


def scenario(**changes):
    """Return crisis_guidance with content replaced at dotted places."""
    content = read_scenario(builtin_scenarios()["crisis_guidance"]).model_dump(
        mode="json", exclude_none=True
    )
    for place, value in changes.items():
        *above, last = place.split("__")
        part = content
        for step in above:
            part = part[int(step) if step.isdigit() else step]
        part[last] = value
    return scenario_from(content, "changed")


def named(scenario, name):
    """Return the moves of a number, by side."""
    return {move.side: move for move in moves(scenario) if move.name == name}


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), WIDTHS)
def test_rows_stay_within_their_intervals(seed, width):
    draw = np.random.default_rng(seed)
    value = draw.dirichlet(np.ones(width))
    low = value * draw.uniform(0, 1, width)
    high = value + (1 - value) * draw.uniform(0, 1, width) * draw.integers(0, 2, width)
    for b in range(width):
        for end in (low[b], high[b]):
            row = row_at(value, low, high, b, end)
            assert row.sum() == pytest.approx(1, abs=1e-12)
            assert (row >= low - 1e-12).all()
            assert (row <= high + 1e-12).all()
            # It gets to the end, or as far as the others let it.
            others = np.arange(width) != b
            least, most = 1 - high[others].sum(), 1 - low[others].sum()
            assert row[b] == pytest.approx(np.clip(end, least, most), abs=1e-12)


def test_the_others_make_room_in_proportion_to_theirs():
    # .2 goes to others with rooms of .1 and .3: a quarter and three quarters of it.
    value, low, high = np.array([0.5, 0.3, 0.2]), np.zeros(3), np.array([1, 0.4, 0.5])
    found = row_at(value, low, high, 0, 0.3)
    third = Fraction(1, 5) * Fraction(1, 4)
    assert found == pytest.approx([0.3, 0.3 + float(third), 0.2 + float(3 * third)], abs=1e-15)
    assert found[0] == 0.3  # exactly


def test_priors_move_as_one_row():
    # crisis_guidance: benign .80 [.50, .95], distressed .10 [.03, .25], misinformed .08 [.02, .20],
    # malicious .02 [.002, .05].
    base = scenario()
    up = named(base, "intents.malicious.prior")["high"]
    assert (up.value, up.end) == (0.02, 0.05)
    rooms = {"benign": 0.30, "distressed": 0.07, "misinformed": 0.06}
    there = {part.name: part.prior for part in moved(base, up).intents}
    for name, room in rooms.items():
        before = next(part.prior.value for part in base.intents if part.name == name)
        assert there[name].value == pytest.approx(before - 0.03 * room / 0.43, abs=1e-12)
    assert there["malicious"].value == 0.05
    assert there["malicious"].low is None
    assert there["malicious"].source.startswith("assumption: overridden, was ")
    # The others cannot make room for .95: .03 + .02 + .002 is their least.
    assert named(base, "intents.benign.prior")["high"].end == pytest.approx(0.948)


def test_priors_without_an_interval_keep_their_ratios():
    base = scenario(
        intents__0__prior={"value": 0.8, "source": "assumption"},
        intents__1__prior={"value": 0.1, "source": "assumption"},
        intents__2__prior={"value": 0.08, "source": "assumption"},
    )
    (down, up) = (named(base, "intents.malicious.prior")[side] for side in ("low", "high"))
    assert {move.name for move in moves(base) if "prior" in move.path} == {down.name}
    there = [part.prior.value for part in moved(base, up).intents]
    assert there == pytest.approx([0.95 * p / 0.98 for p in (0.8, 0.1, 0.08)] + [0.05], abs=1e-12)


def test_rows_of_kernels_and_channels_move_alone():
    base = scenario()
    opening = base.intents[0].kernel.opening
    assert opening["plain"] > 0.1
    low, high = {"plain": opening["plain"] - 0.1}, {"disguised": opening["disguised"] + 0.05}
    kernel = base.intents[0].kernel.model_dump(mode="json", exclude_none=True)
    kernel |= {"low": {"opening": low}, "high": {"opening": high}}
    changed = scenario(intents__0__kernel=kernel)
    path = "intents.benign.kernel.opening"
    names = {move.name for move in moves(changed) if "kernel" in move.path}
    assert names == {f"{path}: plain", f"{path}: disguised"}
    (down,) = named(changed, f"{path}: plain").values()
    assert down.side == "low"
    assert down.end == pytest.approx(opening["plain"] - 0.05)  # what disguised has room for
    there = moved(changed, down)
    assert there.intents[0].kernel.opening["disguised"] == pytest.approx(
        opening["disguised"] + 0.05
    )
    assert there.intents[0].kernel.after == changed.intents[0].kernel.after
    half = moved(changed, down, 0.5).intents[0].kernel.opening
    assert half["plain"] == pytest.approx(opening["plain"] - 0.025)

    row = base.channel[0].probabilities
    first, second = list(row)[:2]
    channel = [part.model_dump(mode="json", exclude_none=True) for part in base.channel]
    channel[0]["low"] = {first: row[first] - 0.01, second: row[second] - 0.01}
    channel[0]["high"] = {first: row[first] + 0.01, second: row[second] + 0.01}
    changed = scenario(channel=channel)
    found = named(changed, f"channel.0.probabilities: {first}")
    assert [found[side].end for side in ("low", "high")] == pytest.approx(
        [row[first] - 0.01, row[first] + 0.01]
    )
    assert moved(changed, found["high"]).channel[1:] == changed.channel[1:]


def test_rows_by_turn_and_after_the_last_turn():
    base = scenario()
    kernel = base.intents[0].kernel.model_dump(mode="json", exclude_none=True)
    response, row = next(iter(kernel["after"].items()))
    first, second = [name for name, p in row.items() if p > 0][:2]
    turns = base.turns - 1
    kernel["after"][response] = [row] * turns
    ends = {side: {"after": {response: [{}] * turns}} for side in ("low", "high")}
    ends["low"]["after"][response] = [{first: 0.0}, *[{}] * (turns - 1)]
    ends["high"]["after"][response] = [{second: 1.0}, *[{}] * (turns - 1)]
    changed = scenario(intents__0__kernel=kernel | ends)
    found = [move for move in moves(changed) if "kernel" in move.path]
    path = f"intents.benign.kernel.after.{response}.0"
    assert {move.path for move in found} == {path}
    there = moved(changed, found[0]).intents[0].kernel.after[response]
    assert there[0][first] == 0
    assert there[1:] == [row] * (turns - 1)
    alone = changed.model_copy(update={"turns": 1})
    assert not [move for move in moves(alone) if "kernel" in move.path]


def test_quantities_and_cells_move_to_their_ends():
    base = scenario(
        weights__beta={"value": 2.0, "low": 1.0, "high": 5.0, "source": "assumption"},
        payoff__displacement=[
            part.model_dump(mode="json", exclude_none=True)
            | ({"value": [0.1, 0.2, 0.3], "high": 0.4} if k == 0 else {})
            for k, part in enumerate(scenario().payoff.displacement)
        ],
        turns=3,
    )
    found = named(base, "weights.beta")
    assert [(found[side].value, found[side].end) for side in ("low", "high")] == [
        (2.0, 1.0),
        (2.0, 5.0),
    ]
    assert moved(base, found["high"], 0.5).weights.beta.value == 3.5
    (move,) = named(base, "payoff.displacement.0").values()
    assert moved(base, move, 0.5).payoff.displacement[0].value == pytest.approx([0.25, 0.3, 0.35])
    cell = next(move for move in moves(base) if move.path.startswith("payoff.risk"))
    assert cell.side == "low"
    assert cell.end == 0.88
    there = moved(base, cell)
    k = int(cell.path.split(".")[2])
    assert there.payoff.risk[k].values["comply"] == 0.88
    assert there.payoff.risk[k].values["refuse"] == base.payoff.risk[k].values["refuse"]


def test_where_nothing_has_moved_nothing_has_changed():
    base = scenario()
    for move in moves(base):
        there = moved(base, move, 0.0)
        assert [part.prior.value for part in there.intents] == [
            part.prior.value for part in base.intents
        ]
        assert there.payoff.risk[0].values == base.payoff.risk[0].values
