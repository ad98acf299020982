"""What commands write: text for people, or one JSON object for programs."""

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Show = Callable[["Console"], None]
"""A function that writes a result for people."""


def write_json(data: Mapping[str, Any]) -> None:
    """Write `data` to standard output as one JSON object on one line; nan becomes null."""
    sys.stdout.write(json.dumps(_plain(data), allow_nan=False) + "\n")


def write_text(show: Show) -> None:
    """Write a result to standard output, with colours on a terminal that wants them."""
    screen = console(sys.stdout)
    with screen.capture() as captured:
        show(screen)
    # Tables pad their last column; whoever pipes the text has no use for that.
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def console(stream: Any) -> "Console":
    """Return a rich console on `stream` that takes text as it is: no markup, no emoji."""
    from rich.console import Console

    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")  # a terminal may know fewer characters than a file
    return Console(file=stream, markup=False, emoji=False, highlight=False)


def grid(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, title: str = ""
) -> "Table":
    """Return a plain table: the first `left` columns are text, the others numbers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="dim",
    )
    for k, heading in enumerate(headings):
        table.add_column(clean(heading), justify="left" if k < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(clean, row))
    return table


def facts(rows: Iterable[tuple[str, str]]) -> "Table":
    """Return a table of a name and a text in each row, without headings."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(clean(name), clean(text))
    return table


def clean(text: str) -> str:
    """Return `text` without control characters: names and files may come from strangers."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def number(value: float | int) -> str:
    """Return a payoff or a share, to four digits after the point."""
    return "–" if math.isnan(value) else f"{value:.4f}"


def whole(count: int) -> str:
    """Return a count: 18,639; of one that nobody reads digit by digit, how large it is."""
    return f"{count:,}" if count < 10**15 else f"{count:.3g}"


def size(count: int) -> str:
    """Return a number of bytes in words."""
    scaled = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if scaled < 1000:
            return f"{scaled:.0f} {unit}"
        scaled /= 1000
    return f"{scaled:.3g} PB"


def _plain(value: Any) -> Any:
    """Return `value` as JSON has it: arrays as lists, numbers that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):  # numpy, which not every command imports
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
