"""Pages of Markdown as programs: their blocks are run in order, and what they show is compared.

    ```python    run, all of a page in one namespace
    ```console   "$ csa ..." and "$ python -m csa_games.guard ..." run in this process, each with
                 what it prints after it; a code other than 0 has to be shown by "$ echo $?"
    ```toml      written to the file that its first line names, "# x.toml", or added to what is
                 there, "# x.toml, continued"
    ```text      what the block of Python above prints
    ```sh        for the machine of whoever reads it: commands of csa are parsed, nothing is run
    ```{...}     directives of the site

In what is shown, "..." stands for anything. Numbers with a point may be off by two units of their
last digit; all other words are compared as they are, and blanks do not count.
"""

import io
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from csa_games.cli import COMMANDS, main
from csa_games.cli.command import parser
from csa_games.guard.__main__ import main as guard_main

LANGUAGES = {"python", "console", "toml", "text", "sh"}
TOOLS = {"cp", "export", "make", "pip", "python", "sbatch", "sha256sum", "tar"}
"""What lines of ```sh may begin with, beside csa."""


class Block(NamedTuple):
    """A fenced block: what follows the fence, its text, and the line it begins at."""

    language: str
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    found: list[Block] = []
    opened: tuple[str, str, int] | None = None
    inside: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"(```+)\s*(.*)$", line)
        if opened is None and fence:
            opened, inside = (fence[1], fence[2].strip(), number), []
        elif opened is not None and fence and fence[1] == opened[0] and not fence[2]:
            found.append(Block(opened[1], "\n".join(inside) + "\n", opened[2]))
            opened = None
        else:
            inside.append(line)
    assert opened is None, f"the block that begins at line {opened and opened[2]} has no end"
    return found


def run_page(page: Path) -> None:
    """Run the blocks of `page` in the working folder; AssertionError where it does not hold."""
    namespace: dict[str, Any] = {"__name__": "__page__"}
    printed = ""
    for block in blocks(page.read_text(encoding="utf-8")):
        where = f"{page.name}, line {block.line}"
        if block.language.startswith("{"):
            continue
        assert block.language in LANGUAGES, f"{where}: nothing runs a block of {block.language!r}"
        if block.language == "text":
            assert printed, f"{where}: nothing above has printed what is shown"
            same(block.text, printed, where)
            printed = ""
            continue
        assert not printed, f"{where}: what the block of Python above prints is not shown"
        if block.language == "python":
            with redirect_stdout(io.StringIO()) as out:
                # Lines of a traceback are then those of the page.
                program = "\n" * block.line + block.text
                exec(compile(program, str(page), "exec"), namespace)
            printed = out.getvalue()
        elif block.language == "toml":
            write(block.text, where)
        elif block.language == "console":
            for command, shown, code in dialogue(block.text):
                converse(command, shown, code, where)
        else:
            for line in joined(block.text):
                check(line, where)
    assert not printed, f"{page.name}: what its last block of Python prints is not shown"


def write(text: str, where: str) -> None:
    """Write a block of TOML to the file that it names."""
    named = re.match(r"# ([\w-]+\.toml)(, continued)?\n", text)
    assert named, f"{where}: the first line names no file"
    with open(named[1], "a" if named[2] else "w", encoding="utf-8") as file:
        file.write(text + "\n")


def joined(text: str) -> list[str]:
    """Return the lines of `text`, those that end in a backslash with the next one."""
    return text.replace("\\\n", " ").splitlines()


def dialogue(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield (command, what it shows, its exit code) of each command of a console."""
    parts: list[tuple[str, list[str]]] = []
    for line in joined(text):
        if line.startswith("$ "):
            parts.append((line[2:], []))
        else:
            parts[-1][1].append(line)
    for k, (command, shown) in enumerate(parts):
        if command == "echo $?":
            continue
        after = parts[k + 1] if k + 1 < len(parts) else ("", [""])
        code = int(after[1][0]) if after[0] == "echo $?" else 0
        yield command, "\n".join(shown), code


def converse(command: str, shown: str, code: int, where: str) -> None:
    """Run a command as its page shows it."""
    words = shlex.split(command, comments=True)
    guards = words[:3] == ["python", "-m", "csa_games.guard"]
    assert guards or words[0] == "csa", f"{where}: {command!r} is not run"
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        found = guard_main(words[3:]) if guards else main(words[1:])
    # Progress goes to standard error, and so does what is wrong, which is worth showing.
    told = out.getvalue() + (err.getvalue() if found else "")
    assert found == code, f"{where}: {command!r} exits with {found}\n{err.getvalue()}"
    if shown.strip():
        same(shown, told, f"{where}, {command!r}")


def check(line: str, where: str) -> None:
    """Check a line of ```sh: whether csa would take it, or whether it is a tool we know."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]  # variables of the command's environment
    if words and words[0] == "csa":
        parser(COMMANDS).parse_args(words[1:])
    elif words:
        assert words[0] in TOOLS, f"{where}: {words[0]!r} is no tool of {sorted(TOOLS)}"


def same(shown: str, printed: str, where: str) -> None:
    """Raise AssertionError unless what a page shows is what is printed."""
    assert matches(shown.split(), printed.split()), (
        f"{where} shows\n{shown}\nwhile this is printed:\n{printed}"
    )


def matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Return whether the words shown are those printed, "..." standing for any number of them."""
    ends = [0]  # where in `printed` the words shown so far can end
    for word in shown:
        if word == "...":
            ends = list(range(ends[0], len(printed) + 1))
        else:
            ends = [j + 1 for j in ends if j < len(printed) and alike(word, printed[j])]
        if not ends:
            return False
    return ends[-1] == len(printed)


NUMBER = re.compile(r"(-?\d+(?:\.\d+(?:e[+-]?\d+)?|e[+-]?\d+))")


def alike(shown: str, printed: str) -> bool:
    """Return whether two words are the same, their real numbers about."""
    if "..." in shown:
        return re.fullmatch(".*".join(map(re.escape, shown.split("..."))), printed) is not None
    one, other = NUMBER.split(shown), NUMBER.split(printed)
    return len(one) == len(other) and all(
        near(a, b) if k % 2 else a == b for k, (a, b) in enumerate(zip(one, other, strict=True))
    )


def near(shown: str, printed: str) -> bool:
    """Return whether a number is as shown, up to two units of the last digit shown."""
    digits, _, exponent = shown.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return abs(float(shown) - float(printed)) <= 2.0001 * unit
