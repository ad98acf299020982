"""The game that a command is about: by name or file, with numbers changed, or out of a run."""

import argparse
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csa_games.cli.memory import require
from csa_games.cli.progress import waiting
from csa_games.errors import InputError

if TYPE_CHECKING:
    from csa_games.game import Game
    from csa_games.scenario import Scenario

GAME_HELP = (
    "a built-in scenario (csa games lists them), a scenario file x.toml, a game file x.efg, or "
    "openspiel:NAME, such as openspiel:leduc_poker"
)


@dataclass(frozen=True)
class Source:
    """A game on the way: what was asked for, and the scenario where it is one."""

    asked: str
    scenario: "Scenario | None"
    tree: bytes | None = None  # what an .efg file held
    force: bool = False  # whether to build what may not fit into memory

    @property
    def name(self) -> str:
        """What was asked for, of a file its name only."""
        return Path(self.asked).name if is_file(self.asked) else self.asked

    def build(self) -> "Game":
        """Return the game; refuse a scenario's that does not fit, before anything is built."""
        from csa_games.devices import use_all_cores
        from csa_games.dialogue import sizes
        from csa_games.factored import LOOPED, factored_game
        from csa_games.loading import load

        if self.scenario is None:
            with waiting(f"building {self.name}"):
                return load(self.asked)
        what = f"building and solving {self.name}"
        needed = sizes(self.scenario)
        require(needed.bytes, what, force=self.force)
        if needed.sequences[1] > LOOPED:
            use_all_cores()
        with waiting(f"building {self.name}"):
            return factored_game(self.scenario)


def add_game(parser: argparse.ArgumentParser, name: str = "GAME", more: str = "") -> None:
    """Add the arguments that name a game."""
    parser.add_argument("game", metavar=name, help=GAME_HELP + more)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="change a number of the scenario, such as weights.beta=3, "
        "intents.malicious.prior=0.05 or turns=2; may be given several times",
    )
    parser.set_defaults(force=False)


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add --force, for commands that build whatever game is named."""
    parser.add_argument(
        "--force", action="store_true", help="go on with a game that may not fit into memory"
    )


def source(args: argparse.Namespace) -> Source:
    """Return the game that the arguments of `add_game` name, read and changed but not built."""
    from csa_games.override import override
    from csa_games.scenario import builtin_scenarios, read_scenario

    asked: str = args.game
    builtin = builtin_scenarios()
    if asked in builtin or (is_file(asked) and Path(asked).suffix.lower() == ".toml"):
        scenario = read_scenario(builtin.get(asked, Path(asked)))
        changes = dict(map(_change, args.set))
        changed = override(scenario, changes) if changes else scenario
        return Source(asked, changed, force=args.force)
    if args.set:
        raise InputError(f"--set: {asked} is no scenario, and has no numbers with names to change")
    is_tree = Path(asked).suffix.lower() == ".efg" and Path(asked).is_file()
    return Source(asked, None, Path(asked).read_bytes() if is_tree else None, args.force)


def is_file(asked: str) -> bool:
    """Return whether `asked` names a file rather than a built-in scenario or an OpenSpiel game."""
    return not asked.startswith("openspiel:") and Path(asked).suffix.lower() in (".toml", ".efg")


def is_run(asked: str) -> bool:
    """Return whether `asked` names a folder, which only a run can be."""
    return Path(asked).is_dir()


def _change(text: str) -> tuple[str, Any]:
    """Return (path, value) of PATH=VALUE; the value is TOML, and what is no TOML is a string."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise InputError(f"--set: found {text!r}, expected PATH=VALUE, such as weights.beta=3")
    try:
        return path.strip(), tomllib.loads(f"value = {value}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return path.strip(), value.strip()
