"""The command line as its users meet it: what it prints where, its exit codes, its files."""

import json
import math
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csa_games import dialogue, factored
from csa_games.baselines import BASELINES
from csa_games.cli import COMMANDS, check, compiled, main, memory, method
from csa_games.cli.command import Command, Group, parser
from csa_games.cli.progress import Limits, done, duration, seconds_to_target, watched
from csa_games.evidence import sourced
from csa_games.game import Progress
from csa_games.guard.audit import AuditLog
from csa_games.guard.deployment import Deployment
from csa_games.runs import read_run
from csa_games.scenario import builtin_scenarios, read_scenario
from csa_games.signing import write_keys
from solvers.driver import check_steps

ROOT = Path(__file__).parents[1]
ONE_TURN = ["crisis_guidance", "--set", "turns=1"]


def leaves() -> Iterator[tuple[str, Command]]:
    """Yield every command with the words that call it."""
    for name, command in COMMANDS.items():
        if isinstance(command, Group):
            yield from ((f"{name} {sub}", leaf) for sub, leaf in command.commands.items())
        else:
            yield name, command


LEAVES = dict(leaves())


def process(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run `csa` in a process of its own."""
    command = [sys.executable, "-m", "csa_games.cli", *words]
    keywords = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120} | options
    return subprocess.run(command, check=False, **keywords)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a saved run of csa_oneshot."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["solve", "csa_oneshot", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    """Return the bundle of that run."""
    folder = run.with_name("bundle")
    assert main(["export", str(run), str(folder)]) == 0
    return folder


# Help


def test_every_command_of_the_design_is_there():
    assert set(LEAVES) == {
        *("games", "show", "solve", "compare", "frontier", "report", "export", "verify"),
        *("guard decide", "efg export", "efg check", "bench", "schema", "doctor"),
        *("sweep", "experiment", "worth", "doubt"),
        *("guard check", "guard replay", "guard drift"),
        *("guard serve", "guard try", "guard nemo"),
        *("diff", "sign", "keys new", "keys show", "fit", "effect", "evaluate"),
    }


@pytest.mark.parametrize("name", LEAVES)
def test_help_has_examples_that_are_commands(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert not err
    assert "examples:\n" in out
    assert max(map(len, out.splitlines())) <= 80
    for example in LEAVES[name].examples:
        command, *words = shlex.split(re.sub(r"[<>] \S+", "", example.replace("\\\n", "")))
        assert command == "csa"
        args = parser(COMMANDS).parse_args(words)
        assert args.command is LEAVES[name]


def test_the_help_lists_every_command_and_every_exit_code(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in COMMANDS:
        assert re.search(rf"^    {name}( |$)", out, re.MULTILINE)
    for code in "01234":
        assert re.search(rf"\b{code} [a-z]", out)


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert re.fullmatch(r"csa-games (\d+\.\d+\.\d+|\(not installed\))\n", capsys.readouterr().out)


# Text and JSON


def commands(run: Path, bundle: Path, folder: Path) -> dict[str, list[str]]:
    """Return a call of every command that ends well."""
    history = '[{"ask": "plain", "signal": "flag"}]'
    return {
        "games": ["games"],
        "show": ["show", "crisis_guidance"],
        "show openspiel": ["show", "openspiel:kuhn_poker"],
        "solve": ["solve", "csa_oneshot", "--out", str(folder / "run")],
        "solve lp": ["solve", "csa_oneshot", "--method", "lp", "--out", str(folder / "lp")],
        "compare run": ["compare", str(run)],
        "compare": ["compare", *ONE_TURN, "--target", "1e-2"],
        "frontier": ["frontier", "csa_oneshot", "weights.beta", "1:2:2"],
        "sweep": [
            *("sweep", "csa_oneshot", "--over", "weights.beta=1,2", "--out", str(folder / "sweep"))
        ],
        "fit": [
            *("fit", str(folder / "log.jsonl"), "--map", str(folder / "map.toml")),
            *("--base", "csa_oneshot", "-o", str(folder / "fitted.toml")),
        ],
        "effect": [
            *("effect", str(folder / "log.jsonl"), "--map", str(folder / "map.toml")),
            *("--base", "csa_oneshot", "--of", "refuse", "--outcome", "score"),
        ],
        "evaluate": [
            *("evaluate", str(folder / "log.jsonl"), "--map", str(folder / "map.toml")),
            *("--scenario", "csa_oneshot"),
        ],
        "experiment": ["experiment"],
        "worth": ["worth", "csa_oneshot"],
        "doubt": ["doubt", "csa_oneshot", "--target", "1e-3"],
        "report": ["report", str(run), "-o", str(folder / "page.html")],
        "export": ["export", str(run), str(folder / "bundle"), "--sequence", "3"],
        "export csv": ["export", str(run), str(folder / "table.csv"), "--to", "csv"],
        "verify": ["verify", str(bundle)],
        "diff": ["diff", str(bundle), str(bundle)],
        "keys new": ["keys", "new", "release", "--kind", "hmac", "-o", str(folder / "keys")],
        "keys show": ["keys", "show", str(folder / "shown" / "site.secret.json")],
        "sign": ["sign", str(folder / "to_sign"), "--key", str(folder / "shown/site.secret.json")],
        "guard decide": [
            *("guard", "decide", str(bundle), "--conversation", "c1", "--history", history)
        ],
        "guard replay": ["guard", "replay", str(folder / "log"), "--policy", str(bundle)],
        "guard drift": ["guard", "drift", str(folder / "log"), "--policy", str(bundle)],
        "guard check": ["guard", "check", str(bundle)],
        "guard nemo": [
            *("guard", "nemo", str(bundle), str(folder / "rails"), "--classifier", "mine:classify")
        ],
        "efg export": ["efg", "export", "csa_oneshot", str(folder / "oneshot.efg")],
        "efg check": ["efg", "check", str(folder / "in.efg")],
        "bench": ["bench", "kuhn", "--engines", "scipy", "--quick"],
        "schema": ["schema"],
        "doctor": ["doctor"],
    }


NAMES = list(commands(Path(), Path(), Path()))
WITH_SOMEBODY = {"guard serve", "guard try"}  # they wait for input: their own tests talk to them
LOG = """\
{"id": "a", "type": "benign", "events": [{"ask": "plain", "signal": "clear"}]}
{"id": "b", "type": "malicious", "events": [{"ask": "plain", "signal": "flag"}]}
"""
SCORES = "".join(
    f'{{"id": "{k}", "events": [{{"strategy": "{("comply", "refuse")[k % 2]}"}}], '
    f'"outcome": {{"score": {k % 7}}}}}\n'
    for k in range(60)
)
MAP = """\
format = 1
name = "two"
cite = "Two conversations."
design = "designed"
"""


@pytest.mark.parametrize("name", NAMES)
def test_every_command_in_text_and_in_json(name, run, bundle, tmp_path, capsys):
    assert {" ".join(n.split()[:2]) for n in NAMES} >= set(LEAVES) - WITH_SOMEBODY
    if name == "efg check":
        assert main(["efg", "export", "csa_oneshot", str(tmp_path / "in.efg")]) == 0
        capsys.readouterr()
    if name in ("fit", "effect", "evaluate"):
        (tmp_path / "log.jsonl").write_text(SCORES if name == "effect" else LOG)
        (tmp_path / "map.toml").write_text(MAP)
    if name in ("guard replay", "guard drift"):
        with AuditLog(tmp_path / "log") as log:
            Deployment(bundle, audit=log).decide([("plain", "flag")], "c1")
    write_keys(tmp_path / "shown", "site", "hmac", b"x" * 32)
    if name == "sign":
        shutil.copytree(bundle, tmp_path / "to_sign")
    words = commands(run, bundle, tmp_path)[name]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text
    assert "\x1b" not in text
    if name != "schema":  # that is for programs, and one of its texts is long
        paths = (str(tmp_path), str(run), str(bundle))
        lines = [line for line in text.splitlines() if not any(path in line for path in paths)]
        assert max(map(len, lines), default=0) <= 80
        assert all(line == line.rstrip() for line in text.splitlines())

    if name == "keys new":  # nothing is overwritten
        words[2] = "another"
    if name == "guard nemo":
        words[3] = str(tmp_path / "more rails")
    assert main([*words, "--json"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert isinstance(json.loads(out, parse_constant=pytest.fail), dict)


def test_solve_says_in_json_what_scripts_rely_on(tmp_path, capsys):
    words = ["solve", "csa_oneshot", "--out", str(tmp_path / "run"), "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    fields = "game method steps seconds value gap nash_conv status class run"
    assert set(fields.split()) <= set(said)
    solution = read_run(said["run"]).solution
    assert said["game"] == "csa_oneshot"
    assert said["status"] == solution.status == "target"
    assert said["class"] == "security"
    assert said["value"] == solution.value.tolist()
    assert said["gap"] == solution.gap.tolist()
    assert said["nash_conv"] == solution.nash_conv <= 1e-4
    assert "guaranteed" in said["certificate"]


def test_solve_explains_the_certificate_by_class(tmp_path, capsys):
    scenario = builtin_scenarios()["csa_oneshot"].read_text()
    rational = scenario.replace(
        'behaviour = "adversarial"',
        'behaviour = "rational"\n'
        'weights = { satisfaction = 1.0, risk = 1.0, source = "assumption: a test" }',
    ).replace(
        "[fallback]",
        '[[payoff.effort]]\nintents = ["malicious"]\nvalues = { plain = 0.0 }\n'
        'source = "assumption: a test"\n\n[fallback]',
    )
    (tmp_path / "rational.toml").write_text(rational)
    out = ["--out", str(tmp_path / "run")]
    said = {}
    for name, game in (
        ("security", "csa_oneshot"),
        ("zero-sum", "openspiel:kuhn_poker"),
        ("general-sum", str(tmp_path / "rational.toml")),
    ):
        assert main(["solve", game, "--max-steps", "2000", *out]) == 0
        said[name] = " ".join(capsys.readouterr().out.split())
        assert main(["show", game]) == 0
        assert re.search(rf"class +{name}", capsys.readouterr().out)
    assert "security class: the assistant's value is guaranteed within the gap" in said["security"]
    assert "zero-sum: the value is guaranteed within the gap" in said["zero-sum"]
    assert "general-sum: measured gap only" in said["general-sum"]
    assert "guaranteed within" not in said["general-sum"]


def test_solve_passes_on_its_options(tmp_path, capsys):
    out = str(tmp_path / "run")
    words = ["solve", *ONE_TURN, "--set", "weights.beta=4", "--method", "cfr", "--out", out]
    limits = ["--target", "1e-9", "--max-steps", "7", "--dead-zone", "0.25"]
    assert main([*words, *limits]) == 4
    assert "target not reached: the steps allowed are used up" in capsys.readouterr().out
    saved = read_run(out)
    assert saved.solution.method == "cfr"
    assert saved.solution.steps <= 7
    assert saved.solution.dead_zone == 0.25
    assert saved.game.scenario is not None
    assert saved.game.scenario.weights.beta.value == 4
    assert saved.options == {
        "target": 1e-9,
        "max_steps": 7,
        "seconds": None,
        "dead_zone": 0.25,
        "dtype": "float64",
        "set": ["turns=1", "weights.beta=4"],
    }
    assert main([*words, "--target", "1e-9", "--seconds", "0.3"]) == 4
    assert "the time allowed is used up" in capsys.readouterr().out


def test_runs_get_new_folders_unless_they_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for expected in ("runs/csa_oneshot-lp", "runs/csa_oneshot-lp-2"):
        assert main(["solve", "csa_oneshot", "--method", "lp", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["run"] == expected
        assert read_run(expected).solution.method == "lp"
    assert main(["solve", "csa_oneshot", "--out", "runs/csa_oneshot-lp"]) == 0
    assert read_run("runs/csa_oneshot-lp").solution.method == "pcfr+"
    assert main(["solve", "openspiel:kuhn_poker(players=2)", "--method", "lp"]) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        "csa_oneshot-lp",
        "csa_oneshot-lp-2",
        "openspiel-kuhn_poker-players-2-lp",
    ]


def test_show_counts_before_anything_is_built(monkeypatch, capsys):
    monkeypatch.setattr(factored, "factored_game", lambda scenario: pytest.fail("built"))
    assert main(["show", "crisis_guidance", "--set", "turns=8", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["sizes"]["histories"] > 10**12
    assert sum(shown["numbers"].values()) == sum(shown["numbers_by_source"].values()) > 100
    assert main(["show", "crisis_guidance", "--set", "turns=8"]) == 0
    assert re.search(r"memory +about [\d.]+ (TB|PB|EB)", capsys.readouterr().out)


@pytest.mark.parametrize("name", sorted(builtin_scenarios()))
def test_show_is_a_page_about_the_scenario(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "2000")  # no line is broken
    scenario = read_scenario(builtin_scenarios()[name])
    assert main(["show", name]) == 0
    page = capsys.readouterr().out
    assert " ".join(scenario.question.split()) in page
    assert " ".join(scenario.notes.split()) in page
    named = (*scenario.intents, *scenario.asks, *scenario.signals, *scenario.responses)
    for part in named:
        assert re.search(rf"^{part.name} .*{re.escape(part.description)}$", page, re.MULTILINE)
    for intent in scenario.intents:
        prior = intent.prior
        if prior.low != prior.high:
            assert f"{prior.value:g} [{prior.low:g}, {prior.high:g}]" in page
    for source in scenario.sources.values():
        assert source.cite in page
    for group in sourced(scenario):
        assert re.search(rf"^{re.escape(group.field)} +{re.escape(group.source)}$", page, re.M)


def test_show_has_reactions_by_turn(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["show", "crescendo"]) == 0
    page = capsys.readouterr().out
    # The second cell of the round-by-round log: success, after which it stops, .418 then .069.
    assert re.search(r"sudden: after answer .* 0\.418, 0\.069, 0\.069$", page, re.MULTILINE)
    assert re.search(r"benign: after refuse +0 +0 +0\.4 +0\.6$", page, re.MULTILINE)
    assert "Displacement" not in page  # nobody can migrate there
    assert main(["show", "customer_service"]) == 0
    assert "Displacement" in capsys.readouterr().out


def test_show_agrees_with_the_game(capsys):
    """The sizes counted in advance are those of the built game; csa_oneshot's, also by hand."""
    assert main(["show", "csa_oneshot", "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)["sizes"]
    assert sizes["infosets"] == [1, 2]  # the malicious user's, and one for each signal
    assert sizes["sequences"] == [2, 1 + 2 * 5]
    assert sizes["histories"] == 3 * 2 * 5  # intents, signals, responses
    assert main(["show", "openspiel:kuhn_poker", "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)["sizes"]
    assert sizes.pop("bytes") > 30 * 3 * 8  # chance and two payoffs at every leaf
    assert sizes == {"infosets": [6, 6], "sequences": [13, 13], "histories": 30}  # Kuhn 1950


def test_a_scenario_from_a_stranger_does_not_reach_the_terminal(tmp_path, capsys):
    text = builtin_scenarios()["csa_oneshot"].read_text()
    text = text.replace("One ask, one", r"\u001b[2J[bold]One ask, one")
    (tmp_path / "x.toml").write_text(text)
    assert main(["show", str(tmp_path / "x.toml")]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[2J[bold]One ask, one" in out


def test_games_that_cannot_fit_are_refused_before_they_are_built(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(factored, "factored_game", lambda scenario: pytest.fail("built"))
    words = ["solve", "crisis_guidance", "--set", "turns=12", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert re.search(
        r"crisis_guidance needs about [\de.+]+ [A-Z]+ of memory, and \d+ [A-Z]+ are available "
        r"here; .* --force",
        capsys.readouterr().err,
    )
    monkeypatch.setattr(memory, "available", lambda root: 100)
    small = ["csa_oneshot", "--out", str(tmp_path / "run")]
    assert main(["solve", *small]) == 2
    assert "100 bytes are available" in capsys.readouterr().err
    assert main(["compare", "csa_oneshot"]) == 2
    assert main(["efg", "export", "csa_oneshot", str(tmp_path / "x.efg")]) == 2
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    monkeypatch.setattr(memory, "available", lambda root: 100)
    assert main(["solve", *small, "--force"]) == 0


def test_a_tree_is_refused_once_its_size_is_known(monkeypatch, tmp_path, capsys):
    words = ["solve", "openspiel:kuhn_poker", "--out", str(tmp_path / "run")]
    monkeypatch.setattr(memory, "available", lambda root: 100)
    assert main(words) == 2
    assert "solving kuhn_poker needs about" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
    assert main(["solve", "openspiel:kuhn_poker", "--method", "lp", "--json"]) == 0


def machine(root: Path, files: dict[str, str]) -> Path:
    """Return a folder with what the system says about itself in `files`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal:  64000 kB\nMemFree:  1000 kB\nMemAvailable:  9000 kB\n"}
V1, V2 = "sys/fs/cgroup/memory/", "sys/fs/cgroup/"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (MEMINFO, 9_216_000),
        # cgroups(7), version 2: the tightest of the group and those above it counts.
        (
            MEMINFO
            | {
                "proc/self/cgroup": "0::/job/step\n",
                f"{V2}job/step/memory.max": "max\n",
                f"{V2}job/step/memory.current": "4000\n",
                f"{V2}job/memory.max": "6000000\n",
                f"{V2}job/memory.current": "4000000\n",
                f"{V2}job/memory.stat": "anon 7\ninactive_file 500000\n",
            },
            2_500_000,
        ),
        # A container that sees its own group as the top, under the name that the host gave it.
        (
            MEMINFO
            | {
                "proc/self/cgroup": "0::/../docker/abc\n",
                f"{V2}memory.max": "5000\n",
                f"{V2}memory.current": "6000\n",
            },
            0,
        ),
        (
            MEMINFO
            | {
                "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/x\n0::/\n",
                f"{V1}x/memory.limit_in_bytes": "3000000\n",
                f"{V1}x/memory.usage_in_bytes": "1000000\n",
                f"{V1}x/memory.stat": "inactive_file 1\ntotal_inactive_file 10\n",
                f"{V1}memory.limit_in_bytes": "9223372036854771712\n",
                f"{V1}memory.usage_in_bytes": "1000000\n",
            },
            2_000_010,
        ),
    ],
)
def test_memory_is_what_the_machine_and_its_groups_leave(files, expected, tmp_path):
    assert memory.available(machine(tmp_path, files)) == expected


def test_memory_of_a_system_that_says_nothing(tmp_path, monkeypatch):
    assert memory.available(tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.delattr(memory.os, "sysconf")
    assert memory.available(tmp_path) is None
    memory.require(10**30, "anything", force=False, root=tmp_path)


def test_a_solve_that_was_stopped_goes_on(tmp_path, capsys):
    words = ["solve", "openspiel:kuhn_poker", "--target", "1e-5", "--json"]
    kept = ["--checkpoint", str(tmp_path / "kept"), "--out"]
    assert main([*words, *kept, str(tmp_path / "a"), "--seconds", "1e-9"]) == 4
    assert json.loads(capsys.readouterr().out)["status"] == "seconds"
    assert main([*words, *kept, str(tmp_path / "b")]) == 0
    assert main([*words, "--out", str(tmp_path / "c")]) == 0
    stopped, straight = read_run(tmp_path / "b").solution, read_run(tmp_path / "c").solution
    assert stopped.policy[0].tobytes() == straight.policy[0].tobytes()
    assert [check.step for check in stopped.history] == [check.step for check in straight.history]
    capsys.readouterr()

    path = tmp_path / "kept" / "checkpoint.csa"
    whole = path.read_bytes()
    assert main([*words, *kept, str(tmp_path / "d"), "--max-steps", "9"]) == 2
    assert "its max_steps, the horizon, is 100000" in capsys.readouterr().err
    path.write_bytes(whole[:-7])
    assert main([*words, *kept, str(tmp_path / "d")]) == 2
    assert "is damaged or cut short" in capsys.readouterr().err
    assert path.read_bytes() == whole[:-7]
    assert not (tmp_path / "d").exists()
    lp = ["solve", "csa_oneshot", "--method", "lp", *kept, str(tmp_path / "d")]
    assert main(lp) == 2
    assert "--checkpoint: lp cannot be resumed" in capsys.readouterr().err


def test_solve_in_float32(tmp_path, capsys):
    words = ["solve", "openspiel:kuhn_poker", "--dtype", "float32", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    assert read_run(tmp_path / "run").options["dtype"] == "float32"
    assert main([*words, "--method", "dcfr"]) == 2
    assert "give a dead_zone" in capsys.readouterr().err


def test_compare_says_the_same_of_a_run_and_of_its_scenario(run, capsys):
    assert main(["compare", str(run), "--json"]) == 0
    of_run = json.loads(capsys.readouterr().out)
    assert main(["compare", "csa_oneshot", "--json"]) == 0
    of_scenario = json.loads(capsys.readouterr().out)
    assert of_run["rows"] == of_scenario["rows"]
    names = ["solution", "robust", *BASELINES]
    assert [row["policy"] for row in of_run["rows"]] == names
    comply = of_run["rows"][2]
    assert comply["value"] == pytest.approx(0.9 + 0.06 * 0.245 - 0.04)  # see csa_oneshot.toml
    assert comply["outcomes"]["risk"] == {"benign": 0, "sensitive": 0, "malicious": 1}
    assert main(["compare", str(run), "--target", "1e-3"]) == 2
    assert "--target" in capsys.readouterr().err


def test_an_intent_that_never_comes_has_no_outcomes(run, capsys):
    changes = ["--set", "intents.sensitive.prior=0", "--set", "intents.benign.prior=0.96"]
    assert main(["compare", "csa_oneshot", *changes, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["outcomes"]["payoff"]["sensitive"] for row in rows} == {None}
    assert main(["compare", "csa_oneshot", *changes]) == 0
    assert "–" in capsys.readouterr().out


def test_efg_out_and_in(tmp_path, capsys):
    path = str(tmp_path / "kuhn.efg")
    assert main(["efg", "export", "openspiel:kuhn_poker", path]) == 0
    capsys.readouterr()
    assert main(["efg", "check", path, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["class"] == "zero-sum"
    assert found["infosets"] == [6, 6]
    out = str(tmp_path / "run")
    assert main(["solve", path, "--method", "lp", "--out", out, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["game"] == "kuhn.efg"
    assert said["value"][0] == pytest.approx(-1 / 18, abs=1e-9)  # Kuhn 1950
    Path(path).unlink()
    assert read_run(out).solution.value[0] == pytest.approx(-1 / 18, abs=1e-9)
    assert main(["report", out, "-o", str(tmp_path / "page.html")]) == 0


def test_the_report_has_the_comparison_and_the_provenance(run, tmp_path):
    page = tmp_path / "page.html"
    assert main(["report", str(run), "-o", str(page)]) == 0
    text = page.read_text()
    assert "myopic Bayes" in text
    commit = json.loads((run / "run.json").read_text())["provenance"]["time"]
    assert commit in text
    assert str(run) not in text


def test_the_same_run_exports_to_the_same_bundle(run, bundle, tmp_path):
    assert main(["export", str(run), str(tmp_path / "again")]) == 0
    for path in bundle.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_guard_decide_takes_a_history_from_anywhere(bundle, tmp_path, monkeypatch, capsys):
    history = '[["plain", "flag"]]'
    (tmp_path / "history.json").write_text(history)
    decide = ["guard", "decide", str(bundle), "--conversation", "c1", "--json", "--history"]
    answers = []
    for given_as in (history, str(tmp_path / "history.json"), "-"):
        with (tmp_path / "history.json").open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            assert main([*decide, given_as]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["key"] == "plain:flag"
    assert not answers[0]["keyed"]
    (tmp_path / "secret").write_bytes(b"a secret")
    assert main([*decide, history, "--secret-file", str(tmp_path / "secret")]) == 0
    assert json.loads(capsys.readouterr().out)["keyed"]


# Exit codes and errors

SHOW_ERRORS = {
    "no such game": (["csa_onesho"], "csa_oneshot"),
    "no such file": (["missing.toml"], "missing.toml: cannot be read"),
    "no such tree": (["missing.efg"], "missing.efg cannot be read: No such file"),
    "a folder": (["."], "expected a built-in scenario"),
    "unknown OpenSpiel game": (["openspiel:kuhn"], "OpenSpiel has no game 'kuhn'"),
    "three players": (["openspiel:kuhn_poker(players=3)"], "3 players, expected 2"),
    "path that leads nowhere": (["csa_oneshot", "--set", "weights.omega=1"], "no 'omega'"),
    "no value": (["csa_oneshot", "--set", "weights.beta"], "expected PATH=VALUE"),
    "text for a number": (["csa_oneshot", "--set", "weights.beta=high"], "found 'high'"),
    "0 turns": (["csa_oneshot", "--set", "turns=0"], "turns: found 0"),
    "two at once": (
        ["csa_oneshot", "--set", "turns=0", "--set", "discount=2"],
        "discount",
    ),
    "nothing to set": (["openspiel:kuhn_poker", "--set", "turns=1"], "is no scenario"),
    "unknown option": (["csa_oneshot", "--frob"], "unrecognized arguments: --frob"),
}
OTHER_ERRORS = {
    "no command": ([], "required: COMMAND"),
    "unknown command": (["frob"], "invalid choice: 'frob'"),
    "no subcommand": (["efg"], "required: COMMAND"),
    "unknown method": (["solve", "csa_oneshot", "--method", "x"], "the methods are cfr, "),
    "target is text": (["solve", "csa_oneshot", "--target", "x"], "--target: invalid float"),
    "target is negative": (["solve", "csa_oneshot", "--target", "-1"], "target is -1.0"),
    "steps are negative": (["solve", "csa_oneshot", "--max-steps", "-1"], "max_steps is -1"),
    "target for the exact": (
        ["solve", "csa_oneshot", "--method", "lp", "--target", "1"],
        "takes no target",
    ),
    "compare no scenario": (["compare", "openspiel:kuhn_poker"], "is no scenario"),
    "compare no run": (["compare", "."], "is no run"),
    "report without a page": (["report", "run"], "required: -o/--out"),
    "report no run": (["report", "missing", "-o", "x.html"], "missing is no run"),
    "verify nothing": (["verify", "missing"], "missing"),
    "decide from nothing": (
        ["guard", "decide", "missing", "--history", "[]", "--conversation", "c"],
        "missing",
    ),
    "check no tree": (["efg", "check", __file__], "expected the word EFG"),
    "export nowhere": (["efg", "export", "csa_oneshot", "missing/x.efg"], "missing"),
}
ERRORS = {name: (["show", *words], text) for name, (words, text) in SHOW_ERRORS.items()}
ERRORS |= OTHER_ERRORS


@pytest.mark.parametrize("name", ERRORS)
def test_wrong_commands_and_files_exit_2_with_a_sentence(name, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    words, sentence = ERRORS[name]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert not out
    assert all(line.startswith("csa: ") for line in err.splitlines())
    assert sentence in err

    assert main([*words, "--json"]) == 2
    out, err = capsys.readouterr()
    assert sentence in err
    faults = json.loads(out)["error"]
    assert any(sentence in fault for fault in faults)
    assert not list(tmp_path.glob("runs/*"))


def test_errors_of_a_run(run, bundle, tmp_path, capsys):
    for words, sentence in (
        (["export", str(run), str(tmp_path / "x"), "--to", "xlsx"], "there are bundle, csv, jsonl"),
        (["export", str(run), str(tmp_path / "x"), "--to", "csv", "--sequence", "2"], "bundles"),
        (["export", str(run), str(run)], "run"),
        (["report", str(run), "-o", str(tmp_path / "no" / "x.html")], "No such file or directory"),
        (["report", str(run), "-o", str(tmp_path)], "irectory"),
        (["solve", "csa_oneshot", "--out", str(bundle)], "not parts of a run"),
    ):
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert not out
        assert err.startswith("csa: ")
        assert sentence in err
    assert read_run(run).solution.status == "target"


def test_a_changed_bundle_exits_3(run, tmp_path, capsys):
    folder = tmp_path / "bundle"
    assert main(["export", str(run), str(folder)]) == 0
    assert main(["verify", str(folder)]) == 0
    with (folder / "CARD.md").open("a") as card:
        card.write("changed\n")
    capsys.readouterr()
    assert main(["verify", str(folder), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert not found["passed"]
    assert "CARD.md" in found["faults"][0]
    assert main(["verify", str(folder)]) == 3
    assert "CARD.md" in capsys.readouterr().out
    decide = ["guard", "decide", str(folder), "--conversation", "c", "--history", "[]"]
    assert main(decide) == 3
    assert "CARD.md" in capsys.readouterr().err


def test_what_is_no_history_exits_2_with_the_decision(bundle, tmp_path, capsys):
    decide = ["guard", "decide", str(bundle), "--conversation", "c", "--json", "--history"]
    assert main([*decide, '[["ask"]]']) == 2
    assert json.loads(capsys.readouterr().out)["reason"] == "ERROR"
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for text in ("[", "[" * 100_000, str(tmp_path / "binary"), str(tmp_path), "missing"):
        assert main([*decide, text]) == 2
        out, err = capsys.readouterr()
        assert "error" in json.loads(out)
        assert err.startswith("csa: ")


def test_the_doctor_exits_1_if_something_is_off(monkeypatch, capsys):
    def broken() -> str:
        raise RuntimeError("no such device")

    monkeypatch.setattr(check, "CHECKS", {"fine": lambda: "", "off": lambda: "off by one"})
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["checks"] == {"fine": "ok", "off": "off by one"}
    monkeypatch.setattr(check, "CHECKS", {"broken": broken})
    assert main(["doctor"]) == 1
    assert "RuntimeError: no such device" in capsys.readouterr().out


def test_an_interrupt_before_a_result_exits_130(monkeypatch, capsys):
    def interrupt(scenario: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dialogue, "sizes", interrupt)
    assert main(["games"]) == 130
    assert capsys.readouterr().err == "csa: interrupted before there was a result\n"


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_characters="\0"), max_size=40))
def test_no_name_of_a_game_raises(name):
    if name not in builtin_scenarios():
        assert main(["show", "--", name]) == 2
        assert main(["show", "--", f"openspiel:{name}"]) == 2
        assert main(["show", "--", f"{name}.toml"]) == 2


# As a process


def test_the_commands_that_deciding_needs_do_not_wait_for_jax(bundle):
    program = (
        "import sys; from csa_games.cli import main; code = main(sys.argv[1:]); "
        "heavy = {'jax', 'numpy', 'solvers', 'scipy', 'pyspiel', 'matplotlib'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else code)"
    )
    decide = ["guard", "decide", str(bundle), "--conversation", "c", "--history", '[["x", "y"]]']
    for words in (["--help"], ["solve", "--help"], ["schema"], decide, ["verify", str(bundle)]):
        command = [sys.executable, "-c", program, *words]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, (words, ended.stderr)


def test_an_interrupted_solve_saves_the_best_policy_and_exits_4(tmp_path):
    command = [sys.executable, "-m", "csa_games.cli", "solve", "openspiel:leduc_poker", "--json"]
    limits = ["--target", "1e-13", "--max-steps", "2000000000", "--out", str(tmp_path / "run")]
    with subprocess.Popen(
        [*command, *limits], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as solving:
        assert solving.stderr is not None
        line = solving.stderr.readline()  # the first check, so there is something to save
        assert line.startswith("leduc_poker: NashConv 4.75e+00, target 1e-13, step 0 ")
        time.sleep(2)
        solving.send_signal(signal.SIGINT)
        out, err = solving.communicate(timeout=60)
    assert solving.returncode == 4, err
    assert "Traceback" not in err
    said = json.loads(out)
    assert said["status"] == "interrupted"
    saved = read_run(tmp_path / "run")
    assert saved.solution.status == "interrupted"
    assert saved.solution.nash_conv == said["nash_conv"] <= 4.7473  # uniform: 4.747222
    assert saved.solution.history[-1].nash_conv >= saved.solution.nash_conv


@pytest.mark.parametrize(("word", "code"), [("schema", 0), ("--help", 0), ("verify", 3)])
def test_a_reader_that_has_read_enough_is_no_error(word, code, tmp_path):
    words = [word, str(tmp_path)] if word == "verify" else [word]  # an empty folder is no bundle
    reading, writing = os.pipe()
    os.close(reading)
    ended = process(*words, capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert ended.returncode == code
    assert ended.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("words", [["schema"], ["schema", "--json"], ["show", "x", "--json"]])
def test_a_full_disk_is_said_in_a_sentence(words):
    with open("/dev/full", "w") as full:
        ended = process(*words, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 2
    assert ended.stderr.endswith("csa: standard output: No space left on device\n")
    assert "Traceback" not in ended.stderr


def test_a_terminal_with_few_characters_gets_question_marks(tmp_path):
    text = builtin_scenarios()["csa_oneshot"].read_text()
    (tmp_path / "x.toml").write_text(text.replace("One ask, one", "Één ask, one"), "utf-8")
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = process("show", str(tmp_path / "x.toml"), env=ascii_only)
    assert ended.returncode == 0, ended.stderr
    assert "??n ask, one" in ended.stdout


def terminal(words: list[str], **environment: str) -> str:
    """Return everything that `csa` writes to a terminal."""
    controller, terminal = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environment}
    command = [sys.executable, "-m", "csa_games.cli", *words]
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    with subprocess.Popen(command, cwd=ROOT, env=env, **streams) as running:
        os.close(terminal)
        text = b""
        while True:
            try:
                text += os.read(controller, 65536)
            except OSError:  # the process has closed its side
                break
    os.close(controller)
    assert running.returncode == 0
    return text.decode()


COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|4\d|9\d|10\d)(?:;\d+)*m")


def test_no_color_is_honoured(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    words = ["solve", "csa_oneshot", "--out", str(tmp_path / "run")]
    with_colours = terminal(words)
    assert COLOUR.search(with_colours)
    assert "NashConv" in with_colours
    assert not COLOUR.search(terminal(words, NO_COLOR="1"))


def cached(folder: str | Path, *words: str, **environment: str) -> None:
    """Solve Kuhn poker in a process whose cache folder is `folder`; nothing may be said of it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    solve = ["solve", "openspiel:kuhn_poker", "--json", "--target", "1e-2", "--out", "run"]
    ended = process(
        *solve,
        *words,
        env=env | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder)} | environment,
        cwd=Path(folder).parent,
    )
    assert ended.returncode == 0, ended.stderr
    assert all(line.startswith("kuhn_poker: NashConv") for line in ended.stderr.splitlines())


def test_compiled_programs_are_kept_for_the_next_command(tmp_path):
    folder = tmp_path / "cache"
    cached(folder)
    programs = {path.name: path.stat().st_mtime_ns for path in folder.rglob("jit_iterated-*-cache")}
    assert len(programs) == 1
    cached(folder)
    again = {path.name: path.stat().st_mtime_ns for path in folder.rglob("jit_iterated-*-cache")}
    assert again == programs


def test_nothing_compiled_is_kept_where_that_is_not_wanted(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chosen = jax.config.jax_compilation_cache_dir
    assert chosen  # by the tests' own environment
    compiled.keep_compiled()
    assert jax.config.jax_compilation_cache_dir == chosen
    jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        compiled.keep_compiled()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
        jax.config.update("jax_compilation_cache_dir", chosen)
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(method, "keep_compiled", lambda: pytest.fail("kept"))
    words = ["solve", "csa_oneshot", "--no-cache", "--out", str(tmp_path / "run")]
    assert main(words) == 0


def test_without_a_place_nothing_is_kept(tmp_path):
    (tmp_path / "taken").touch()
    cached(tmp_path / "taken")


# Progress


def history(gap: Callable[[int], float], steps: int) -> list[Progress]:
    """Return the checks of a run with the NashConv gap(t), at 100 iterations per second."""
    return [Progress(t, 2.0 + t / 100, gap(t)) for t in check_steps(steps)]


ENDLESS = Limits(target=1e-4, max_steps=10**9, seconds=math.inf)


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_the_time_to_target_of_a_power_law(power):
    """The gap 3 t^-power is at 1e-4 when t = (3e4)^(1/power)."""
    checks = history(lambda t: 3.0 * max(t, 1) ** -power, 50)
    expected = (3e4 ** (1 / power) - checks[-1].step) / 100
    assert seconds_to_target(checks, ENDLESS) == pytest.approx(expected, rel=1e-6)


def test_the_time_to_target_survives_checks_that_are_off():
    checks = history(lambda t: 50.0 if t in (150, 180) else 3.0 / max(t, 1), 300)
    assert seconds_to_target(checks, ENDLESS) == pytest.approx(3e4 / 100 - 3, rel=0.2)


def test_no_time_to_target_where_there_is_none_to_tell():
    falling = history(lambda t: 3.0 / max(t, 1), 50)
    assert seconds_to_target([], ENDLESS) is None
    assert seconds_to_target(falling[:3], ENDLESS) is None
    assert seconds_to_target(history(lambda t: 2.0, 500), ENDLESS) is None
    assert seconds_to_target(history(lambda t: 1.0 + t, 500), ENDLESS) is None
    assert seconds_to_target(history(lambda t: 0.1 / (1 + math.log1p(t)), 500), ENDLESS) is None
    for limits in (
        replace(ENDLESS, target=0.0),
        replace(ENDLESS, max_steps=29_000),  # 30,000 are needed
        replace(ENDLESS, seconds=299.0),  # 302 are needed
    ):
        assert seconds_to_target(falling, limits) is None
    assert seconds_to_target(falling, replace(ENDLESS, max_steps=31_000, seconds=303.0)) is not None
    assert seconds_to_target(falling, replace(ENDLESS, target=0.1)) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89.0, "89 s"), (91.0, "2 min"), (5400.0, "2 h"), (172_800.0, "2 days")],
)
def test_durations_have_one_unit(seconds, text):
    assert duration(seconds) == text


def test_the_progress_lines_say_how_long_it_takes(capsys):
    with watched("game", ENDLESS) as show:
        for check in history(lambda t: 3.0 / max(t, 1), 5000):
            show(check)
            show(replace(check, seconds=check.seconds + 0.001))  # between two checks
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first == "game: NashConv 3.00e+00, target 0.0001, step 0 after 2 s"
    # The target takes 30,000 steps, and 25,000 of them are left.
    expected = "step 5,000, about 5 min to target after 52 s"
    assert last == f"game: NashConv 6.00e-04, target 0.0001, {expected}"


def test_progress_is_as_far_as_the_nearest_end():
    limits = Limits(target=1e-4, max_steps=1000, seconds=float("inf"))
    assert done(1.0, 1e-2, Progress(10, 1.0, 1e-2), limits) == pytest.approx(0.5)
    assert done(1.0, 1e-2, Progress(900, 1.0, 1e-2), limits) == pytest.approx(0.9)
    assert done(1.0, 1e-5, Progress(10, 1.0, 1e-5), limits) == 1
    assert done(1.0, 1.0, Progress(0, 1.0, 1.0), limits) == 0
    timed = Limits(target=0.0, max_steps=1000, seconds=20.0)
    assert done(1.0, 1e-9, Progress(10, 5.0, 1e-9), timed) == pytest.approx(0.25)
    assert done(1.0, 0.0, Progress(10, 5.0, 0.0), timed) == 1
    assert done(1.0, 0.5, Progress(10, 30.0, 0.5), timed) == 1


def test_a_missing_package_is_named_without_a_traceback(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["games"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "'rich.console' is not installed" in said.err
    assert "python -m csa_games.guard" in said.err
