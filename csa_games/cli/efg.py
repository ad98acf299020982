"""`csa efg`: games to and from Gambit's file format."""

import argparse
from typing import TYPE_CHECKING

from csa_games.cli.command import Command, Group, Outcome
from csa_games.cli.output import clean, facts
from csa_games.cli.source import add_force, add_game, source

if TYPE_CHECKING:
    from rich.console import Console


def export(args: argparse.Namespace) -> Outcome:
    """Write a game to an .efg file."""
    from csa_games.interop.efg_write import write_efg

    asked = source(args)
    game = asked.build()
    renamed = write_efg(game, args.file)
    changed = {
        "title": renamed.title,
        "players": renamed.players,
        "infosets": renamed.infosets,
        "actions": renamed.actions,
    }
    count = sum(map(len, (renamed.title, renamed.players, renamed.actions, *renamed.infosets)))

    def show(console: "Console") -> None:
        console.print(clean(f"{asked.name} is in {args.file}"), soft_wrap=True)
        if count:
            console.print(f"{count} labels are spelled differently there; --json lists them")

    return Outcome({"game": asked.name, "file": args.file, "renamed": changed}, show)


def check(args: argparse.Namespace) -> Outcome:
    """Read an .efg file and say what game it holds."""
    from csa_games.interop.efg_read import read_efg

    game = read_efg(args.file)
    infosets = [treeplex.infosets for treeplex in game.form.treeplex]
    data = {
        "file": args.file,
        "name": game.name,
        "class": game.game_class,
        "players": game.names.players,
        "infosets": infosets,
        "histories": len(game.form.leaves.chance),
    }
    rows = [
        ("title", game.name),
        ("players", ", ".join(game.names.players)),
        ("class", game.game_class),
        ("infosets", " + ".join(f"{count:,}" for count in infosets)),
        ("histories", f"{data['histories']:,}"),
    ]

    def show(console: "Console") -> None:
        console.print(clean(f"{args.file} is a game that can be solved"), soft_wrap=True)
        console.print(facts(rows))

    return Outcome(data, show)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    add_game(parser)
    add_force(parser)
    parser.add_argument("file", metavar="FILE", help="the file to write, x.efg")


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the file to read")


EFG = Group(
    "write and check game files in Gambit's format",
    {
        "export": Command(
            "write a game to an .efg file, which Gambit and OpenSpiel read",
            ("csa efg export csa_oneshot oneshot.efg",),
            _export_arguments,
            export,
        ),
        "check": Command(
            "read an .efg file and say what game it holds; csa solve takes it as it is",
            ("csa efg check my_game.efg",),
            _check_arguments,
            check,
        ),
    },
)
