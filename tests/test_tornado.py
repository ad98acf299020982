"""A chart of two lengths for each name: order, numbers, and what is left out of the picture."""

from csa_games.charts import tornado

BARS = {"short": (0.01, 0.02), "none": (0.0, 0.0), "long": (0.5, 0.0), "even": (0.3, 0.3)}
SIDES = ("low end", "high end")


def test_the_longest_are_on_top_and_no_number_is_lost():
    chart = tornado(BARS, "lost", SIDES)
    (axes,) = chart.figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["long", "even", "short"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first is at the top
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == [-0.5, 0.0, -0.3, 0.3, -0.01, 0.02]
    assert [row["number"] for row in chart.rows] == ["long", "even", "short", "none"]
    assert chart.rows[2] == {"number": "short", "low end": 0.01, "high end": 0.02}
    assert "long: 0.500 at the low end, 0 at the high end" in chart.said


def test_the_picture_has_so_many_and_may_be_empty():
    chart = tornado(BARS, "lost", SIDES, most=1)
    (axes,) = chart.figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["long"]
    assert len(chart.rows) == 4
    assert "Nothing is lost" in tornado({"none": (0.0, 0.0)}, "lost", SIDES).said


def test_long_names_are_cut_where_there_is_no_room():
    name = "channel of " + "somebody or " * 20
    (axes,) = tornado({name: (1.0, 0.0)}, "lost", SIDES).figure.axes
    (label,) = (tick.get_text() for tick in axes.get_yticklabels())
    assert label.startswith("channel of somebody")
    assert len(label) <= 54
