"""The documentation does what it says: every block of every page is run, page by page."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from pages import blocks, matches, run_page

import solvers
from csa_games.cli import COMMANDS
from csa_games.cli.command import Group
from csa_games.docs import generated
from csa_games.outcomes import OUTCOMES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "csa_games" / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
EXTRA = ("sphinx", "myst_parser", "furo")


def name(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


@pytest.fixture
def _registries_as_they_were():
    """Pages show how to register something, which is not to last."""
    saved = [(registry, dict(registry)) for registry in (solvers.SOLVERS, OUTCOMES)]
    yield
    for registry, content in saved:
        registry.clear()
        registry.update(content)


@pytest.mark.usefixtures("_registries_as_they_were")
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_of_a_page_holds(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")  # of the terminal that pages show
    run_page(page)


def test_links_lead_to_pages():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", text):
            assert (page.parent / target).is_file(), f"{name(page)}: {target}"


def test_every_page_is_in_the_table_of_contents():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {
        line
        for block in blocks(index)
        if block.language == "{toctree}"
        for line in block.text.splitlines()
        if line and not line.startswith(":")
    }
    assert listed == {name(page).removesuffix(".md") for page in PAGES} - {"index"}


def test_the_command_line_is_that_of_the_parsers():
    page = generated.filled((DOCS / "command_line.md").read_text(encoding="utf-8"))
    for command, what in COMMANDS.items():
        parts = what.commands if isinstance(what, Group) else {"": what}
        for part, leaf in parts.items():
            spelled = f"csa {command} {part}".strip()
            assert f"\n## {spelled}\n" in page
            assert f"usage: {spelled} " in page
            assert leaf.examples[0].splitlines()[0] in page
    assert "<!--" not in page


def test_the_reference_has_every_module():
    pages = "".join(
        generated.filled(page.read_text(encoding="utf-8")) for page in (DOCS / "api").glob("*.md")
    )
    left_out = {"csa_games.cli", "csa_games.docs"}  # a page of its own, and these pages
    for package in ("csa_games", "solvers"):
        for path in (ROOT / package).rglob("*.py"):
            module = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
            module = module.removesuffix(".__init__")
            if not module.endswith("__main__") and not module.startswith(tuple(left_out)):
                assert f".. automodule:: {module}\n" in pages, module


def test_docstrings_become_restructured_text():
    text = ["Return `x_t` * y, not |z|.", "", "    code[i] = *a", "", "- one", "  two"]
    assert generated.restructured(text) == [
        *("Return ``x_t`` \\* y, not \\|z\\|.", ""),
        *("::", "", "        code[i] = *a", ""),
        *("- one", "  two", ""),
    ]
    assert generated.restructured(["Alias for field number 0"]) == []


@pytest.mark.parametrize(
    ("shown", "printed", "right"),
    [
        ("value 0.8413", "value  0.841277", True),
        ("value 0.8413", "value 0.8416", False),
        ("1.5e-04", "0.00016", True),
        ("1.5e-04", "0.00018", False),
        ("12 rows", "13 rows", False),  # counts are no measurements
        ("a ... d", "a b c d", True),
        ("a ... d", "a b c", False),
        ("a d", "a b c d", False),
        ("... b", "b a b", True),
        ("revision ...", "revision", True),
        ("file...:", "files/x:", True),
        ("file...;", "files/x:", False),
        ("gap=0.10,", "gap=0.11,", True),
        ("gap=0.10,", "gap=0.11", False),
        ("", "more", False),
    ],
)
def test_what_is_shown_is_compared(shown, printed, right):
    assert matches(shown.split(), printed.split()) is right


def page_of(folder: Path, *parts: tuple[str, str]) -> Path:
    path = folder / "page.md"
    path.write_text("".join(f"```{language}\n{text}\n```\n" for language, text in parts))
    return path


def test_a_page_is_one_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_page(
        page_of(
            tmp_path,
            ("toml", "# a.toml\nx = 1"),
            ("toml", "# a.toml, continued\ny = 2"),
            (
                "python",
                "import tomllib, pathlib\nread = tomllib.loads(pathlib.Path('a.toml').read_text())",
            ),
            ("python", "print(read)"),
            ("text", "{'x': 1, 'y': 2}"),
            ("console", "$ csa games --nonsense\ncsa: ... --nonsense; ...\n$ echo $?\n2"),
            ("sh", "csa sweep csa_oneshot --over weights.beta=1,2 --executor ray"),
        )
    )


@pytest.mark.parametrize(
    "parts",
    [
        [("python", "print(1)")],  # what it prints is not shown
        [("python", "print(1)"), ("text", "2")],
        [("text", "1")],  # nothing has printed it
        [("python", "print(1)"), ("python", "print(2)"), ("text", "2")],
        [("toml", "x = 1")],  # no file is named
        [("java", "x")],
        [("console", "$ rm x")],
        [("console", "$ csa games --nonsense")],  # the code is not shown
        [("console", "$ csa games\nno game\n$ echo $?\n0")],
        [("sh", "curl example.org")],
    ],
    ids=lambda parts: " ".join(f"{language}: {text}" for language, text in parts)[:40],
)
def test_a_page_that_does_not_hold_is_found(parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError):
        run_page(page_of(tmp_path, *parts))


@pytest.mark.skipif(
    not all(map(find_spec, EXTRA)),
    reason=f"the extra docs ({', '.join(EXTRA)}) is not installed; make docs adds it",
)
def test_the_site_is_built_and_fetches_nothing(tmp_path):
    """Every warning is an error, and no page or style names anything on the network to load."""
    site = tmp_path / "site"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-E", "-d", tmp_path / "cache", DOCS, site],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(site.rglob("*.html"))) >= len(PAGES)
    for page in site.rglob("*.html"):
        loaded = loads(page.read_text(encoding="utf-8"))
        assert not [what for what in loaded if "//" in what], page
        for what in loaded:  # and what it loads is there
            if not what.startswith(("data:", "#")) and what:
                assert (page.parent / what.partition("?")[0].partition("#")[0]).exists(), what
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", text), style
    # Formulas need no script.
    assert "<math" in (site / "mathematics" / "dialogue.html").read_text(encoding="utf-8")


def loads(html: str) -> list[str]:
    """Return what a browser loads with a page; links to other pages are followed by people."""
    found = re.findall(
        r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\b(?:src|srcset)=\"([^\"]*)\"",
        html,
    )
    for link in re.findall(r"<link\b[^>]*>", html):
        if not re.search(r"rel=\"(?:index|search|next|prev|canonical)\"", link):
            found += re.findall(r"href=\"([^\"]*)\"", link)
    return found
