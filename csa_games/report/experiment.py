"""The page of an experiment: question, answer, pictures and provenance, out of its folder.

The folder is what `csa experiment` writes: report.md, results.csv, figures/ and provenance.json. Of
Markdown the page knows what answers are made of: headings, paragraphs, `code`, tables and pictures.
"""

import csv
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from csa_games.errors import InputError
from csa_games.report.page import environment, flat, frame
from csa_games.words import number

TEXT, RESULTS, ORIGIN = "report.md", "results.csv", "provenance.json"
MOST = 60  # rows of results
PICTURE = re.compile(r"!\[(.*)\]\((figures/[^/)]+\.svg)\)", re.DOTALL)
FORBIDDEN = {"script", "foreignObject", "iframe", "image", "style", "animate", "set", "a"}

Block = tuple[str, Any]
"""("paragraph" or "heading", text) or ("table", rows of cells)."""


def is_experiment(folder: Path | str) -> bool:
    """Return whether `folder` holds what an experiment leaves."""
    return all((Path(folder) / name).is_file() for name in (TEXT, RESULTS))


def experiment_report(folder: Path | str) -> str:
    """Return one HTML page, which stands alone, of the experiment in `folder`.

    Raises `InputError` for files that are missing or cannot be read, and for pictures that are not
    plain SVG: scripts, links and anything from elsewhere have no place on the page.
    """
    folder = Path(folder)
    question, *blocks = re.split(r"\n{2,}", _text(folder / TEXT).strip())
    columns, *rows = list(csv.reader(_text(folder / RESULTS).splitlines())) or [[]]
    figures = [
        (said, _picture(folder / path)) for block in blocks for said, path in PICTURE.findall(block)
    ]
    origin = _origin(folder / ORIGIN)
    shown = {
        **frame(filters=False),
        "name": origin.get("experiment", folder.name),
        "question": question.lstrip("# "),
        "answer": list(_blocks([block for block in blocks if not PICTURE.search(block)])),
        "figures": figures,
        "columns": columns,
        "results": [list(map(_cell, row)) for row in rows],
        "most": MOST,
        "provenance": list(flat(origin)),
    }
    return environment().get_template("experiment.html").render(shown)


def _blocks(blocks: list[str]) -> Iterator[Block]:
    for block in blocks:
        lines = block.splitlines()
        if block.startswith("#"):
            yield "heading", _words(block.lstrip("# "))
        elif all(line.startswith("|") for line in lines):
            cells = [
                [_words(cell.strip()) for cell in line.strip("|").split("|")] for line in lines
            ]
            yield "table", [cells[0], *cells[2:]]  # the second line only rules
        else:
            yield "paragraph", _words(" ".join(lines))


def _words(text: str) -> Markup:
    """Return `text` with what is between backticks as code."""
    parts = text.split("`")
    return Markup().join(
        Markup("<code>{}</code>").format(part) if k % 2 else escape(part)
        for k, part in enumerate(parts)
    )


def _cell(text: str) -> str:
    try:
        return number(float(text))
    except ValueError:
        return text


def _picture(path: Path) -> Markup:
    """Return the SVG in `path` after seeing that it draws, and does nothing else."""
    svg = _text(path)
    try:
        parts = list(ET.fromstring(svg).iter())
    except ET.ParseError as error:
        raise InputError(f"{path}: not an SVG file: {error}") from None
    for part in parts:
        tag = str(part.tag).rpartition("}")[2]
        targets = [v for k, v in part.attrib.items() if k.rpartition("}")[2] == "href"]
        outside = [target for target in targets if not target.startswith("#")]
        acts = [name for name in part.attrib if name.lower().startswith("on")]
        if tag in FORBIDDEN or outside or acts:
            found = acts[0] if acts else (outside[0] if outside else tag)
            raise InputError(f"{path}: found {found!r}, expected a picture that only draws")
    return Markup(svg[svg.index("<svg") :])


def _origin(path: Path) -> dict[str, Any]:
    """Return the provenance with its list of machines by number, for the page shows no lists."""
    if not path.is_file():
        return {}
    try:
        origin = json.loads(_text(path))
    except ValueError as error:
        raise InputError(f"{path}: not a JSON file: {error}") from None
    if not isinstance(origin, dict):
        raise InputError(f"{path}: found {type(origin).__name__}, expected an object")
    machines = origin.get("made on")
    if isinstance(machines, list):
        origin["made on"] = {str(k): machine for k, machine in enumerate(machines, start=1)}
    return origin


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text: {error}") from None
