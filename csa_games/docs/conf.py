"""Settings of the documentation, read by Sphinx: `make docs`.

The pages are in the package's folder because the layout of the repository has no other place for
what explains the package; they are not in the wheel. Nothing in the site is fetched: the theme
brings its own styles and scripts, and formulas become MathML when the site is built.
"""

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
os.environ["COLUMNS"] = "88"  # of the help of commands, whatever the terminal

from csa_games.docs.generated import filled, restructured

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
autodoc_default_options = {"no-value": True}  # tables of functions are no pleasure to read
suppress_warnings = [
    "ref.python"
]  # types of one name in two modules, in signatures: either will do


FORMULA = '<div class="math-wrapper" style="padding: 0.75rem 0">{}</div>'
"""What holds a formula on a line of its own: a narrow screen scrolls it alone, not the page."""


def setup(app: Any) -> None:
    """Tell Sphinx what the project adds."""
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

    formula = tex2mathml(node.astext(), as_block=block)
    writer.body.append(FORMULA.format(formula) if block else formula)
    raise SkipNode
