"""One door for every kind of game: `csa_games.load`."""

import difflib
from pathlib import Path

from csa_games.errors import InputError
from csa_games.game import Game


def load(source: str | Path) -> Game:
    """Return the game that `source` names.

    `source` is the name of a built-in scenario ("crisis_guidance"), a path to a scenario file
    (.toml) or to a game file (.efg), or "openspiel:" and an OpenSpiel load string
    ("openspiel:leduc_poker"). A built-in name wins over a file; "./NAME.toml" is always a file.

    Raises `InputError` when `source` is none of these, or when what it names is refused.
    """
    from csa_games.scenario import builtin_scenarios

    name = str(source)
    builtin = builtin_scenarios()
    if name.startswith("openspiel:"):
        from csa_games.interop.openspiel import from_openspiel

        return from_openspiel(name.removeprefix("openspiel:"))
    if name in builtin:
        return _dialogue(builtin[name])
    match Path(source).suffix.lower():
        case ".toml":
            return _dialogue(Path(source))
        case ".efg":
            from csa_games.interop.efg_read import read_efg

            return read_efg(source)
    near = difflib.get_close_matches(name, builtin, n=1)
    raise InputError(
        f"found {name!r}, {f'expected {near[0]!r}? Accepted are' if near else 'expected'} "
        f"a built-in scenario ({', '.join(sorted(builtin))}), a path to a .toml scenario or an "
        '.efg game, or "openspiel:" and an OpenSpiel load string'
    )


def _dialogue(path: Path) -> Game:
    from csa_games.factored import factored_game
    from csa_games.scenario import read_scenario

    return factored_game(read_scenario(path))
