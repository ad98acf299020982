"""Settings of the documentation, read by Sphinx: `make docs`.

The pages are in the package's folder because the layout of the repository has no other place for
what explains the package; they are not in the wheel. Nothing in the site is fetched: the theme
brings its own styles and scripts, and formulas become MathML when the site is built.
"""

import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
os.environ["COLUMNS"] = "88"  # of the help of commands, whatever the terminal

from generated import filled, restructured  # noqa: E402 - found by the line above

project = "csa-games"
author = "The csa-games authors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = "csa-games"
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
exclude_patterns: list[str] = []
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True


def setup(app: Any) -> None:
    """Hook what the project adds into Sphinx."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", restructure)


def fill(app: Any, page: str, source: list[str]) -> None:
    """Put what is made from the code into a page."""
    source[0] = filled(source[0])


def restructure(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring into what Sphinx reads."""
    lines[:] = restructured(lines)


def inline_math(writer: Any, node: Any) -> None:
    """Write a formula within a line."""
    _math(writer, node, block=False)


def block_math(writer: Any, node: Any) -> None:
    """Write a formula on a line of its own."""
    _math(writer, node, block=True)


def _math(writer: Any, node: Any, block: bool) -> None:
    from docutils.nodes import SkipNode
    from docutils.utils.math.latex2mathml import tex2mathml

    writer.body.append(tex2mathml(node.astext(), as_block=block))
    raise SkipNode
