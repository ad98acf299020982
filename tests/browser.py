"""A real browser, headless, for the tests of pages; skipped where there is none."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--enable-logging=stderr",
]
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here")


def browse(folder: Path, text: str, width: int, fragment: str = "") -> tuple[str, list[str]]:
    """Return the page as a browser has it, and its console messages."""
    file = folder / "page.html"
    file.write_text(text, encoding="utf-8")
    return visit(folder, file.as_uri() + fragment, width)


def visit(folder: Path, url: str, width: int, *more: str) -> tuple[str, list[str]]:
    """Return the page at `url` as a browser has it, and its console messages."""
    done = subprocess.run(
        [
            CHROMIUM,
            *QUIET,
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width},900",
            *more,
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def with_script(text: str, script: str) -> str:
    """Return a page that also runs `script`, which its policy would not allow."""
    text = re.sub(r"<meta http-equiv[^>]*>", "", text)
    return text.replace("</body>", f"<script>{script}</script></body>")
