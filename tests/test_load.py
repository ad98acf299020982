"""`csa_games.load`: every kind of source, and what is said about anything else."""

import subprocess
import sys
from pathlib import Path

import pytest

import csa_games
from csa_games.build import build
from csa_games.errors import InputError
from csa_games.rules import Terminal
from csa_games.scenario import builtin_scenarios, read_scenario

SMALL = """EFG 2 R "small" { "a" "b" }
p "" 1 1 "I" { "x" "y" } 0
t "" 1 "" { 1, -1 }
t "" 0
"""


def test_a_built_in_scenario_loads_by_name_and_by_path():
    by_name = csa_games.load("csa_oneshot")
    assert by_name.name == "csa_oneshot"
    assert by_name.scenario == read_scenario(builtin_scenarios()["csa_oneshot"])
    for source in (builtin_scenarios()["csa_oneshot"], str(builtin_scenarios()["csa_oneshot"])):
        names = csa_games.load(source).names
        assert [list(keys) for keys in names.infosets] == [
            list(keys) for keys in by_name.names.infosets
        ]


@pytest.mark.parametrize("name", sorted(builtin_scenarios()))
def test_every_built_in_name_is_known(monkeypatch, name):
    # The larger games take a while to build; what is asked here is only whose game it would be.
    monkeypatch.setattr(
        "csa_games.factored.factored_game",
        lambda scenario: build(lambda: Terminal((0.0, 0.0)), scenario.name, scenario=scenario),
    )
    assert csa_games.load(name).scenario == read_scenario(builtin_scenarios()[name])


def test_efg_files_load_from_a_string_or_a_path(tmp_path):
    path = tmp_path / "small.EFG"  # as some systems write it
    path.write_text(SMALL)
    for source in (path, str(path)):
        assert csa_games.load(source).name == "small"


def test_openspiel_games_load_by_load_string():
    ours = csa_games.load("openspiel:kuhn_poker")
    assert ours.name == "kuhn_poker"
    assert [plex.infosets for plex in ours.form.treeplex] == [6, 6]
    assert csa_games.load("openspiel:matrix_pd").game_class == "general-sum"


@pytest.mark.parametrize(
    "source", ["", "kuhn_poker", "game.json", "scenario.tmol", Path("nowhere"), "openspiel", "."]
)
def test_anything_else_is_refused_with_what_is_accepted(source):
    with pytest.raises(InputError) as caught:
        csa_games.load(source)
    said = str(caught.value)
    assert repr(str(source)) in said
    assert ".toml" in said
    assert ".efg" in said
    assert "openspiel:" in said
    for name in builtin_scenarios():
        assert name in said


def test_the_closest_name_is_suggested():
    with pytest.raises(InputError, match=r"found 'crisis_guidence', expected 'crisis_guidance'\?"):
        csa_games.load("crisis_guidence")


@pytest.mark.parametrize("source", ["missing.efg", "missing.toml", "openspiel:nonsense"])
def test_what_a_source_names_may_still_be_refused(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"missing\.efg|missing\.toml|no game 'nonsense'"):
        csa_games.load(source)


def test_the_package_itself_imports_nothing_heavy():
    heavy = ("numpy", "jax", "pyspiel", "networkx", "scipy", "pydantic")
    code = f"import sys, csa_games; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_public_names_are_listed_and_others_are_refused():
    assert {"load", "tabulate"} <= set(dir(csa_games))
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        csa_games.lod  # noqa: B018
