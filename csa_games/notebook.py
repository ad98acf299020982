"""How games, solutions and tables show themselves in notebooks: short HTML, everything escaped.

The methods `_repr_html_` and `_repr_svg_` of the nouns come here when a notebook calls them.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from csa_games.evaluate import histories
from csa_games.game import ASSISTANT, Game, Solution
from csa_games.paths import likely_paths
from csa_games.report.certificate import CLASSES, STATUSES
from csa_games.tree_picture import tree_picture
from csa_games.words import counted, number, percent

if TYPE_CHECKING:
    from csa_games.table import Table

PATHS = 30  # of the picture of a game: all of Kuhn poker
OPENED = 2_000  # nodes that are looked at for it
ROWS = 10


def game_html(game: Game) -> str:
    """Return what a game is and how large, with the picture of its tree."""
    plexes = zip(game.names.players, game.form.treeplex, strict=True)
    facts = [
        ("class", CLASSES[game.game_class]),
        ("complete histories", number(histories(game))),
        *((f"information sets of {name}", number(plex.infosets)) for name, plex in plexes),
    ]
    if game.scenario is not None:
        facts.insert(0, ("question", game.scenario.question))
    return f"{_facts(game.name, facts)}\n{game_svg(game)}"


def game_svg(game: Game) -> str:
    """Return a picture of the tree of `game`, or of some of it, under uniform play."""
    return tree_picture(game, likely_paths(game, None, PATHS, most_nodes=OPENED))


def solution_html(solution: Solution) -> str:
    """Return a solution's certificate: values and gaps of both players."""
    values, gaps = ([number(float(x)) for x in part] for part in (solution.value, solution.gap))
    table = _table(
        f"{solution.game}, solved by {solution.method}",
        ("", "player 0", "player 1"),
        [("value", *values), ("gap", *gaps)],
    )
    taken = f"{counted(solution.steps, 'step')}, {solution.seconds:.1f} s"
    said = (
        f"NashConv {number(solution.nash_conv)}; {taken}: {STATUSES[solution.status]}. "
        f"{CLASSES[solution.game_class]}"
    )
    return f"{table}\n<p>{escape(said)}</p>"


def table_html(table: "Table") -> str:
    """Return the most reached rows of a table, and how many of its rows can be trusted."""
    rows, names = table.exact, [response.name for response in table.scenario.responses]
    order = (-rows.reach).argsort(kind="stable")[:ROWS].tolist()
    shown = [
        (
            rows.keys[i],
            percent(float(rows.reach[i])),
            rows.trust[i],
            *(percent(float(p)) for p in rows.probabilities[i]),
        )
        for i in order
    ]
    kinds = [f"{rows.trust.count(kind):,} {kind}" for kind in dict.fromkeys(rows.trust)]
    made = _table(
        f"{table.scenario.name}: the {len(order)} most reached of {len(rows.keys):,} rows",
        ("state", "reached", "trust", *names),
        shown,
    )
    value = number(float(table.served[0][ASSISTANT]))
    said = f"Rows: {', '.join(kinds)}. Worth as served, to the assistant: {value}."
    return f"{made}\n<p>{escape(said)}</p>"


def _facts(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    return _table(caption, (), rows)


def _table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
    lines = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    top = f"<thead><tr>{head}</tr></thead>\n" if head else ""
    return f"<table>\n<caption>{escape(caption)}</caption>\n{top}<tbody>\n{lines}</tbody>\n</table>"
