"""The documentation does what it says: every block of every page is run, in order, page by page."""
from pathlib import Path
import pytest
from pages import run_page
DOCS = Path(__file__).parents[1] / "csa_games" / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_every_block_of_a_page_holds(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    run_page(page)
