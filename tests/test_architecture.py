"""What the layout promises, read off the imports of every file."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for package in ("csa_games", "solvers", "experiments", "papers")
    for path in (ROOT / package).rglob("*.py")
)
NETWORK = {
    *("socket", "ssl", "urllib", "http", "ftplib", "smtplib"),
    *("requests", "httpx", "httpx2", "aiohttp"),
}
LISTENS = {"fastapi", "starlette", "uvicorn"}
"""What a server is made of: it answers whoever asks, and asks nobody."""


def imported(path: Path) -> set[str]:
    """Every module that `path` imports anywhere, dotted."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_keep_to_the_layout(path):
    modules = imported(path)
    tops = {module.split(".")[0] for module in modules}
    where = name(path)
    # Examples of hosts talk to what they start themselves, on localhost.
    if not where.startswith("csa_games/guard/adapters/examples/"):
        assert not tops & NETWORK, "nothing in the project calls the network"
    if not where.startswith("csa_games/server/"):
        assert not tops & LISTENS, "only the server listens"
        if where.startswith("csa_games/") and where != "csa_games/cli/guard_serve.py":
            assert not {m for m in modules if m.startswith("csa_games.server")}
    else:
        assert "starlette.testclient" not in modules
        ours = {module for module in modules if module.startswith("csa_games")}
        allowed = ("csa_games.errors", "csa_games.guard", "csa_games.server")
        assert all(m.startswith(allowed) for m in ours), "the server serves the guard alone"
    if where.startswith("csa_games/") and not where.startswith("csa_games/cli/"):
        assert "solvers" not in tops, "only the command line knows the solvers"
    if where.startswith("solvers/"):
        # The nouns, the fold and exact evaluation; never scenarios or tables.
        ours = {module for module in modules if module.startswith("csa_games")}
        # (Files and provenance are for checkpoints.)
        allowed = {
            "arrays",
            "devices",
            "doubted",
            "errors",
            "evaluate",
            "files",
            "findings",
            "fold",
            "game",
            "grid",
            "intervals",
            "outcomes",
            "provenance",
            "words",
        }
        assert ours <= {f"csa_games.{module}" for module in allowed}
    if where.startswith(("csa_games/", "solvers/")) and not where.startswith("csa_games/cli/"):
        assert not tops & {"experiments", "papers"}, "the library stands without its uses"
    if where.startswith("csa_games/guard/"):
        ours = {module for module in modules if module.startswith("csa_games")}
        assert all(m == "csa_games.errors" or m.startswith("csa_games.guard") for m in ours)


def test_the_citation_and_the_package_agree_on_the_version():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"', project, re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in citation
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_pinned_versions_name_no_host():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in text
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(pins) > 30
    assert all(re.match(r"[A-Za-z0-9_.-]+==\S+", pin) for pin in pins)
