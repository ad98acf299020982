"""How every picture looks, whoever draws it: colours, marks, bare axes, SVG that repeats itself.

Colours are Okabe and Ito's (2008, jfly.uni-koeln.de/color), which colour-blind readers can tell
apart; hatches, markers and labels say the same again in grey. Text stays text, so that it can be
read aloud and searched. The same input gives the same bytes.
"""

import re
from html import escape
from io import StringIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.style import context

COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2", "#999999")
HATCHES = ("", "//", "\\\\", "--", "xx", "||", "++", "/")  # lines: a pattern of dots has 150 kB
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, MUTED, FAINT = "#1b1f24", "#57606a", "#d0d7de"
TEXT = 9.0  # points

drawn_plainly = context(["default", {"svg.fonttype": "none", "hatch.linewidth": 0.9}])
"""Decorates what draws: the look is ours, whatever style the process or its user has set."""


def line_colour(k: int) -> str:
    """Return the k-th colour for lines on white, where yellow would not show."""
    dark = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", INK, MUTED)
    return dark[k % len(dark)]


def ink_on(colour: str) -> str:
    """Return the ink that reads on `colour`: black or white, by relative luminance (WCAG 2.2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "black" if luminance > 0.179 else "white"


def bare(axes: Axes) -> None:
    """Take away what is not data: the box, the tick marks."""
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0, labelsize=TEXT, labelcolor=MUTED, which="both")
    axes.set_axisbelow(True)


def svg_text(figure: Figure, name: str) -> str:
    """Return `figure` as an SVG file; the same figure and name give the same bytes."""
    out = StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", facecolor="white", metadata=nothing)
    return out.getvalue()


def svg_element(figure: Figure, name: str, said: str) -> str:
    """Return `figure` as an SVG element that says what it shows and shares no id with another.

    `name` tells the pictures of a page apart: every id in the element begins with it.
    """
    svg = svg_text(figure, name)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r" <defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.S)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    attributes = f'<svg role="img" aria-label="{escape(said)}"'
    return svg.replace("<svg", attributes, 1).strip()
