"""The dialogue game against a listing of all conversations that shares no code with it."""

import os
import subprocess
import sys
import tomllib
from collections import Counter
from functools import cache

import numpy as np
import pytest
from brute_dialogue import (
    Brute,
    Conversation,
    all_kernels,
    discounted_and_per_turn,
    random_content,
    self_interested,
    shapes,
    two_turns,
)
from hypothesis import given, settings
from tabled import places

from csa_games.dialogue import (
    BYTES_PER_PUBLIC_SEQUENCE,
    BYTES_PER_SLOT,
    Sizes,
    dialogue_game,
    sizes,
    tables,
)
from csa_games.errors import InputError
from csa_games.factored import factored_game
from csa_games.game import ASSISTANT, USER, Game
from csa_games.grid import public_sequences
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario, scenario_from

CONTENT = {
    name: tomllib.loads(path.read_text(encoding="utf-8"))
    for name, path in builtin_scenarios().items()
}
VARIANTS = {
    "csa_oneshot": lambda: CONTENT["csa_oneshot"],
    "two turns": lambda: two_turns(CONTENT["crisis_guidance"]),
    "discounted, per turn": lambda: discounted_and_per_turn(CONTENT["crisis_guidance"]),
    "self-interested": lambda: self_interested(CONTENT["crisis_guidance"]),
    "all kernels": lambda: all_kernels(CONTENT["crisis_guidance"]),
}


@cache
def variant(name: str) -> tuple[Game, list[Conversation]]:
    content = VARIANTS[name]()
    return dialogue_game(scenario_from(content, name)), Brute(content).conversations()


def last_choices(game: Game, player: int) -> list[tuple[str, str] | None]:
    """Return each leaf's last (infoset, action) of a player."""
    labels, actions = game.names.infosets[player], game.names.actions[player]
    place = places(game.form.treeplex[player])
    choices = (place.get(s) for s in game.form.leaves.sequence[player].tolist())
    return [None if at is None else (labels[at[0]], actions[at[0]][at[1]]) for at in choices]


Row = tuple[float, ...]
"""The numbers of a leaf: its chance, both payoffs and its tags in the order of their names."""

Leaf = tuple[object, Row]
"""Both players' last choices, which tell where a leaf is, and its numbers."""


def rows_of_game(game: Game, tags: list[str]) -> list[Leaf]:
    leaves = game.form.leaves
    nothing = np.zeros_like(leaves.chance)
    columns = [leaves.chance, *leaves.payoff, *(game.tags.get(tag, nothing) for tag in tags)]
    lasts = zip(last_choices(game, USER), last_choices(game, ASSISTANT), strict=True)
    return list(zip(lasts, map(tuple, np.stack(columns, axis=-1).tolist()), strict=True))


def rows_of_listing(listing: list[Conversation], tags: list[str]) -> list[Leaf]:
    return [
        (
            (talk.last(USER), talk.last(ASSISTANT)),
            (talk.chance, *talk.payoffs, *(talk.tags.get(tag, 0.0) for tag in tags)),
        )
        for talk in listing
    ]


def check_leaves(game: Game, listing: list[Conversation]) -> None:
    """Check every leaf: where it is, its chance, payoffs and tags."""
    tags = sorted({tag for talk in listing for tag in talk.tags} | set(game.tags))
    found, expected = rows_of_game(game, tags), rows_of_listing(listing, tags)
    assert Counter(where for where, _ in found) == Counter(where for where, _ in expected)

    def order(leaf: Leaf) -> tuple[str, Row]:
        where, row = leaf
        return repr(where), tuple(round(number, 9) for number in row)

    rows = [np.array([row for _, row in sorted(leaves, key=order)]) for leaves in (found, expected)]
    np.testing.assert_allclose(*rows, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", VARIANTS)
def test_leaves_are_those_of_the_listing(name):
    check_leaves(*variant(name))


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_leaves_of_random_scenarios_are_those_of_the_listing(shape):
    content = random_content(shape)
    game = dialogue_game(scenario_from(content, "random"))
    check_leaves(game, Brute(content).conversations())


@settings(max_examples=40, deadline=None)
@given(shapes)
def test_sizes_are_those_of_the_game(shape):
    scenario = scenario_from(random_content(shape), "random")
    check_sizes(sizes(scenario), dialogue_game(scenario))


@pytest.mark.parametrize("name", VARIANTS)
def test_sizes_of_variants_are_those_of_the_game(name):
    game, _ = variant(name)
    check_sizes(sizes(game.scenario), game)


def check_sizes(size: Sizes, game: Game) -> None:
    form, actions = game.form, game.names.actions
    assert size.histories == form.leaves.chance.size
    assert size.infosets == tuple(treeplex.infosets for treeplex in form.treeplex)
    assert size.sequences == tuple(1 + sum(map(len, actions[player])) for player in (0, 1))
    grids = factored_game(game.scenario).form.treeplex[ASSISTANT]
    public = sum(public_sequences(level, len(game.scenario.intents)) for level in grids.levels)
    expected = (grids.sequences - 1) * BYTES_PER_SLOT + public * BYTES_PER_PUBLIC_SEQUENCE
    assert size.bytes == expected


# What sort of game it is.


@pytest.mark.parametrize("name", VARIANTS)
def test_chance_and_uniform_play_end_somewhere(name):
    """Leaf probabilities sum to 1 when everybody picks uniformly, by the listing's own count."""
    game, listing = variant(name)
    options = [
        dict(zip(game.names.infosets[p], game.names.actions[p], strict=True)) for p in (0, 1)
    ]
    total = sum(
        talk.chance / np.prod([len(options[p][h]) for p, h, _ in talk.choices]) for talk in listing
    )
    assert total == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "game_class"),
    [
        ("csa_oneshot", "security"),
        ("two turns", "security"),
        ("all kernels", "security"),
        ("self-interested", "general-sum"),
    ],
)
def test_the_class_is_security_iff_all_who_choose_are_adversaries(name, game_class):
    game, _ = variant(name)
    user, assistant = game.form.leaves.payoff
    assert game.game_class == game_class
    assert bool((user == -assistant).all()) == (game_class == "security")


def test_a_scenario_without_strategic_intents_leaves_the_user_nothing_to_decide():
    game, _ = variant("all kernels")
    assert game.form.treeplex[USER].infosets == 0
    assert "intent:malicious" not in game.tags  # of prior zero


def test_in_a_general_sum_scenario_adversaries_mirror_and_kernels_want_nothing():
    """Beside users with payoffs of their own an adversary mirrors the assistant as ever."""
    game, listing = variant("self-interested")
    sums = {
        behaviour: {
            talk.payoffs[0] + (talk.payoffs[1] if behaviour == "adversarial" else 0)
            for talk in listing
            if next(i for i in game.scenario.intents if i.name == talk.intent).behaviour
            == behaviour
        }
        for behaviour in ("adversarial", "kernel")
    }
    assert sums == {"adversarial": {0}, "kernel": {0}}


def test_tables_hold_what_the_file_says():
    table = tables(read_scenario(builtin_scenarios()["csa_oneshot"]))
    assert table.satisfaction[0, :, 0, 1].tolist() == [0.594, 0.245, 0.594]  # partial
    assert table.signal[2, 0].tolist() == [0.057, 0.943]
    assert table.strategic.tolist() == [False, False, True]


# Sizes that nobody could build.


def test_sizes_of_a_game_too_large_to_build_are_exact():
    """Fifty turns of one ask, two signals and five responses, for three intents, by hand."""
    scenario = read_scenario(builtin_scenarios()["csa_oneshot"])
    changes = {f"intents.{name}.kernel.after": {r.name: {"plain": 1.0} for r in scenario.responses}
               for name in ("benign", "sensitive")}  # fmt: skip
    size = sizes(override(scenario, {"turns": 50, **changes}))
    assert size.histories == 3 * 10**50
    assert size.infosets == (sum(5**t for t in range(50)), 2 * sum(10**t for t in range(50)))
    assert size.sequences == (1 + size.infosets[0], 1 + 5 * size.infosets[1])
    assert size.bytes > 10**51


def test_a_game_too_large_is_refused_before_it_is_built():
    scenario = read_scenario(builtin_scenarios()["crisis_guidance"])
    large = override(scenario, {"turns": 9})
    with pytest.raises(InputError, match=r"crisis_guidance: found .* complete histories"):
        dialogue_game(large)
    with pytest.raises(InputError, match=r"found 30 complete histories, expected at most 29"):
        dialogue_game(read_scenario(builtin_scenarios()["csa_oneshot"]), most_histories=29)


MEASURE = """
from pathlib import Path
import solvers
from csa_games.dialogue import sizes
from csa_games.factored import factored_game
from csa_games.override import override
from csa_games.scenario import builtin_scenarios, read_scenario

def peak():
    status = Path("/proc/self/status").read_text()  # rusage would count the parent's peak, too
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024

scenario = read_scenario(builtin_scenarios()["crisis_guidance"])
large = override(scenario, {"turns": 4})
solvers.solve(factored_game(scenario), max_steps=2)
before = peak()
solvers.solve(factored_game(large), max_steps=2)
print((peak() - before) / sizes(large).bytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted otherwise there")
def test_solving_takes_about_the_memory_foretold():
    """In a process of its own, which compiles what it runs: the peak of this one is history."""
    env = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    share = subprocess.run(
        [sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True, env=env
    ).stdout
    assert 0.4 < float(share) < 1.1
