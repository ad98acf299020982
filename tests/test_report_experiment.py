"""The page of an experiment's folder: what is in the files, escaped, and nothing that acts."""

import json
import re
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path

import pytest
from browser import browse, in_a_browser, with_script

from csa_games.charts import curves, save
from csa_games.cli import main
from csa_games.csv_text import csv_text
from csa_games.errors import InputError
from csa_games.report import experiment_report, is_experiment
from experiments.experiment import Experiment
from experiments.experiment import report as in_words

EVIL = """<script>a()</script><img src=x onerror="a()">"""
TABLE = "| kind | `value` |\n|---|---:|\n| plain | 0.125 |\n| <b>bold</b> | 2 |"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of an experiment, as an experiment writes it."""
    chart = curves(
        {"one": [(0.0, 1.0), (1.0, 2.0)], "other": [(0.0, 3.0), (1.0, 1.0)]}, "turns", "value"
    )
    rows = [{"turns": k, "value": k / 3} for k in range(80)]
    made = Experiment(
        f"Is it so? {EVIL}",
        lambda quick: (),
        "none:at_all",
        lambda rows: (f"It is: `a < b`. {EVIL}", TABLE),
        lambda rows: {"value": chart},
    )
    words = in_words("trial", made, rows, {"value": chart}, quick=True)
    (tmp_path / "report.md").write_text(words, encoding="utf-8")
    (tmp_path / "results.csv").write_text(csv_text(rows), encoding="utf-8")
    save(tmp_path / "figures", "value", chart)
    origin = {"experiment": "trial", "seed": 0, "made on": [{"cpu": EVIL, "devices": ["a", "b"]}]}
    (tmp_path / "provenance.json").write_text(json.dumps(origin), encoding="utf-8")
    return tmp_path


def test_the_page_has_question_answer_pictures_and_provenance(folder):
    page = experiment_report(folder)
    text = " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())
    assert re.search(r"<h1>\s*Is it so\?", page)
    assert "<code>a &lt; b</code>" in page
    assert re.findall(r'<th scope="row">([^<]*)</th><td>([^<]*)</td>', page) == [
        ("plain", "0.125"),
        ("&lt;b&gt;bold&lt;/b&gt;", "2"),
    ]
    assert page.count("<svg") == 1
    assert "The first 60 of 80 rows" in text
    assert "made on.1.devices a, b" in text
    assert "csa experiment trial --quick" in text


def test_the_page_is_well_formed_and_acts_in_no_way(folder):
    page = experiment_report(folder)
    assert "<script" not in page
    assert "<img" not in page
    assert "script-src" not in page
    assert "default-src 'none'" in page
    assert unescape(page).count(EVIL) >= 3  # title, answer, provenance: as text
    # But for the tags that HTML leaves open the page is XML.
    body = page[page.index("<body>") : page.index("</html>")]
    ET.fromstring(body.replace("&amp;", "&#38;"))


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("</svg>", "<script>a()</script></svg>", "script"),
        ("<svg", '<svg onload="a()"', "onload"),
        ("</svg>", '<foreignObject width="1" height="1"/></svg>', "foreignObject"),
        ("</svg>", '<use xlink:href="https://example.invalid/x#y"/></svg>', "https://example"),
        ("</svg>", "", "not an SVG file"),
    ],
)
def test_pictures_that_do_more_than_draw_are_refused(folder, before, after, found):
    path = folder / "figures" / "value.svg"
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(InputError, match=re.escape(found)):
        experiment_report(folder)


def test_what_is_missing_or_broken_is_named(folder):
    (folder / "provenance.json").write_text("{")
    with pytest.raises(InputError, match=r"provenance\.json: not a JSON file"):
        experiment_report(folder)
    (folder / "provenance.json").unlink()
    assert "<h2>Provenance</h2>" not in experiment_report(folder)
    (folder / "figures" / "value.svg").unlink()
    with pytest.raises(InputError, match=r"value\.svg cannot be read"):
        experiment_report(folder)
    (folder / "results.csv").unlink()
    assert not is_experiment(folder)


def test_csa_report_takes_the_folder_of_an_experiment(folder, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["report", str(folder), "-o", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"experiment": str(folder), "page": str(out)}
    assert out.read_text(encoding="utf-8") == experiment_report(folder)


@in_a_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_without_complaint_or_overflow(folder, width):
    page = experiment_report(folder)
    _, messages = browse(folder, page, width)
    assert messages == []
    measure = """
        for (const part of document.querySelectorAll("details")) part.open = true;
        document.title = innerWidth + " " + document.documentElement.scrollWidth;
    """
    shown, _ = browse(folder, with_script(page, measure), width)
    title = re.search(r"<title>(\d+) (\d+)</title>", shown)
    assert title is not None
    inner, needed = map(int, title.groups())
    assert needed <= inner <= max(width, 500)  # the narrowest window there is
