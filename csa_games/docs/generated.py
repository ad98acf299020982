"""What pages take from the code when the site is built: help of commands, lists of modules.

A page asks for it by a comment, `<!-- commands -->` or `<!-- modules PACKAGE ... -->`.
"""

import io
import pkgutil
import re
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from importlib import import_module

from csa_games.cli import COMMANDS
from csa_games.cli.command import Group, parser

MARK = re.compile(r"^<!-- (\w+)((?: [\w.]+)*) -->$", re.MULTILINE)


def filled(text: str) -> str:
    """Return the page `text` with what its comments ask for in their place."""
    return MARK.sub(lambda found: MAKERS[found[1]](*found[2].split()), text)


def commands() -> str:
    """Return a section of Markdown for each command, with its help."""
    return "\n".join(f"## csa {name}\n\n```text\n{helped(name)}```\n" for name in command_names())


def command_names() -> Iterator[str]:
    """Yield every command, "solve" or "efg export", in the order of the help."""
    for name, command in COMMANDS.items():
        if isinstance(command, Group):
            yield from (f"{name} {part}" for part in command.commands)
        else:
            yield name


def helped(name: str) -> str:
    """Return what `csa NAME --help` prints."""
    with redirect_stdout(io.StringIO()) as out, suppress(SystemExit):
        parser(COMMANDS).parse_args([*name.split(), "--help"])
    return out.getvalue()


def modules(*packages: str) -> str:
    """Return a section of Markdown for each package and the modules in it, for autodoc to fill."""
    asked = "   :members:\n   :ignore-module-all:\n"  # what is imported has a place of its own
    return "\n".join(
        f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n{asked}```\n"
        for package in packages
        for name in module_names(package)
    )


def module_names(package: str) -> Iterator[str]:
    """Yield a package and the modules right in it; what runs when imported is left out."""
    yield package
    for found in pkgutil.iter_modules(import_module(package).__path__):
        if not found.ispkg and not found.name.startswith("_"):
            yield f"{package}.{found.name}"


MAKERS = {"commands": commands, "modules": modules}


def restructured(lines: list[str]) -> list[str]:
    """Return a docstring of this project as reStructuredText, which is what autodoc reads.

    Docstrings here are plain text: paragraphs, lists of dashes, code in single backticks, and what
    is indented stands as it is.
    """
    if lines and lines[0].startswith("Alias for field number "):  # says Python of named tuples
        return []
    out: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines).strip("\n")):
        rows = paragraph.split("\n")
        if all(not row or row.startswith("  ") for row in rows):
            out += ["::", "", *(f"    {row}" for row in rows), ""]
            continue
        text = re.sub(r"`[^`]+`|[\\*_|`]", _marked, paragraph).split("\n")
        # A list keeps its indents; of anything else they would mean something.
        listed = rows[0].startswith("- ")
        out += [*(text if listed else (re.sub(r"^(\w+)\.", r"\1\\.", row.strip()) for row in text))]
        out.append("")
    return out


def _marked(found: re.Match[str]) -> str:
    """Return code as reStructuredText has it, and its marks as the characters that they are."""
    return f"`{found[0]}`" if len(found[0]) > 1 else f"\\{found[0]}"
